"""SDXL's size conditioning in the prompts of a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lib_fewstep.models import ModelSettings
from lib_fewstep.models.settings import IMAGE, TRAINED, pixels
from lib_fewstep.models.size_conditioning import Sizes, with_sizes
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.host.protocols import Sampler
from lib_fewstep.webui.models.checkpoint import is_refiner, trained_side


def tell_sizes(sampler: Sampler, settings: ModelSettings, size: tuple[int, int]) -> None:
    """Put the sizes of the settings into the texts of a pass, where the model takes any.

    `size` is the image's (width, height). SDXL's refiner takes other numbers: a score instead of a target.
    """
    if settings.size == IMAGE or not host.model.is_sdxl() or is_refiner():
        return
    asked = sampler.sampler_extra_args
    usual = Sizes((size[1], size[0]), host.options.sdxl_crop(), (size[1], size[0]))
    wanted = _trained(usual, trained_side()) if settings.size == TRAINED else _custom(settings, "", usual)
    unwanted = wanted if settings.size == TRAINED else _custom(settings, "negative_", wanted)
    asked["cond"] = host.job.with_vectors(asked["cond"], _telling(wanted))
    asked["uncond"] = host.job.with_vectors(asked["uncond"], _telling(unwanted))


def _trained(usual: Sizes, side: int | None) -> Sizes:
    """The trained area in the image's shape, in multiples of 8."""
    height, width = usual.target
    factor = 1.0 if side is None else side / (height * width) ** 0.5
    shape = round(height * factor / 8) * 8, round(width * factor / 8) * 8
    return replace(usual, original=shape, target=shape)


def _custom(settings: ModelSettings, prefix: str, usual: Sizes) -> Sizes:
    given = {name: pixels(getattr(settings, prefix + name)) for name in ("original", "crop", "target")}
    return replace(usual, **{name: (both[1], both[0]) for name, both in given.items() if both is not None})


def _telling(sizes: Sizes) -> Callable[[Any], Any]:
    return lambda vector: with_sizes(vector[None], sizes)[0]
