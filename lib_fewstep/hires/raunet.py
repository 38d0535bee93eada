"""RAU-Net: resolution-aware down- and upsampling (HiDiffusion, arXiv 2311.17528, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from lib_fewstep.hires.resize import Size, resize


def strided(h: Tensor) -> Tensor:
    """Every second row and column: on them a downsampler (stride 2, padding 1) gives an output side of ceil(side / 4).

    It is the same 3x3 convolution with stride 4, padding 2, dilation 2 on all of them. The module stays as it is, so
    that what other extensions do to it (LoRA, tiling) happens as ever.
    """
    return h[..., ::2, ::2]


@contextmanager
def upsampling_to(upsampler: nn.Module, size: Callable[[], Size | None]) -> Iterator[None]:
    """One nearest resize straight to `size`, then the upsampler's convolution, in place of the fixed factor 2.

    Where the size is not known (None), the factor stays; a `forward` of another extension's on the upsampler runs as
    it is, and what comes out is resized.
    """
    doubled = upsampler.forward
    own = vars(upsampler).get("forward")

    def forward(h: Tensor) -> Tensor:
        wanted = size()
        if wanted is None or wanted == (2 * h.shape[-2], 2 * h.shape[-1]):
            return doubled(h)  # type: ignore[no-any-return]
        if own is not None:
            return resize(doubled(h), wanted, "nearest")
        return upsampler.conv(resize(h, wanted, "nearest"))  # type: ignore[operator, no-any-return]

    vars(upsampler)["forward"] = forward
    try:
        yield
    finally:
        del vars(upsampler)["forward"]
        if own is not None:
            vars(upsampler)["forward"] = own
