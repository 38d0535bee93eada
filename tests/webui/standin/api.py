"""The host's API, without HTTP."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from fastapi import HTTPException
from PIL import Image
from pydantic import BaseModel
from torch import Tensor

from tests.webui.standin import ui
from tests.webui.standin.probe import Job, probe
from tests.webui.standin.processing import Processed, process_images
from tests.webui.standin.scripts import ScriptRunner
from tests.webui.standin.strict import fake

SEPARATE = {
    "alwayson_scripts",
    "script_name",
    "script_args",
    "send_images",
    "save_images",
    "mask",
    "init_images",
    "force_task_id",
    # what the API does not take
    "outpath_samples",
    "outpath_grids",
    "extra_generation_params",
    "overlay_images",
    "do_not_reload_embeddings",
    "seed_enable_extras",
    "prompt_for_display",
    "ddim_discretize",
}


@dataclass
class Result:
    """What came of a request; `latents` is (images, channels, height, width) of its last job, None if nothing came.

    `info` is the JSON of the API's answer; `comments`, a line for each `p.comment`, only the page shows. `jobs` are the
    records of all jobs, of which a selected script may have run several. `labels` are those of a plot's cell.
    """

    status: int
    p: Any = None
    latents: Tensor | None = None
    images: list[Any] = field(default_factory=list)
    infotexts: list[str] = field(default_factory=list)
    params_txt: str = ""
    comments: str = ""
    info: str = ""
    error: str = ""
    message: str = ""
    exception: BaseException | None = None
    processed: Processed | None = None
    jobs: list[Job] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)


class SamplerItem(BaseModel):
    """A sampler, as the API lists it."""

    name: str
    aliases: list[str]
    options: dict[str, str]


class SchedulerItem(BaseModel):
    """A scheduler, as the API lists it."""

    name: str
    label: str
    aliases: Optional[list[str]]  # noqa: UP045 (pydantic reads it)
    default_rho: Optional[float]  # noqa: UP045
    need_inner_model: Optional[bool]  # noqa: UP045


class ScriptArgument(BaseModel):
    """A component of a script, as the API describes it."""

    label: Optional[str]  # noqa: UP045
    value: Optional[Any]  # noqa: UP045
    minimum: Optional[Any]  # noqa: UP045
    maximum: Optional[Any]  # noqa: UP045
    step: Optional[Any]  # noqa: UP045
    choices: Optional[list[str]]  # noqa: UP045


class ScriptItem(BaseModel):
    """A script, as the API lists it."""

    name: str
    is_alwayson: bool
    is_img2img: bool
    args: list[ScriptArgument]


class Api:
    """`txt2img` and `img2img` take the JSON of a request and give its answer, whatever happens."""

    def __init__(self, tabs: dict[str, ScriptRunner]) -> None:
        self._runners = tabs
        self._defaults = {name: ui.api_defaults(runner) for name, runner in tabs.items()}

    def txt2img(self, request: dict[str, Any]) -> Result:
        """`/sdapi/v1/txt2img`."""
        return self._answer("txt2img", request)

    def img2img(self, request: dict[str, Any]) -> Result:
        """`/sdapi/v1/img2img`; `init_images` and `mask` are base64 or PIL images."""
        return self._answer("img2img", request)

    def samplers(self) -> list[dict[str, Any]]:
        """`/sdapi/v1/samplers`; pydantic's ValidationError, an error 500 to the client, if one does not fit."""
        known = fake("modules.sd_samplers").all_samplers
        return [SamplerItem(name=s[0], aliases=s[2], options=s[3]).dict() for s in known]

    def schedulers(self) -> list[dict[str, Any]]:
        """`/sdapi/v1/schedulers`, likewise."""
        known = fake("modules.sd_schedulers").schedulers
        return [
            SchedulerItem(**{name: getattr(scheduler, name) for name in SchedulerItem.__fields__}).dict()
            for scheduler in known
        ]

    def script_info(self) -> list[dict[str, Any]]:
        """`/sdapi/v1/script-info`: the scripts of both tabs that have arguments, also none of them."""
        scripts = [script for runner in self._runners.values() for script in runner.scripts]
        return [_script_item(script).dict() for script in scripts if script.controls is not None]

    def _answer(self, name: str, request: dict[str, Any]) -> Result:
        p = None
        try:
            selected = self._selected(name, request.get("script_name"))
            arguments = self.script_arguments(name, request.get("alwayson_scripts") or {}, selected, request)
            fields = {
                **_with_sampler(_fields(name, request)),
                **folders(name, of_api=True),
                "do_not_save_samples": not request.get("save_images", False),
                "do_not_save_grid": not request.get("save_images", False),
            }
            p = make_job(name, fields, self._runners[name], arguments if selected else tuple(arguments))
            p.is_api = True
            result = run_job(p, falls_back=not selected)
            result.images = result.images if request.get("send_images", True) else []
        except HTTPException as error:
            return Result(error.status_code, p, error="HTTPException", message=str(error.detail), exception=error)
        except Exception as error:  # noqa: BLE001 (as the host does)
            return Result(500, p, error=type(error).__name__, message=str(error), exception=error)
        return result

    def script_arguments(
        self, name: str, wanted: dict[str, Any], selected: int = 0, request: dict[str, Any] | None = None
    ) -> list[Any]:
        """The arguments of all scripts: the components' values, and in front of them what was sent.

        Those of the selected script are replaced as a whole: a list of another length moves what stands behind them.
        """
        arguments = list(self._defaults[name])
        if selected:
            script = self._runners[name].selectable_scripts[selected - 1]
            arguments[script.args_from : script.args_to] = (request or {}).get("script_args", [])
            arguments[0] = selected
        for title, sent in wanted.items():
            script = self._find(name, title)
            if "args" in sent:
                for index in range(min(script.args_to - script.args_from, len(sent["args"]))):
                    arguments[script.args_from + index] = sent["args"][index]
        return arguments

    def _selected(self, name: str, title: str | None) -> int:
        """The number of a selectable script, from 1; 0 for none."""
        titles = [script.title().lower() for script in self._runners[name].selectable_scripts]
        if not title:
            return 0
        if title.lower() not in titles:
            raise HTTPException(422, f"there is no script {title!r} to select")
        return 1 + titles.index(title.lower())

    def _find(self, name: str, title: str) -> Any:
        found = [s for s in self._runners[name].scripts if s.title().lower() == title.lower()]
        if not found:
            raise HTTPException(422, f"there is no script {title!r}")
        if not found[0].alwayson:
            raise HTTPException(422, f"{title!r} is no always-on script")
        return found[0]


def _script_item(script: Any) -> ScriptItem:
    arguments = [
        ScriptArgument(**{name: getattr(control, name, None) for name in ScriptArgument.__fields__})
        for control in script.controls
    ]
    return ScriptItem(name=script.name, is_alwayson=script.alwayson, is_img2img=script.is_img2img, args=arguments)


def _fields(name: str, request: dict[str, Any]) -> dict[str, Any]:
    """A request as fields of a job; fields that no job has are ignored."""
    known = _job_class(name).fields.keys() - SEPARATE
    fields = {key: value for key, value in request.items() if key in known}
    if name == "txt2img":
        fields.setdefault("denoising_strength", None)
    if name == "img2img":
        if not request.get("init_images"):
            raise HTTPException(404, "there are no init_images")
        fields["init_images"] = [_picture(image) for image in request["init_images"]]
        fields["mask"] = _picture(request["mask"]) if request.get("mask") is not None else None
    return fields


def _picture(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    encoded = image.partition(",")[2] if image.startswith("data:image/") else image
    picture: Image.Image = fake("modules.images").read(io.BytesIO(base64.b64decode(encoded)))
    return picture


def _job_class(name: str) -> Any:
    processing = fake("modules.processing")
    return {
        "txt2img": processing.StableDiffusionProcessingTxt2Img,
        "img2img": processing.StableDiffusionProcessingImg2Img,
    }[name]


def folders(name: str, *, of_api: bool) -> dict[str, str]:
    """Where a job saves its images and grids; only the page has one setting for all."""
    opts = fake("modules.shared").opts
    of_tab = {kind: getattr(opts, f"outdir_{name}_{kind}") for kind in ("samples", "grids")}
    of_all = {kind: "" if of_api else getattr(opts, f"outdir_{kind}") for kind in of_tab}
    return {f"outpath_{kind}": of_all[kind] or of_tab[kind] for kind in of_tab}


def make_job(name: str, fields: dict[str, Any], runner: ScriptRunner, arguments: Any) -> Any:
    """A job with its scripts and their arguments; the scripts' `setup` waits for the start."""
    p = _job_class(name)(sd_model=fake("modules.shared").sd_model, **fields)
    p.scripts_value, p.script_args_value = runner, arguments
    return p


def _with_sampler(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with a sampler that exists; a scheduler that was sent is left to be looked up later."""
    wanted = fields.get("sampler_name") or fields.get("sampler_index") or "Euler"
    sent = fields.get("scheduler")
    sampler, scheduler = fake("modules.sd_samplers").get_sampler_and_scheduler(wanted, sent)
    found = None if scheduler == "Automatic" else scheduler
    return {**fields, "sampler_name": sampler, "sampler_index": None, "scheduler": sent or found}


def run_job(p: Any, *, falls_back: bool = True) -> Result:
    """Run a job to its end, by the selected script if there is one, and let what it raises out.

    A script that gives None leaves the job to the host on the page; the API `falls_back` only without a script.
    """
    start_job(p)
    try:
        processed = p.scripts.run(p, *p.script_args)
        if processed is None and falls_back:
            processed = process_images(p)
        fake("modules.shared").total_tqdm.clear()
    finally:
        end_job(p)
    jobs = list(probe().jobs)
    return finished(p, processed, jobs[-1] if jobs else None, jobs=jobs)


def start_job(p: Any) -> None:
    """A new record, a new state, and the scripts' `setup`."""
    probe().begin()
    name = "img2img" if hasattr(p, "init_images") else "txt2img"
    fake("modules.shared").state.begin(job=f"scripts_{name}" if p.is_api else f"task({name})")
    if not p.scripts_setup_complete:
        p.setup_scripts()


def end_job(p: Any) -> None:
    """Leave nothing for the next job; on the API a wish to stop stands until that begins."""
    shared = fake("modules.shared")
    shared.state.end()
    if p.is_api:
        shared.total_tqdm.clear()
    else:
        shared.state.skipped = shared.state.interrupted = shared.state.stopping_generation = False
    probe().faults.clear()
    p.close()


def finished(p: Any, processed: Processed, job: Job | None, **more: Any) -> Result:
    """The answer to a request that came to its end; `job` is the one whose latents count."""
    answer = {"processed": processed, "comments": processed.comments, "info": processed.js()}
    if not p.is_api and fake("modules.shared").opts.do_not_show_images:
        processed.images = []
    images, infotexts = processed.images, processed.infotexts
    if job is not None:
        answer.update(latents=torch.cat(job.latents) if job.latents else None, params_txt=job.params_txt)
    return Result(200, p, images=images, infotexts=infotexts, **answer, **more)


def cell(made: Any) -> Result:
    """What came of one cell of a plot; 500 if it raised something."""
    raised = made.error
    result = finished(made.p, made.processed, made.job, labels=made.labels, jobs=[made.job] if made.job else [])
    if raised is not None:
        result.status, result.exception = 500, raised
        result.error, result.message = type(raised).__name__, str(raised)
    return result
