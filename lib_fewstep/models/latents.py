"""Latents whose statistics are not those of the VAE's other models."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SDXL_FACTOR = 0.13025


@dataclass(frozen=True)
class LatentFormat:
    """The mean and deviation of each channel of what the VAE gives, and the deviation that the model works with."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    scale: float

    def of_model(self, latents: Tensor, factor: float = SDXL_FACTOR) -> Tensor:
        """The model's latents (n, c, h, w), of the host's, which are the VAE's times `factor`."""
        mean, deviation = self._channels(latents)
        return (latents / factor - mean) * (self.scale / deviation)

    def of_host(self, latents: Tensor, factor: float = SDXL_FACTOR) -> Tensor:
        """The inverse."""
        mean, deviation = self._channels(latents)
        return (latents * (deviation / self.scale) + mean) * factor

    def _channels(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        mean, deviation = (torch.tensor(each).to(latents).reshape(-1, 1, 1) for each in (self.mean, self.deviation))
        return mean, deviation


PLAYGROUND = LatentFormat(mean=(-1.6574, 1.886, -1.383, 2.5155), deviation=(8.4927, 5.9022, 6.5498, 5.2299), scale=0.5)
"""Playground v2.5 (arXiv 2402.17245), as its VAE's configuration in diffusers has it."""
