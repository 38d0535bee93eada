"""Samplers of consistency models: LCM (arXiv 2310.04378) and TCD (arXiv 2402.19159)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lib_fewstep.sampling.steps import Callback, NoiseSampler, Run


@torch.no_grad()
def sample_lcm(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """Multistep consistency sampling: each step ends at the denoised image with fresh noise."""
    run = Run(model, x, sigmas, extra_args, callback, disable, noise_sampler)
    for step in run.steps():
        denoised = run.denoised(x, step.sigma)
        run.report(step, x, denoised)
        x = denoised if step.last else denoised + step.sigma_next * run.noise(step)
    return x


@torch.no_grad()
def sample_tcd(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    gamma: float = 0.3,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """Strategic stochastic sampling: down to timestep (1 - gamma) t', and up to t' with fresh noise.

    gamma 0 is deterministic (DDIM), gamma 1 is LCM. `model.inner_model` must tell timesteps and sigmas apart by
    `sigma_to_t` and `t_to_sigma`, as k-diffusion's denoisers do.
    """
    run = Run(model, x, sigmas, extra_args, callback, disable, noise_sampler)
    for step in run.steps():
        denoised = run.denoised(x, step.sigma)
        run.report(step, x, denoised)
        down = _sigma_down(run, step.sigma_next, gamma)
        x = denoised + down / step.sigma * (x - denoised)
        if down < step.sigma_next:
            x = x + math.sqrt(step.sigma_next**2 - down**2) * run.noise(step)
    return x


def _sigma_down(run: Run, sigma_next: float, gamma: float) -> float:
    """The noise level of the timestep to go down to: floor((1 - gamma) t'), with t' at `sigma_next`."""
    if sigma_next == 0 or gamma == 0:
        return sigma_next
    if gamma == 1:
        return 0.0
    timestep = math.floor(round((1 - gamma) * run.timestep(sigma_next), 3))
    return min(run.sigma_at(timestep), sigma_next)
