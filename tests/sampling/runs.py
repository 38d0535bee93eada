"""The samplers, each CFG++ one with its base of k-diffusion, and how to run them all alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from bench.kdiffusion import sampling as theirs
from bench.mixtures import Model, noise_sampler
from lib_fewstep import sampling as ours

BASES: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
    ours.sample_euler_cfgpp: theirs.sample_euler,
    ours.sample_euler_ancestral_cfgpp: theirs.sample_euler_ancestral,
    ours.sample_dpmpp_2m_cfgpp: theirs.sample_dpmpp_2m,
    ours.sample_dpmpp_2s_ancestral_cfgpp: theirs.sample_dpmpp_2s_ancestral,
    ours.sample_dpmpp_2m_sde_cfgpp: theirs.sample_dpmpp_2m_sde,
}
DETERMINISTIC = (ours.sample_euler_cfgpp, ours.sample_dpmpp_2m_cfgpp)
NOISY = tuple(sampler for sampler in BASES if sampler not in DETERMINISTIC)
CONSISTENCY = (ours.sample_lcm, ours.sample_tcd, ours.sample_sa_solver)
ALL = (*BASES, *CONSISTENCY)

SETTINGS = [(sampler, None) for sampler in DETERMINISTIC] + [(s, eta) for s in NOISY for eta in (0.0, 0.5, 1.0)]
each_setting = pytest.mark.parametrize(
    ("sampler", "eta"), SETTINGS, ids=lambda value: getattr(value, "__name__", value)
)
each_sampler = pytest.mark.parametrize("sampler", ALL, ids=lambda sampler: sampler.__name__)
each_cfgpp = pytest.mark.parametrize("sampler", BASES, ids=lambda sampler: sampler.__name__)


def run(sampler: Any, model: Model, x: Tensor, sigmas: Tensor, scale: float = 1.0, eta: Any = None, **more: Any) -> Any:
    """A quiet run with guidance `scale`; a sampler with noise gets the same noise each time."""
    if sampler not in DETERMINISTIC and sampler not in (theirs.sample_euler, theirs.sample_dpmpp_2m):
        more.setdefault("noise_sampler", noise_sampler(x.shape, dtype=x.dtype))
    if eta is not None:
        more["eta"] = eta
    return sampler(model, x, sigmas, extra_args={"cond_scale": scale}, disable=True, **more)
