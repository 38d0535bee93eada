"""Ordinary samplers of k-diffusion's form, to compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lib_fewstep.sampling.steps import Callback, Run

Sampler = Callable[..., Tensor]
"""What k-diffusion's samplers are: called with the denoiser, the start, the noise levels and `disable`; those that
add noise take a `noise_sampler` too."""


def sample_euler(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,  # noqa: FBT001
) -> Tensor:
    """k-diffusion's Euler sampler, without its churn."""
    run = Run(model, x, sigmas, extra_args, callback, disable)
    for step in run.steps():
        denoised = run.denoised(x, step.sigma)
        run.report(step, x, denoised)
        x = denoised + step.ratio * (x - denoised)
    return x


def sample_dpmpp_2m(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,  # noqa: FBT001
) -> Tensor:
    """DPM-Solver++ (2M) of Lu et al., arXiv 2211.01095: Euler's step towards an image that is carried on.

    It lies on the line in -log(sigma) through the last two, in the middle of the step. First and last step have none.
    """
    run = Run(model, x, sigmas, extra_args, callback, disable)
    previous: tuple[float, Tensor] | None = None
    for step in run.steps():
        denoised = run.denoised(x, step.sigma)
        run.report(step, x, denoised)
        image = denoised
        if previous is not None and not step.last:
            h_previous, denoised_previous = previous
            image = denoised + step.h / (2 * h_previous) * (denoised - denoised_previous)
        x = image + step.ratio * (x - image)
        previous = step.h, denoised
    return x
