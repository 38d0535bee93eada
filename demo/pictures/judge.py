"""What is seen in a picture, by its pixels alone: how many things, and of which kind and colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage, stats

from demo.pictures.scenes import KINDS, OUTLINE_WIDTH, PALETTE, FloatArray, Scene, coverage

BoolArray = npt.NDArray[np.bool_]

UNKNOWN = "unknown"
SMALLEST_AREA = 0.002
"""Share of the picture below which a region is a speck and not a thing."""

SMALLEST_FIT = 0.80
"""Least overlap (common over joint area) with a kind's silhouette: drawn things have 0.92, the nearest kinds 0.78."""

LARGEST_DIFFERENCE = 0.25
"""Of a channel from the background's middle, up to which a pixel may be background: its slope takes 0.1 of it."""

COLOURED = 0.40
"""Chroma (largest minus smallest channel) of a pixel whose hue counts."""

LARGEST_HUE_ERROR = 22
SMALLEST_COLOURED_SHARE = 0.2
GRID, MARGIN = 48, 2.6
TILTS = (-24.0, -16.0, -8.0, 0.0, 8.0, 16.0, 24.0)
"""In degrees; a star remains a star when it is tilted more than those that are drawn."""


@dataclass(frozen=True)
class Seen:
    """One thing: `area` is its share of the picture, `fit` its overlap with the silhouette of its kind."""

    kind: str
    colour: str
    area: float
    fit: float


def judge(picture: FloatArray) -> list[Seen]:
    """The things in a picture (height, width, 3) with values from 0 to 1, the largest first."""
    seen = [_describe(picture, region) for region in _regions(picture)]
    return sorted(seen, key=lambda one: one.area, reverse=True)


def is_exact(seen: Sequence[Seen], kind: str, colour: str) -> bool:
    """Whether exactly one thing is seen, of that kind and colour."""
    return [(one.kind, one.colour) for one in seen] == [(kind, colour)]


def likeness(picture: FloatArray, kind: str, colour: str) -> float:
    """How well the one thing covers the silhouette of a kind, from 0 to 1; 0 for another colour or number of things."""
    regions = _regions(picture)
    if len(regions) != 1 or _colour(picture[regions[0]]) != colour:
        return 0.0
    return _fit(_normal(regions[0]), kind)


def nearest_colour(picture: FloatArray) -> str:
    """The colour of the palette that the most coloured fifth of the largest thing is nearest to, however pale it is."""
    regions = sorted(_regions(picture), key=lambda region: int(region.sum()), reverse=True)
    if not regions:
        return UNKNOWN
    pixels = picture[regions[0]]
    errors = _hue_errors(pixels[_chroma(pixels) >= np.quantile(_chroma(pixels), 0.8)])
    return min(errors, key=errors.__getitem__)


def things(picture: FloatArray) -> BoolArray:
    """Which pixels (height, width) belong to things: unlike the background, without specks and holes."""
    side = min(picture.shape[:2])
    smooth = ndimage.gaussian_filter(picture, (side / 160, side / 160, 0))
    apart = np.abs(smooth - _background(smooth)).max(axis=-1)
    opened = ndimage.binary_opening(apart > LARGEST_DIFFERENCE, iterations=max(1, round(side / 64)))
    filled: BoolArray = ndimage.binary_fill_holes(opened)
    return filled


def _regions(picture: FloatArray) -> list[BoolArray]:
    labels, count = ndimage.label(things(picture))
    regions = [labels == number for number in range(1, count + 1)]
    return [region for region in regions if region.mean() >= SMALLEST_AREA]


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share of `hits` in `total`.

    Raises ValueError unless 0 <= hits <= total and total > 0.
    """
    interval = stats.binomtest(hits, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def _describe(picture: FloatArray, region: BoolArray) -> Seen:
    normal = _normal(region)
    fits = {kind: _fit(normal, kind) for kind in KINDS}
    best = max(fits, key=fits.__getitem__)
    kind = best if fits[best] >= SMALLEST_FIT else UNKNOWN
    return Seen(kind, _colour(picture[region]), float(region.mean()), fits[best])


def _normal(region: BoolArray) -> BoolArray:
    """A region on a small grid, centred and with a standard area."""
    places = np.argwhere(region)
    steps = ((np.arange(GRID) + 0.5) / GRID - 0.5) * MARGIN * len(places) ** 0.5
    y, x = np.meshgrid(*(centre + steps for centre in places.mean(axis=0)), indexing="ij")
    inside: BoolArray = ndimage.map_coordinates(region.astype(np.float32), [y, x], order=1) > 0.5
    return inside


def _fit(normal: BoolArray, kind: str) -> float:
    return max(_overlap(normal, ideal) for ideal in _silhouettes(kind))


@cache
def _silhouettes(kind: str) -> list[BoolArray]:
    scenes = [Scene(kind, "red", 0.6, tilt=tilt, mirrored=mirrored) for tilt in TILTS for mirrored in (False, True)]
    whole = KINDS[kind].whole
    return [_normal(coverage(scene, whole, 192, 192, grown=OUTLINE_WIDTH) > 0.5) for scene in scenes]


def _overlap(a: BoolArray, b: BoolArray) -> float:
    return float((a & b).sum() / (a | b).sum())


def _colour(pixels: FloatArray) -> str:
    """The name of the hue that the strongly coloured ones of some pixels (n, 3) have in the middle."""
    strong = pixels[_chroma(pixels) > COLOURED]
    if len(strong) < SMALLEST_COLOURED_SHARE * len(pixels):
        return UNKNOWN
    errors = _hue_errors(strong)
    nearest = min(errors, key=errors.__getitem__)
    return nearest if errors[nearest] <= LARGEST_HUE_ERROR else UNKNOWN


def _hue_errors(pixels: FloatArray) -> dict[str, float]:
    """How far the middle hue of some pixels (n, 3) is from that of each colour of the palette, in degrees."""
    hue = _hue(np.median(pixels, axis=0))
    return {name: abs((hue - _hue(np.asarray(colour)) + 180) % 360 - 180) for name, colour in PALETTE.items()}


def _background(picture: FloatArray) -> FloatArray:
    """The middle colour of the picture's edges, (3,)."""
    edges = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
    middle: FloatArray = np.median(np.concatenate(edges), axis=0)
    return middle


def _chroma(pixels: FloatArray) -> FloatArray:
    chroma: FloatArray = pixels.max(axis=-1) - pixels.min(axis=-1)
    return chroma


def _hue(colour: FloatArray) -> float:
    """The angle of a colour (3,) on the colour circle, in degrees; red is 0."""
    red, green, blue = colour
    return float(np.degrees(np.arctan2(math.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360)
