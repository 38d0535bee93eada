"""The host's denoiser and sampler while a pass runs."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from modules import scripts, shared
from torch import Tensor

from lib_fewstep.webui.common.host.protocols import Denoiser, DenoiserParams, Processing, Sampler


def job_of(params: DenoiserParams) -> Any:
    """The processing object whose pass a callback of the denoiser is about; None where there is no denoiser."""
    return getattr(params.denoiser, "p", None)


def runs_on(params: DenoiserParams, sampler: Sampler) -> bool:
    """Whether such a callback is about a pass of this sampler."""
    return getattr(params.denoiser, "sampler", None) is sampler


def takes_schedules(sampler: Sampler) -> bool:
    """Whether a pass's sampler takes the WebUI's schedules, and has none of its own."""
    return hasattr(sampler, "get_sigmas") and "sigmas" in inspect.signature(sampler.func).parameters


def discards_by_setting_alone(sampler: Sampler) -> bool:
    """Whether the last sigma but one is left out only where the WebUI's setting says so."""
    return takes_schedules(sampler) and not sampler.config.options.get("discard_next_to_last_sigma", False)


def next_noise(p: Processing) -> Tensor:
    """Noise of unit variance for the batch, each image's from its own seed."""
    noise: Tensor = p.rng.next()
    return noise


def remembered_noise(p: Processing) -> Callable[[], None]:
    """A function that sets the batch's noise back to where it is now, and torch's own with it."""
    source: dict[str, Any] = getattr(getattr(p, "rng", None), "__dict__", {})
    before = {name: _cloned(value) for name, value in source.items()}
    own = torch.get_rng_state()

    def restore() -> None:
        source.update(before)
        torch.set_rng_state(own)

    return restore


def _cloned(value: Any) -> Any:
    """The same generators at the same place, of torch or of the host's own kind; anything else as it is."""
    if isinstance(value, list):
        return [_cloned(item) for item in value]
    if isinstance(value, torch.Generator):
        clone = torch.Generator(device=value.device)
        clone.set_state(value.get_state())
        return clone
    return copy.copy(value) if type(value).__name__ == "Generator" else value


NOISE_SEED = "ENSD"
"""The host's key for what is added to the seeds of the noise between the steps."""


def name_noise_seed(p: Processing) -> None:
    """Write that into the infotext; the host asks the first pass's sampler alone, and not where "eta" is 0."""
    if shared.opts.eta_noise_seed_delta:
        p.extra_generation_params[NOISE_SEED] = shared.opts.eta_noise_seed_delta


def start_scale(sigma: float) -> float:
    """What the host multiplies noise of unit variance by, to start at noise level `sigma`."""
    return float((1 + sigma**2) ** 0.5) if shared.opts.sgm_noise_multiplier else sigma


def kept_in_mask(denoiser: Denoiser, image: Tensor, sigma: Tensor) -> Tensor:
    """A denoised image with what inpainting keeps, blended as the host blends the guided one (soft inpainting too)."""
    if denoiser.mask is None or denoiser.mask_before_denoising:
        return image
    blended = image * denoiser.nmask + denoiser.init_latent * denoiser.mask
    if denoiser.p.scripts is None:
        return blended
    blend = scripts.MaskBlendArgs(
        image, denoiser.nmask, denoiser.init_latent, denoiser.mask, blended, denoiser=denoiser, sigma=sigma
    )
    denoiser.p.scripts.on_mask_blend(denoiser.p, blend)
    result: Tensor = blend.blended_latent
    return result


@contextmanager
def every_uncond(extra_args: dict[str, Any]) -> Iterator[list[str]]:
    """No unconditional pass is skipped inside; gives the names of the settings that would have skipped some."""
    s_min_uncond = extra_args["s_min_uncond"]
    skipping = {"skip_early_cond": shared.opts.skip_early_cond, "s_min_uncond": s_min_uncond}
    extra_args["s_min_uncond"] = 0.0
    try:
        with _option_set("skip_early_cond", 0.0) if skipping["skip_early_cond"] else nullcontext():
            yield [name for name, value in skipping.items() if value]
    finally:
        extra_args["s_min_uncond"] = s_min_uncond


@contextmanager
def _option_set(name: str, value: Any) -> Iterator[None]:
    """A global setting changed for a while, without the host's callbacks and without saving it."""
    settings: dict[str, Any] = shared.opts.data
    before = {name: settings[name]} if name in settings else {}
    settings[name] = value
    try:
        yield
    finally:
        settings.pop(name, None)
        settings.update(before)


@contextmanager
def every_sigma() -> Iterator[bool]:
    """The last sigma but one is not discarded inside, unless the sampler does so itself; gives whether it would be."""
    discarding = bool(shared.opts.always_discard_next_to_last_sigma)
    with _option_set("always_discard_next_to_last_sigma", False) if discarding else nullcontext():
        yield discarding


@contextmanager
def frozen(denoiser: Denoiser) -> Iterator[None]:
    """No mask and no refiner inside, whose evaluations are no steps: the count of steps is put back afterwards."""
    p, step, mask = denoiser.p, denoiser.step, denoiser.mask
    refiner, p.refiner_checkpoint_info = p.refiner_checkpoint_info, None
    denoiser.mask = None
    try:
        yield
    finally:
        p.refiner_checkpoint_info = refiner
        denoiser.mask, denoiser.step = mask, step
