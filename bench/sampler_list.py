"""Every sampler of k-diffusion and of this project: what it costs, what it is measured against, and how it is run.

The base of a CFG++ sampler is its namesake, which it is without guidance. The base of the LCM on its reference grid is
the WebUI's LCM, the same update on other timesteps; k-diffusion itself has none, and Euler a with eta 1 is not one: it
goes down to sigma'^2 / sigma before it adds noise, where the LCM goes down to 0. The base of TCD is the LCM on the same
grid, which TCD is at gamma 1. The base of SA-Solver is DPM++ 2M SDE: both carry the last two images on along the same
equation. It has tau 1 throughout, no corrector, and another weight for the older image: SA-Solver's authors let that
weight grow with the square of the step, undamped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.kdiffusion import sampling as theirs
from bench.mixtures import SCHEDULE, karras, trailing
from lib_fewstep import sampling as ours
from lib_fewstep.sampling.schedules import LCM_STEPS

BUDGETS = (4, 8, 16, 32, 64)
"""Evaluations of the model that a run may take."""

TOLERANCES = (0.2, 0.05, 0.01)
"""Relative tolerances of DPM adaptive, which chooses its own evaluations; 0.05 is its default."""


@dataclass(frozen=True)
class Entry:
    """A sampler: `calls` are its evaluations a step, of which the last step takes one; `base` names what it is from.

    `kind` is "flow" where the start decides the end, "noisy" where noise is added, and "consistency" for samplers of
    consistency models, which have timesteps of their own.
    """

    name: str
    run: Callable[..., Tensor]
    kind: str = "flow"
    calls: int = 1
    base: str = ""
    adaptive: bool = False

    def settings(self, budgets: tuple[int, ...]) -> list[tuple[int, dict[str, Any]]]:
        """Steps and options of each run: the most steps for each budget, or the tolerances at any number of steps."""
        if self.adaptive:
            return [(2, {"rtol": tolerance, "atol": tolerance / 6}) for tolerance in TOLERANCES]
        most = LCM_STEPS if self.kind == "consistency" else math.inf
        counts = [(budget - 1) // self.calls + 1 for budget in budgets]
        return [(count, {}) for count in counts if count <= most]


def _dpm_fast(model: Any, x: Tensor, sigmas: Tensor, **more: Any) -> Tensor:
    """DPM fast with as many evaluations as the schedule has steps, between the model's outermost levels."""
    steps = len(sigmas) - 1
    end: Tensor = theirs.sample_dpm_fast(model, x, float(SCHEDULE.sigma_min), float(sigmas[0]), steps, **more)
    return end


def _dpm_adaptive(model: Any, x: Tensor, sigmas: Tensor, **more: Any) -> Tensor:
    """DPM adaptive between the model's outermost levels."""
    end: Tensor = theirs.sample_dpm_adaptive(model, x, float(SCHEDULE.sigma_min), float(sigmas[0]), **more)
    return end


ENTRIES = (
    Entry("Euler", theirs.sample_euler),
    Entry("Heun", theirs.sample_heun, calls=2),
    Entry("DPM2", theirs.sample_dpm_2, calls=2),
    Entry("LMS", theirs.sample_lms),
    Entry("DPM fast", _dpm_fast),
    Entry("DPM adaptive", _dpm_adaptive, adaptive=True),
    Entry("DPM++ 2M", theirs.sample_dpmpp_2m),
    Entry("Euler a", theirs.sample_euler_ancestral, "noisy"),
    Entry("DPM2 a", theirs.sample_dpm_2_ancestral, "noisy", calls=2),
    Entry("DPM++ 2S a", theirs.sample_dpmpp_2s_ancestral, "noisy", calls=2),
    Entry("DPM++ SDE", theirs.sample_dpmpp_sde, "noisy", calls=2),
    Entry("DPM++ 2M SDE", theirs.sample_dpmpp_2m_sde, "noisy"),
    Entry("DPM++ 3M SDE", theirs.sample_dpmpp_3m_sde, "noisy"),
    Entry("LCM (WebUI's grid)", ours.sample_lcm, "consistency"),
    Entry("Euler CFG++", ours.sample_euler_cfgpp, base="Euler"),
    Entry("DPM++ 2M CFG++", ours.sample_dpmpp_2m_cfgpp, base="DPM++ 2M"),
    Entry("Euler a CFG++", ours.sample_euler_ancestral_cfgpp, "noisy", base="Euler a"),
    Entry("DPM++ 2S a CFG++", ours.sample_dpmpp_2s_ancestral_cfgpp, "noisy", calls=2, base="DPM++ 2S a"),
    Entry("DPM++ 2M SDE CFG++", ours.sample_dpmpp_2m_sde_cfgpp, "noisy", base="DPM++ 2M SDE"),
    Entry("SA-Solver", ours.sample_sa_solver, "noisy", base="DPM++ 2M SDE"),
    Entry("LCM (reference grid)", ours.sample_lcm, "consistency", base="LCM (WebUI's grid)"),
    Entry("TCD", ours.sample_tcd, "consistency", base="LCM (reference grid)"),
)
BASES = {entry.name: entry.base for entry in ENTRIES if entry.base}
GUIDED = tuple(
    entry
    for entry in ENTRIES
    if "CFG++" in entry.name or entry.name in {base for name, base in BASES.items() if "CFG++" in name}
)
"""CFG++ samplers and their bases."""

SCHEDULES = {"Karras": karras, "Trailing": trailing}


def of_kind(kind: str) -> list[Entry]:
    """The samplers of a kind, in the order of the list."""
    return [entry for entry in ENTRIES if entry.kind == kind]


def grid(entry: Entry, steps: int, schedule: str) -> Tensor:
    """The noise levels (steps + 1,) of a run, float64; samplers of consistency models have timesteps of their own.

    The WebUI's LCM spaces its timesteps evenly from 999 to 19, both included.
    """
    if entry.kind != "consistency":
        return SCHEDULES[schedule](steps)
    if entry.base:
        return ours.sigmas_at(ours.lcm_timesteps(steps), SCHEDULE).double()
    return ours.sigmas_at(torch.linspace(999, 19, steps).tolist(), SCHEDULE).double()


class Path:
    """Noise of a Brownian path in sigma, as the WebUI gives it: two draws from one level on share their way.

    `draw` gives unit noise of the sample's shape.
    """

    def __init__(self, draw: Callable[..., Tensor]) -> None:
        """Nothing is drawn yet."""
        self._draw = draw
        self._start = self._reached = math.inf
        self._moved: Tensor | float = 0.0

    def __call__(self, sigma: Any, sigma_next: Any) -> Tensor:
        """Unit noise for the way from `sigma` to `sigma_next`."""
        start, end = float(sigma), float(sigma_next)
        if start != self._start:
            self._start = self._reached = start
            self._moved = 0.0
        moved = self._moved + math.sqrt(self._reached - end) * self._draw()
        self._moved, self._reached = moved, end
        return moved / math.sqrt(start - end)


def sampled(entry: Entry, model: Any, x: Tensor, sigmas: Tensor, draw: Callable[..., Tensor], **more: Any) -> Tensor:
    """What a sampler makes of unit noise `x`; `draw` gives more of it to samplers that add noise."""
    if entry.kind != "flow":
        more["noise_sampler"] = Path(draw)
    with torch.inference_mode():
        return entry.run(model, float(sigmas[0]) * x, sigmas.to(x.dtype), disable=True, **more)


def strength(entry: Entry, sigmas: Tensor, cfg: float) -> float:
    """What the denoiser guides with: CFG, or the lambda that means the same to a CFG++ sampler over these levels."""
    return ours.calibrated(entry.run, sigmas, cfg) if "CFG++" in entry.name else cfg
