"""What a value of ordinary guidance means for a CFG++ sampler.

A CFG++ step with lambda equals an ordinary step with guidance lambda / (1 - k), where k is what the step keeps of
x - D_u. So a fixed lambda is another guidance at every number of steps, and needs calibration.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LAMBDA = "lambda"
"""The guidance under which the CFG slider is lambda itself."""

HOST_DIVISOR = 12.5
"""What the WebUI's DDIM CFG++ divides the CFG slider by: right for 50 of its steps."""


Guides = Callable[[float], bool]
"""Whether the prompt guides at a noise level."""


def calibrated(
    sampler: Callable[..., Tensor],
    sigmas: Tensor,
    cfg: float,
    eta: float = 1.0,
    guides: Guides = lambda sigma: True,
    *,
    flow: bool = False,
) -> float:
    """The lambda with which a CFG++ sampler guides as strongly as its base does with `cfg` over the same steps.

    Guidance pulls every sample of unit Gaussian data the same way, and the samplers are linear there, so how far a
    sampler is moved is exact and is found by running it on one number. Both forms of the sampler are run: with the
    guided image in the place of the unconditional one a CFG++ sampler is its base. Half steps, corrections, eta,
    partial schedules and steps without guidance (where `guides` says no) are all accounted for. Of a `flow` noisy
    latents are sigma * noise + (1 - sigma) * image. Where no step is guided no lambda means anything, and it is `cfg`.
    """
    ordinary, plus_plus = (
        _pull(sampler, sigmas, eta, _UnitData(guides, plus_plus=either, flow=flow)) for either in (False, True)
    )
    return cfg * ordinary / plus_plus if plus_plus else cfg


class _UnitData:
    """The denoiser of data with mean 0 and variance 1, whose conditional image is one unit off."""

    def __init__(self, guides: Guides, *, plus_plus: bool, flow: bool) -> None:
        self._guides, self._plus_plus, self._flow = guides, plus_plus, flow
        self.last_noise_uncond: Tensor | None = None

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        kept = 1 - sigma if self._flow else torch.ones_like(sigma)
        signal = kept / (kept**2 + sigma**2)
        uncond = signal * x
        guided = uncond + (1 - kept * signal) * self._guides(float(sigma.max()))
        self.last_noise_uncond = uncond if self._plus_plus else guided
        return guided


def _pull(sampler: Callable[..., Tensor], sigmas: Tensor, eta: float, data: _UnitData) -> float:
    """How far unit guidance moves a sample that starts at the mean."""
    options: dict[str, Any] = {"eta": eta, "noise_sampler": _no_noise}
    parameters = inspect.signature(sampler).parameters
    accepted = {name: value for name, value in options.items() if name in parameters}
    start = torch.zeros(1, dtype=torch.float64)
    return float(sampler(data, start, sigmas, disable=True, **accepted))


def _no_noise(sigma: Any, sigma_next: Any) -> Tensor:
    return torch.zeros(1, dtype=torch.float64)
