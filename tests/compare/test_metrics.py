"""PSNR and SSIM against what their formulas give for images that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from lib_fewstep.compare.metrics import psnr, ssim

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def flat(level, size=(16, 12)):
    return Image.new("RGB", size, (level,) * 3)


def noise(seed, size=(16, 12)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def checkers(first, second, size=(16, 12)):
    rows, columns = np.indices((size[1], size[0]))
    levels = np.where((rows + columns) % 2 == 0, first, second).astype(np.uint8)
    return Image.fromarray(np.repeat(levels[..., None], 3, axis=2))


@pytest.mark.parametrize("offset", [1, 5, 51, 255])
def test_psnr_of_a_constant_offset(offset):
    assert psnr(flat(offset), flat(0)) == pytest.approx(20 * math.log10(255 / offset))


def test_psnr_of_an_offset_of_one_channel():
    """A third of the values is off by 10."""
    assert psnr(Image.new("RGB", (9, 9), (10, 0, 0)), flat(0, (9, 9))) == pytest.approx(
        10 * math.log10(255**2 * 3 / 100)
    )


def test_psnr_of_darker_is_that_of_brighter():
    """Levels do not wrap around."""
    assert psnr(flat(100), flat(110)) == psnr(flat(110), flat(100)) == pytest.approx(20 * math.log10(25.5))


def test_equal_images():
    assert psnr(noise(0), noise(0)) == math.inf
    assert ssim(noise(0), noise(0)) == 1.0
    assert ssim(flat(7), flat(7)) == 1.0


def test_one_level_of_one_pixel_is_not_equal():
    other = noise(0)
    level = other.getpixel((3, 3))
    other.putpixel((3, 3), (level[0] ^ 1, *level[1:]))
    assert psnr(other, noise(0)) == pytest.approx(10 * math.log10(255**2 * 16 * 12 * 3))
    assert 0.9 < ssim(other, noise(0)) < 1


@pytest.mark.parametrize(("first", "second"), [(0, 255), (100, 120), (30, 31)])
def test_ssim_of_flat_images(first, second):
    """There is no contrast: what is left is the term of the means."""
    expected = (2 * first * second + C1) / (first**2 + second**2 + C1)
    assert ssim(flat(first), flat(second)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("side", "window"), [(16, 7), (7, 7), (6, 5), (5, 5), (4, 3), (3, 3)])
def test_ssim_of_an_inverted_image(side, window):
    """Every window of a checkerboard has the same means, variances and covariance."""
    number = window**2
    mean, other = 255 * (number // 2) / number, 255 * (number // 2 + 1) / number
    variance = (255 * other - other**2) * number / (number - 1)
    expected = (2 * mean * other + C1) * (-2 * variance + C2) / ((mean**2 + other**2 + C1) * (2 * variance + C2))
    assert ssim(checkers(0, 255, (side, 20)), checkers(255, 0, (side, 20))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_symmetric(measure):
    assert measure(noise(0), noise(1)) == pytest.approx(measure(noise(1), noise(0)), rel=1e-12)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_other_modes_are_rgb(measure):
    assert measure(noise(0).convert("RGBA"), noise(1)) == measure(noise(0), noise(1))


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_different_sizes(measure):
    with pytest.raises(ValueError, match="16 x 12 and 12 x 16 pixels, cannot be compared"):
        measure(noise(0), noise(0, (12, 16)))


def test_too_small_for_ssim():
    with pytest.raises(ValueError, match="sides of at least 3 pixels, not 2"):
        ssim(flat(0, (2, 9)), flat(1, (2, 9)))
    assert psnr(flat(0, (2, 9)), flat(255, (2, 9))) == 0
