"""How near an image is to its reference."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL.Image import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

WINDOW = 7
SMALLEST = 3
_RANGE = 255


def psnr(image: Image, reference: Image) -> float:
    """The peak signal-to-noise ratio of two RGB images in dB: higher is nearer, infinite where they are equal.

    Raises ValueError for images of different sizes.
    """
    first, second = _levels(image, reference)
    if np.array_equal(first, second):
        return math.inf
    return float(peak_signal_noise_ratio(second, first, data_range=_RANGE))  # type: ignore[no-untyped-call]


def ssim(image: Image, reference: Image) -> float:
    """The mean structural similarity of two RGB images, at most 1.0, which equal images have.

    The window is the uniform one of 7 pixels a side, of 5 or 3 for images that are narrower. Raises ValueError for
    images of different sizes, and of less than 3 pixels a side.
    """
    first, second = _levels(image, reference)
    side = min(reference.size)
    if side < SMALLEST:
        raise ValueError(f"SSIM needs images with sides of at least {SMALLEST} pixels, not {side}.")
    window = min(WINDOW, side if side % 2 else side - 1)
    similarity = structural_similarity(  # type: ignore[no-untyped-call]
        first, second, win_size=window, data_range=_RANGE, channel_axis=2
    )
    return float(similarity)


def _levels(image: Image, reference: Image) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The levels of both, as height x width x 3."""
    if image.size != reference.size:
        sizes = " and ".join(f"{width} x {height}" for width, height in (image.size, reference.size))
        raise ValueError(f"Images of different sizes, {sizes} pixels, cannot be compared.")
    return np.asarray(image.convert("RGB")), np.asarray(reference.convert("RGB"))
