"""Generates the same prompts and seeds in every column and judges what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from demo.checkpoint import MiniModel
from demo.columns import COLUMNS, Column
from demo.generate import STEPS, Generation, generate
from demo.judge import Seen, is_exact, judge
from demo.scenes import all_kinds, prompt_for
from lib_fewstep.highres import Report

CHUNK = 6
"""Images generated at once. Columns take turns chunk by chunk, so that their seconds are measured alike."""

WARM_UP_STEPS = 3
KIND_STRIDE = 5
"""Shares no factor with the number of kinds: neighbouring tasks differ in shape and colour, all kinds get a turn."""


@dataclass(frozen=True)
class Task:
    """What one row asks for."""

    shape: str
    colour: str
    seed: int

    @property
    def prompt(self) -> str:
        """The words of the prompt."""
        return prompt_for(self.shape, self.colour)


@dataclass
class Image:
    """A latent (4, height, width), what was seen in it, and whether that is what was asked for."""

    latent: npt.NDArray[np.float32]
    seen: list[Seen]
    exact: bool


@dataclass
class Result:
    """What came of one column: its images in the order of the tasks, and its cost."""

    column: Column
    images: list[Image] = field(default_factory=list)
    unet_seconds: float = 0.0
    report: Report | None = None

    @property
    def hits(self) -> int:
        """Number of images that show what was asked for."""
        return sum(image.exact for image in self.images)

    @property
    def share(self) -> float:
        """Share of images that show what was asked for."""
        return self.hits / len(self.images)


def tasks_for(images: int, first_seed: int = 0) -> list[Task]:
    """The first `images` tasks: all shapes and colours in turn, a new seed each."""
    kinds = all_kinds()
    order = [kinds[index * KIND_STRIDE % len(kinds)] for index in range(images)]
    return [Task(*kind, seed=first_seed + index) for index, kind in enumerate(order)]


def run_columns(model: MiniModel, tasks: list[Task]) -> list[Result]:
    """Generate and judge every task in every column, after a short run of each that is not counted."""
    for column in COLUMNS:
        generate_chunk(model, column, tasks[:CHUNK], steps=WARM_UP_STEPS)
    results = [Result(column) for column in COLUMNS]
    with tqdm(total=len(tasks) * len(COLUMNS), unit="image", mininterval=1.0) as progress:
        for chunk in chunks(tasks):
            for result in results:
                add_chunk(result, chunk, generate_chunk(model, result.column, chunk))
                progress.set_description(result.column.title, refresh=False)
                progress.update(len(chunk))
    return results


def chunks(tasks: list[Task], size: int = CHUNK) -> Iterator[list[Task]]:
    """The tasks in groups of `size`."""
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]


def generate_chunk(model: MiniModel, column: Column, chunk: list[Task], steps: int = STEPS) -> Generation:
    """Generate one column's images for a group of tasks."""
    prompts, seeds = [task.prompt for task in chunk], [task.seed for task in chunk]
    return generate(model, prompts, seeds, column.size, column.settings, steps=steps)


def add_chunk(result: Result, chunk: list[Task], generation: Generation) -> None:
    """Judge the images of a group of tasks and add them, and what they cost, to the column's result."""
    result.images += judged(chunk, generation)
    result.unet_seconds += generation.meter.unet_seconds
    result.report = generation.report


def judged(chunk: list[Task], generation: Generation) -> list[Image]:
    """The images of a group of tasks, with what is seen in them."""
    images = []
    for task, latent in zip(chunk, generation.latents.numpy(), strict=True):
        seen = judge(latent)
        images.append(Image(latent, seen, is_exact(seen, task.shape, task.colour)))
    return images
