"""Resizing of feature maps in every precision and on every device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

Size = tuple[int, int]
"""Height and width."""

_EXACT_IN_ANY_PRECISION = ("nearest", "nearest-exact")


def size_of(h: Tensor) -> Size:
    """Height and width of a feature map (batch, channels, height, width)."""
    return (h.shape[-2], h.shape[-1])


def resize(h: Tensor, size: Size, mode: str) -> Tensor:
    """A feature map (batch, channels, height, width) at another size, in its own precision and on its own device.

    `mode` is one of `torch.nn.functional.interpolate`'s. Half precisions are interpolated in float32, and bicubic
    on the CPU for Apple's devices, whose torch 2.1 has no kernel for it.
    """
    if size_of(h) == size:
        return h
    if mode in _EXACT_IN_ANY_PRECISION:
        return functional.interpolate(_with_kernels(h), size=size, mode=mode).to(h)
    work = h.cpu() if h.device.type == "mps" and mode == "bicubic" else h
    return functional.interpolate(work.float(), size=size, mode=mode).to(h)


def halve(h: Tensor) -> Tensor:
    """Mean of each 2x2 cell; a last odd row or column is averaged alone (`ceil_mode`)."""
    return functional.avg_pool2d(_with_kernels(pad_to_even(h, dims=(-2, -1))), 2).to(h)


def _with_kernels(h: Tensor) -> Tensor:
    """Half precisions on the CPU as float32, which gives the same bits when rounded back: torch 2.1 lacks kernels."""
    return h.float() if h.device.type == "cpu" and h.element_size() < torch.float32.itemsize else h


def pad_to_even(x: Tensor, dims: tuple[int, int]) -> Tensor:
    """Repeat the last slice of each of the dimensions whose length is odd."""
    for dim in dims:
        if x.shape[dim] % 2:
            x = torch.cat([x, x.narrow(dim, x.shape[dim] - 1, 1)], dim)
    return x
