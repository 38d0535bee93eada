"""What a job (the host's processing object `p`) is about to do."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeGuard

import torch
from modules import devices, prompt_parser, sd_samplers, sd_samplers_common, sd_schedulers, shared
from modules.processing import StableDiffusionProcessing, StableDiffusionProcessingImg2Img
from torch import Tensor

from lib_fewstep.highres import Pass
from lib_fewstep.webui.common.host.protocols import Img2Img, Processing, Txt2Img

_TIMESTEP_FAMILY = ("DDIM", "DDIM CFG++", "PLMS", "UniPC")
_SAMPLED_WITH = (
    *("Schedule type", "Hires schedule type", "Hires sampler"),
    *("Schedule min sigma", "Schedule max sigma", "Schedule rho"),
)
"""Keys of an infotext that the host writes at or after the start of a job."""

_EXTRA_NETWORK = re.compile(r"<\w+:[^>]*>")
_LORA = re.compile(r"<(?:lora|lyco):([^:>]+)")
_PARTS = re.compile(r"\bAND\b|:\s*[-+]?(?:\d+\.?|\d*\.\d+)\s*$")


def pass_of(p: Processing) -> Pass:
    """The kind of the pass that is about to start or runs."""
    if is_img2img(p):
        return "img2img" if p.image_mask is None else "inpaint"
    return "hires" if p.is_hr_pass else "first"


def denoising_strength(p: Processing) -> float:
    """How much of its image the pass makes anew: 1 where it starts from noise."""
    whole = pass_of(p) == "first" or p.denoising_strength is None
    return 1.0 if whole else float(p.denoising_strength or 0.0)


def is_img2img(p: Processing) -> TypeGuard[Img2Img]:
    """Whether the job starts from images; inpainting does."""
    return isinstance(p, StableDiffusionProcessingImg2Img)


def has_hires(p: Processing) -> TypeGuard[Txt2Img]:
    """Whether a job has a hires pass."""
    return bool(getattr(p, "enable_hr", False))


def hires_sampler(p: Processing) -> str | None:
    """The sampling method of a job's hires pass; None without such a pass, or where it is the first one's."""
    return p.hr_sampler_name if has_hires(p) else None


def forget_schedule(p: Processing) -> None:
    """Take what an earlier cell was sampled with out of the infotext's parameters, which the cells of a plot share.

    The host writes these only where they differ from what is usual.
    """
    for key in _SAMPLED_WITH:
        p.extra_generation_params.pop(key, None)


def img2img_steps(steps: int, denoise: float) -> tuple[int, int]:
    """How many steps the schedule of an img2img pass has that the page would start, and how many of them are run."""
    return _steps_from_images(steps, denoise, None)


def hires_steps(steps: int, denoise: float) -> tuple[int, int]:
    """The same of a hires pass, which runs as many as it is asked for."""
    return _steps_from_images(steps, denoise, steps)


def _steps_from_images(steps: int, denoise: float, wanted: int | None) -> tuple[int, int]:
    page = SimpleNamespace(steps=steps, denoising_strength=denoise)
    scheduled, last = sd_samplers_common.setup_img2img_steps(page, wanted)
    executed = int(last) + 1
    return max(int(scheduled), executed), executed


@dataclass(frozen=True)
class HiresSchedule:
    """What a hires pass will be asked for: a schedule, by its name in the host's list, of so many steps."""

    name: str
    steps: int


def hires_schedule(p: Processing) -> HiresSchedule | None:
    """What the hires pass of a job will ask for; None without one, or where its sampler has steps of its own."""
    if not has_hires(p):
        return None
    schedule = _schedule_of_hires(p)
    if schedule is None or (p.hr_sampler_name or p.sampler_name) in _TIMESTEP_FAMILY:
        return None
    steps, _ = sd_samplers_common.setup_img2img_steps(p, p.hr_second_pass_steps or p.steps)
    return HiresSchedule(schedule.name, steps)


def schedule_of_pass(p: Processing) -> str | None:
    """The schedule of the pass that is about to start, by its name in the host's list; None without one."""
    schedule = _schedule_of_hires(p) if has_hires(p) and p.is_hr_pass else _schedule(p.sampler_name, p.scheduler)
    return None if schedule is None else str(schedule.name)


def schedule_label(p: Processing) -> str:
    """The schedule of a job's first pass: where it is Automatic, the sampler's own."""
    schedule = _schedule(p.sampler_name, p.scheduler)
    return "Automatic" if schedule is None else str(schedule.label)


def _schedule_of_hires(p: Txt2Img) -> Any:
    return _schedule(p.hr_sampler_name or p.sampler_name, p.hr_scheduler or p.scheduler)


def _schedule(sampler_name: str, name: str | None) -> Any:
    """The host's entry for a schedule, or where it is Automatic for the sampler's own; None if it has none."""
    sampler = sd_samplers.find_sampler_config(sampler_name)
    chosen = sd_schedulers.schedulers_map.get(name)
    if sampler is not None and (chosen is None or chosen.name == "automatic"):
        chosen = sd_schedulers.schedulers_map.get(sampler.options.get("scheduler"))
    return chosen


def has_parts(*prompts: str) -> bool:
    """Whether one of the prompts has parts with AND, or ends with a weight of the whole."""
    return any(_PARTS.search(prompt) for prompt in prompts)


def loras_in(*prompts: str) -> list[str]:
    """The names of the LoRAs that prompts ask for, each once."""
    return list(dict.fromkeys(name for prompt in prompts for name in _LORA.findall(prompt)))


def edits_by_image_cfg(p: Processing) -> TypeGuard[Img2Img]:
    """Whether an InstructPix2Pix model guides by the image, too, with a strength of its own."""
    return shared.sd_model.cond_stage_key == "edit" and getattr(p, "image_cfg_scale", None) not in (None, 1.0)


def running_jobs() -> Iterator[Processing]:
    """The jobs whose images are being made, the innermost first: other extensions run jobs of their own inside one.

    The host keeps no list of them, but they stand in the frames of the call. A list of our own would outlive jobs that
    end with an error.
    """
    frame = sys._getframe(1)
    while frame is not None:
        p = frame.f_locals.get("p") if frame.f_code.co_name == "process_images_inner" else None
        if isinstance(p, StableDiffusionProcessing):
            yield p
        frame = frame.f_back  # type: ignore[assignment]


def uses_controlnet(p: Processing) -> bool:
    """Whether one of the arguments of the script ControlNet is an enabled unit: an object, or the API's dict."""
    for script in p.scripts.alwayson_scripts if p.scripts is not None else ():
        if script.title().lower() == "controlnet":
            units = (p.script_args or ())[script.args_from : script.args_to]
            return any(_is_enabled(unit) for unit in units)
    return False


def _is_enabled(unit: Any) -> bool:
    return bool(unit.get("enabled") if isinstance(unit, dict) else getattr(unit, "enabled", False))


def conditions(p: Processing, prompts: Sequence[str], negative_prompts: Sequence[str], steps: int) -> dict[str, Any]:
    """What a denoiser takes as `cond` and `uncond` for an image of each prompt; extra networks stay."""
    size = {"width": p.width, "height": p.height}
    wanted = prompt_parser.SdConditioning([_EXTRA_NETWORK.sub("", prompt) for prompt in prompts], **size)
    unwanted = prompt_parser.SdConditioning(list(negative_prompts), is_negative_prompt=True, **size)
    with devices.autocast():
        return {
            "cond": prompt_parser.get_multicond_learned_conditioning(shared.sd_model, wanted, steps),
            "uncond": _of_one_length(prompt_parser.get_learned_conditioning(shared.sd_model, unwanted, steps)),
        }


def _of_one_length(schedules: list[list[Any]]) -> list[list[Any]]:
    """Encoded texts, made as long as the longest by repeating their last token: the host joins no others."""
    longest = max(tokens_of(entry.cond).shape[0] for schedule in schedules for entry in schedule)
    return [[entry._replace(cond=_lengthened(entry.cond, longest)) for entry in schedule] for schedule in schedules]


def with_vectors(texts: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Encoded texts of a pass with other vectors, such as SDXL's models are given beside them.

    The host keeps its texts for later jobs, so they are copied. `change` takes and gives the vector of one text.
    """
    if not hasattr(texts, "batch"):
        return [_with_vectors(schedule, change) for schedule in texts]
    copied = copy(texts)
    copied.batch = [[_part(part, change) for part in parts] for parts in texts.batch]
    return copied


def _part(part: Any, change: Callable[[Tensor], Tensor]) -> Any:
    copied = copy(part)
    copied.schedules = _with_vectors(part.schedules, change)
    return copied


def _with_vectors(schedule: list[Any], change: Callable[[Tensor], Tensor]) -> list[Any]:
    return [entry._replace(cond=_with_vector(entry.cond, change)) for entry in schedule]


def _with_vector(cond: Any, change: Callable[[Tensor], Tensor]) -> Any:
    copied = copy(cond)
    copied["vector"] = change(cond["vector"])
    return copied


def tokens_of(cond: Any) -> Tensor:
    """The embedding of an encoded text, which SDXL keeps in a dict."""
    tokens: Tensor = cond["crossattn"] if isinstance(cond, dict) else cond
    return tokens


def _lengthened(cond: Any, length: int) -> Any:
    tokens = tokens_of(cond)
    if len(tokens) == length:
        return cond
    tokens = torch.cat([tokens, tokens[-1:].expand(length - len(tokens), -1)])
    if not isinstance(cond, dict):
        return tokens
    longer = copy(cond)
    longer["crossattn"] = tokens
    return longer
