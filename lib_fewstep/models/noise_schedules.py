"""Noise schedules: how much of an image is left at each of the timesteps that a model was trained at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SCALED_LINEAR, LINEAR, COSINE = SPACINGS = ("Scaled linear", "Linear", "Cosine")
"""How the betas are spaced: evenly in their roots, evenly, or so that the share of the image falls as a cosine."""

COSINE_OFFSET, LARGEST_BETA = 0.008, 0.999
LAST_SHARE = 4.8973451890853435e-08
"""What the last timestep of a schedule with zero terminal SNR keeps, as in the WebUI: sigma is 4518.8, not infinite."""


@dataclass(frozen=True)
class NoiseSchedule:
    """Betas from `start` to `end` over `steps` timesteps; a cosine has no start and no end."""

    spacing: str = SCALED_LINEAR
    start: float = 0.00085
    end: float = 0.012
    steps: int = 1000

    def alphas_cumprod(self) -> Tensor:
        """The shares of the image's variance that are left, falling, float64 (steps,)."""
        return torch.cumprod(1 - self._betas(), 0)

    def _betas(self) -> Tensor:
        if self.spacing == COSINE:
            at = (_even(0, 1, self.steps + 1) + COSINE_OFFSET) / (1 + COSINE_OFFSET)
            left = (at * math.pi / 2).cos() ** 2
            return (1 - left[1:] / left[:-1]).clamp(max=LARGEST_BETA)
        if self.spacing == LINEAR:
            return _even(self.start, self.end, self.steps)
        return _even(self.start**0.5, self.end**0.5, self.steps) ** 2


def _even(first: float, last: float, count: int) -> Tensor:
    return torch.linspace(first, last, count, dtype=torch.float64)


STABLE_DIFFUSION = NoiseSchedule()
NAMED: dict[str, NoiseSchedule] = {
    "Kolors": NoiseSchedule(end=0.014, steps=1100),
    "Paints-UNDO": NoiseSchedule(LINEAR, 0.00085, 0.020),
    LINEAR: NoiseSchedule(LINEAR, 1e-4, 0.02),
    COSINE: NoiseSchedule(COSINE),
}
"""Schedules of models that are not Stable Diffusion's: Kolors', Paints-UNDO's, DDPM's and improved DDPM's."""


def with_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """A schedule (n,) whose last timestep is noise alone (arXiv 2305.08891, algorithm 1), as far as numbers allow."""
    roots = alphas_cumprod.sqrt()
    scaled = (roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))
    return torch.cat([scaled[:-1] ** 2, scaled.new_full((1,), LAST_SHARE)])


def shifted(alphas_cumprod: Tensor, factor: float) -> Tensor:
    """A schedule (n,) with `factor` times the noise level at each timestep (arXiv 2301.11093, section 3.1).

    A larger image hides the same noise better, so the factor is the ratio of its side to the trained one; 1 is the
    schedule itself.
    """
    return alphas_cumprod if factor == 1 else shares_at(sigmas_of(alphas_cumprod) * factor)


def sigmas_of(alphas_cumprod: Tensor) -> Tensor:
    """The rising noise levels (n,) of a schedule, in k-diffusion's form x = image + sigma * noise."""
    return ((1 - alphas_cumprod) / alphas_cumprod).sqrt()


def shares_at(sigmas: Tensor) -> Tensor:
    """The inverse: what is left of the image's variance at noise levels (n,)."""
    return 1 / (1 + sigmas**2)
