"""The drawn pictures: one coloured thing on a pale background, 128x128 pixels in training.

Lengths of a scene are fractions of the frame's shorter side, so that the same scene can be drawn at any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

FloatArray = npt.NDArray[np.floating[Any]]
Picture = npt.NDArray[np.float32]
"""(height, width, 3), values from 0 to 1."""

TRAINED_SIDE = 128
PALETTE: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.10, 0.12),
    "yellow": (0.95, 0.80, 0.08),
    "green": (0.12, 0.62, 0.18),
    "cyan": (0.08, 0.72, 0.78),
    "blue": (0.12, 0.25, 0.85),
    "purple": (0.62, 0.16, 0.76),
}
GREY = (0.72, 0.72, 0.74)
"""The background of a prompt that names none."""

PALE, PALE_LEVEL = 0.30, 0.88
"""How much of its colour a background has, and the level of the white that it is mixed with."""

WIDTH_RANGE = (0.40, 0.72)
"""Before a kind's scale. Things are as often small as large, so that a model knows them at several scales."""

LARGEST_OFFSET, ROOM = 0.10, 0.03
"""A thing is at most so far from the centre, and keeps so much room to the frame's edge."""

LARGEST_TILT = 8.0
NAMED_BACKGROUNDS = 0.6
SHADING, HIGHLIGHT, BACKGROUND_SLOPE = 0.28, 0.10, 0.10
DARKER, LIGHTER = 0.45, 0.55
OUTLINE_WIDTH, OUTLINE_LEVEL = 0.035, 0.28
FINENESS = 3

Polygon = list[tuple[float, float]]


def _ellipse(x: float, y: float, across: float, down: float, corners: int = 48) -> Polygon:
    angles = [2 * math.pi * index / corners for index in range(corners)]
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in angles]


def _star(outer: float = 0.52, inner: float = 0.23) -> Polygon:
    spokes = [(math.pi * index / 5, inner if index % 2 else outer) for index in range(10)]
    return [(0.5 + radius * math.sin(angle), 0.53 - radius * math.cos(angle)) for angle, radius in spokes]


def _heart(corners: int = 64) -> Polygon:
    """The heart curve x = 16 sin^3, y = 13 cos - 5 cos 2 - 2 cos 3 - cos 4."""
    points = []
    for angle in (2 * math.pi * index / corners for index in range(corners)):
        x = 16 * math.sin(angle) ** 3
        y = 13 * math.cos(angle) - 5 * math.cos(2 * angle) - 2 * math.cos(3 * angle) - math.cos(4 * angle)
        points.append((0.5 + x / 33, 0.46 - y / 33))
    return points


@dataclass(frozen=True)
class Outlines:
    """A kind of thing in the unit square, y downwards: the whole, and its parts that are darker or lighter.

    `scale` makes up for kinds that fill little of the square.
    """

    whole: tuple[Polygon, ...]
    dark: tuple[Polygon, ...] = ()
    light: tuple[Polygon, ...] = ()
    scale: float = 1.0


_ROOF: Polygon = [(0.0, 0.50), (0.5, 0.02), (1.0, 0.50)]
_TRUNK: Polygon = [(0.38, 1.0), (0.42, 0.66), (0.58, 0.66), (0.62, 1.0)]
_WHEELS = (_ellipse(0.23, 0.70, 0.12, 0.12), _ellipse(0.77, 0.70, 0.12, 0.12))
KINDS: dict[str, Outlines] = {
    "house": Outlines(
        whole=([(0.14, 0.46), (0.86, 0.46), (0.86, 1.0), (0.14, 1.0)], _ROOF),
        dark=(_ROOF, [(0.42, 0.68), (0.62, 0.68), (0.62, 1.0), (0.42, 1.0)]),
        light=([(0.22, 0.60), (0.35, 0.60), (0.35, 0.74), (0.22, 0.74)],),
    ),
    "tree": Outlines(
        whole=(
            _ellipse(0.5, 0.24, 0.27, 0.24),
            _ellipse(0.25, 0.45, 0.25, 0.22),
            _ellipse(0.75, 0.45, 0.25, 0.22),
            [(0.42, 0.5), (0.58, 0.5), (0.62, 1.0), (0.38, 1.0)],
        ),
        dark=(_TRUNK,),
    ),
    "fish": Outlines(
        whole=(_ellipse(0.40, 0.5, 0.40, 0.25), [(0.70, 0.5), (1.0, 0.24), (0.94, 0.5), (1.0, 0.76)]),
        dark=(_ellipse(0.18, 0.44, 0.04, 0.04), [(0.44, 0.5), (0.58, 0.42), (0.58, 0.62)]),
        scale=1.25,
    ),
    "star": Outlines(whole=(_star(),), scale=1.15),
    "car": Outlines(
        whole=(
            [(0.0, 0.46), (0.05, 0.44), (0.95, 0.46), (1.0, 0.52), (1.0, 0.70), (0.0, 0.70)],
            [(0.20, 0.46), (0.32, 0.24), (0.66, 0.24), (0.82, 0.46)],
            *_WHEELS,
        ),
        dark=_WHEELS,
        light=(
            [(0.28, 0.44), (0.36, 0.30), (0.47, 0.30), (0.47, 0.44)],
            [(0.53, 0.44), (0.53, 0.30), (0.63, 0.30), (0.72, 0.44)],
        ),
        scale=1.25,
    ),
    "heart": Outlines(whole=(_heart(),)),
}


@dataclass(frozen=True)
class Scene:
    """One thing; `width` and the offset of its centre are fractions of the frame's shorter side.

    `background` "" is grey. `tilt` is in degrees; `light` and `fall`, from -1 to 1, are the sides from which the thing
    and the background are lit.
    """

    kind: str
    colour: str
    width: float = 0.53
    offset_x: float = 0.0
    offset_y: float = 0.0
    background: str = ""
    tilt: float = 0.0
    mirrored: bool = False
    light: float = 0.0
    fall: float = 0.0

    @property
    def prompt(self) -> str:
        """The words that describe the scene, for example "a blue fish on a yellow background"."""
        return prompt_for(self.kind, self.colour, self.background)


def prompt_for(kind: str, colour: str, background: str = "") -> str:
    """The prompt of the data set."""
    return f"a {colour} {kind}" + (f" on a {background} background" if background else "")


def all_kinds() -> list[tuple[str, str]]:
    """Every (kind, colour) of the data set, in a fixed order."""
    return [(kind, colour) for colour in PALETTE for kind in KINDS]


def random_scene(rng: np.random.Generator, of: tuple[str, str] | None = None) -> Scene:
    """A scene drawn from `rng`, also its (kind, colour) where `of` is None."""
    kind, colour = of or (str(rng.choice(list(KINDS))), str(rng.choice(list(PALETTE))))
    smallest, largest = WIDTH_RANGE
    width = smallest * (largest / smallest) ** float(rng.random())
    reach = min(LARGEST_OFFSET, max(0.0, 0.5 - ROOM - width * KINDS[kind].scale / 2))
    offset_x, offset_y = rng.uniform(-reach, reach, 2)
    others = [name for name in PALETTE if name != colour]
    background = str(rng.choice(others)) if rng.random() < NAMED_BACKGROUNDS else ""
    return Scene(
        kind,
        colour,
        width=width,
        offset_x=float(offset_x),
        offset_y=float(offset_y),
        background=background,
        tilt=float(rng.uniform(-LARGEST_TILT, LARGEST_TILT)),
        mirrored=bool(rng.random() < 0.5),
        light=float(rng.uniform(-1, 1)),
        fall=float(rng.uniform(-1, 1)),
    )


def draw(scene: Scene, height: int = TRAINED_SIDE, width: int = TRAINED_SIDE) -> Picture:
    """The picture of a scene, (height, width, 3), values from 0 to 1."""
    outlines = KINDS[scene.kind]
    whole, dark, light = (
        coverage(scene, part, height, width)[..., None] for part in (outlines.whole, outlines.dark, outlines.light)
    )
    grown = coverage(scene, outlines.whole, height, width, grown=OUTLINE_WIDTH)[..., None]
    edge = np.clip(grown - whole, 0, 1)
    x, y = _places(height, width)
    colour = np.asarray(PALETTE[scene.colour], np.float32)
    shade = 1 - SHADING * ((x - scene.offset_x) * scene.light + (y - scene.offset_y)) / scene.width
    body = np.clip(colour * shade + HIGHLIGHT * np.clip(shade - 1, 0, 1), 0, 1)
    body = body * (1 - DARKER * dark)
    body = body + light * LIGHTER * (1 - body)
    picture = _background(scene, x, y)
    picture = picture * (1 - edge) + OUTLINE_LEVEL * colour * edge
    picture = picture * (1 - whole) + body * whole
    drawn: Picture = np.clip(picture, 0, 1).astype(np.float32)
    return drawn


def as_bytes(picture: Picture) -> npt.NDArray[np.uint8]:
    """A picture with whole values from 0 to 255."""
    return (picture * 255).round().astype(np.uint8)


def _places(height: int, width: int) -> tuple[FloatArray, FloatArray]:
    """Where each pixel is, (height, width, 1), from the centre, in sides of the frame."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)[..., None]
    side = min(height, width)
    return (x + 0.5) / side - width / side / 2, (y + 0.5) / side - height / side / 2


def _background(scene: Scene, x: FloatArray, y: FloatArray) -> FloatArray:
    named = scene.background
    level = PALE * np.asarray(PALETTE[named]) + (1 - PALE) * PALE_LEVEL if named else np.asarray(GREY)
    slope = 1 + BACKGROUND_SLOPE * (scene.fall * x - y)
    return np.clip(level.astype(np.float32) * slope, 0, 1)


def coverage(
    scene: Scene, outlines: tuple[Polygon, ...], height: int, width: int, grown: float = 0.0
) -> npt.NDArray[np.float32]:
    """Share of each pixel that outlines cover, (height, width), antialiased.

    `grown`, in widths of the thing, is how far the outlines reach beyond themselves.
    """
    fine = Image.new("L", (width * FINENESS, height * FINENESS))
    pen = ImageDraw.Draw(fine)
    side = min(height, width) * FINENESS
    for outline in outlines:
        points = [
            (width * FINENESS / 2 + u * side, height * FINENESS / 2 + v * side) for u, v in _placed(scene, outline)
        ]
        pen.polygon(points, fill=255)
        if grown:
            line = round(2 * grown * scene.width * side)
            pen.line([*points, points[0], points[1]], fill=255, width=line, joint="curve")
    covered: npt.NDArray[np.float32] = np.asarray(fine.resize((width, height), Image.Resampling.BOX), np.float32) / 255
    return covered


def _placed(scene: Scene, outline: Polygon) -> Polygon:
    """An outline in the frame, from its centre, in sides of the frame."""
    extent = scene.width * KINDS[scene.kind].scale
    across = -extent if scene.mirrored else extent
    cos, sin = math.cos(math.radians(scene.tilt)), math.sin(math.radians(scene.tilt))
    scaled = [((x - 0.5) * across, (y - 0.5) * extent) for x, y in outline]
    return [(cos * u - sin * v + scene.offset_x, sin * u + cos * v + scene.offset_y) for u, v in scaled]
