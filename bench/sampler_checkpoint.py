"""The samplers on the embedded checkpoint: where its flow ends, and how near the images are to what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.kdiffusion import sampling as theirs
from bench.mixtures import karras
from bench.sampler_list import GUIDED, Entry, grid, of_kind, sampled, strength
from bench.sampler_report import Point, Section
from demo.checkpoint import MiniModel
from demo.compare import Task, tasks_for
from demo.denoiser import GuidedDenoiser
from demo.generate import seeded_noise
from demo.guidance import CFG
from demo.sampling.denoiser import NoiseLevels
from demo.scenes import LARGEST_OFFSET, TRAINED_SIDE, WIDTH_RANGE, Scene, decode, draw, random_scene

FLOW_IMAGES, SCENE_IMAGES = 8, 18
FEW, MANY = 16, 32
"""Evaluations up to which distances from scenes, and ends of the flow, are measured."""

REFERENCE_STEPS = 64
SCHEDULE = "Trailing"
SIZE = (TRAINED_SIDE, TRAINED_SIDE)
WIDTHS, OFFSETS = 6, 9
FLOW = f"root-mean-square distance of the end from that of Heun's method in {2 * REFERENCE_STEPS - 1} evaluations"
SCENES = "root-mean-square distance of the image from the nearest scene of its prompt"


class Prompted:
    """The checkpoint with its prompts and without guidance: half the work of the guided denoiser."""

    def __init__(self, model: MiniModel, prompts: list[str]) -> None:
        """One prompt for each image of the batch."""
        self.inner_model = NoiseLevels()
        self.last_noise_uncond: Tensor | None = None
        self.evaluations = 0
        self._unet, self._context = model.unet, model.text(prompts)

    def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        """The image in `x` (n, 4, h, w) at the noise levels `sigma` (n,); it is the unconditional one too."""
        self.evaluations += 1
        level = sigma[:, None, None, None]
        times = self.inner_model.sigma_to_t(sigma).to(x)
        image: Tensor = x - level * self._unet(x / (level**2 + 1).sqrt(), times, context=self._context)
        self.last_noise_uncond = image
        return image


def checkpoint_sections(model: MiniModel, budgets: tuple[int, ...]) -> list[Callable[[], Section]]:
    """The measurements at these evaluations, as far as they are few enough; they are not begun."""
    few = tuple(budget for budget in budgets if budget <= FEW)
    return [
        partial(_ends, model, tuple(budget for budget in budgets if budget <= MANY)),
        partial(_scenes, model, of_kind("noisy"), SCHEDULE, few),
        partial(_scenes, model, of_kind("consistency"), "timesteps of consistency models", few),
        partial(_scenes, model, list(GUIDED), SCHEDULE, few, CFG),
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


def _scenes(
    model: MiniModel, entries: list[Entry], schedule: str, budgets: tuple[int, ...], cfg: float | None = None
) -> Section:
    """How near the images are to what was asked for; the floor is what drawn scenes have."""
    tasks = tasks_for(SCENE_IMAGES)
    rng = np.random.default_rng(0)
    drawn = [draw(random_scene(rng, (task.shape, task.colour))) for task in tasks]
    guidance = "" if cfg is None else f", CFG {cfg:g}"
    floor = from_scenes(torch.from_numpy(np.stack(drawn)), tasks)
    section = Section(f"checkpoint, {schedule}{guidance}", SCENES, float(floor.mean()), cfg=cfg)
    for entry in entries:
        section.points[entry.name] = _points(entry, model, tasks, budgets, partial(from_scenes, tasks=tasks), cfg)
    return section


def from_scenes(latents: Tensor, tasks: list[Task]) -> npt.NDArray[np.float64]:
    """Distance of each latent (n, 4, h, w) from the nearest scene of its task, whose widths and places are a grid."""
    pairs = zip(latents.numpy(), tasks, strict=True)
    each = [
        ((scenes(task.shape, task.colour) - decode(latent)) ** 2).mean(axis=(1, 2, 3)).min() for latent, task in pairs
    ]
    return np.sqrt(np.array(each, dtype=np.float64))


@cache
def scenes(shape: str, colour: str) -> npt.NDArray[np.float64]:
    """Scenes of a shape and colour over a grid of widths and places, (n, 4, h, w), as `decode` has them."""
    offsets = np.linspace(-LARGEST_OFFSET, LARGEST_OFFSET, OFFSETS)
    places = product(np.linspace(*WIDTH_RANGE, WIDTHS), offsets, offsets)
    return np.stack([decode(draw(Scene(shape, colour, width, x, y))) for width, x, y in places])


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
    return seeded_noise([task.seed for task in tasks], SIZE)


def _prompted(model: MiniModel, tasks: list[Task]) -> Prompted:
    return Prompted(model, [task.prompt for task in tasks])


def _guided(model: MiniModel, tasks: list[Task], scale: float, sigmas: Tensor) -> GuidedDenoiser:
    context = model.text([*(task.prompt for task in tasks), *[""] * len(tasks)])
    return GuidedDenoiser(model.unet, context, scale, sigmas)
