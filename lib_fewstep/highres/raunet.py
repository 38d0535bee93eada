"""RAU-Net: resolution-aware down- and upsampling (HiDiffusion, arXiv 2311.17528, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from lib_fewstep.highres.resize import Size, resize


def strided(h: Tensor) -> Tensor:
    """Every second row and column: on them a downsampler (stride 2, padding 1) gives an output side of ceil(side / 4).

    It is the same 3x3 convolution with stride 4, padding 2, dilation 2 on all of them. The module stays as it is, so
    that what other extensions do to it (LoRA, tiling) happens as ever.
    """
    return h[..., ::2, ::2]


@contextmanager
def upsampling_to(upsampler: nn.Module, size: Callable[[], Size | None], unused: Callable[[], None]) -> Iterator[None]:
    """The upsampler's convolution gets one nearest resize straight to `size`, in place of the fixed factor 2.

    The upsampler runs as it is, whoever has changed it: the nearest resize of what it has doubled is the same, to the
    bit, as that of its input. Where the size is not known (None), the factor stays. `unused` is called where the
    convolution has not run.
    """
    ran = False

    def straight(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal ran
        ran, wanted = True, size()
        return args if wanted is None else (resize(args[0], wanted, "nearest"), *args[1:])

    handle = upsampler.conv.register_forward_pre_hook(straight)  # type: ignore[union-attr]
    try:
        yield
    finally:
        handle.remove()
    if not ran:
        unused()
