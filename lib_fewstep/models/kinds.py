"""Kinds of models: what the network is given at a noise level, and what its output means.

A kind is a function of noise levels and an entry of `KINDS`. For noisy latents x at the noise level sigma the network F
sees the image D = skip * x + out * F(scale * x, time).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

NOISE, V, EDM, EDM_V, FLOW = ("noise", "v", "EDM", "EDM v", "rectified flow")

EDM_DATA = 0.5
"""The deviation of the images that EDM was trained on."""
FLOW_TIME = 1000
"""The time that a rectified flow's network is given where there is nothing but noise."""


@dataclass(frozen=True)
class Factors:
    """What stands in the formula above at noise levels (n,), each (n,); without a `time` it is the timestep."""

    skip: Tensor
    out: Tensor
    scale: Tensor
    time: Tensor | None = None


def _noise(sigma: Tensor) -> Factors:
    """F is the noise (arXiv 2006.11239, equation 11)."""
    return Factors(torch.ones_like(sigma), -sigma, 1 / _length(sigma))


def _v(sigma: Tensor) -> Factors:
    """F is v = noise / length - sigma * image / length (arXiv 2202.00512, section 4)."""
    return Factors(1 / _length(sigma) ** 2, -sigma / _length(sigma), 1 / _length(sigma))


def _edm(sigma: Tensor) -> Factors:
    """The preconditioning of arXiv 2206.00364, table 1."""
    length = _length(sigma, EDM_DATA)
    return Factors((EDM_DATA / length) ** 2, EDM_DATA * sigma / length, 1 / length, sigma.log() / 4)


def _edm_v(sigma: Tensor) -> Factors:
    """V, with EDM's range of noise levels and its time."""
    v = _v(sigma)
    return Factors(v.skip, v.out, v.scale, sigma.log() / 4)


def _flow(sigma: Tensor) -> Factors:
    """F leads from the noise to the image: image - noise (arXiv 2209.03003; InstaFlow, arXiv 2309.06380)."""
    one = torch.ones_like(sigma)
    return Factors(one, sigma, one, FLOW_TIME * sigma)


def _length(sigma: Tensor, data: float = 1.0) -> Tensor:
    """The deviation of noisy latents whose images have the deviation `data`."""
    return (sigma**2 + data**2).sqrt()


@dataclass(frozen=True)
class Kind:
    """A kind of model: its formula, and the lowest and highest noise level of one that has no noise schedule.

    Of a flow, noisy latents are sigma * noise + (1 - sigma) * image instead of image + sigma * noise.
    """

    factors: Callable[[Tensor], Factors]
    levels: tuple[float, float] | None = None
    flow: bool = False


KINDS: dict[str, Kind] = {
    NOISE: Kind(_noise),
    V: Kind(_v),
    EDM: Kind(_edm, (0.002, 80.0)),
    EDM_V: Kind(_edm_v, (0.002, 120.0)),
    FLOW: Kind(_flow, (1 / FLOW_TIME, 1.0), flow=True),
}
