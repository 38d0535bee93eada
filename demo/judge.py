"""What is seen in a latent: how many objects, of which shape and colour; and intervals for shares.

An object is a connected region of the mask channel above the middle between its two values. Regions smaller
than `SMALLEST_AREA` of the frame are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from demo.scenes import COLOUR_SCALE, MASK_OFF, MASK_ON, PALETTE, SHAPES, BoolArray, FloatArray, decode, inside

SMALLEST_AREA = 0.005
"""Smallest region that counts, as a share of the frame (the smallest object drawn covers 0.1 of a square)."""

SMALLEST_FIT = 0.84
"""Smallest overlap (intersection over union) with an ideal shape; below it an object has no shape.

The strictest value at which 99% of drawn 16x16 scenes still pass when noise of 0.15 and a blur of 0.6 pixels
(standard deviations) are added.
"""

LARGEST_ASPECT = 1.5
"""Longest over shortest side of an object's box; above it an object has no shape."""

LARGEST_HUE_ANGLE = 30.0
"""Largest angle in degrees to a palette colour, seen from grey (the palette's own are at least 60 apart)."""

WEAKEST_COLOUR = 0.4
"""Smallest distance from grey, as a share of the palette colour's; with less an object has no colour.

There is no upper limit: guidance overshoots, which a screen clips.
"""

FINENESS = 4
UNIT_GRID = 200
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Seen:
    """One object: shape and colour, or "unknown", its share of the frame, its fit to the shape (0 to 1)."""

    shape: str
    colour: str
    area: float
    fit: float


def judge(latent: FloatArray) -> list[Seen]:
    """The objects in a latent (4, height, width), the largest first.

    Raises ValueError for another form of array.
    """
    if latent.ndim != 3 or latent.shape[0] != 4:
        raise ValueError(f"a latent has the form (4, height, width), this array has {latent.shape}")
    fine = _enlarge(decode(latent))
    labels, count = ndimage.label(fine[3] > (MASK_OFF + MASK_ON) / 2)
    regions = [labels == number for number in range(1, count + 1)]
    seen = [_describe(fine, region) for region in regions if region.mean() >= SMALLEST_AREA]
    return sorted(seen, key=lambda thing: thing.area, reverse=True)


def is_exact(seen: list[Seen], shape: str, colour: str) -> bool:
    """Whether there is exactly one object and it has this shape and colour."""
    return len(seen) == 1 and (seen[0].shape, seen[0].colour) == (shape, colour)


def _enlarge(latent: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    zoom = (1, FINENESS, FINENESS)
    fine: npt.NDArray[np.float64] = ndimage.zoom(latent, zoom, order=1, mode="nearest", grid_mode=True)
    return fine


def _describe(fine: npt.NDArray[np.float64], region: BoolArray) -> Seen:
    shape, fit = _shape_of(region)
    return Seen(shape, _colour_of(fine[:3, region]), float(region.mean()), fit)


def _shape_of(region: BoolArray) -> tuple[str, float]:
    fits = {shape: _overlap(region, _ideal(shape, region)) for shape in SHAPES}
    best = max(fits, key=fits.__getitem__)
    height, width = (axis.stop - axis.start for axis in ndimage.find_objects(region.astype(np.int8))[0])
    too_long = max(height, width) > LARGEST_ASPECT * min(height, width)
    return (UNKNOWN if too_long or fits[best] < SMALLEST_FIT else best), fits[best]


def _ideal(shape: str, region: BoolArray) -> BoolArray:
    """The shape, stretched and placed so that its centre of mass and spread on both axes are the region's."""
    centres, spreads = _moments(region)
    unit_centres, unit_spreads = _unit_moments(shape)
    sides = spreads / unit_spreads
    y, x = (np.arange(length) for length in region.shape)
    top, left = centres - unit_centres * sides
    return inside(shape, (x[None, :] - left) / sides[1], (y[:, None] - top) / sides[0])


def _moments(region: BoolArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    places = np.argwhere(region)
    spread = np.sqrt(places.var(axis=0) + 1 / 12)
    return places.mean(axis=0), spread


@cache
def _unit_moments(shape: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    grid = (np.arange(UNIT_GRID) + 0.5) / UNIT_GRID
    centres, spreads = _moments(inside(shape, grid[None, :], grid[:, None]))
    return (centres + 0.5) / UNIT_GRID, spreads / UNIT_GRID


def _overlap(first: BoolArray, second: BoolArray) -> float:
    return float((first & second).sum() / (first | second).sum())


def _colour_of(pixels: npt.NDArray[np.float64]) -> str:
    """The palette colour in whose direction from grey the median of `pixels` (3, n) lies."""
    middle = np.median(pixels, axis=1) / COLOUR_SCALE
    names, palette = list(PALETTE), np.array(list(PALETTE.values()))
    lengths = np.linalg.norm(palette, axis=1)
    along = palette @ middle / lengths
    best = int(along.argmax())
    strong = along[best] >= WEAKEST_COLOUR * lengths[best]
    near = along[best] >= np.cos(np.radians(LARGEST_HUE_ANGLE)) * np.linalg.norm(middle)
    return names[best] if strong and near else UNKNOWN
