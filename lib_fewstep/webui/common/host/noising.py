"""What the host makes of the loaded model: its kind, its noise levels, and how a sampler is given others for a pass."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from modules import sd_models, sd_samplers_lcm, shared
from torch import Tensor, nn

from lib_fewstep.models import HostModel, ModelDenoiser, ModelPlan, TimestepDenoiser, noisy
from lib_fewstep.models.kinds import NOISE, V
from lib_fewstep.webui.common.host.protocols import Sampler

_KINDS = {"eps": NOISE, "v": V}
_PARAMETERIZATIONS = {kind: name for name, kind in _KINDS.items()}


def host_model(ratio: float = 1.0) -> HostModel:
    """What the host makes of the loaded model; `ratio` is the image's side in trained sides."""
    model = shared.sd_model
    kind = _KINDS.get(model.parameterization, NOISE)
    unsupported = "SD3" if getattr(model, "is_sd3", False) else None
    return HostModel(kind, model.alphas_cumprod, ratio, unsupported)


def checkpoint_path() -> Path | None:
    """The file of the loaded checkpoint; None while none is loaded."""
    info = getattr(sd_models.model_data.sd_model, "sd_checkpoint_info", None)
    return None if info is None else Path(info.filename)


USUAL_STEPS = 1000
"""The timesteps that the host counts with."""


def knows_noise_alone(sampler: Sampler) -> bool:
    """Whether a sampler's denoiser takes every model for one that predicts noise: the host's LCM."""
    return isinstance(sampler, sd_samplers_lcm.LCMSampler)


def counts_to_1000(sampler: Sampler) -> bool:
    """Whether a sampler takes the model's timesteps for 1000, whatever it has: the host's UniPC and LCM."""
    return sampler.func.__name__ == "unipc" or knows_noise_alone(sampler)


def always_draws_noise(sampler: Sampler) -> bool:
    """Whether a sampler draws fresh noise on its way, whatever the job's `eta`."""
    parameters = inspect.signature(sampler.func).parameters
    return sampler.func.__name__ == "restart_sampler" or ("noise_sampler" in parameters and "eta" not in parameters)


def draws_by_eta(sampler: Sampler) -> bool:
    """Whether a sampler draws fresh noise where its `eta` is not 0."""
    return {"noise_sampler", "eta"} <= inspect.signature(sampler.func).parameters.keys()


def of_flow(sampler: Sampler) -> bool:
    """Whether the model is sampled as a rectified flow, in whose highest noise nothing of an image is left."""
    denoiser = getattr(sampler, "model_wrap", None)
    return isinstance(denoiser, ModelDenoiser) and denoiser.kind.flow


def works_with_timesteps(sampler: Sampler) -> bool:
    """Whether a sampler works with timesteps and latents of unit variance, as DDIM does."""
    return hasattr(sampler, "get_timesteps")


@contextmanager
def sampled_as(sampler: Sampler, plan: ModelPlan) -> Iterator[None]:
    """The loaded model is sampled as a plan says, by this sampler; afterwards all is as it was."""
    model: Any = shared.sd_model
    schedule = plan.alphas_cumprod.to(device=shared.device, dtype=torch.float32)
    with ExitStack() as put:
        put.callback(_wrap, sampler, None)
        put.callback(_keep_original, model, getattr(model, _ORIGINAL, None), schedule)
        put.enter_context(_attributes(model, _of_model(plan, schedule)))
        if works_with_timesteps(sampler):
            put.enter_context(_attributes(sampler.model_wrap_cfg, {"alphas": schedule}))
        if works_with_timesteps(sampler) and len(schedule) != USUAL_STEPS:
            counted = {"get_timesteps": partial(_timesteps, sampler, len(schedule))}
            put.enter_context(_attributes(sampler, counted))
        _wrap(sampler, _denoiser(sampler, model, plan))
        yield


_ORIGINAL = "alphas_cumprod_original"
"""What the host sets a model's noise schedule back to before each batch."""


def _keep_original(model: Any, original: Any, schedule: Tensor) -> None:
    """Of a refiner that is loaded in place meanwhile the host takes the schedule of the pass for the original."""
    if getattr(model, _ORIGINAL, None) is schedule:
        setattr(model, _ORIGINAL, original)


def _timesteps(sampler: Any, trained: int, p: Any, steps: int) -> Tensor:
    """The host's timesteps 1, 1 + 1000 // steps and so on, stretched over those that the model has."""
    usual: Tensor = type(sampler).get_timesteps(sampler, p, steps)
    return torch.clip((usual - 1) * trained // USUAL_STEPS + 1, 0, trained - 1)


def _of_model(plan: ModelPlan, schedule: Tensor) -> dict[str, Any]:
    changed: dict[str, Any] = {"alphas_cumprod": schedule} if plan.changes_schedule else {}
    if plan.changes_kind and plan.name in _PARAMETERIZATIONS:
        changed["parameterization"] = _PARAMETERIZATIONS[plan.name]
    if plan.kind.flow:
        changed["add_noise_to_latent"] = lambda image, noise, sigma: noisy(plan.kind, image, noise, float(sigma))
    return changed


@contextmanager
def _attributes(owner: Any, values: dict[str, Any]) -> Iterator[None]:
    """Attributes of an instance, which may be buffers; what is set anew meanwhile, as by a reload, stays."""
    own = {**vars(owner), **dict(owner.named_buffers(recurse=False))} if isinstance(owner, nn.Module) else vars(owner)
    before = {name: own[name] for name in values if name in own}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name in [name for name, value in values.items() if getattr(owner, name) is value]:
            if name in before:
                setattr(owner, name, before[name])
            else:
                delattr(owner, name)


def _denoiser(sampler: Sampler, model: Any, plan: ModelPlan) -> nn.Module | None:
    """The denoiser of a kind that the host does not know; None for its own."""
    if plan.kind.levels is None:
        return None
    sigmas = plan.sigmas.to(device=shared.device, dtype=torch.float32)
    made = ModelDenoiser(model.apply_model, plan.kind, sigmas, model)
    return TimestepDenoiser(made) if works_with_timesteps(sampler) else made


def _wrap(sampler: Sampler, made: nn.Module | None) -> None:
    """Give a sampler a denoiser, or have the host make its own anew."""
    denoiser: Any = sampler.model_wrap_cfg
    denoiser.model_wrap = made
    sampler.model_wrap = denoiser.inner_model
