"""How strongly each step of a pass is guided: on which steps at all, and along which schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from lib_fewstep.guidance.settings import CFGPP, CONSTANT, COSINE, GuidanceSettings

_ROUNDING = 1e-6
"""Of a share of the steps, and of a noise level that was float32 once."""


@dataclass(frozen=True)
class Strength:
    """What a step makes of the CFG slider: `constant + slope * cfg`; a step without guidance has CFG 1."""

    constant: float
    slope: float

    def at(self, cfg: float) -> float:
        """The CFG of the step where the slider says `cfg`."""
        return self.constant + self.slope * cfg

    @property
    def guided(self) -> bool:
        """Whether the slider means anything to the step."""
        return self.slope != 0


UNGUIDED, AS_IT_IS = Strength(1.0, 0.0), Strength(0.0, 1.0)


@dataclass(frozen=True)
class Plan:
    """The noise levels (n + 1) of a pass, and the strength of each of its n steps."""

    levels: tuple[float, ...]
    strengths: tuple[Strength, ...]

    def index_at(self, sigma: float) -> int:
        """The step that an evaluation at a noise level belongs to: the last that starts at or above it."""
        above = [step for step, level in enumerate(self.levels[:-1]) if level >= sigma * (1 - _ROUNDING)]
        return above[-1] if above else 0

    @property
    def guided(self) -> tuple[int, ...]:
        """The guided steps, counted from 0."""
        return tuple(step for step, strength in enumerate(self.strengths) if strength.guided)


def make_plan(settings: GuidanceSettings, levels: Sequence[float], kept: Sequence[float] | None = None) -> Plan:
    """The plan of a pass over falling noise levels (n + 1), the last of which may be 0.

    `kept` is what each step keeps of x - D, for a sampler with fresh noise less than sigma' / sigma, which it is by
    default. It means something to the schedule of CFG++ alone.
    """
    steps = len(levels) - 1
    shared = [step for step in range(steps) if _in_shares(settings, step, steps)]
    if not shared and steps > 0:
        shared = [min(steps - 1, int(steps * (settings.start + settings.end) / 2))]
    inside = [step for step in shared if _in_levels(settings, levels[step])]
    if settings.schedule == CFGPP:
        ratios = [after / before for before, after in pairwise(levels)] if kept is None else list(kept)
        found = dict(zip(inside, _cfgpp(levels, ratios, inside), strict=True))
    elif settings.schedule == CONSTANT:
        found = dict.fromkeys(inside, AS_IT_IS)
    else:
        found = {step: _ramp(settings, place, len(inside)) for place, step in enumerate(inside)}
    return Plan(tuple(levels), tuple(found.get(step, UNGUIDED) for step in range(steps)))


def interval_of(settings: GuidanceSettings, levels: Sequence[float]) -> Plan:
    """Where a pass is guided, however strongly."""
    return make_plan(replace(settings, schedule=CONSTANT), levels)


def _in_shares(settings: GuidanceSettings, step: int, steps: int) -> bool:
    """Between the shares of the steps; where they are narrower than a step, the one around their middle is."""
    return settings.start * steps - _ROUNDING <= step < settings.end * steps - _ROUNDING


def _in_levels(settings: GuidanceSettings, sigma: float) -> bool:
    """In (sigma_low, sigma_high] (Kynkaanniemi et al. 2024, arXiv 2404.07724)."""
    low, high = settings.sigma_low, settings.sigma_high
    return (low is None or sigma > low * (1 + _ROUNDING)) and (high is None or sigma <= high * (1 + _ROUNDING))


def _ramp(settings: GuidanceSettings, place: int, places: int) -> Strength:
    """Of the guidance above CFG 1, the share from `ramp_from` at the first guided step to `ramp_to` at the last."""
    way = place / (places - 1) if places > 1 else 1.0
    if settings.schedule == COSINE:
        way = (1 - math.cos(math.pi * way)) / 2
    share = settings.ramp_from + (settings.ramp_to - settings.ramp_from) * way
    return Strength(1 - share, share)


def _cfgpp(levels: Sequence[float], kept: Sequence[float], inside: Sequence[int]) -> list[Strength]:
    """Of a step that keeps k of x - D, lambda / (1 - k): what CFG++ (arXiv 2406.08070) is for Euler's step.

    Lambda is such that the guided steps move a sample of unit Gaussian data as far as they would with the slider's CFG.
    There D_u = x / (1 + sigma^2), and Euler's step is linear: what step i adds is carried on by the later steps.
    """
    signal = [1 / (1 + level**2) for level in levels[:-1]]
    carried = [1.0]
    for share, ratio in reversed(list(zip(signal[1:], kept[1:], strict=True))):
        carried.insert(0, carried[0] * ((1 - ratio) * share + ratio))
    pull = [(1 - share) * onward for share, onward in zip(signal, carried, strict=True)]
    ordinary = sum((1 - kept[step]) * pull[step] for step in inside)
    plus_plus = sum(pull[step] for step in inside)
    return [Strength(0.0, ordinary / plus_plus / max(1 - kept[step], _ROUNDING)) for step in inside]
