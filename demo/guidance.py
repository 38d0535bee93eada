"""Ordinary guidance (CFG) against CFG++ on the same prompts and seeds: what is right, and what no screen can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from demo.checkpoint import MiniModel
from demo.compare import Image, Task, chunks, judged
from demo.generate import generate
from demo.sampling.denoiser import trailing_sigmas
from demo.sampling.samplers import Sampler, sample_euler
from demo.scenes import BoolArray, FloatArray, unclipped_rgb
from lib_fewstep.sampling import calibrated, sample_euler_cfgpp

CFG = 8.0
"""The CFG slider's value: the lowest whole number at which plain CFG clearly burns in 20 steps.

It clips 0.4% of all colours at 6 (96 images), 1.0 +- 0.3% at 7 and 1.7 +- 0.5% at 8 (192 images, two standard
errors): 8 is the first that is above 1% beyond doubt. It is read off plain CFG alone, whatever CFG++ does there.
"""

STEP_COUNTS = (1, 2, 4, 8, 20)
CHUNK = 24
"""Images generated at once; no seconds are compared here, so larger groups only save time."""


def is_clipped(latent: FloatArray) -> BoolArray:
    """Which colour values (h, w, 3) of the picture that a latent shows lie below black or above white.

    The levels of the latent's channels carry nothing and are taken out first, as for every picture here. Drawn
    scenes have no such values, not even close: the strongest colour ends at a tenth of the range from its edge.
    """
    colours = unclipped_rgb(latent)
    clipped: BoolArray = (colours < 0) | (colours > 1)
    return clipped


def out_of_range(latent: FloatArray) -> float:
    """Share of a picture's colour values that a screen clips."""
    return float(is_clipped(latent).mean())


@dataclass(frozen=True)
class Difference:
    """Mean of CFG++ minus CFG over pairs of images, and its standard error (None for fewer than two pairs)."""

    mean: float
    standard_error: float | None


@dataclass
class Guided:
    """What one sampler made of all tasks; `strength` is what its denoiser guided with."""

    title: str
    sampler: Sampler
    steps: int
    strength: float
    images: list[Image] = field(default_factory=list)
    out_of_range: list[float] = field(default_factory=list)

    @property
    def exact_share(self) -> float:
        """Share of images that show what was asked for."""
        return sum(image.exact for image in self.images) / len(self.images)

    @property
    def out_of_range_share(self) -> float:
        """Mean share of colours out of range."""
        return sum(self.out_of_range) / len(self.out_of_range)


@dataclass
class Pair:
    """Both samplers with the same number of steps and value of the CFG slider, images in the order of the tasks."""

    steps: int
    cfg: Guided
    cfgpp: Guided

    @property
    def exact_difference(self) -> Difference:
        """How much more often CFG++ shows what was asked for."""
        before, after = ([image.exact for image in guided.images] for guided in (self.cfg, self.cfgpp))
        return difference(before, after)

    @property
    def out_of_range_difference(self) -> Difference:
        """How much more CFG++ is out of range."""
        return difference(self.cfg.out_of_range, self.cfgpp.out_of_range)


def difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """The mean difference of paired values, and how uncertain it is."""
    each = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    error = float(each.std(ddof=1) / len(each) ** 0.5) if len(each) > 1 else None
    return Difference(float(each.mean()), error)


def run_guidance(model: MiniModel, tasks: list[Task], steps: tuple[int, ...] = STEP_COUNTS) -> list[Pair]:
    """Generate and judge every task with both samplers at every number of steps."""
    pairs = [pair_for(count) for count in steps]
    both = [guided for pair in pairs for guided in (pair.cfg, pair.cfgpp)]
    with tqdm(total=len(tasks) * 2 * sum(steps), unit="step", mininterval=1.0) as progress:
        for chunk in chunks(tasks, CHUNK):
            for guided in both:
                progress.set_description(f"{guided.title}, {guided.steps} steps", refresh=False)
                add_images(guided, model, chunk)
                progress.update(len(chunk) * guided.steps)
    return pairs


def pair_for(steps: int) -> Pair:
    """Both samplers, without images yet; CFG++ with the lambda that means the slider's value over these steps."""
    strength = calibrated(sample_euler_cfgpp, trailing_sigmas(steps), CFG)
    return Pair(
        steps,
        Guided("CFG", sample_euler, steps, CFG),
        Guided("CFG++", sample_euler_cfgpp, steps, strength),
    )


def add_images(guided: Guided, model: MiniModel, chunk: list[Task]) -> None:
    """Generate and judge the images of a group of tasks."""
    prompts, seeds = [task.prompt for task in chunk], [task.seed for task in chunk]
    generation = generate(model, prompts, seeds, steps=guided.steps, guidance=guided.strength, sampler=guided.sampler)
    images = judged(chunk, generation)
    guided.images += images
    guided.out_of_range += [out_of_range(image.latent) for image in images]
