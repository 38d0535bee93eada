"""A guidance scale that the network is given as a number, as in full LCM checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def embedded(scale: float, width: int) -> Tensor:
    """The embedding (width,) of a guidance scale (arXiv 2310.04378, section 4.2; w = scale - 1 there).

    It is that of a timestep of 1000 w: sines, then cosines.
    """
    half = width // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10_000) / (half - 1)))
    angles = 1000 * (scale - 1) * rates
    parts = torch.cat([angles.sin(), angles.cos()])
    return torch.nn.functional.pad(parts, (0, width % 2))


@contextmanager
def guided_by_number(unet: nn.Module, projection: Tensor, scale: float) -> Iterator[None]:
    """The UNet is given a guidance scale inside; `projection` (channels, width) leads into its time embedding."""
    added = projection.double() @ embedded(scale, projection.shape[1]).to(projection.device)

    def before(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        time, *others = args
        return (time + added.to(time), *others)

    handle = unet.time_embed.register_forward_pre_hook(before)  # type: ignore[union-attr]
    try:
        yield
    finally:
        handle.remove()
