"""The host as tests see it."""

from __future__ import annotations

import io
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import nn

from tests import unets
from tests.webui.standin import (
    api,
    builtin,
    checkpoints,
    images,
    infotext,
    kdiff,
    options,
    processing,
    prompts,
    registry,
    scripts,
    ui,
    xyz,
)
from tests.webui.standin.callbacks import Callbacks, Report, callbacks_module, errors_module
from tests.webui.standin.probe import Fault, Probe
from tests.webui.standin.strict import StrictModule

TABS = ("txt2img", "img2img")
OWN_PREFIXES = ("modules", "launch", "k_diffusion")
PURGED_PREFIXES = ("lib_fewstep.webui",)


class Host:
    """A running WebUI with one extension; made by `standin.webui`."""

    def __init__(
        self,
        scripts_dir: Path,
        cat: unets.HostTorch,
        nowebui: bool,
        config: dict[str, Any],
        data_path: Path,
        has_xyz: bool,
    ) -> None:
        self.scripts_dir = scripts_dir
        self.cat = cat
        self.nowebui = nowebui
        self.errors: list[Report] = []
        self.callbacks = Callbacks()
        self.probe = Probe()
        self.pip: list[str] = []
        self.installed: set[str] = set()
        self.checkpoints = checkpoints.Checkpoints(lambda model: self._run("model_loaded", model))
        self.tabs: dict[str, ui.Tab] = {}
        self.settings: dict[str, Any] = {}
        self.api: api.Api
        self.data_path = data_path
        self.has_xyz = has_xyz
        self._install_modules(config)
        self.shared: Any = sys.modules["modules.shared"]

    def _run(self, kind: str, *args: Any) -> list[Any]:
        return self.callbacks.run(kind, *args)

    def _install_modules(self, config: dict[str, Any]) -> None:
        paths = _paths(self.data_path)
        inside = [
            options.shared_module(config, {"nowebui": self.nowebui}, self.data_path),
            options.options_module(),
            callbacks_module(self.callbacks),
            errors_module(self.errors),
            processing.processing_module(),
            scripts.scripts_module(),
            infotext.infotext_module(),
            ui.components_module(),
            StrictModule("modules.localization", localizations=_localizations(self.scripts_dir.parent)),
            StrictModule("modules.paths", **paths),
            StrictModule(
                "modules.paths_internal",
                **paths,
                default_output_dir=str(self.data_path / "outputs"),
                config_states_dir="/webui/config_states",
                modules_path="/webui/modules",
                sd_configs_path="/webui/configs",
            ),
            images.images_module(),
            *prompts.prompt_modules(),
            *registry.sampler_modules(),
            *checkpoints.model_modules(self.checkpoints),
        ]
        children = {module.__name__.partition(".")[2]: module for module in inside}
        root = StrictModule("modules", __path__=[], _probe=self.probe, _callbacks=self.callbacks, **children)
        for module in (root, *inside, self._launch_module()):
            sys.modules[module.__name__] = module
        registry.set_samplers()

    def _launch_module(self) -> StrictModule:
        def run_pip(command: str, desc: str | None = None, live: bool = False) -> None:
            self.pip.append(command)

        return StrictModule("launch", is_installed=lambda package: package in self.installed, run_pip=run_pip)

    def start(self) -> None:
        """Load the scripts and build page and API."""
        if self.has_xyz:
            xyz.load()
        scripts.load_scripts(self.scripts_dir)
        builtin.load()
        if not self.nowebui:
            self._run("before_ui")
        self._run("ui_settings")
        self.tabs = {name: ui.build_tab(name) for name in TABS}
        self.settings = self.shared.settings_components = options.settings_page(self.shared.opts)
        with gr.Blocks(analytics_enabled=False):
            self._run("ui_tabs")
        self.api = api.Api({name: tab.runner for name, tab in self.tabs.items()})

    def reload_ui(self, *, reimport: bool = False) -> None:
        """The user's "Reload UI"; with `reimport` the extension's package is imported afresh, too."""
        self._run("script_unloaded")
        self.callbacks.clear()
        sys.modules["modules.scripts"].scripts_data.clear()
        if reimport:
            purge()
        self.start()

    def load_model(self, name: str) -> Any:
        """Choose a checkpoint, as the user does: in place for the same layout, else a new model object."""
        info = self.checkpoints.find(name)
        if info is None:
            raise LookupError(f"{name!r} is none of {sorted(self.checkpoints.recipes)}")
        self.shared.opts.sd_model_checkpoint = info.title
        model = self.shared.sd_model
        return self.checkpoints.load(info) if model is None else self.checkpoints.reload()

    @property
    def unet(self) -> Any:
        """The UNet of the loaded model."""
        return self.shared.sd_model.model.diffusion_model

    def txt2img(self, *, ui: dict[str, Any] | None = None, script: str | None = None, **fields: Any) -> api.Result:
        """Generate from the page; `ui` changes script components by label or id. What goes wrong is raised."""
        return api.run_job(self.job("txt2img", ui=ui, script=script, **fields))

    def img2img(self, *, ui: dict[str, Any] | None = None, script: str | None = None, **fields: Any) -> api.Result:
        """The same from images: `init_images` is a list of PIL images, `mask` one of them."""
        return api.run_job(self.job("img2img", ui=ui, script=script, **fields))

    def job(self, tab: str, *, ui: dict[str, Any] | None = None, script: str | None = None, **fields: Any) -> Any:
        """A job as the page makes it, not yet started; `script` is the title of the selected one.

        Other than in the host there is no grid of its images unless `do_not_save_grid=False` is given.
        """
        page = self.tabs[tab]
        fields = {**api.folders(tab, of_api=False), "do_not_save_grid": True, **fields}
        arguments = tuple(page.job_arguments(fields, ui, script))
        return api.make_job(tab, page.job_fields(fields), page.runner, arguments)

    def run_job(self, p: Any) -> api.Result:
        """Run a job of `job` to its end."""
        return api.run_job(p)

    def xyz(
        self,
        axes: dict[str, str | list[str]],
        tab: str = "txt2img",
        ui: dict[str, Any] | None = None,
        **fields: Any,
    ) -> list[api.Result]:
        """An X/Y/Z plot; `axes` gives values by label: text with commas, or a list from an axis's `choices`.

        One result for each cell, in the order of `itertools.product` over the axes as given: 500 if its job failed.
        What the axes themselves raise comes out of here.
        """
        if not self.has_xyz:
            raise LookupError("this host has no X/Y/Z plot")
        p = self.job(tab, ui=ui, script=xyz.TITLE, **fields)
        api.start_job(p)
        try:
            cells = xyz.plot(p, axes, tab == "img2img")
            self.shared.total_tqdm.clear()
        finally:
            api.end_job(p)
        return [api.cell(cell) for cell in cells]

    def paste(self, tab: str, text: str) -> dict[str, Any]:
        """Read an infotext into a tab: the components that change, by label, with their new values."""
        page = self.tabs[tab]
        return {component.label: value for component, value in infotext.paste(text, page.fields)}

    def fault(
        self,
        *,
        block: int | str | None = None,
        interrupt: int | None = None,
        skip: int | None = None,
        nan: int | None = None,
        step: int = 0,
        launch: int = 0,
        error: BaseException | None = None,
    ) -> Fault:
        """Plan one fault for the next job, at evaluation `step` of pass `launch`, both counted from 0.

        `block` (a number over input, middle and output blocks, or "input_blocks.3") raises `error` there;
        `interrupt`, `skip` and `nan` give the step themselves: before it the user stops, or the UNet gives NaN.
        """
        planned = {"interrupt": interrupt, "skip": skip, "nan": nan}
        chosen = [(kind, at) for kind, at in planned.items() if at is not None]
        if len(chosen) + (block is not None) != 1:
            raise TypeError("give exactly one of block, interrupt, skip and nan")
        kind, at = chosen[0] if chosen else ("block", step)
        fault = Fault(kind, at, launch, None if block is None else self._block(block), error)
        self.probe.faults.append(fault)
        return fault

    def _block(self, block: int | str) -> nn.Module:
        found: nn.Module
        if isinstance(block, str):
            found = self.unet.get_submodule(block)
        else:
            found = [*self.unet.input_blocks, self.unet.middle_block, *self.unet.output_blocks][block]
        return found

    def run_installer(self, path: Path) -> list[str]:
        """Execute an `install.py`; the arguments of its calls of pip."""
        self.pip.clear()
        exec(compile(path.read_text(), str(path), "exec"), {"__name__": "__main__", "__file__": str(path)})
        return list(self.pip)


def _localizations(extension: Path) -> dict[str, list[str]]:
    """The files of each language, by its name."""
    return {path.stem: [str(path)] for path in sorted((extension / "localizations").glob("*.json"))}


def _paths(data_path: Path) -> dict[str, str]:
    root = "/webui"
    return {
        "script_path": root,
        "data_path": str(data_path),
        "models_path": str(data_path / "models"),
        "extensions_dir": str(data_path / "extensions"),
        "extensions_builtin_dir": f"{root}/extensions-builtin",
        "cwd": root,
    }


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A seeded picture of coloured squares of 8 pixels."""
    colours = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST)


def mask_picture(width: int, height: int) -> Image.Image:
    """A mask that keeps the left half and paints the right half anew."""
    pixels = np.zeros((height, width), dtype=np.uint8)
    pixels[:, width // 2 :] = 255
    return Image.fromarray(pixels)


def as_base64(image: Image.Image) -> str:
    """A picture as the API takes it, with the texts that it carries."""
    buffer, texts = io.BytesIO(), PngInfo()
    for key, value in image.info.items():
        if isinstance(key, str) and isinstance(value, str):
            texts.add_text(key, value)
    image.save(buffer, "PNG", pnginfo=texts)
    return b64encode(buffer.getvalue()).decode()


def purge() -> None:
    """Forget the WebUI room of the extension, so that it is imported afresh."""
    _forget(PURGED_PREFIXES)


def _forget(prefixes: tuple[str, ...]) -> dict[str, Any]:
    names = [n for n in sys.modules if any(n == prefix or n.startswith(f"{prefix}.") for prefix in prefixes)]
    return {name: sys.modules.pop(name) for name in names}


@contextmanager
def webui(
    model: str = "sd1",
    scripts_dir: Path | None = None,
    *,
    nowebui: bool = False,
    config: dict[str, Any] | None = None,
    installed: tuple[str, ...] = (),
    xyz: bool = True,
) -> Iterator[Host]:
    """A WebUI with a checkpoint loaded and an extension's scripts running; afterwards it is as if it never was.

    One may run inside another, which waits.

    `config` is what `config.json` holds, `installed` what `launch.is_installed` finds; without `xyz` the X/Y/Z plot's
    script is not there.
    """
    before = _forget((*OWN_PREFIXES, *PURGED_PREFIXES))
    folder = scripts_dir or Path(__file__).parents[3] / "scripts"
    try:
        with ExitStack() as stack:
            stack.enter_context(checkpoints.attention_restored())
            stack.enter_context(ui.components_announced())
            stack.enter_context(kdiff.installed())
            cat = stack.enter_context(unets.webui_cat())
            data_path = Path(stack.enter_context(TemporaryDirectory(prefix="webui-data-")))
            (data_path / "models").mkdir()
            host = Host(folder, cat, nowebui, config or {}, data_path, xyz)
            host.installed = set(installed)
            host.load_model(model)
            host.start()
            yield host
    finally:
        _forget((*OWN_PREFIXES, *PURGED_PREFIXES))
        sys.modules.update(before)
