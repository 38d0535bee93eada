"""`modules.scripts`: the base class of scripts, the loading of their files and the running of their methods."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import gradio as gr
from torch import Tensor

from tests.webui.standin.callbacks import reported
from tests.webui.standin.denoiser import MaskBlendArgs
from tests.webui.standin.probe import probe
from tests.webui.standin.strict import StrictModule, fake

AlwaysVisible = object()


@dataclass
class PostSampleArgs:
    """What `post_sample` receives and may change."""

    samples: Tensor


@dataclass
class PostprocessImageArgs:
    """What `postprocess_image` receives and may change."""

    image: Any


@dataclass
class PostProcessMaskOverlayArgs:
    """What `postprocess_maskoverlay` receives and may change."""

    index: int
    mask_for_overlay: Any
    overlay_image: Any


@dataclass
class PostprocessBatchListArgs:
    """What `postprocess_batch_list` receives and may change."""

    images: list[Any]


@dataclass
class OnComponent:
    """What a function registered by `on_after_component` receives."""

    component: Any


class ScriptClassData(NamedTuple):
    """A script class and the file that it comes from."""

    script_class: Any
    path: str
    basedir: str
    module: Any


METHODS = (
    "setup",
    "before_process",
    "process",
    "before_process_batch",
    "after_extra_networks_activate",
    "process_batch",
    "process_before_every_sampling",
    "before_hr",
    "on_mask_blend",
    "post_sample",
    "postprocess_batch",
    "postprocess_batch_list",
    "postprocess_image",
    "postprocess_maskoverlay",
    "postprocess_image_after_composite",
    "postprocess",
)
"""What the host calls on an always-on script, in this order for one batch."""


class Script:
    """The base class: scripts override what they need, of METHODS and of what follows."""

    name: Any = None
    section: Any = None
    filename: Any = None
    args_from: Any = None
    args_to: Any = None
    alwayson = False
    is_txt2img = False
    is_img2img = False
    tabname: Any = None
    group: Any = None
    create_group = True
    infotext_fields: Any = None
    paste_field_names: Any = None
    api_info: Any = None
    setup_for_ui_only = False
    controls: Any = None
    on_before_component_elem_id: Any = None
    on_after_component_elem_id: Any = None
    load_script_error: ClassVar[Any] = None

    def title(self) -> str:
        """The script's name."""
        raise NotImplementedError

    def ui(self, is_img2img: bool) -> Any:
        """Create the components, and return them in the order of the methods' arguments."""

    def show(self, is_img2img: bool) -> Any:
        """AlwaysVisible, or whether the script can be selected."""
        return True

    def run(self, p: Any, *args: Any) -> Any:
        """What a selectable script does."""

    def before_component(self, component: Any, **kwargs: Any) -> None:
        """Before each component of the page."""

    def after_component(self, component: Any, **kwargs: Any) -> None:
        """After each component of the page."""

    def on_before_component(self, callback: Callable[[OnComponent], Any], *, elem_id: str) -> None:
        """Call back before the component of that id; to be used in `show`: in `ui` it is too late."""
        self.on_before_component_elem_id = [*(self.on_before_component_elem_id or []), (elem_id, callback)]

    def on_after_component(self, callback: Callable[[OnComponent], Any], *, elem_id: str) -> None:
        """Call back after the component of that id; to be used in `show`: in `ui` it is too late."""
        self.on_after_component_elem_id = [*(self.on_after_component_elem_id or []), (elem_id, callback)]

    def describe(self) -> str:
        """A description."""
        return ""

    def elem_id(self, item_id: Any) -> str:
        """An id for a component, unique in the page."""
        in_both = self.show(True) == self.show(False)
        tab = ("img2img_" if self.is_img2img else "txt2img_") if in_both else ""
        words = "_".join(self.title().lower().split())
        title = "".join(letter for letter in words if letter == "_" or (letter.isascii() and letter.isalnum()))
        return f"script_{tab}{title}_{item_id}"


class ScriptRunner:
    """The scripts of one tab."""

    def __init__(self) -> None:
        self.scripts: list[Any] = []
        self.selectable_scripts: list[Any] = []
        self.alwayson_scripts: list[Any] = []
        self.titles: list[str] = []
        self.infotext_fields: list[tuple[Any, Any]] = []
        self.paste_field_names: list[str] = []
        self.title_map: dict[str, Any] = {}
        self.inputs: list[Any] = [None]
        self._heard: dict[str, list[tuple[str, Any, Any]]] = {"before": [], "after": []}

    def script(self, title: str) -> Any:
        """The script of that title, once its components are there; None if there is none."""
        return self.title_map.get(title.lower())

    def initialize_scripts(self, is_img2img: bool) -> None:
        """One object of each class for this tab."""
        for data in fake("modules.scripts").scripts_data:
            with reported(f"a script of {data.path} could not be made"):
                self._initialize(data, is_img2img)
        self._take_registered()

    def _take_registered(self) -> None:
        """Listen to what scripts have registered since."""
        for script in self.scripts:
            for when, heard in self._heard.items():
                name = f"on_{when}_component_elem_id"
                heard += [(elem_id, callback, script) for elem_id, callback in getattr(script, name) or []]
                setattr(script, name, None)

    def _initialize(self, data: ScriptClassData, is_img2img: bool) -> None:
        script = data.script_class()
        script.filename = data.path
        script.is_txt2img, script.is_img2img = not is_img2img, is_img2img
        script.tabname = "img2img" if is_img2img else "txt2img"
        visibility = script.show(is_img2img)
        script.alwayson = visibility is AlwaysVisible
        if script.alwayson:
            self.alwayson_scripts.append(script)
        elif visibility:
            self.selectable_scripts.append(script)
        if visibility:
            self.scripts.append(script)

    def setup_ui_for_section(self, section: str | None, scripts: list[Any] | None = None) -> None:
        """The components of the always-on scripts of a section, or of these scripts."""
        for script in self.alwayson_scripts if scripts is None else scripts:
            if script.alwayson and script.section != section:
                continue
            if script.create_group:
                with gr.Group(visible=script.alwayson) as group:
                    self.create_script_ui(script)
                script.group = group
            else:
                self.create_script_ui(script)

    def setup_ui(self) -> None:
        """The components of all other scripts: the always-on ones, and then those that can be selected."""
        self.title_map = {_title(script, script.filename).lower(): script for script in self.scripts}
        self.titles = [_title(script, f"{script.filename} [error]") for script in self.selectable_scripts]
        self.setup_ui_for_section(None)
        choices = ["None", *self.titles]
        dropdown = gr.Dropdown(choices, value="None", type="index", label="Script", elem_id="script_list")
        self.inputs[0] = dropdown
        self.setup_ui_for_section(None, self.selectable_scripts)
        groups = [script.group for script in self.selectable_scripts]
        dropdown.change(fn=self._shown, inputs=[dropdown], outputs=groups)
        self.infotext_fields.append((dropdown, lambda params: gr.update(value=params.get("Script", "None"))))
        self.infotext_fields += [(group, self._pasted(title)) for group, title in zip(groups, self.titles, strict=True)]
        self._take_registered()

    def _shown(self, index: int | None) -> list[Any]:
        """The groups of the selectable scripts once one is selected, by its place in the dropdown."""
        return [gr.update(visible=place == index) for place, _ in enumerate(self.selectable_scripts, 1)]

    def _pasted(self, title: str) -> Callable[[dict[str, Any]], Any]:
        """The group of one of them when an infotext is read."""

        def visibility(params: dict[str, Any]) -> Any:
            asked = params.get("Script")
            if asked and asked not in self.titles:
                params["Script"] = None
            return gr.update(visible=asked == title)

        return visibility

    def create_script_ui(self, script: Any) -> None:
        """The components of one script, and the arguments that they stand for; a script without any has no name."""
        script.args_from = script.args_to = len(self.inputs)
        with reported(f"{script.filename} failed in ui"):
            script.controls = script.ui(script.is_img2img)
            if script.controls is None:
                return
            script.name = _title(script, script.filename).lower()
            for control in script.controls:
                control.custom_script_source = Path(script.filename).name
            self.infotext_fields += script.infotext_fields or []
            self.paste_field_names += script.paste_field_names or []
            self.inputs += script.controls
            script.args_to = len(self.inputs)

    def run(self, p: Any, *args: Any) -> Any:
        """What the selected script makes of a job, by its number in front of the arguments; None without one."""
        if not args[0]:
            return None
        script = self.selectable_scripts[args[0] - 1]
        processed = script.run(p, *args[script.args_from : script.args_to])
        fake("modules.shared").total_tqdm.clear()
        return processed

    def arguments(self, script: Any, p: Any) -> tuple[Any, ...]:
        """The script's own arguments."""
        return tuple(p.script_args[script.args_from : script.args_to])

    def setup_scrips(self, p: Any, *, is_ui: bool = True) -> None:
        """Once for a job and its copies."""
        probe().note("hooks", "setup")
        for script in self.alwayson_scripts:
            if is_ui or not script.setup_for_ui_only:
                self._call(script, "setup", p)

    def _call(self, script: Any, method: str, p: Any, *first: Any, **kwargs: Any) -> None:
        with reported(f"{script.filename} failed in {method}"):
            getattr(script, method)(p, *first, *self.arguments(script, p), **kwargs)

    def _with(self, method: str) -> list[Any]:
        """The scripts whose class has the method; one that only the object has is not looked for."""
        return [s for s in self.alwayson_scripts if getattr(type(s), method) is not getattr(Script, method)]

    def run_method(self, method: str, p: Any, *first: Any, **kwargs: Any) -> None:
        """Call the scripts' methods of that name."""
        if method != "on_mask_blend":
            probe().note("hooks", method)
        for script in self._with(method):
            self._call(script, method, p, *first, **kwargs)

    def component(self, when: str, component: Any, listened_id: str | None, **kwargs: Any) -> None:
        """Tell every script of a component; `when` is "before" or "after"."""
        for wanted, callback, script in self._heard[when]:
            if wanted == listened_id:
                with reported(f"{script.filename} failed in on_{when}_component"):
                    callback(OnComponent(component))
        for script in self.scripts:
            with reported(f"{script.filename} failed in {when}_component"):
                getattr(script, f"{when}_component")(component, **kwargs)


for _name in METHODS:
    setattr(Script, _name, lambda self, p, *args, **kwargs: None)
    if _name != "setup":
        setattr(ScriptRunner, _name, partialmethod(ScriptRunner.run_method, _name))


def _title(script: Any, otherwise: str) -> str:
    """A script's title; one that raises is reported."""
    title = ""
    with reported(f"{script.filename} failed in title"):
        title = script.title()
    return title or otherwise


def load_scripts(folder: Path) -> None:
    """Execute the files of an extension's `scripts` folder, in the order of their names."""
    module = fake("modules.scripts")
    for path in sorted(folder.glob("*.py")):
        with reported(f"{path.name} could not be loaded"), _inside(path):
            loaded = _execute(path)
            classes = [value for value in vars(loaded).values() if inspect.isclass(value) and issubclass(value, Script)]
            module.scripts_data += [ScriptClassData(found, str(path), str(folder.parent), loaded) for found in classes]


@contextmanager
def _inside(path: Path) -> Iterator[None]:
    """The extension's folder in front of the import path, for as long as the file is executed."""
    module, before = fake("modules.scripts"), list(sys.path)
    vars(module)["_basedir"] = str(path.parent.parent)
    sys.path.insert(0, str(path.parent.parent))
    try:
        yield
    finally:
        sys.path[:] = before
        vars(module)["_basedir"] = fake("modules.paths").script_path


def _execute(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scripts_module() -> StrictModule:
    """`modules.scripts`."""
    module = StrictModule(
        "modules.scripts",
        AlwaysVisible=AlwaysVisible,
        MaskBlendArgs=MaskBlendArgs,
        OnComponent=OnComponent,
        PostSampleArgs=PostSampleArgs,
        PostProcessMaskOverlayArgs=PostProcessMaskOverlayArgs,
        PostprocessBatchListArgs=PostprocessBatchListArgs,
        PostprocessImageArgs=PostprocessImageArgs,
        Script=Script,
        ScriptClassData=ScriptClassData,
        ScriptRunner=ScriptRunner,
        basedir=lambda: vars(module)["_basedir"],
        scripts_current=None,
        scripts_data=[],
        scripts_img2img=None,
        scripts_txt2img=None,
        _basedir="/webui",
    )
    return module
