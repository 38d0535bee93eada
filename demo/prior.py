"""`python -m demo.prior sd15`: how much of the informative prior is left in images, by the share of the noise.

The prior of a subject is a drawn house, small and off the centre, and the prompt asks for one like it anywhere: the
overlap is that of the two, their common area divided by their whole area. The priors of a brightness are those of black
and white pictures.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator

import numpy as np
import torch

from demo.compare import chunks, loaded
from demo.model.checkpoint import MiniModel
from demo.model.layouts import LAYOUTS, Layout
from demo.numbers import positive
from demo.pictures.judge import things
from demo.pictures.scenes import TRAINED_SIDE, FloatArray, Picture, Scene, draw
from demo.sampling.denoiser import NoiseLevels
from demo.sampling.generate import decoded, encoded, generate, seeded_noise
from demo.sampling.named import SCHEDULE, schedule
from lib_fewstep.compare.grid import counted
from lib_fewstep.sampling.prior import Prior, measure
from lib_fewstep.sampling.schedules import from_share

SUBJECT = Scene("house", "red", width=0.4, offset_x=0.1, offset_y=0.1)
STEPS, SHARES, BRIGHTNESSES = (4, 20), (1.0, 0.9, 0.8, 0.7, 0.6), (-1.0, 1.0)
CHUNK = 24
SIZE = (TRAINED_SIDE, TRAINED_SIDE)


def pictures(layout: Layout, images: int, steps: int, prior: Prior, share: float) -> Iterator[Picture]:
    """Pictures of the seeds 0 to `images` - 1, with Euler and Trailing, from a prior and a share of the noise."""
    model, sigmas = loaded(layout), from_share(schedule(SCHEDULE, steps), share, NoiseLevels())
    for seeds in chunks(range(images), CHUNK):
        draws = seeded_noise(list(seeds), SIZE)
        noise, own, highest = draws(), draws(), float(sigmas[0])
        start = prior.start(noise, own, highest)
        made = generate(model, [SUBJECT.prompt] * len(seeds), list(seeds), SIZE, sigmas=sigmas, start=start)
        yield from decoded(model, made.latents).clip(0, 1)


def subject(model: MiniModel) -> Prior:
    """The prior of one picture: each pixel of the drawn house, without a deviation."""
    return measure(list(encoded(model, draw(SUBJECT)[None])), of_pixels=True)


def plain(model: MiniModel, brightness: float) -> Prior:
    """The prior that a brightness alone makes: how a plain picture differs from medium grey; of 0 it is none."""
    levels = torch.tensor([(1 + brightness) / 2, 0.5]).numpy()
    latents = encoded(model, np.ones((2, *SIZE, 3), dtype=np.float32) * levels[:, None, None, None])
    own, grey = latents.mean(dim=(2, 3))
    return Prior(own - grey, torch.zeros_like(grey))


def overlap(picture: FloatArray) -> float:
    """How much of the areas of the picture's things and of the drawn house they share."""
    here, there = things(picture), things(draw(SUBJECT))
    return float((here & there).sum() / (here | there).sum())


def table(layout: Layout, images: int) -> Iterator[str]:
    """A title, and for each number of steps, share of the noise and prior mean overlap with the subject and brightness.

    Each line comes as soon as it is measured.
    """
    model = loaded(layout)
    priors = {"no prior": plain(model, 0.0), "the subject": subject(model)}
    priors |= {f"brightness {value:+g}": plain(model, value) for value in BRIGHTNESSES}
    yield f"{layout.title}: {SUBJECT.prompt!r}, {images} pictures: overlap with the subject, brightness from 0 to 1"
    for steps, share, title in itertools.product(STEPS, SHARES, priors):
        made = list(pictures(layout, images, steps, priors[title], share))
        shared = np.mean([overlap(picture) for picture in made])
        yield f"{counted(steps)}, share {share:g}, {title}: {100 * shared:.0f}%, {np.mean(made):.3f}"


def main() -> int:
    """Read the command line, measure and print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.prior", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("layout", choices=list(LAYOUTS), help="which checkpoint")
    parser.add_argument("--images", type=positive, default=48, help="pictures of each (default: 48)")
    arguments = parser.parse_args()
    try:
        for line in table(LAYOUTS[arguments.layout], arguments.images):
            print(line, flush=True)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
