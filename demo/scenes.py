"""The drawn data set: one coloured shape on a grey background, as a small four-channel latent.

Channels 0 to 2 hold the colour (zero is the grey background), channel 3 the mask of the object. Lengths of a
scene are fractions of the frame's shorter side, so that the same scene can be drawn at any size.

What a latent shows does not depend on the level of its channels: training shifts each channel of each scene at
random, and `decode` takes the shift out again. The small UNet needs that: GroupNorm's 32 groups hold one channel
each where it has 32 channels, so it cannot see their means, and at 16x16 the mean of the first noise is large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]

SHAPES = ("circle", "square", "triangle")
PALETTE: dict[str, tuple[float, float, float]] = {
    "red": (0.9, -0.8, -0.8),
    "green": (-0.8, 0.7, -0.8),
    "blue": (-0.8, -0.6, 1.0),
    "yellow": (1.0, 0.8, -0.9),
    "purple": (0.6, -0.9, 0.8),
    "cyan": (-0.8, 0.9, 1.0),
}
TRAINED_SIDE = 16
"""Side of the latents that the checkpoint was trained on."""

COLOUR_SCALE = 2.0
MASK_OFF, MASK_ON = -0.6, 2.0
"""Values of the latent, chosen so that its overall mean is near 0 and its standard deviation near 1."""

SHIFT_DEVIATION = np.float32(0.9)
"""Standard deviation of the random shifts: that of the mean of 16x16 noise at the schedule's largest level."""

WIDTH_RANGE = (0.46, 0.60)
LARGEST_OFFSET = 0.12
SUPERSAMPLING = 8
DISPLAY_CONTRAST = 0.4
"""Below 0.5: drawn scenes keep to 0.1 to 0.9 of what a screen shows, so only an overshoot by a quarter is clipped."""


@dataclass(frozen=True)
class Scene:
    """One object: `width` and the offset of its centre are fractions of the frame's shorter side."""

    shape: str
    colour: str
    width: float
    offset_x: float = 0.0
    offset_y: float = 0.0

    @property
    def prompt(self) -> str:
        """The words that describe the scene, for example "a red circle"."""
        return prompt_for(self.shape, self.colour)


def prompt_for(shape: str, colour: str) -> str:
    """The prompt of the data set for a shape and a colour."""
    return f"a {colour} {shape}"


def all_kinds() -> list[tuple[str, str]]:
    """Every (shape, colour) of the data set, in a fixed order."""
    return [(shape, colour) for colour in PALETTE for shape in SHAPES]


def random_scene(rng: np.random.Generator, kind: tuple[str, str] | None = None) -> Scene:
    """A scene with width and place drawn from `rng`, and its (shape, colour) too where `kind` is None."""
    kinds = all_kinds()
    shape, colour = kind or kinds[int(rng.integers(len(kinds)))]
    offset_x, offset_y = rng.uniform(-LARGEST_OFFSET, LARGEST_OFFSET, size=2)
    return Scene(shape, colour, float(rng.uniform(*WIDTH_RANGE)), float(offset_x), float(offset_y))


def inside(shape: str, x: FloatArray, y: FloatArray) -> BoolArray:
    """Whether points lie in a shape that fills the unit square (0 to 1, y downwards; the triangle points up).

    Raises ValueError for a shape that is not one of `SHAPES`.
    """
    in_frame: BoolArray = (x >= 0) & (x < 1) & (y >= 0) & (y < 1)
    if shape == "circle":
        in_circle: BoolArray = (x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.25
        return in_circle
    if shape == "square":
        return in_frame
    if shape == "triangle":
        in_triangle: BoolArray = in_frame & (np.abs(x - 0.5) < y / 2)
        return in_triangle
    raise ValueError(f"unknown shape {shape!r}: the data set has {', '.join(SHAPES)}")


def coverage(scene: Scene, height: int, width: int) -> npt.NDArray[np.float32]:
    """Share of each pixel that the object covers, (height, width), antialiased by supersampling."""
    side = min(height, width)
    extent = scene.width * side
    left = width / 2 + scene.offset_x * side - extent / 2
    top = height / 2 + scene.offset_y * side - extent / 2
    x = (np.arange(width * SUPERSAMPLING) + 0.5) / SUPERSAMPLING
    y = (np.arange(height * SUPERSAMPLING) + 0.5) / SUPERSAMPLING
    fine = inside(scene.shape, (x[None, :] - left) / extent, (y[:, None] - top) / extent)
    blocks = fine.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING)
    covered: npt.NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return covered


def draw(scene: Scene, height: int = TRAINED_SIDE, width: int = TRAINED_SIDE) -> npt.NDArray[np.float32]:
    """The latent of a scene, (4, height, width), float32."""
    covered = coverage(scene, height, width)
    colour = np.asarray(PALETTE[scene.colour], dtype=np.float32) * COLOUR_SCALE
    mask = MASK_OFF + (MASK_ON - MASK_OFF) * covered
    latent: npt.NDArray[np.float32] = np.concatenate([colour[:, None, None] * covered, mask[None]])
    return latent


def random_shifts(rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    """Shifts of the channels' levels for `count` latents, (count, 4, 1, 1)."""
    return rng.standard_normal((count, 4, 1, 1), dtype=np.float32) * SHIFT_DEVIATION


def decode(latent: FloatArray) -> npt.NDArray[np.float64]:
    """The latent (4, h, w) with each channel shifted so that its background is as drawn.

    The background's level is the channel's median, since an object covers less than half of the frame.
    """
    levels = np.median(latent, axis=(1, 2), keepdims=True)
    drawn = np.array([0.0, 0.0, 0.0, MASK_OFF])[:, None, None]
    decoded: npt.NDArray[np.float64] = np.asarray(latent, dtype=np.float64) - levels + drawn
    return decoded


def to_rgb(latent: FloatArray) -> npt.NDArray[np.float64]:
    """The picture that a latent (4, h, w) shows, as values in [0, 1], (h, w, 3)."""
    return np.clip(unclipped_rgb(latent), 0, 1)


def unclipped_rgb(latent: FloatArray) -> npt.NDArray[np.float64]:
    """The picture that a latent (4, h, w) would show on a screen without limits, (h, w, 3); grey is 0.5."""
    rgb: npt.NDArray[np.float64] = decode(latent)[:3] / COLOUR_SCALE * DISPLAY_CONTRAST + 0.5
    return rgb.transpose(1, 2, 0)
