"""A real WebUI behind the stand-in's façade: what `standin.Host` offers, for the modules that `boot` has started."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from torch import nn

from tests.webui import standin
from tests.webui.standin.api import Result
from tests.webui.standin.callbacks import Report
from tests.webui.standin.probe import Fault, Probe
from tests.webui.standin.ui import Tab

TABS = ("txt2img", "img2img")
HOOKS = (
    "before_process",
    "process",
    "before_process_batch",
    "after_extra_networks_activate",
    "process_batch",
    "process_before_every_sampling",
    "before_hr",
    "post_sample",
    "postprocess_batch",
    "postprocess_batch_list",
    "postprocess_image",
    "postprocess_maskoverlay",
    "postprocess_image_after_composite",
    "postprocess",
)
XYZ = "X/Y/Z plot"


def around(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Replace `owner.name` by a function that is given the original and its arguments."""
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    setattr(owner, name, wrapped)


class RealProbe(Probe):
    """The probe, put around the real modules from outside."""

    p: Any = None
    processed: Any = None

    def begin(self) -> None:
        """Forget the request before."""
        super().begin()
        self.p = self.processed = None
        self.params_txt_path.unlink(missing_ok=True)

    def attach(self, data: Path) -> None:
        """Watch scripts, jobs, passes and evaluations; to be called before the scripts are loaded."""
        self.params_txt_path = data / "params.txt"
        self._attach_to_scripts()
        self._attach_to_jobs()
        around(sys.modules["modules.sd_samplers_common"].Sampler, "launch_sampling", self._launch)
        around(sys.modules["modules.sd_samplers_cfg_denoiser"].CFGDenoiser, "forward", self._evaluate)
        for library in ("ldm", "sgm"):
            around(sys.modules[f"{library}.modules.diffusionmodules.openaimodel"].UNetModel, "forward", self._forward)

    def _attach_to_scripts(self) -> None:
        runner = sys.modules["modules.scripts"].ScriptRunner

        def hook(name: str) -> Callable[..., Any]:
            def called(original: Any, *args: Any, **kwargs: Any) -> Any:
                self.note("hooks", name)
                return original(*args, **kwargs)

            return called

        def setup(original: Any, runner: Any, p: Any, **kwargs: Any) -> Any:
            self.p = p
            self.note("hooks", "setup")
            return original(runner, p, **kwargs)

        def sampled(original: Any, runner: Any, p: Any, ps: Any) -> None:
            original(runner, p, ps)
            self.note("latents", self.sampled if hasattr(ps.samples, "already_decoded") else ps.samples.clone())

        def decode(original: Any, model: Any, batch: Any, **kwargs: Any) -> Any:
            self.sampled = batch.clone()
            return original(model, batch, **kwargs)

        def run(original: Any, *args: Any) -> Any:
            processed = original(*args)
            self.processed = processed or self.processed
            return processed

        for name in HOOKS:
            around(runner, name, hook(name))
        around(runner, "setup_scrips", setup)
        around(runner, "post_sample", sampled)
        around(runner, "run", run)
        around(sys.modules["modules.processing"], "decode_latent_batch", decode)

    def _attach_to_jobs(self) -> None:
        processing = sys.modules["modules.processing"]
        original = processing.process_images

        @wraps(original)
        def process_images(p: Any) -> Any:
            with self.job(p) as job:
                try:
                    job.processed = self.processed = original(p)
                except Exception as error:
                    job.error = error
                    raise
                finally:
                    if self.params_txt_path.exists():
                        self.note_params_txt(self.params_txt_path.read_text(encoding="utf8"))
            return self.processed

        for module in list(sys.modules.values()):
            if isinstance(module, ModuleType) and vars(module).get("process_images") is original:
                module.process_images = process_images  # type: ignore[attr-defined]

    def _launch(self, original: Any, sampler: Any, steps: int, func: Any) -> Any:
        self.note("launches", (sampler.config.name, steps))
        with self.watching_blocks():
            return original(sampler, steps, func)

    def _evaluate(self, original: Any, denoiser: Any, *args: Any, **kwargs: Any) -> Any:
        self.before_evaluation(denoiser.step)
        return original(denoiser, *args, **kwargs)

    def _forward(self, original: Any, unet: nn.Module, x: Any, timesteps: Any = None, *args: Any, **kw: Any) -> Any:
        if sys.modules["modules.sd_unet"].current_unet is not None:
            return original(unet, x, timesteps, *args, **kw)
        self.note_call(x, timesteps)
        return self.spoil(original(unet, x, timesteps, *args, **kw))


@dataclass
class RealTab(Tab):
    """One of the two tabs of the real page, which is one gradio page with all of them."""

    fields: list[tuple[Any, Any]] = field(default_factory=list)

    @property
    def all_blocks(self) -> list[Any]:
        """The blocks of this tab alone."""
        root = _root(self.runner.inputs[0])
        return [block for block in self.blocks.blocks.values() if _root(block) is root]

    def sent(self, component: Any) -> Any:
        """A component's value as the browser sends it: no choices are an empty list."""
        value = self.given(component)
        return [] if value is None and getattr(component, "multiselect", False) else value

    def inputs(self) -> list[Any]:
        """The components whose values the button Generate sends: the host's own, and those of the scripts."""
        button = self.components_by_elem_id[f"{self.name}_generate"]
        for dependency in self.blocks.dependencies:
            if dependency["targets"] == [button._id] and len(dependency["inputs"]) > len(self.runner.inputs):
                return [self.blocks.blocks[number] for number in dependency["inputs"]]
        raise LookupError("the button Generate sends nothing")


def _root(block: Any) -> Any:
    while block.parent is not None:
        block = block.parent
    return block


class RealApi:
    """The host's API over its own HTTP application."""

    def __init__(self, probe: RealProbe) -> None:
        self._app = FastAPI()
        self._probe = probe
        from modules.api.api import Api
        from modules.call_queue import queue_lock

        self.api = Api(self._app, queue_lock)
        self._client = TestClient(self._app, raise_server_exceptions=False)

    def txt2img(self, request: dict[str, Any]) -> Result:
        """`/sdapi/v1/txt2img`."""
        return self._post("txt2img", request)

    def img2img(self, request: dict[str, Any]) -> Result:
        """`/sdapi/v1/img2img`."""
        return self._post("img2img", request)

    def samplers(self) -> Any:
        """`/sdapi/v1/samplers`; pydantic's ValidationError, an error 500 to the client, if one does not fit."""
        answer = self._client.get("/sdapi/v1/samplers")
        if answer.status_code != 200:
            raise ValueError(answer.text)
        return answer.json()

    def schedulers(self) -> Any:
        """`/sdapi/v1/schedulers`."""
        return self._client.get("/sdapi/v1/schedulers").json()

    def _post(self, tab: str, request: dict[str, Any]) -> Result:
        probe = self._probe
        probe.begin()
        try:
            answer = self._client.post(f"/sdapi/v1/{tab}", json=request)
        finally:
            probe.faults.clear()
        told = answer.json()
        if answer.status_code != 200:
            detail = str(told.get("detail", ""))
            message = detail if answer.status_code != 500 else told["errors"]
            return Result(answer.status_code, probe.p, error=told.get("error", "HTTPException"), message=message)
        images = [Image.open(io.BytesIO(base64.b64decode(image))) for image in told["images"]]
        result = result_of(probe, probe.p, probe.processed)
        result.images, result.info = images, told["info"]
        result.infotexts = json.loads(told["info"])["infotexts"]
        return result


def result_of(probe: RealProbe, p: Any, processed: Any) -> Result:
    """What came of a request that came to its end."""
    jobs = list(probe.jobs)
    latents = jobs[-1].latents if jobs else []
    return Result(
        200,
        p,
        latents=torch.cat(latents) if latents else None,
        images=processed.images,
        infotexts=processed.infotexts,
        params_txt=probe.params_txt,
        comments=processed.comments,
        info=processed.js(),
        processed=processed,
        jobs=jobs,
    )


class Captured(Exception):  # noqa: N818 (it carries a job out of the host)
    """A job that the page has made and not started."""


class RealHost:
    """A running WebUI with the extension of the contract."""

    def __init__(self, data: Path) -> None:
        self.data_path = data
        self.errors: list[Report] = []
        self.cat = SimpleNamespace(resized=0)
        self.probe = RealProbe()
        self.probe.attach(data)
        self._count_resizing()
        self._listen_to_errors()
        from modules import initialize, shared

        initialize.initialize()
        self.shared = shared
        self._build()
        _ = shared.sd_model  # load it

    def _count_resizing(self) -> None:
        from modules import sd_hijack_unet

        def cat(original: Any, torch_like: Any, tensors: Any, *args: Any, **kwargs: Any) -> Any:
            self.cat.resized += len(tensors) == 2 and tensors[0].shape[-2:] != tensors[1].shape[-2:]
            return original(torch_like, tensors, *args, **kwargs)

        around(sd_hijack_unet.TorchHijackForUnet, "cat", cat)

    def _listen_to_errors(self) -> None:
        from modules import errors

        def report(original: Any, message: str, *, exc_info: bool = False) -> None:
            self.errors.append(Report(message, sys.exc_info()[1] if exc_info else None))
            original(message, exc_info=exc_info)

        def display(original: Any, error: BaseException, task: str, **kwargs: Any) -> None:
            self.errors.append(Report(task, error))
            original(error, task, **kwargs)

        around(errors, "report", report)
        around(errors, "display", display)

    def _build(self) -> None:
        from modules import infotext_utils, script_callbacks, scripts, ui

        script_callbacks.before_ui_callback()
        self.shared.demo = ui.create_ui()
        runners = {name: getattr(scripts, f"scripts_{name}") for name in TABS}
        self.tabs = {
            name: RealTab(name, runner, self.shared.demo, infotext_utils.paste_fields[name]["fields"])
            for name, runner in runners.items()
        }
        self.api = RealApi(self.probe)

    @property
    def settings(self) -> dict[str, Any]:
        """The components of the settings page, by key."""
        components: dict[str, Any] = self.shared.settings_components
        return components

    @property
    def callbacks(self) -> Any:
        """What is registered, by kind."""
        from modules import script_callbacks

        kinds = {name.removeprefix("callbacks_"): found for name, found in script_callbacks.callback_map.items()}
        return SimpleNamespace(kinds=kinds)

    @property
    def unet(self) -> Any:
        """The UNet of the loaded model."""
        return self.shared.sd_model.model.diffusion_model

    def load_model(self, name: str) -> Any:
        """Choose a checkpoint, as the user does."""
        from modules import sd_models

        self.shared.opts.data["sd_model_checkpoint"] = sd_models.get_closet_checkpoint_match(name).title
        sd_models.reload_model_weights()
        return self.shared.sd_model

    def reload_ui(self) -> None:
        """The user's "Reload UI"."""
        from modules import initialize, script_callbacks

        script_callbacks.script_unloaded_callback()
        initialize.initialize_rest(reload_script_modules=False)
        self._build()

    def fault(self, **planned: Any) -> Fault:
        """Plan one fault for the next job."""
        return standin.Host.fault(self, **planned)  # type: ignore[arg-type]

    def _block(self, block: int | str) -> nn.Module:
        return standin.Host._block(self, block)  # type: ignore[arg-type]

    def txt2img(self, **fields: Any) -> Result:
        """Generate from the page."""
        return self.run_job(self.job("txt2img", **fields))

    def img2img(self, **fields: Any) -> Result:
        """The same from images."""
        return self.run_job(self.job("img2img", **fields))

    def job(self, tab: str, *, ui: Any = None, script: str | None = None, **fields: Any) -> Any:
        """A job as the page makes it, not yet started."""
        page = self.tabs[tab]
        self.probe.begin()
        arguments = page.job_arguments(fields, ui, script)
        values = [page.sent(component) for component in page.inputs()]
        values[-len(arguments) :] = arguments
        if tab == "img2img":
            values[1] = 0  # the way of img2img, which the browser's script says
            picture = page.inputs().index(page.components_by_elem_id["img2img_image"])
            values[picture] = (fields.get("init_images") or [values[picture]])[0]
        p = self._captured(page, [f"task({tab})", *values[1:]])
        p.do_not_save_grid = True
        for name, value in fields.items():
            if not hasattr(p, name):
                raise TypeError(f"{type(p).__name__} has no {name}")
            setattr(p, {"mask": "image_mask"}.get(name, name), value)
        return p

    @staticmethod
    def _captured(page: RealTab, values: list[Any]) -> Any:
        make = getattr(sys.modules[f"modules.{page.name}"], page.name)

        def capture(p: Any, *args: Any) -> None:
            raise Captured(p)

        page.runner.run = capture
        try:
            make(values[0], SimpleNamespace(username=None), *values[1:])
        except Captured as captured:
            return captured.args[0]
        finally:
            del page.runner.run
        raise AssertionError("the page has made no job")

    def run_job(self, p: Any) -> Result:
        """Run a job of the page to its end."""
        processing = sys.modules["modules.processing"]
        with self._running(p):
            processed = p.scripts.run(p, *p.script_args)
            if processed is None:
                processed = processing.process_images(p)
            self.shared.total_tqdm.clear()
        return result_of(self.probe, p, processed)

    @contextmanager
    def _running(self, p: Any) -> Iterator[None]:
        """The state of the host around a job of the page."""
        state = self.shared.state
        tab = "img2img" if hasattr(p, "init_images") else "txt2img"
        state.begin(job=f"task({tab})")
        try:
            yield
        finally:
            state.end()
            state.skipped = state.interrupted = state.stopping_generation = False
            state.job_count, state.job = 0, ""
            self.probe.faults.clear()
            p.close()

    def paste(self, tab: str, text: str) -> dict[str, Any]:
        """Read an infotext into a tab: the components that change, by label, with their new values."""
        page = self.tabs[tab]
        prompt = page.components_by_elem_id[f"{tab}_prompt"]
        for dependency, function in zip(page.blocks.dependencies, page.blocks.fns, strict=True):
            if getattr(function.fn, "__name__", "") == "paste_func" and dependency["inputs"] == [prompt._id]:
                outputs = [page.blocks.blocks[number] for number in dependency["outputs"]]
                updates = zip(outputs, function.fn(text), strict=True)
                return {component.label: new["value"] for component, new in updates if "value" in new}
        raise LookupError("the page reads no infotexts")

    def xyz(self, axes: dict[str, Any], tab: str = "txt2img", ui: Any = None, **fields: Any) -> list[Result]:
        """An X/Y/Z plot: one result for each cell, in the order of the axes as given."""
        p = self.job(tab, ui=ui, script=XYZ, **fields)
        script = p.scripts.script(XYZ)
        offered = [option.label for option in script.current_axis_options]
        chosen = [*axes.items(), *3 * [("Nothing", "")]][:3]
        values: list[Any] = []
        for label, given in chosen:
            values += [offered.index(label), *(("", given) if isinstance(given, list) else (given, []))]
        is_csv = not any(isinstance(given, list) for given in axes.values())
        more = [False, True, False, False, False, False, False, 0, is_csv]  # lone images are included
        arguments = list(p.script_args)
        arguments[script.args_from : script.args_to] = [*values, *more]
        p.script_args = tuple(arguments)
        options = [script.current_axis_options[offered.index(label)] for label, _ in chosen]
        with self._placed(options) as places, self._running(p):
            p.scripts.run(p, *p.script_args)
        return [self._cell(p, options, place, places) for place in self._all_places()]

    @contextmanager
    def _placed(self, options: list[Any]) -> Iterator[list[tuple[Any, ...]]]:
        """The values of the cells, in the order in which they are run."""
        places: list[tuple[Any, ...]] = []
        originals = {id(option): (option, option.apply) for option in options}
        now: list[Any] = []

        def watching(apply: Any) -> Any:
            def applied(p: Any, x: Any, xs: Any) -> None:
                apply(p, x, xs)
                now.append(xs.index(x))
                if len(now) == 3:
                    places.append(tuple(now))
                    now.clear()

            return applied

        for option, apply in originals.values():
            option.apply = watching(apply)
        try:
            yield places
        finally:
            for option, apply in originals.values():
                option.apply = apply

    def _all_places(self) -> list[tuple[int, int, int]]:
        state = self.shared.state
        sizes = [len(getattr(state, f"xyz_plot_{name}").values) for name in "xyz"]
        return [(x, y, z) for x in range(sizes[0]) for y in range(sizes[1]) for z in range(sizes[2])]

    def _cell(self, p: Any, options: list[Any], place: tuple[Any, ...], places: list[tuple[Any, ...]]) -> Result:
        values = [
            getattr(self.shared.state, f"xyz_plot_{name}").values[at] for name, at in zip("xyz", place, strict=True)
        ]
        both = [(option, value) for option, value in zip(options, values, strict=True) if option.label != "Nothing"]
        labels = [option.format_value(p, option, value) for option, value in both]
        if place not in places:
            return Result(200, p, labels=labels)
        job = self.probe.jobs[places.index(place)]
        if job.error is not None:
            return Result(500, job.p, error=type(job.error).__name__, message=str(job.error), labels=labels, jobs=[job])
        images, texts = job.processed.images, job.processed.infotexts
        latents = torch.cat(job.latents) if job.latents else None
        return Result(
            200, job.p, latents, images, texts, job.params_txt, labels=labels, processed=job.processed, jobs=[job]
        )
