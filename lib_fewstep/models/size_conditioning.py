"""SDXL's size conditioning: which size the network believes the image to have (arXiv 2307.01952, section 2.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

WIDTH = 256
"""Of the embedding of each number."""
NUMBERS = 6
MAX_PERIOD = 10_000


@dataclass(frozen=True)
class Sizes:
    """Original size, crop and target size in pixels, each as SDXL has them: height before width, top before left."""

    original: tuple[int, int]
    crop: tuple[int, int]
    target: tuple[int, int]


def embedded(sizes: Sizes) -> Tensor:
    """The embedding (1536,) of the six numbers: for each the cosines, then the sines."""
    numbers = torch.tensor([*sizes.original, *sizes.crop, *sizes.target], dtype=torch.float32)
    half = WIDTH // 2
    rates = torch.exp(-math.log(MAX_PERIOD) * torch.arange(half, dtype=torch.float32) / half)
    angles = numbers[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1).flatten()


def with_sizes(vector: Tensor, sizes: Sizes) -> Tensor:
    """The vectors (n, c) that SDXL's UNet is given, with other sizes at their end; c is at least 1536."""
    return torch.cat([vector[:, : -NUMBERS * WIDTH], embedded(sizes).to(vector).expand(len(vector), -1)], dim=1)
