"""RAU-Net: resolution-aware down- and upsampling (HiDiffusion, arXiv 2311.17528, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from lib_fewstep.hires.resize import Size, halve, resize, size_of


@contextmanager
def strided(convolution: nn.Conv2d) -> Iterator[None]:
    """The same 3x3 weights with stride 4, padding 2, dilation 2: an output side of ceil(side / 4).

    The module itself is called, so that what other extensions do to it (LoRA, tiling) still happens.
    """
    geometry = {"stride": (4, 4), "padding": (2, 2), "dilation": (2, 2), "_reversed_padding_repeated_twice": [2] * 4}
    before = {name: getattr(convolution, name) for name in geometry}
    try:
        vars(convolution).update(geometry)
        yield
    finally:
        vars(convolution).update(before)


@contextmanager
def upsampling_to(upsampler: nn.Module, size: Callable[[], Size]) -> Iterator[None]:
    """One nearest resize straight to `size`, then the upsampler's convolution, in place of the fixed factor 2."""
    doubled = upsampler.forward
    own = vars(upsampler).get("forward")

    def forward(h: Tensor) -> Tensor:
        height, width = size()
        if (2 * h.shape[-2], 2 * h.shape[-1]) == (height, width):
            return doubled(h)  # type: ignore[no-any-return]
        return upsampler.conv(resize(h, (height, width), "nearest"))  # type: ignore[operator, no-any-return]

    vars(upsampler)["forward"] = forward
    try:
        yield
    finally:
        del vars(upsampler)["forward"]
        if own is not None:
            vars(upsampler)["forward"] = own


class Pool:
    """A pool after one input block, and the way back after its partner."""

    def __init__(self) -> None:
        """Nothing is pooled yet."""
        self._size: Size | None = None

    def down(self, h: Tensor) -> Tensor:
        """Half the size; the size that the feature map had is kept for the way back."""
        self._size = size_of(h)
        return halve(h)

    def up(self, h: Tensor) -> Tensor:
        """Bicubic, to exactly the size before `down`."""
        return h if self._size is None else resize(h, self._size, "bicubic")
