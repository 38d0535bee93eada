"""Rectified flow (arXiv 2209.03003): even steps along the velocity, as InstaFlow (arXiv 2309.06380) takes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lib_fewstep.sampling.steps import Callback, Run


@torch.no_grad()
def sample_rectified_flow(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
) -> Tensor:
    """As many steps as the schedule (n + 1,) has, evenly from its first noise level to 0.

    The model's noisy latents are sigma * noise + (1 - sigma) * image; its velocity at a level is (x - D) / sigma.
    """
    even = torch.linspace(1, 0, len(sigmas), dtype=sigmas.dtype, device=sigmas.device) * sigmas[0]
    run = Run(model, x, even, extra_args, callback, disable)
    for step in run.steps():
        denoised = run.denoised(x, step.sigma)
        run.report(step, x, denoised)
        x = denoised + step.ratio * (x - denoised)
    return x
