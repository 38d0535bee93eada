"""CFG++ (arXiv 2406.08070): each step ends at the guided image, renoised with the unconditional prediction.

Throughout, D is the guided image, D_u the unconditional one, sigma' the next noise level. With lambda = 0, and
wherever the conditional image equals the unconditional one, each sampler is its namesake in k-diffusion.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lib_fewstep.sampling.steps import Callback, GuidedRun, NoiseSampler


@torch.no_grad()
def sample_euler_cfgpp(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
) -> Tensor:
    """Euler CFG++, which is DDIM CFG++ (the paper's Algorithm 2) in terms of sigma."""
    run = GuidedRun(model, x, sigmas, extra_args, callback, disable)
    for step in run.steps():
        denoised, uncond = run.both(x, step.sigma)
        run.report(step, x, denoised)
        x = denoised + step.ratio * (x - uncond)
    return x


@torch.no_grad()
def sample_euler_ancestral_cfgpp(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    eta: float = 1.0,
    s_noise: float = 1.0,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """Euler ancestral CFG++: down to sigma_down, and up to sigma' with fresh noise."""
    run = GuidedRun(model, x, sigmas, extra_args, callback, disable, noise_sampler)
    for step in run.steps():
        denoised, uncond = run.both(x, step.sigma)
        run.report(step, x, denoised)
        down, up = step.ancestral(eta)
        x = denoised + down / step.sigma * (x - uncond)
        if not step.last:
            x = x + s_noise * up * run.noise(step)
    return x


@torch.no_grad()
def sample_dpmpp_2m_cfgpp(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
) -> Tensor:
    """DPM++ 2M CFG++: the base sampler's step from x + D - D_u, with the guided images in its correction."""
    run = GuidedRun(model, x, sigmas, extra_args, callback, disable)
    previous: tuple[float, Tensor] | None = None
    for step in run.steps():
        denoised, uncond = run.both(x, step.sigma)
        run.report(step, x, denoised)
        x = denoised + step.ratio * (x - uncond)
        if previous is not None and previous[0] > 0 and not step.last:
            h_previous, denoised_previous = previous
            x = x + (1 - step.ratio) * step.h / (2 * h_previous) * (denoised - denoised_previous)
        previous = step.h, denoised
    return x


@torch.no_grad()
def sample_dpmpp_2s_ancestral_cfgpp(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    eta: float = 1.0,
    s_noise: float = 1.0,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """DPM++ 2S ancestral CFG++: an Euler CFG++ half step, then the whole step with the images that are seen there."""
    run = GuidedRun(model, x, sigmas, extra_args, callback, disable, noise_sampler)
    for step in run.steps():
        denoised, uncond = run.both(x, step.sigma)
        run.report(step, x, denoised)
        down, up = step.ancestral(eta)
        ratio = down / step.sigma
        if down > 0:
            middle = math.sqrt(ratio)
            denoised, uncond = run.both(denoised + middle * (x - uncond), middle * step.sigma)
        x = denoised + ratio * (x - uncond)
        if not step.last:
            x = x + s_noise * up * run.noise(step)
    return x


@torch.no_grad()
def sample_dpmpp_2m_sde_cfgpp(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    eta: float = 1.0,
    s_noise: float = 1.0,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """DPM++ 2M SDE CFG++ (midpoint): the base sampler's step from x + D - D_u."""
    run = GuidedRun(model, x, sigmas, extra_args, callback, disable, noise_sampler)
    previous: tuple[float, Tensor] | None = None
    for step in run.steps():
        denoised, uncond = run.both(x, step.sigma)
        run.report(step, x, denoised)
        kept = 0.0 if step.last else step.ratio * math.exp(-eta * step.h)
        x = denoised + kept * (x - uncond)
        if not step.last:
            if previous is not None and previous[0] > 0:
                h_previous, denoised_previous = previous
                x = x + (1 - kept) * step.h / (2 * h_previous) * (denoised - denoised_previous)
            if eta > 0:
                x = x + s_noise * step.sigma_next * math.sqrt(-math.expm1(-2 * eta * step.h)) * run.noise(step)
        previous = step.h, denoised
    return x
