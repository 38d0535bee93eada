"""`python -m demo.prior sd15`: how much of the informative prior is left in images, by the share of the noise.

The prompt is "a house", which the small models draw green or blue. Counted are red ones with the prior of a drawn red
house, and measured is the brightness with the priors of black, grey and white pictures.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from demo.compare import chunks, loaded
from demo.model.checkpoint import MiniModel
from demo.model.layouts import LAYOUTS, Layout
from demo.numbers import positive
from demo.pictures.judge import is_exact, judge
from demo.pictures.scenes import TRAINED_SIDE, Scene, draw
from demo.sampling.generate import decoded, encoded, generate, seeded_noise
from demo.sampling.named import SCHEDULE, schedule
from lib_fewstep.compare.grid import counted
from lib_fewstep.sampling.prior import Prior, measure

HOUSE, COLOUR = "a house", "red"
STEPS, SHARES, BRIGHTNESSES = (4, 20), (1.0, 0.9, 0.8, 0.7, 0.6), (-1.0, 1.0)
CHUNK = 24
SIZE = (TRAINED_SIDE, TRAINED_SIDE)

Pictures = npt.NDArray[np.float32]


def pictures(layout: Layout, images: int, steps: int, prior: Prior, share: float) -> Iterator[Pictures]:
    """Houses of the seeds 0 to `images` - 1, with Euler and Trailing, from a prior and a share of the noise."""
    model, sigmas = loaded(layout), schedule(SCHEDULE, round(steps / share))[-steps - 1 :]
    for seeds in chunks(range(images), CHUNK):
        draws = seeded_noise(list(seeds), SIZE)
        noise, own, highest = draws(), draws(), float(sigmas[0])
        start = prior.start(noise, own, highest)
        made = generate(model, [HOUSE] * len(seeds), list(seeds), SIZE, sigmas=sigmas, start=start)
        yield from decoded(model, made.latents).clip(0, 1)


def subject(model: MiniModel) -> Prior:
    """The prior of one picture: each pixel of a drawn house, without a deviation."""
    picture = draw(Scene("house", COLOUR))
    return measure(list(encoded(model, picture[None])), of_pixels=True)


def plain(model: MiniModel, brightness: float) -> Prior:
    """The prior that a brightness alone makes: how a plain picture differs from medium grey; of 0 it is none."""
    levels = torch.tensor([(1 + brightness) / 2, 0.5]).numpy()
    latents = encoded(model, np.ones((2, *SIZE, 3), dtype=np.float32) * levels[:, None, None, None])
    own, grey = latents.mean(dim=(2, 3))
    return Prior(own - grey, torch.zeros_like(grey))


def table(layout: Layout, images: int) -> str:
    """For each number of steps and share of the noise: red houses, and the mean brightness, with each prior."""
    model = loaded(layout)
    priors = {"no prior": plain(model, 0.0), "a red house": subject(model)}
    priors |= {f"brightness {value:+g}": plain(model, value) for value in BRIGHTNESSES}
    lines = [f"{layout.title}: {HOUSE!r}, {images} pictures: {COLOUR} houses, and mean brightness from 0 to 1"]
    for steps, share, title in itertools.product(STEPS, SHARES, priors):
        made = list(pictures(layout, images, steps, priors[title], share))
        red = sum(is_exact(judge(picture), "house", COLOUR) for picture in made) / images
        lines.append(f"{counted(steps)}, share {share:g}, {title}: {100 * red:.0f}%, {np.mean(made):.3f}")
    return "\n".join(lines)


def main() -> int:
    """Read the command line, measure and print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.prior", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("layout", choices=list(LAYOUTS), help="which checkpoint")
    parser.add_argument("--images", type=positive, default=48, help="pictures of each (default: 48)")
    arguments = parser.parse_args()
    try:
        print(table(LAYOUTS[arguments.layout], arguments.images))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
