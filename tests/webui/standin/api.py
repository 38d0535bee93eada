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
from tests.webui.standin.probe import probe
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
}


@dataclass
class Result:
    """What came of a request; `latents` is (images, channels, height, width), None if nothing came.

    `info` is the JSON of the API's answer; `comments`, a line for each `p.comment`, only the page shows.
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

    def _answer(self, name: str, request: dict[str, Any]) -> Result:
        p = None
        try:
            arguments = self.script_arguments(name, request.get("alwayson_scripts") or {})
            p = make_job(name, _with_sampler(_fields(name, request)), self._runners[name], arguments)
            p.is_api = True
            return run_job(p)
        except HTTPException as error:
            return Result(error.status_code, p, error="HTTPException", message=str(error.detail), exception=error)
        except Exception as error:  # noqa: BLE001 (as the host does)
            return Result(500, p, error=type(error).__name__, message=str(error), exception=error)

    def script_arguments(self, name: str, wanted: dict[str, Any]) -> list[Any]:
        """The arguments of all scripts: the components' values, and in front of them what was sent."""
        arguments = list(self._defaults[name])
        for title, sent in wanted.items():
            script = self._find(name, title)
            if "args" in sent:
                for index in range(min(script.args_to - script.args_from, len(sent["args"]))):
                    arguments[script.args_from + index] = sent["args"][index]
        return arguments

    def _find(self, name: str, title: str) -> Any:
        found = [s for s in self._runners[name].scripts if s.title().lower() == title.lower()]
        if not found:
            raise HTTPException(422, f"there is no script {title!r}")
        if not found[0].alwayson:
            raise HTTPException(422, f"{title!r} is no always-on script")
        return found[0]


def _fields(name: str, request: dict[str, Any]) -> dict[str, Any]:
    """A request as fields of a job; fields that no job has are ignored."""
    known = _job_class(name).fields.keys() - SEPARATE
    fields = {key: value for key, value in request.items() if key in known}
    if name == "txt2img" and not fields.get("enable_hr"):
        fields.setdefault("denoising_strength", 0)
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


def make_job(name: str, fields: dict[str, Any], runner: ScriptRunner, arguments: list[Any]) -> Any:
    """A job with its scripts and their arguments."""
    p = _job_class(name)(sd_model=fake("modules.shared").sd_model, **fields)
    p.scripts, p.script_args = runner, tuple(arguments)
    return p


def _with_sampler(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with a sampler that exists; a scheduler that was sent is left to be looked up later."""
    wanted = fields.get("sampler_name") or fields.get("sampler_index") or "Euler"
    sent = fields.get("scheduler")
    sampler, scheduler = fake("modules.sd_samplers").get_sampler_and_scheduler(wanted, sent)
    found = None if scheduler == "Automatic" else scheduler
    return {**fields, "sampler_name": sampler, "sampler_index": None, "scheduler": sent or found}


def run_job(p: Any) -> Result:
    """Run a job to its end, and let what it raises out."""
    start_job(p)
    try:
        processed = process_images(p)
    finally:
        end_job(p)
    return finished(p, processed)


def start_job(p: Any) -> None:
    """A new record, a new state, and the scripts' `setup`."""
    probe().begin()
    fake("modules.shared").state.begin("job")
    probe().hooks.append("setup")
    p.setup_scripts()


def end_job(p: Any) -> None:
    """Leave nothing for the next job."""
    fake("modules.shared").state.end()
    probe().faults.clear()
    p.close()


def finished(p: Any, processed: Processed) -> Result:
    """The answer to a job that came to its end."""
    record = probe()
    if not record.latents:
        return Result(500, p, message="nothing came of it: see what was reported")
    texts = {"params_txt": record.params_txt, "comments": processed.comments, "info": processed.js()}
    return Result(200, p, torch.cat(record.latents), processed.images, processed.infotexts, **texts)
