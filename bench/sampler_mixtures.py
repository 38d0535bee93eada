"""The samplers on Gaussian mixtures, whose denoised images, flow and distribution are exact; all of it in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.mixtures import SCHEDULE, Mixture, Model, near_unit, noise_sampler, separated, skewed
from bench.sampler_list import GUIDED, SCHEDULES, Entry, grid, of_kind, sampled, strength
from bench.sampler_report import Point, Section

SEEDS = 8
FEW = 32
"""Evaluations up to which guidance is compared."""

CFGS = (3.0, 7.0)
DATA = {"smooth": near_unit()[0], "separated": separated()[0]}
GUIDED_DATA = {"smooth": near_unit(), "skewed": skewed(), "separated": separated()}
FLOW_STEPS = 400
FLOW_WIDTH = 0.1
PLACES = torch.linspace(-14, 16, 6001, dtype=torch.float64)
"""Where distributions are compared; in between they are taken as straight."""

Errors = npt.NDArray[np.float64]
"""One number for each seed."""

FLOW = "root-mean-square distance of the end from that of the exact flow"
ENERGY = "root of the energy distance to the exact distribution"


def exact_flow(mixture: Mixture, x: Tensor, sigma: float, steps: int = FLOW_STEPS) -> Tensor:
    """Where the probability flow from `x` (n, ...) at noise level `sigma` ends without noise.

    The classical Runge-Kutta method with even steps in asinh(sigma / 0.1): even in sigma where there is little noise,
    and in its logarithm where there is much.
    """
    places = torch.linspace(math.asinh(sigma / FLOW_WIDTH), 0, steps + 1, dtype=torch.float64).tolist()
    for start, end in pairwise(places):
        h, middle = end - start, (start + end) / 2
        a = _slope(mixture, x, start)
        b = _slope(mixture, x + h / 2 * a, middle)
        c = _slope(mixture, x + h / 2 * b, middle)
        d = _slope(mixture, x + h * c, end)
        x = x + h / 6 * (a + 2 * b + 2 * c + d)
    return x


def _slope(mixture: Mixture, x: Tensor, place: float) -> Tensor:
    sigma = FLOW_WIDTH * math.sinh(place)
    if sigma == 0:
        return torch.zeros_like(x)
    slope = (x - mixture.denoised(x, x.new_full((len(x),), sigma))) / sigma
    return FLOW_WIDTH * math.cosh(place) * slope


def root_energy(samples: Tensor, mixture: Mixture) -> float:
    """Root of the energy distance between samples (n, ...) of one number each and a mixture.

    In one dimension that distance is twice the integral of the squared difference of the distribution functions
    (Székely and Rizzo, Energy statistics, 2013); the mixture's is exact.
    """
    ordered = samples.flatten().sort().values
    found = torch.searchsorted(ordered, PLACES, right=True) / len(ordered)
    return math.sqrt(2 * float(torch.trapezoid((found - mixture.below(PLACES, 0.0)) ** 2, PLACES)))


class Consistency(Model):
    """A perfect consistency model of a mixture: the end of the exact flow, which keeps the share that lies below."""

    def __call__(self, x: Tensor, sigma: Tensor, cond_scale: float = 1.0) -> Tensor:  # noqa: ARG002
        """The end of the flow from `x` at noise levels `sigma`, which are all the same."""
        self.calls += 1
        shares = self.uncond.below(PLACES, 0.0).numpy()
        inside = np.flatnonzero(np.diff(shares, prepend=-1.0) > 0)
        share = self.uncond.below(x, float(sigma[0])).numpy()
        return torch.from_numpy(np.interp(share, shares[inside], PLACES.numpy()[inside])).to(x)


def mixture_sections(budgets: tuple[int, ...], samples: int) -> list[Callable[[], Section]]:
    """The measurements at these evaluations, with this many samples of each seed; they are not begun."""
    sizes = budgets, samples
    few = tuple(budget for budget in budgets if budget <= FEW)
    return [
        *(partial(_ends, name, schedule, *sizes) for name in DATA for schedule in SCHEDULES),
        *(partial(_distributions, name, schedule, "noisy", *sizes) for name in DATA for schedule in SCHEDULES),
        *(partial(_distributions, name, "", "consistency", *sizes) for name in DATA),
        *(partial(_consistency_models, name, *sizes) for name in DATA),
        *(partial(_guided, *setting, few, samples) for setting in product(GUIDED_DATA, SCHEDULES, CFGS)),
    ]


def _ends(name: str, schedule: str, budgets: tuple[int, ...], samples: int) -> Section:
    """Samplers without noise against the exact flow; the floor is what halving the flow's own step changes."""
    mixture, starts = DATA[name], _noise(samples)
    ends = exact_flow(mixture, starts * float(SCHEDULE.sigma_max), float(SCHEDULE.sigma_max))
    coarse = exact_flow(mixture, starts * float(SCHEDULE.sigma_max), float(SCHEDULE.sigma_max), FLOW_STEPS // 2)

    def off(found: Tensor) -> Errors:
        return _each((found - ends).square().view(SEEDS, -1).mean(dim=1).sqrt())

    section = Section(f"{name} mixture, {schedule}", FLOW, float(off(coarse).mean()))
    for entry in of_kind("flow"):
        section.points[entry.name] = _points(entry, lambda: Model(mixture), schedule, budgets, starts, off)
    return section


def _distributions(name: str, schedule: str, kind: str, budgets: tuple[int, ...], samples: int) -> Section:
    """Samplers with noise against the exact distribution."""
    mixture, starts = DATA[name], _noise(samples)
    title = f"{name} mixture, {schedule}" if schedule else f"{name} mixture, timesteps of consistency models"
    section = _energies(title, mixture, samples)
    for entry in of_kind(kind):
        points = _points(entry, lambda: Model(mixture), schedule, budgets, starts, _off(mixture))
        section.points[entry.name] = points
    return section


def _consistency_models(name: str, budgets: tuple[int, ...], samples: int) -> Section:
    """Samplers of consistency models with a perfect one."""
    mixture, starts = DATA[name], _noise(samples)
    section = _energies(f"{name} mixture, a perfect consistency model", mixture, samples)
    for entry in of_kind("consistency"):
        section.points[entry.name] = _points(entry, lambda: Consistency(mixture), "", budgets, starts, _off(mixture))
    return section


def _guided(name: str, schedule: str, cfg: float, budgets: tuple[int, ...], samples: int) -> Section:
    """CFG and CFG++ of the same strength against the conditional distribution, which guidance overshoots."""
    (uncond, cond), starts = GUIDED_DATA[name], _noise(samples)
    section = _energies(f"{name} mixtures, {schedule}, CFG {cfg:g}", cond, samples)
    section.cfg = cfg
    for entry in GUIDED:
        points = _points(entry, lambda: Model(uncond, cond), schedule, budgets, starts, _off(cond), cfg)
        section.points[entry.name] = points
    return section


def _energies(title: str, mixture: Mixture, samples: int) -> Section:
    """A section without points yet; its floor is what exact samples have."""
    drawn = [root_energy(mixture.draw((samples,), seed), mixture) for seed in range(SEEDS)]
    return Section(title, ENERGY, sum(drawn) / SEEDS)


def _off(mixture: Mixture) -> Callable[[Tensor], Errors]:
    return lambda found: np.array([root_energy(each, mixture) for each in found.view(SEEDS, -1)])


def _each(values: Tensor) -> Errors:
    errors: Errors = values.numpy()
    return errors


def _noise(samples: int) -> Tensor:
    """Unit noise, one number a sample, the seeds one after the other."""
    each = [noise_sampler((samples, 1, 1, 1), seed)() for seed in range(SEEDS)]
    return torch.cat(each)


def _points(
    entry: Entry,
    model: Callable[[], Model],
    schedule: str,
    budgets: tuple[int, ...],
    starts: Tensor,
    off: Callable[[Tensor], Errors],
    cfg: float = 1.0,
) -> list[Point]:
    """A sampler's points; every run starts from the same noise and draws the same noise."""
    points = []
    for steps, options in entry.settings(budgets):
        sigmas, counting = grid(entry, steps, schedule), model()
        scale = {"cond_scale": strength(entry, sigmas, cfg)}
        draw = noise_sampler(tuple(starts.shape), SEEDS)
        end = sampled(entry, counting, starts, sigmas, draw, extra_args=scale, **options)
        points.append(Point(counting.calls, off(end)))
    return points
