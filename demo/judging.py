"""`python -m demo.judging`: how often the judge is wrong about drawn pictures, also after an autoencoder."""

from __future__ import annotations

import argparse
import sys

import numpy as np
from tqdm import tqdm

from demo.compare import loaded
from demo.model.layouts import LAYOUTS
from demo.numbers import positive
from demo.pictures.judge import is_exact, judge, wilson
from demo.pictures.scenes import Picture, draw, random_scene
from demo.sampling.generate import decoded, encoded

SIDES = (128, 256)


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
            wrong = wrong_judgements(side, count, through_autoencoder=through)
            low, high = wilson(wrong, count)
            print(f"{side}x{side}, {name}: {wrong} of {count} wrong, {100 * low:.1f}% to {100 * high:.1f}%")
    return 0


def wrong_judgements(side: int, count: int, *, through_autoencoder: bool) -> int:
    """Number of random scenes that are not judged to be what was drawn."""
    rng, wrong = np.random.default_rng(side), 0
    for _ in tqdm(range(count), unit="picture", mininterval=1.0):
        scene = random_scene(rng)
        picture = draw(scene, side, side)
        seen = judge(_through(picture) if through_autoencoder else picture)
        wrong += not is_exact(seen, scene.kind, scene.colour)
    return wrong


def _through(picture: Picture) -> Picture:
    """A picture that was encoded and decoded."""
    model = loaded(LAYOUTS["sd15"])
    again: Picture = np.clip(decoded(model, encoded(model, picture[None]))[0], 0, 1)
    return again


if __name__ == "__main__":
    raise SystemExit(main())
