"""Makes the same pictures, by prompt and seed, in every way, and judges them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from demo.model import checkpoint
from demo.model.checkpoint import MiniModel
from demo.model.layouts import Layout
from demo.pictures.judge import BoolArray, Seen, is_exact, judge, wilson
from demo.pictures.scenes import PALETTE, Picture, all_kinds, as_bytes, prompt_for
from demo.sampling.denoiser import HOST, planned
from demo.sampling.generate import Generation, decoded, generate
from demo.sampling.named import schedule
from demo.ways import Way
from lib_fewstep.highres import Report
from lib_fewstep.models import ModelDenoiser, ModelSettings, Told, plan_of

Asked = TypeVar("Asked")
CHUNK = 6
"""Pictures made at once. Ways take turns chunk by chunk, so that their seconds are measured alike."""

WARM_UP_STEPS = 2
WHITE = 255
KIND_STRIDE = 7
"""Shares no factor with the number of kinds: neighbours differ in kind and colour, and all get a turn."""


@dataclass(frozen=True)
class Task:
    """What one picture is asked to show; `background` "" is none."""

    kind: str
    colour: str
    background: str
    seed: int

    @property
    def prompt(self) -> str:
        """The words of the prompt."""
        return prompt_for(self.kind, self.colour, self.background)


@dataclass(frozen=True)
class Image:
    """A picture (h, w, 3) with values from 0 to 1, what is seen in it, and whether that was asked for."""

    picture: Picture
    seen: list[Seen]
    right: bool

    @property
    def is_clipped(self) -> BoolArray:
        """Which values (h, w, 3) are the screen's darkest or brightest, as 0.2% of those of drawn pictures are."""
        levels = as_bytes(self.picture)
        clipped: BoolArray = (levels == 0) | (levels == WHITE)
        return clipped

    @property
    def clipped(self) -> float:
        """Share of the values that are clipped."""
        return float(self.is_clipped.mean())


class Judged:
    """The shares of pictures, which are in the order of their tasks."""

    images: list[Image]

    @property
    def hits(self) -> int:
        """Number of pictures that show what was asked for."""
        return sum(image.right for image in self.images)

    @property
    def share(self) -> float:
        """Share of pictures that show what was asked for."""
        return self.hits / len(self.images)

    @property
    def interval(self) -> tuple[float, float]:
        """The share's 95% interval."""
        return wilson(self.hits, len(self.images))

    @property
    def clipped(self) -> float:
        """Mean share of clipped colours."""
        return float(np.mean([image.clipped for image in self.images]))


@dataclass
class Result(Judged):
    """What came of one way, and what it cost: seconds in the UNet, in a WebUI those of the requests."""

    way: Way
    images: list[Image] = field(default_factory=list)
    seconds: float = 0.0
    report: Report | None = None


def tasks_for(count: int, first_seed: int = 0) -> list[Task]:
    """The first `count` tasks: all kinds and colours in turn, half of each kind on a coloured background."""
    kinds, colours = all_kinds(), list(PALETTE)
    tasks = []
    for index in range(count):
        kind, colour = kinds[index * KIND_STRIDE % len(kinds)]
        others = [name for name in colours if name != colour]
        background = others[index // 2 % len(others)] if (index + index // 12) % 2 else ""
        tasks.append(Task(kind, colour, background, first_seed + index))
    return tasks


def run(layout: Layout, ways: Sequence[Way], tasks: list[Task], *, chunk: int = CHUNK) -> list[Result]:
    """Make and judge every task in every way, after a short run of each that is not counted."""
    for way in ways:
        make(layout, way, tasks[:chunk], steps=min(WARM_UP_STEPS, way.steps))
    results = [Result(way) for way in ways]
    total = len(tasks) * sum(way.steps for way in ways)
    with tqdm(total=total, unit="step", mininterval=1.0) as progress:
        for group in chunks(tasks, chunk):
            for result in results:
                progress.set_description(f"{layout.title}: {result.way.title}", refresh=False)
                add(result, layout, group, make(layout, result.way, group))
                progress.update(len(group) * result.way.steps)
    return results


def chunks(asked: Sequence[Asked], size: int) -> Iterator[Sequence[Asked]]:
    """What is asked for, in groups of `size`."""
    for start in range(0, len(asked), size):
        yield asked[start : start + size]


@lru_cache
def loaded(layout: Layout, lora: str = "") -> MiniModel:
    """A checkpoint, kept once it is loaded, with the LoRA of a kind."""
    return checkpoint.load(layout, lora)


def make(layout: Layout, way: Way, tasks: Sequence[Task], steps: int | None = None) -> Generation:
    """The latents of some tasks; `steps` other than the way's are for a warm-up."""
    prompts, seeds = [task.prompt for task in tasks], [task.seed for task in tasks]
    model = loaded(layout, way.lora)
    denoiser = None if way.shift == 1 else shifted(model, way.shift)
    return generate(
        model,
        prompts,
        seeds,
        way.size,
        way.method,
        sampler=way.sampler,
        cfg=way.cfg,
        sigmas=schedule(way.schedule, steps or way.steps, denoiser),
        guidance=way.guidance,
        denoiser=denoiser,
        told=way.told,
    )


def shifted(model: MiniModel, factor: float) -> ModelDenoiser:
    """The images that a model sees whose noise levels are multiplied by a factor."""
    return planned(model.unet, plan_of(ModelSettings(shift=factor), Told(), HOST))


def add(result: Result, layout: Layout, tasks: Sequence[Task], made: Generation) -> None:
    """Judge the pictures of some tasks, and add them and what they cost to a way's result."""
    pictures = decoded(loaded(layout), made.latents)
    result.images += [judged(task, picture) for task, picture in zip(tasks, pictures, strict=True)]
    result.seconds += made.meter.unet_seconds
    result.report = made.report


def judged(task: Task, picture: Picture) -> Image:
    """A task's picture as a screen shows it, and what is seen in it."""
    shown = np.clip(picture, 0, 1)
    seen = judge(shown)
    return Image(shown, seen, is_exact(seen, task.kind, task.colour))


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error (None for fewer than two values)."""

    mean: float
    standard_error: float | None


def mean(values: Sequence[float]) -> Estimate:
    """The mean of some values."""
    error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
    return Estimate(float(np.mean(values)), error)


def difference(before: Sequence[float], after: Sequence[float]) -> Estimate:
    """How much larger the second of paired values are."""
    return mean([float(b) - float(a) for a, b in zip(before, after, strict=True)])
