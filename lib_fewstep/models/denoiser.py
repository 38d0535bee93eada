"""A denoiser in k-diffusion's form for every kind of model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lib_fewstep.models.kinds import Kind

RHO = 7.0
"""How much EDM's own grid prefers low noise levels (arXiv 2206.00364, equation 5)."""

Network = Callable[..., Tensor]
"""(latents, time, conditions...) -> output of the latents' shape."""


def levels_of(kind: Kind, count: int = 1000) -> Tensor:
    """The rising noise levels (count,), float64, of a kind that has no noise schedule.

    A flow's are even, those of the others even in log(sigma).
    """
    assert kind.levels is not None
    low, high = torch.tensor(kind.levels, dtype=torch.float64)
    if kind.flow:
        return torch.linspace(low, high, count, dtype=torch.float64)
    return torch.linspace(low.log(), high.log(), count, dtype=torch.float64).exp()


class ModelDenoiser(nn.Module):
    """From noisy latents (n, c, h, w) at noise levels (n,) to images, with what samplers and schedules ask for.

    `sigmas` are the levels (count,) of the timesteps 0 to count - 1. `inner_model` is the network's owner, for those
    who ask for it.
    """

    sigmas: Tensor
    log_sigmas: Tensor

    def __init__(self, network: Network, kind: Kind, sigmas: Tensor, inner_model: Any = None) -> None:
        """For a network of a kind, and its rising noise levels."""
        super().__init__()
        self.kind, self._network, self.inner_model = kind, network, inner_model
        self.register_buffer("sigmas", sigmas)
        self.register_buffer("log_sigmas", sigmas.log())

    def forward(self, x: Tensor, sigma: Tensor, **conditions: Any) -> Tensor:
        """The images (n, c, h, w) that the network sees."""
        factors = self.kind.factors(sigma)
        skip, out, scale = (_of_images(each, x) for each in (factors.skip, factors.out, factors.scale))
        time = self.sigma_to_t(sigma) if factors.time is None else factors.time
        return skip * x + out * self._network(scale * x, time, **conditions)

    @property
    def sigma_min(self) -> Tensor:
        """The lowest noise level."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Tensor:
        """The highest noise level."""
        return self.sigmas[-1]

    def sigma_to_t(self, sigma: Tensor) -> Tensor:
        """Timesteps of noise levels, linear in log(sigma) between those of the table."""
        wanted = sigma.log().reshape(-1)
        above = torch.searchsorted(self.log_sigmas, wanted).clamp(1, len(self.log_sigmas) - 1)
        low, high = self.log_sigmas[above - 1], self.log_sigmas[above]
        return (above - 1 + ((wanted - low) / (high - low)).clamp(0, 1)).reshape(sigma.shape)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        """The inverse."""
        at = t.to(self.log_sigmas.dtype)
        below = at.floor().long().clamp(0, len(self.log_sigmas) - 1)
        above = at.ceil().long().clamp(0, len(self.log_sigmas) - 1)
        return torch.lerp(self.log_sigmas[below], self.log_sigmas[above], at - below).exp()

    def get_sigmas(self, n: int | None = None) -> Tensor:
        """The grid (n + 1,) that this kind is meant for, from the highest level down to 0; by default all levels."""
        count = len(self.sigmas) if n is None else n
        return torch.cat([self._grid(count), self.sigmas.new_zeros(1)])

    def _grid(self, n: int) -> Tensor:
        if self.kind.flow:
            return 1 - torch.arange(n).to(self.sigmas) / n
        share = torch.linspace(0, 1, n, dtype=self.sigmas.dtype, device=self.sigmas.device)
        if self.kind.levels is None:
            return self.t_to_sigma((1 - share) * (len(self.sigmas) - 1))
        low, high = self.sigma_min ** (1 / RHO), self.sigma_max ** (1 / RHO)
        return torch.lerp(high, low, share) ** RHO


class TimestepDenoiser(nn.Module):
    """The noise that a denoiser sees in latents of unit variance at timesteps, in the form of DDIM and its like.

    The share of the image that is left at a timestep is 1 / (1 + sigma^2).
    """

    def __init__(self, denoiser: ModelDenoiser) -> None:
        """Around a denoiser, which is no flow's."""
        super().__init__()
        self.denoiser, self.inner_model = denoiser, denoiser.inner_model

    def forward(self, x: Tensor, timesteps: Tensor, **conditions: Any) -> Tensor:
        """The noise (n, c, h, w) in `x` at timesteps (n,), which may be fractions."""
        sigma = self.denoiser.t_to_sigma(timesteps)
        latents = x * _of_images((1 + sigma**2).sqrt(), x)
        image: Tensor = self.denoiser(latents, sigma, **conditions)
        return (latents - image) / _of_images(sigma, x)


def noisy(kind: Kind, image: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Latents of an image at a noise level, as a kind has them."""
    kept = 1 - sigma if kind.flow else 1.0
    latents: Tensor = sigma * noise + kept * image
    return latents


def _of_images(factors: Tensor, x: Tensor) -> Tensor:
    return factors.to(x).reshape(-1, 1, 1, 1)
