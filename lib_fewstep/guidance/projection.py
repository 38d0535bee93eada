"""Adaptive projected guidance (Sadat et al. 2024, arXiv 2410.02416, section 4): less of what burns at high CFG."""

from __future__ import annotations

import math

import torch
from torch import Tensor

THRESHOLD_VALUES = 65536
"""Values of a latent for which the paper gives its threshold: SDXL's four channels of 128 x 128."""

_SAMPLE = (1, 2, 3)


class AdaptiveProjection:
    """The guided image of each step of one pass: called once a step, with `again` for its further evaluations."""

    def __init__(
        self, eta: float = 0.0, threshold: float = 15.0, momentum: float = -0.5, *, from_uncond: bool = False
    ) -> None:
        """The paper's values for SDXL.

        `eta` is how much is kept of the part of the guidance that is parallel to the conditional image, `threshold` the
        largest norm of the guidance for latents of 65,536 values, and 0 for no limit; other sizes have the same limit
        for each value. `momentum` is what is kept of the steps before, and negative to push away from them.

        The guided image is cond + (cfg - 1) * guidance, as in the paper; with `from_uncond` uncond + cfg * guidance,
        for CFG++, whose strength is below 1, where the paper's form would strengthen what it is to weaken.
        """
        self.eta, self.threshold, self.momentum, self._from_uncond = eta, threshold, momentum, from_uncond
        self._before: Tensor | None = None
        self._average: Tensor | None = None

    def __call__(self, cond: Tensor, uncond: Tensor, cfg: float) -> Tensor:
        """The guided image (n, c, h, w) of a step's first evaluation, of the denoised images without guidance."""
        self._before = self._average
        self._average = self._with_momentum(cond - uncond)
        return self._guided(self._average, cond, uncond, cfg)

    def again(self, cond: Tensor, uncond: Tensor, cfg: float) -> Tensor:
        """That of another evaluation within the same step, which the average does not count."""
        return self._guided(self._with_momentum(cond - uncond), cond, uncond, cfg)

    def restart(self) -> None:
        """Forget the steps before, as where the noise level has risen."""
        self._before = self._average = None

    def _with_momentum(self, difference: Tensor) -> Tensor:
        if self._before is None or self._before.shape != difference.shape:
            return difference
        return difference + self.momentum * self._before

    def _guided(self, difference: Tensor, cond: Tensor, uncond: Tensor, cfg: float) -> Tensor:
        if self.threshold > 0:
            limit = self.threshold * math.sqrt(difference[0].numel() / THRESHOLD_VALUES)
            difference = difference * (limit / _norm(difference)).clamp(max=1)
        precise = torch.float32 if cond.device.type == "mps" else torch.float64  # which MPS does not have
        exact, along = difference.to(precise), cond.to(precise)
        direction = along / _norm(along).clamp(min=torch.finfo(precise).tiny)
        parallel = (exact * direction).sum(_SAMPLE, keepdim=True) * direction
        update = (exact + (self.eta - 1) * parallel).to(cond)
        return uncond + cfg * update if self._from_uncond else cond + (cfg - 1) * update


def _norm(image: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(image, dim=_SAMPLE, keepdim=True)
    return norm
