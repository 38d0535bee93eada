"""What few-step sampling changes about one pass besides its sampler: the timesteps and the start."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from lib_fewstep.options import SettingError
from lib_fewstep.sampling import sigmas_at
from lib_fewstep.sampling.entries import entry_of
from lib_fewstep.sampling.prior import Prior
from lib_fewstep.sampling.schedules import at_or_below, check_timesteps, from_share
from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.log import log
from lib_fewstep.webui.common.own_latents import OwnLatents
from lib_fewstep.webui.common.refusal import Refusal
from lib_fewstep.webui.common.trained_steps import trained_steps
from lib_fewstep.webui.fewstep.cfgpp_denoiser import INVERTING
from lib_fewstep.webui.fewstep.prior_files import statistics
from lib_fewstep.webui.fewstep.request import FewStepRequest, request_of
from lib_fewstep.webui.fewstep.samplers import runs_exact_grid

_SAMPLE_METHODS = ("sample", "sample_img2img")
_CHANGED = ("get_sigmas", "func")


def attach(p: Processing) -> None:
    """Wrap the methods by which the host samples with `p.sampler`; what is raised there reaches the user."""
    for name in _SAMPLE_METHODS:
        method = getattr(p.sampler, name)
        if not isinstance(method, _SampleWrapper):
            setattr(p.sampler, name, _SampleWrapper(method, from_noise=name == "sample"))


class _SampleWrapper:
    """One of these methods, with what the request changes about the pass."""

    def __init__(self, own: Callable[..., Tensor], *, from_noise: bool) -> None:
        self._own, self._from_noise = own, from_noise

    def __call__(self, p: Processing, *args: Any, **kwargs: Any) -> Tensor:
        """One pass; afterwards the sampler is as it was, whatever happened."""
        sampler, cfg = vars(p.sampler), p.cfg_scale
        before = {name: sampler[name] for name in _CHANGED if name in sampler}
        try:
            changes = _prepare(request_of(p), p, from_noise=self._from_noise)
            return self._own(p, *args, **{**kwargs, **changes})
        except SettingError as refusal:
            raise Refusal(f"Few-Step: {refusal}") from refusal
        finally:
            p.cfg_scale = cfg
            for name in _CHANGED:
                sampler.pop(name, None)
            sampler.update(before)


def _prepare(request: FewStepRequest, p: Processing, *, from_noise: bool) -> dict[str, Any]:
    """Put onto the sampler what the request changes; returns arguments for its method."""
    if request.refusal is not None:
        raise SettingError(request.refusal)
    if request.settings.hires_cfg is not None and host.job.pass_of(p) == "hires":
        p.cfg_scale = request.settings.hires_cfg
    if request.settings.invert is not None:
        _check_inversion(p)
    prior = None if p.is_hr_pass else request.settings.prior
    if prior is not None:
        _check_prior(p)
        request.prior = request.prior or statistics(prior)
        p.sampler.func = _starting_from(p.sampler.func, request.prior)
    timesteps = list(request.settings.timesteps)
    if not timesteps:
        if runs_exact_grid(p) and host.denoiser.discards_by_setting_alone(p.sampler):
            p.sampler.get_sigmas = _whole(p.sampler.get_sigmas)
        if prior is not None:
            p.sampler.get_sigmas = _with_share(p.sampler.get_sigmas, prior.share)
        return {}
    _check_schedule(p, "timesteps", timesteps)
    check_timesteps(timesteps, trained_steps(p))
    if not from_noise:
        strength = 1.0 if p.denoising_strength is None else p.denoising_strength
        timesteps = at_or_below(timesteps, strength, trained_steps(p))
    p.sampler.get_sigmas = lambda _, steps: _ending_with(timesteps, steps, p.sampler.model_wrap)
    return {"steps": len(timesteps)}


def _ending_with(timesteps: list[int], steps: int, inner_model: Any) -> Tensor:
    """A schedule of `steps` steps that ends with custom timesteps; what is before them is never run."""
    sigmas = sigmas_at(timesteps, inner_model)
    return torch.cat([sigmas[:1].expand(max(steps - len(timesteps), 0)), sigmas])


def _whole(get_sigmas: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A grid without the gap that the WebUI's setting "Always discard next-to-last sigma" would make."""

    def sigmas(p: Processing, steps: int) -> Tensor:
        with host.denoiser.every_sigma() as discarding:
            if discarding:
                log.info("This schedule is exact: the WebUI's setting to discard a sigma is left out here.")
            return get_sigmas(p, steps)

    return sigmas


def _with_share(get_sigmas: Callable[..., Tensor], share: float) -> Callable[..., Tensor]:
    """The schedule, begun with a share of its noise."""

    def sigmas(p: Processing, steps: int) -> Tensor:
        return from_share(get_sigmas(p, steps), share, p.sampler.model_wrap)

    return sigmas


def _starting_from(sample: Callable[..., Tensor], prior: Prior) -> Callable[..., Tensor]:
    """A sampler's function that starts from the prior instead of from noise alone."""

    @wraps(sample)
    def run(model: Any, x: Tensor, *args: Any, **options: Any) -> Tensor:
        if host.noising.of_flow(model.p.sampler):
            raise SettingError("prior is not allowed with a rectified flow, which starts from noise alone.")
        sigma, own = float(options["sigmas"][0]), state.find(model.p, OwnLatents)
        given = (x / host.denoiser.start_scale(sigma), host.denoiser.next_noise(model.p), sigma)
        start = prior.start(*given) if own is None else prior.start(*given, own.of_host)
        log.info("The run with the prior starts at sigma %.3g.", sigma)
        return sample(model, start, *args, **options)

    return run


def _check_schedule(p: Processing, name: str, value: Any) -> None:
    sampler = p.sampler
    entry = entry_of(sampler.func)
    if not host.denoiser.takes_schedules(sampler) or (entry is not None and entry.flow):
        raise SettingError(
            f"{name} = {value} is not allowed with the sampling method {sampler.config.name}, which has its own "
            "schedule: it must be one that takes the WebUI's schedules, such as Euler."
        )
    if host.model.flow_model():
        raise SettingError(f"{name} = {value} is not allowed: the loaded model is a rectified flow (SD3).")


def _check_prior(p: Processing) -> None:
    if host.job.is_img2img(p):
        raise SettingError("prior is not allowed in img2img, which starts from an image: it must be txt2img.")
    _check_schedule(p, "prior", "on")


def _check_inversion(p: Processing) -> None:
    if not host.job.is_img2img(p):
        raise SettingError("invert is not allowed in txt2img: it must be img2img, which has an image to invert.")
    entry = entry_of(p.sampler.func)
    if entry is None or entry.label not in INVERTING:
        raise SettingError(
            f"invert is not allowed with the sampling method {p.sampler.config.name}: it must be "
            f"{' or '.join(INVERTING)}, which add no noise."
        )
