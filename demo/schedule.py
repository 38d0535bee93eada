"""The noise schedule of Stable Diffusion 1.5: scaled linear betas from 0.00085 to 0.012 over 1000 steps."""

from __future__ import annotations

import torch
from torch import Tensor

TRAIN_STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012


def alphas_cumprod() -> Tensor:
    """Share of the signal's variance left at each training step, (1000,), float64."""
    roots = torch.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS, dtype=torch.float64)
    return torch.cumprod(1 - roots**2, dim=0)


def training_sigmas() -> Tensor:
    """Noise level of each training step in k-diffusion's form, (1000,), float64, rising."""
    kept = alphas_cumprod()
    return ((1 - kept) / kept).sqrt()
