"""Grids of timesteps and noise levels: trailing, the LCM's, Beta, Align Your Steps, and the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from lib_fewstep.options import SettingError, shown

TRAINED_STEPS = 1000
"""The timesteps of a model of which nothing else is known."""
LCM_STEPS = 50


BETA_SHAPE = 0.6
"""Both parameters of the distribution that "Beta" takes its timesteps from."""

AYS_SD1 = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
AYS_SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)
"""The noise levels that Align Your Steps found for 10 steps (arXiv 2404.14507, and its page of instructions)."""


def trailing_timesteps(steps: int, trained: int = TRAINED_STEPS) -> list[int]:
    """Evenly spaced from the last one down, the end left out (arXiv 2305.08891, table 2): 4 are 999, 749, 499, 249.

    The expression is diffusers': another order of operations rounds differently. `trained` is the number of timesteps
    that the model has. Raises SettingError for fewer than 1 or more than `trained` steps.
    """
    _check("Trailing", steps, trained)
    grid = np.round(np.arange(trained, 0, -trained / steps)) - 1
    return [int(timestep) for timestep in grid[:steps]]


def lcm_timesteps(steps: int, trained: int = TRAINED_STEPS) -> list[int]:
    """Of the 50 timesteps 999, 979, ..., 19 that LCM was distilled at: 4 steps are 999, 759, 499, 259.

    Raises SettingError for fewer than 1 or more than 50 steps, or more than `trained`.
    """
    most = min(LCM_STEPS, trained)
    _check("LCM grid", steps, most)
    return [trained - 1 - int(index) * trained // most for index in np.linspace(0, most, steps, endpoint=False)]


def beta_timesteps(steps: int, trained: int = TRAINED_STEPS) -> list[int]:
    """More of them at both ends than in the middle: quantiles of a Beta distribution (arXiv 2407.12173, section 3.2).

    Where two would be the same, the later one takes the next below that is free. Raises SettingError for fewer than 1
    or more than `trained` steps.
    """
    _check("Beta (timesteps)", steps, trained)
    shares = betaincinv(BETA_SHAPE, BETA_SHAPE, 1 - np.arange(steps) / steps)
    found: list[int] = []
    for index, timestep in enumerate(np.rint(shares * (trained - 1))):
        free = found[-1] - 1 if found else trained - 1
        found.append(max(min(int(timestep), free), steps - 1 - index))
    return found


def ays_sigmas(steps: int, trained: int = TRAINED_STEPS, *, sdxl: bool) -> Tensor:
    """The noise levels (n + 1,) of Align Your Steps: its own 10, or between them even in log(sigma), and 0.

    Raises SettingError for fewer than 1 or more than `trained` steps.
    """
    _check("AYS (exact)", steps, trained)
    table = AYS_SDXL if sdxl else AYS_SD1
    places = np.linspace(0, len(table) - 1, steps + 1)[:-1]
    levels = np.exp(np.interp(places, np.arange(len(table)), np.log(table)))
    return torch.from_numpy(np.append(levels, 0.0)).float()


Levels = Callable[[int, Any, bool], Tensor]
"""(steps, the denoiser with its table of noise levels, whether the model is SDXL) -> noise levels (n + 1,)."""


@dataclass(frozen=True)
class Grid:
    """A schedule of this package: its label in the list of schedules, its noise levels, and the most steps it has.

    Without such a number they are as many as the model has timesteps.
    """

    label: str
    levels: Levels
    most: int | None = None

    def check(self, steps: int, trained: int) -> None:
        """Raise SettingError for a number of steps that the schedule does not have."""
        _check(self.label, steps, min(self.most or trained, trained))


def _at(timesteps: Callable[[int, int], list[int]]) -> Levels:
    return lambda steps, inner_model, _: sigmas_at(timesteps(steps, trained_steps(inner_model)), inner_model)


def _ays(steps: int, inner_model: Any, sdxl: bool) -> Tensor:
    return ays_sigmas(steps, trained_steps(inner_model), sdxl=sdxl)


def trained_steps(inner_model: Any) -> int:
    """The timesteps of a model; a denoiser may know fewer of their noise levels, as the WebUI's of LCM does."""
    return round(float(inner_model.sigma_to_t(inner_model.sigmas[-1:]))) + 1


GRIDS: dict[str, Grid] = {
    "trailing": Grid("Trailing", _at(trailing_timesteps)),
    "lcm_grid": Grid("LCM grid", _at(lcm_timesteps), LCM_STEPS),
    "ays_exact": Grid("AYS (exact)", _ays),
    "beta_timesteps": Grid("Beta (timesteps)", _at(beta_timesteps)),
}
"""By the names that the WebUI calls them. A new one is an entry here."""


def check_timesteps(timesteps: Sequence[int], trained: int) -> None:
    """Raise SettingError for a custom list with an entry that a model of `trained` timesteps does not have."""
    if max(timesteps) >= trained:
        raise SettingError(
            f"timesteps = {shown(list(timesteps))} is not allowed: the model has {trained} timesteps, so they must be "
            f"whole numbers from {trained - 1} to 0."
        )


def at_or_below(timesteps: Sequence[int], denoise: float, trained: int = TRAINED_STEPS) -> list[int]:
    """The part of a custom list that a pass of this denoising strength (0 to 1) runs.

    Of a model with n timesteps a strength of s starts at timestep n s - 1. Raises SettingError if no entry is at or
    below that.
    """
    start = trained * denoise - 1
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


def from_share(sigmas: Tensor, share: float, inner_model: Any) -> Tensor:
    """A schedule (n + 1,) that ends at 0, begun with a share of its noise: all its timesteps times one number.

    Where it starts at timestep t, a share of s starts at s (t + 1) - 1, as a strength of img2img does. Levels beyond
    the model's move as the nearest of those. Raises SettingError if it starts so low that nothing is left to share.
    """
    if share == 1:
        return sigmas
    table, levels = (each.cpu().double().log().numpy() for each in (inner_model.sigmas, sigmas[:-1]))
    places = np.arange(len(table))
    timesteps = np.interp(levels, table, places)
    start = share * (timesteps[0] + 1) - 1
    if start <= 0:
        raise SettingError(
            f"prior.share = {share:g} is not allowed with a schedule that starts at sigma {float(sigmas[0]):.3g}, near "
            "the model's lowest: it must be 1."
        )
    moved = np.interp(timesteps * (start / timesteps[0]), places, table) - np.interp(timesteps, places, table)
    return torch.cat([torch.from_numpy(np.exp(levels + moved)).to(sigmas), sigmas[-1:]])


def _check(name: str, steps: int, most: int) -> None:
    if not 1 <= steps <= most:
        raise SettingError(
            f'schedule = "{name}" is not allowed for a grid of {steps} steps: it must be 1 to {most} steps '
            "(hires fix, and img2img with exact steps, need the number of steps divided by the denoising strength)."
        )
