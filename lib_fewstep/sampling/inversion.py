"""CFG++ inversion (arXiv 2406.08070, section 3.3): from an image back to the noise that would make it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lib_fewstep.sampling.steps import GuidedRun, Step, steps_of

REFINEMENTS = 2


@torch.no_grad()
def invert_cfgpp(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    disable: bool | None = None,
    refinements: int = REFINEMENTS,
) -> Tensor:
    """The sample at `sigmas[0]` from which Euler CFG++ over the falling schedule `sigmas` leads to the image `x`.

    A step back solves x' = x + sigma' eps_guided(x') - sigma eps_uncond(x') for x'. The first guess takes both
    predictions at x, which is the paper's way; each of `refinements` evaluations then takes them at the guess, which
    settles from about ten steps on, because lambda is small. `model.inner_model` needs `t_to_sigma`:
    the image itself is looked at with the noise level of timestep 0.
    """
    run = GuidedRun(model, x, sigmas, extra_args, None, disable)
    floor = run.sigma_at(0)
    for step in reversed(steps_of(sigmas)):
        image = x
        x = _step_back(run, step, image, x, max(step.sigma_next, floor))
        for _ in range(refinements):
            x = _step_back(run, step, image, x, step.sigma)
    return x


def _step_back(run: GuidedRun, step: Step, image: Tensor, x: Tensor, level: float) -> Tensor:
    """From `image` at the step's end to its start, with the predictions at `x`, seen at noise level `level`."""
    denoised, uncond = run.both(x, level)
    return image + (step.sigma * (x - denoised) - step.sigma_next * (x - uncond)) / level
