"""The passes that a tab of the page would start, from what its fields hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_fewstep.highres import Pass
from lib_fewstep.highres.schedule import PIXELS_PER_LATENT
from lib_fewstep.models.noise_schedules import NoiseSchedule
from lib_fewstep.models.settings import DEFAULT, schedule_called
from lib_fewstep.sampling.schedules import at_or_below
from lib_fewstep.sampling.settings import FewStepSettings, timesteps_from
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.page_pass import PagePass

SIZE = ("steps", "width", "height", "denoising_strength")
FIELDS = {
    "txt2img": (*SIZE, "hr-checkbox", "hr_scale", "hr_resize_x", "hr_resize_y", "hires_steps"),
    "img2img": (*SIZE, "scale"),
}
"""The fields of each tab, by their ids without the tab's name."""


_FEW_STEP = {"few_step": "enabled-checkbox", "timesteps": "timesteps", "hires_cfg": "hires_cfg"}
_MODEL = {"model_on": "enabled-checkbox", "model_schedule": "noise_schedule", "model_steps": "trained_steps"}


def few_step_fields(tab: str, *names: str) -> dict[str, str]:
    """The ids of fields of Few-Step's accordion, by their names here, and those by which timesteps are counted."""
    own = {name: f"fewstep_sampling_{tab}_{_FEW_STEP[name]}" for name in names}
    return own | {name: f"fewstep_models_{tab}_{field}" for name, field in _MODEL.items()}


def passes_of(tab: str, fields: Mapping[str, Any]) -> list[PagePass]:
    """The passes of a tab; none where the picture that is resized has no size yet.

    Besides the tab's fields there are Few-Step's (`few_step`, `timesteps`), those of Model sampling that say how many
    timesteps there are and, in img2img, whether the picture is resized by a factor (`by`) and its size (`across`,
    `down`). Raises SettingError for timesteps that cannot be run.
    """
    custom = FewStepSettings(timesteps=timesteps_from(fields["timesteps"])).timesteps if fields["few_step"] else ()
    return _txt2img(fields, custom) if tab == "txt2img" else _img2img(fields, custom)


def _txt2img(fields: Mapping[str, Any], custom: tuple[int, ...]) -> list[PagePass]:
    steps = fields["steps"]
    size = int(fields["width"]), int(fields["height"])
    passes = [PagePass("first", size, len(custom) or steps, scheduled=steps, timesteps=custom)]
    if fields["hr-checkbox"]:
        scheduled = host.job.hires_steps(fields["hires_steps"] or steps, fields["denoising_strength"])
        passes.append(_from_images("hires", _hires_size(fields), scheduled, fields, custom))
    return passes


def _img2img(fields: Mapping[str, Any], custom: tuple[int, ...]) -> list[PagePass]:
    size = int(fields["width"]), int(fields["height"])
    if fields["by"]:
        size = int(fields["across"] * fields["scale"]), int(fields["down"] * fields["scale"])
        if 0 in size:
            return []
    scheduled = host.job.img2img_steps(fields["steps"], fields["denoising_strength"])
    return [_from_images("img2img", size, scheduled, fields, custom)]


def _from_images(
    kind: Pass, size: tuple[int, int], steps: tuple[int, int], fields: Mapping[str, Any], custom: tuple[int, ...]
) -> PagePass:
    """A pass that starts from images; `steps` are those of its schedule, and how many of them are executed."""
    denoise = fields["denoising_strength"]
    timesteps = tuple(at_or_below(custom, denoise, _trained_steps(fields))) if custom else ()
    return PagePass(kind, size, len(timesteps) or steps[1], denoise, steps[0], timesteps)


def _trained_steps(fields: Mapping[str, Any]) -> int:
    """How many timesteps the noise schedule has that Model sampling would choose, else the loaded model's."""
    name = fields["model_schedule"] if fields["model_on"] else DEFAULT
    chosen = schedule_called(name, NoiseSchedule(steps=int(fields["model_steps"])))
    return host.model.trained_steps() if chosen is None else chosen.steps


def _hires_size(fields: Mapping[str, Any]) -> tuple[int, int]:
    """A multiple of the first pass's size, or given sides.

    A side that is not given keeps the shape; where both are, the picture covers them, and what stands over is cut off
    in whole pixels of the latent.
    """
    width, height = max(int(fields["width"]), 1), max(int(fields["height"]), 1)
    across, down = int(fields["hr_resize_x"]), int(fields["hr_resize_y"])
    if not across and not down:
        return int(width * fields["hr_scale"]), int(height * fields["hr_scale"])
    by_width = not down or (across and width * down < across * height)
    covered = (across, across * height // width) if by_width else (down * width // height, down)
    over = (covered[0] - across if across else 0, covered[1] - down if down else 0)
    latent = [side // PIXELS_PER_LATENT - more // PIXELS_PER_LATENT for side, more in zip(covered, over, strict=True)]
    return PIXELS_PER_LATENT * latent[0], PIXELS_PER_LATENT * latent[1]
