"""Grids of timesteps: trailing, the LCM's, and the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib_fewstep.options import SettingError

TRAINED_STEPS = 1000
LCM_STEPS = 50


def trailing_timesteps(steps: int) -> list[int]:
    """Evenly spaced from 999 down, the end left out (arXiv 2305.08891, table 2): 4 steps are 999, 749, 499, 249.

    The expression is diffusers': another order of operations rounds differently. Raises SettingError for fewer than
    1 or more than 1000 steps.
    """
    _check("Trailing", steps, TRAINED_STEPS)
    grid = np.round(np.arange(TRAINED_STEPS, 0, -TRAINED_STEPS / steps)) - 1
    return [int(timestep) for timestep in grid[:steps]]


def lcm_timesteps(steps: int) -> list[int]:
    """Of the 50 timesteps 999, 979, ..., 19 that LCM was distilled at: 4 steps are 999, 759, 499, 259.

    Raises SettingError for fewer than 1 or more than 50 steps.
    """
    _check("LCM grid", steps, LCM_STEPS)
    trained = range(TRAINED_STEPS - 1, -1, -TRAINED_STEPS // LCM_STEPS)
    return [trained[int(index)] for index in np.floor(np.linspace(0, LCM_STEPS, steps, endpoint=False))]


def at_or_below(timesteps: Sequence[int], denoise: float) -> list[int]:
    """The part of a custom list that a pass of this denoising strength (0 to 1) runs.

    A strength of s starts at timestep 1000 s - 1. Raises SettingError if no entry is at or below that.
    """
    start = TRAINED_STEPS * denoise - 1
    usable = [timestep for timestep in timesteps if timestep <= start + 1e-6]
    if not usable:
        raise SettingError(
            f"timesteps = {list(timesteps)} is not allowed at denoising strength {denoise:g}: at least one entry must "
            f"be at or below {start:g}, where this pass starts."
        )
    return usable


def sigmas_at(timesteps: Sequence[float], inner_model: Any) -> Tensor:
    """The noise levels (n + 1,) of falling timesteps, and 0; by the model's own `t_to_sigma`, on the CPU."""
    device = inner_model.sigmas.device
    levels: Tensor = inner_model.t_to_sigma(torch.tensor(timesteps, device=device)).cpu()
    return torch.cat([levels, levels.new_zeros(1)])


def resampled(sigmas: Tensor, steps: int, inner_model: Any) -> Tensor:
    """A schedule (n + 1,) that ends at 0 with another number of steps: between its timesteps it is linear in them."""
    count = len(sigmas) - 1
    if steps == count:
        return sigmas
    timesteps = inner_model.sigma_to_t(sigmas[:-1].to(inner_model.sigmas.device)).tolist()
    positions = np.arange(steps) * count / steps
    return sigmas_at(np.interp(positions, np.arange(count + 1), [*timesteps, 0.0]).tolist(), inner_model)


def _check(name: str, steps: int, most: int) -> None:
    if not 1 <= steps <= most:
        raise SettingError(
            f'schedule = "{name}" is not allowed for a grid of {steps} steps: it must be 1 to {most} steps '
            "(hires fix, and img2img with exact steps, need the number of steps divided by the denoising strength)."
        )
