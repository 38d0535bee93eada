"""`modules.sd_schedulers`: the schedules of sigmas that users can choose."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from tests.webui.standin import kdiff
from tests.webui.standin.strict import StrictModule, fake

ALIGNED_SD1 = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
ALIGNED_SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)


@dataclass
class Scheduler:
    """A schedule of sigmas; `function` None means the sampler's or the model's own."""

    name: str
    label: str
    function: Callable[..., Tensor] | None
    default_rho: float = -1
    need_inner_model: bool = False
    aliases: list[str] | None = None


def uniform(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> Tensor:
    """The model's own schedule."""
    sigmas: Tensor = inner_model.get_sigmas(n).to(device)
    return sigmas


def sgm_uniform(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> Tensor:
    """Evenly spaced timesteps that leave out the last."""
    return _at(inner_model, _between(inner_model, sigma_max, sigma_min, n + 1)[:-1], device)


def normal(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> Tensor:
    """Evenly spaced timesteps."""
    return _at(inner_model, _between(inner_model, sigma_max, sigma_min, n), device)


def _between(inner_model: Any, high: float, low: float, n: int) -> Tensor:
    start, end = (float(inner_model.sigma_to_t(torch.tensor(sigma))) for sigma in (high, low))
    return torch.linspace(start, end, n)


def _at(inner_model: Any, timesteps: Tensor, device: Any) -> Tensor:
    return _with_zero([float(inner_model.t_to_sigma(timestep)) for timestep in timesteps], device)


def _with_zero(sigmas: list[float], device: Any) -> Tensor:
    return torch.tensor([*sigmas, 0.0], device=device)


def simple(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> Tensor:
    """Every so many-th of the model's sigmas, from the top."""
    stride = len(inner_model.sigmas) / n
    return _with_zero([float(inner_model.sigmas[-1 - int(index * stride)]) for index in range(n)], device)


def ddim(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> Tensor:
    """Every so many-th of the model's sigmas, from the second; there may be more than `n`."""
    stride = max(len(inner_model.sigmas) // n, 1)
    return _with_zero([float(sigma) for sigma in inner_model.sigmas[1::stride].flip(0)], device)


def beta(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> Tensor:
    """Sigmas at the quantiles of a beta distribution."""
    opts = fake("modules.shared").opts
    places = stats.beta.ppf(1 - np.linspace(0, 1, n), opts.beta_dist_alpha, opts.beta_dist_beta)
    return _with_zero([float(sigma_min + place * (sigma_max - sigma_min)) for place in places], device)


def kl_optimal(n: int, sigma_min: float, sigma_max: float, device: Any) -> Tensor:
    """Evenly spaced angles; the last sigma is not 0 but the smallest."""
    return torch.linspace(math.atan(sigma_max), math.atan(sigma_min), n + 1, device=device).tan()


def align_your_steps(n: int, sigma_min: float, sigma_max: float, device: Any) -> Tensor:
    """The published eleven sigmas, or as many between them."""
    table = ALIGNED_SDXL if fake("modules.shared").sd_model.is_sdxl else ALIGNED_SD1
    rising = np.log(table[::-1])
    between = np.exp(np.interp(np.linspace(0, len(table) - 1, n), range(len(table)), rising))[::-1]
    return _with_zero([float(sigma) for sigma in between], device)


def schedulers_module() -> StrictModule:
    """`modules.sd_schedulers`, with the host's twelve schedules in its order."""
    known = [
        Scheduler("automatic", "Automatic", None),
        Scheduler("uniform", "Uniform", uniform, need_inner_model=True),
        Scheduler("karras", "Karras", kdiff.sampling.get_sigmas_karras, default_rho=7.0),
        Scheduler("exponential", "Exponential", kdiff.sampling.get_sigmas_exponential),
        Scheduler("polyexponential", "Polyexponential", kdiff.sampling.get_sigmas_polyexponential, default_rho=1.0),
        Scheduler("sgm_uniform", "SGM Uniform", sgm_uniform, need_inner_model=True, aliases=["SGMUniform"]),
        Scheduler("kl_optimal", "KL Optimal", kl_optimal),
        Scheduler("align_your_steps", "Align Your Steps", align_your_steps),
        Scheduler("simple", "Simple", simple, need_inner_model=True),
        Scheduler("normal", "Normal", normal, need_inner_model=True),
        Scheduler("ddim", "DDIM", ddim, need_inner_model=True),
        Scheduler("beta", "Beta", beta, need_inner_model=True),
    ]
    return StrictModule(
        "modules.sd_schedulers",
        Scheduler=Scheduler,
        schedulers=known,
        schedulers_map={name: scheduler for scheduler in known for name in (scheduler.name, scheduler.label)},
        to_d=kdiff.sampling.to_d,
    )
