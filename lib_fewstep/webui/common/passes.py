"""The passes that a tab of the page would start, from what its fields hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib_fewstep.highres import Pass
from lib_fewstep.highres.schedule import PIXELS_PER_LATENT
from lib_fewstep.sampling.schedules import at_or_below
from lib_fewstep.sampling.settings import FewStepSettings, timesteps_from
from lib_fewstep.webui.common import host

SIZE = ("steps", "width", "height", "denoising_strength")
FIELDS = {
    "txt2img": (*SIZE, "hr-checkbox", "hr_scale", "hr_resize_x", "hr_resize_y", "hires_steps"),
    "img2img": (*SIZE, "scale"),
}
"""The fields of each tab, by their ids without the tab's name."""


@dataclass(frozen=True)
class PagePass:
    """A pass: its kind, (width, height) in pixels, executed steps, denoising strength."""

    kind: Pass
    size: tuple[int, int]
    steps: int
    denoise: float = 1.0


def passes_of(tab: str, fields: Mapping[str, Any]) -> list[PagePass]:
    """The passes of a tab; none where the picture that is resized has no size yet.

    Besides the tab's fields there are Few-Step's (`few_step`, `timesteps`) and, in img2img, whether the picture is
    resized by a factor (`by`) and its size (`across`, `down`). Raises SettingError for timesteps that cannot be run.
    """
    custom = FewStepSettings(timesteps=timesteps_from(fields["timesteps"])).timesteps if fields["few_step"] else ()
    return _txt2img(fields, custom) if tab == "txt2img" else _img2img(fields, custom)


def _txt2img(fields: Mapping[str, Any], custom: tuple[int, ...]) -> list[PagePass]:
    steps = fields["steps"]
    passes = [PagePass("first", (int(fields["width"]), int(fields["height"])), len(custom) or steps)]
    if fields["hr-checkbox"]:
        denoise = fields["denoising_strength"]
        executed = len(at_or_below(custom, denoise)) if custom else fields["hires_steps"] or steps
        passes.append(PagePass("hires", _hires_size(fields), executed, denoise))
    return passes


def _img2img(fields: Mapping[str, Any], custom: tuple[int, ...]) -> list[PagePass]:
    size, denoise = (int(fields["width"]), int(fields["height"])), fields["denoising_strength"]
    if fields["by"]:
        size = int(fields["across"] * fields["scale"]), int(fields["down"] * fields["scale"])
        if 0 in size:
            return []
    executed = len(at_or_below(custom, denoise)) if custom else host.job.img2img_steps(fields["steps"], denoise)
    return [PagePass("img2img", size, executed, denoise)]


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
