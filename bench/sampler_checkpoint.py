"""The samplers on the embedded checkpoint: where its flow ends, and how near the images are to what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bench.kdiffusion import sampling as theirs
from bench.mixtures import karras
from bench.sampler_list import GUIDED, Entry, grid, of_kind, sampled, strength
from bench.sampler_report import Point, Section
from demo.compare import Task, tasks_for
from demo.model.checkpoint import MiniModel
from demo.pictures.judge import likeness
from demo.pictures.scenes import draw, random_scene
from demo.sampling.denoiser import GuidedDenoiser, NoiseDenoiser
from demo.sampling.generate import conditioning, decoded, seeded_noise
from demo.sampling.named import SCHEDULE
from demo.ways import BURNING_CFG, NATIVE

FLOW_IMAGES, SHAPE_IMAGES = 8, 18
FEW, MANY = 16, 32
"""Evaluations up to which shapes, and ends of the flow, are measured."""

REFERENCE_STEPS = 64
FLOW = f"root-mean-square distance of the end from that of Heun's method in {2 * REFERENCE_STEPS - 1} evaluations"
SHAPES = "what the one thing lacks of its kind's silhouette; 1 for another colour or number of things"


class Prompted:
    """The checkpoint with its prompts and without guidance: half the work of the guided denoiser."""

    def __init__(self, model: MiniModel, prompts: list[str]) -> None:
        """One prompt for each image of the batch."""
        self.inner_model = NoiseDenoiser(model.unet)
        self.last_noise_uncond: Tensor | None = None
        self.evaluations = 0
        self._given = conditioning(model, prompts, NATIVE).prompted

    def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        """The image in `x` (n, 4, h, w) at the noise levels `sigma` (n,); it is the unconditional one too."""
        self.evaluations += 1
        image = self.inner_model(x, sigma, **self._given)
        self.last_noise_uncond = image
        return image


def checkpoint_sections(model: MiniModel, budgets: tuple[int, ...]) -> list[Callable[[], Section]]:
    """The measurements at these evaluations, as far as they are few enough; they are not begun."""
    few = tuple(budget for budget in budgets if budget <= FEW)
    return [
        partial(_ends, model, tuple(budget for budget in budgets if budget <= MANY)),
        partial(_shapes, model, of_kind("noisy"), SCHEDULE, few),
        partial(_shapes, model, of_kind("consistency"), "timesteps of consistency models", few),
        partial(_shapes, model, list(GUIDED), SCHEDULE, few, BURNING_CFG),
    ]


def _ends(model: MiniModel, budgets: tuple[int, ...]) -> Section:
    """Samplers without noise against the end of the flow; the floor is what halving the reference's steps changes."""
    tasks = tasks_for(FLOW_IMAGES)
    fine, coarse = (_reference(model, tasks, steps) for steps in (REFERENCE_STEPS, REFERENCE_STEPS // 2))

    def off(found: Tensor) -> npt.NDArray[np.float64]:
        errors: npt.NDArray[np.float64] = (found - fine).double().square().flatten(1).mean(dim=1).sqrt().numpy()
        return errors

    section = Section(f"checkpoint, {SCHEDULE}", FLOW, float(off(coarse).mean()))
    for entry in of_kind("flow"):
        section.points[entry.name] = _points(entry, model, tasks, budgets, off)
    return section


def _reference(model: MiniModel, tasks: list[Task], steps: int) -> Tensor:
    """The ends of the flow by Heun's method."""
    return sampled(
        Entry("Heun", theirs.sample_heun), _prompted(model, tasks), _noise(tasks)(), karras(steps), _noise(tasks)
    )


def _shapes(
    model: MiniModel, entries: list[Entry], schedule: str, budgets: tuple[int, ...], cfg: float | None = None
) -> Section:
    """How near the things are to what was asked for; the floor is what drawn ones have."""
    tasks = tasks_for(SHAPE_IMAGES)
    rng = np.random.default_rng(0)
    drawn = np.stack([draw(random_scene(rng, (task.kind, task.colour))) for task in tasks])
    guidance = "" if cfg is None else f", CFG {cfg:g}"
    floor = from_shapes(drawn, tasks)
    section = Section(f"checkpoint, {schedule}{guidance}", SHAPES, float(floor.mean()), cfg=cfg)

    def off(found: Tensor) -> npt.NDArray[np.float64]:
        return from_shapes(decoded(model, found), tasks)

    for entry in entries:
        section.points[entry.name] = _points(entry, model, tasks, budgets, off, cfg)
    return section


def from_shapes(pictures: npt.NDArray[np.float32], tasks: list[Task]) -> npt.NDArray[np.float64]:
    """What the thing in each picture (n, h, w, 3) lacks of the silhouette of its task's kind, from 0 to 1."""
    pairs = zip(np.clip(pictures, 0, 1), tasks, strict=True)
    return np.array([1 - likeness(picture, task.kind, task.colour) for picture, task in pairs])


def _points(
    entry: Entry,
    model: MiniModel,
    tasks: list[Task],
    budgets: tuple[int, ...],
    off: Callable[[Tensor], npt.NDArray[np.float64]],
    cfg: float | None = None,
) -> list[Point]:
    """A sampler's points, without guidance where `cfg` is None; each image has noise of its own seed."""
    points = []
    for steps, options in entry.settings(budgets):
        sigmas, noise = grid(entry, steps, SCHEDULE), _noise(tasks)
        denoiser = (
            _prompted(model, tasks) if cfg is None else _guided(model, tasks, strength(entry, sigmas, cfg), sigmas)
        )
        end = sampled(entry, denoiser, noise(), sigmas, noise, **options)
        points.append(Point(denoiser.evaluations, off(end)))
    return points


def _noise(tasks: list[Task]) -> Callable[..., Tensor]:
    return seeded_noise([task.seed for task in tasks], NATIVE)


def _prompted(model: MiniModel, tasks: list[Task]) -> Prompted:
    return Prompted(model, [task.prompt for task in tasks])


def _guided(model: MiniModel, tasks: list[Task], scale: float, sigmas: Tensor) -> GuidedDenoiser:
    given = conditioning(model, [task.prompt for task in tasks], NATIVE)
    return GuidedDenoiser(NoiseDenoiser(model.unet), given, scale, sigmas)
