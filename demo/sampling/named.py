"""Samplers, schedules and the meaning of CFG by the names that the WebUI shows."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from demo.sampling.denoiser import Denoiser, NoiseLevels
from demo.sampling.samplers import Sampler, sample_dpmpp_2m, sample_euler
from lib_fewstep.sampling import calibrated, lcm_timesteps, sigmas_at, trailing_timesteps
from lib_fewstep.sampling.entries import ENTRIES

SCHEDULE = "Trailing"
"""What is used where nothing else is said."""

CFGPP: dict[str, Sampler] = {entry.label: entry.function for entry in ENTRIES if entry.cfgpp}
SAMPLERS: dict[str, Sampler] = {
    "Euler": sample_euler,
    "DPM++ 2M": sample_dpmpp_2m,
    **{entry.label: entry.function for entry in ENTRIES},
}
TIMESTEPS: dict[str, Callable[[int], list[int]]] = {"Trailing": trailing_timesteps, "LCM grid": lcm_timesteps}


def schedule(name: str, steps: int, denoiser: Denoiser | None = None) -> Tensor:
    """The noise levels of a schedule, and 0, (steps + 1,): those of a denoiser, or of the embedded checkpoints."""
    return sigmas_at(TIMESTEPS[name](steps), denoiser or NoiseLevels())


def strength(sampler: str, cfg: float, sigmas: Tensor) -> float:
    """What the denoiser guides with: CFG, or for CFG++ the lambda that means the same over these noise levels."""
    return calibrated(CFGPP[sampler], sigmas, cfg) if sampler in CFGPP else cfg
