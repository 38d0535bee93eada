"""`python -m demo.judging`: how often the judge refuses drawn pictures, and lets drawn faults pass.

Both also after an autoencoder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from demo.compare import loaded
from demo.model.layouts import LAYOUTS
from demo.numbers import positive
from demo.pictures.judge import is_exact, judge, wilson
from demo.pictures.scenes import KINDS, OUTLINE_WIDTH, Picture, Scene, coverage, draw, random_scene
from demo.sampling.generate import decoded, encoded

SIDES = (128, 256)
SECOND_WIDTH, SECOND_PLACE = 0.12, 0.38
"""Of a small second thing, in sides of the picture: how wide it is, and how far its centre is from the middle."""

APART = 0.45
"""In widths of a thing, the distance of two that have grown together."""


def with_second_thing(scene: Scene, side: int) -> Picture:
    """The scene with a small thing of the same kind and colour in the corner that is farthest away."""
    x, y = (-SECOND_PLACE if offset > 0 else SECOND_PLACE for offset in (scene.offset_x, scene.offset_y))
    return _over(replace(scene, width=SECOND_WIDTH, offset_x=x, offset_y=y), draw(scene, side, side))


def grown_together(scene: Scene, side: int) -> Picture:
    """Two of the thing, one half over the other."""
    shift = APART * scene.width / 2
    left, right = (replace(scene, offset_x=scene.offset_x + shift * sign) for sign in (-1, 1))
    return _over(right, draw(left, side, side))


def half(scene: Scene, side: int) -> Picture:
    """The left half of the thing."""
    middle = round((0.5 + scene.offset_x) * side)
    empty = draw(replace(scene, offset_x=9.0), side, side)
    empty[:, :middle] = draw(scene, side, side)[:, :middle]
    return empty


def _over(scene: Scene, picture: Picture) -> Picture:
    """The scene's thing on a picture of the same size."""
    side = len(picture)
    covered = coverage(scene, KINDS[scene.kind].whole, side, side, grown=OUTLINE_WIDTH)[..., None]
    both: Picture = picture + covered * (draw(scene, side, side) - picture)
    return both


Draw = Callable[[Scene, int], Picture]
FAULTS: Mapping[str, Draw] = {
    "with a small second thing": with_second_thing,
    "of two grown together": grown_together,
    "of half a thing": half,
}


def main() -> int:
    """Read the command line, judge, and print the shares of wrong judgements; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo.judging", description=__doc__)
    parser.add_argument("--pictures", type=positive, default=1000, help="of each size and kind (default: 1000)")
    count = parser.parse_args().pictures
    try:
        loaded(LAYOUTS["sd15"])
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    for side in SIDES:
        for name, through in (("drawn", False), ("after the autoencoder", True)):
            right = accepted(side, count, through_autoencoder=through)
            print(f"{side}x{side}, {name}: {_share(count - right, count)} refused")
            for fault, drawn in FAULTS.items():
                passed = accepted(side, count, drawn, through_autoencoder=through)
                print(f"{side}x{side}, {name}, {fault}: {_share(passed, count)} accepted")
    return 0


def accepted(side: int, count: int, drawn: Draw | None = None, *, through_autoencoder: bool) -> int:
    """Number of random scenes, drawn as they are or with a fault, that are judged to be right."""
    rng, right = np.random.default_rng(side), 0
    for _ in tqdm(range(count), unit="picture", mininterval=1.0):
        scene = random_scene(rng)
        picture = draw(scene, side, side) if drawn is None else drawn(scene, side)
        seen = judge(_through(picture) if through_autoencoder else picture)
        right += is_exact(seen, scene.kind, scene.colour)
    return right


def _share(hits: int, count: int) -> str:
    low, high = wilson(hits, count)
    return f"{hits} of {count} ({100 * low:.1f}% to {100 * high:.1f}%)"


def _through(picture: Picture) -> Picture:
    """A picture that was encoded and decoded."""
    model = loaded(LAYOUTS["sd15"])
    again: Picture = np.clip(decoded(model, encoded(model, picture[None]))[0], 0, 1)
    return again


if __name__ == "__main__":
    raise SystemExit(main())
