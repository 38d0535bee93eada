"""Kohya's Deep Shrink: smaller feature maps inside the UNet for the first steps."""

from __future__ import annotations

from torch import Tensor

from lib_fewstep.highres.resize import Size, resize, size_of
from lib_fewstep.highres.schedule import Shrink


class Shrinker:
    """The input of one input block, made smaller, and the input of one output block, made larger again."""

    def __init__(self, shrink: Shrink, *, downsamples: bool) -> None:
        """`downsamples` says whether the shrunken block halves what it gets."""
        self._shrink = shrink
        self._downsamples = downsamples
        self._restored: Size | None = None

    def down(self, h: Tensor) -> Tensor:
        """The feature map times `down`; keeps the size that the block's output would have had without it."""
        height, width = size_of(h)
        self._restored = ((height + 1) // 2, (width + 1) // 2) if self._downsamples else (height, width)
        return resize(h, _scaled((height, width), self._shrink.down), self._shrink.scaler)

    def up(self, h: Tensor) -> Tensor:
        """Back to exactly that size where the factors undo each other in the partner block, else times `up`."""
        exact = self._shrink.restores and not self._shrink.early_out
        size = self._restored if exact and self._restored else _scaled(size_of(h), self._shrink.up)
        return resize(h, size, self._shrink.scaler)


def _scaled(size: Size, factor: float) -> Size:
    return (max(1, int(size[0] * factor)), max(1, int(size[1] * factor)))
