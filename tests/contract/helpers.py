"""What the tests of the contract have in common: small requests, and what the extension's scripts have seen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 1, "sampler_name": "Euler"}
HIRES = {"enable_hr": True, "denoising_strength": 0.5, "hr_scale": 2.0, "hr_upscaler": "Latent"}
HOOKS_BEFORE = ["before_process_batch", "after_extra_networks_activate", "process_batch"]
HOOKS_AFTER = [
    "post_sample",
    "postprocess_batch",
    "postprocess_batch_list",
    "postprocess_image",
    "postprocess_maskoverlay",
    "postprocess_image_after_composite",
]


def module(name: str) -> Any:
    """A module of the host."""
    return sys.modules[f"modules.{name}"]


def script(name: str) -> Any:
    """What the host knows of a script file."""
    return next(data for data in module("scripts").scripts_data if data.path.endswith(f"{name}.py"))


def log_of() -> list[tuple[str, Any]]:
    """What the recorder has written down."""
    log: list[tuple[str, Any]] = script("recorder").module.log
    return log


def recorded(name: str) -> list[Any]:
    """What it has written down under one name."""
    return [content for kind, content in log_of() if kind == name]


def act(**actions: Callable[..., Any]) -> None:
    """Have the recorder do something in its methods, for one test."""
    script("recorder").script_class.actions.update(actions)


def on(kind: str, callback: Callable[..., Any]) -> None:
    """Register a callback, for one test."""
    getattr(module("script_callbacks"), f"on_{kind}")(callback)


def watched(host: Any, read: Callable[[], Any], **fields: Any) -> list[Any]:
    """What `read()` gives before each evaluation of a job."""
    seen: list[Any] = []
    with listening("cfg_denoiser", lambda params: seen.append(read())):
        host.txt2img(**{**SMALL, **fields})
    return seen


@contextmanager
def listening(kind: str, callback: Callable[..., Any]) -> Iterator[None]:
    """A callback for a while."""
    on(kind, callback)
    try:
        yield
    finally:
        module("script_callbacks").remove_callbacks_for_function(callback)


def loaded(host: Any) -> str:
    """The name of the loaded checkpoint."""
    name: str = host.shared.sd_model.sd_checkpoint_info.name_for_extra
    return name


def schedule_of(host: Any, **fields: Any) -> list[float]:
    """The sigmas of a job's evaluations, rounded."""
    seen: list[float] = []
    with listening("cfg_denoiser", lambda params: seen.append(round(float(params.sigma[0]), 3))):
        host.txt2img(**{**SMALL, **fields})
    return seen


def register(function: Any, options: dict[str, Any] | None = None, name: str = "Mine") -> Any:
    """A sampler of an extension."""
    samplers, common = module("sd_samplers"), module("sd_samplers_common")
    family = module("sd_samplers_kdiffusion").KDiffusionSampler
    data = common.SamplerData(name, lambda model: family(function, model), ["mine"], options or {})
    samplers.all_samplers.append(data)
    samplers.all_samplers_map[name] = data
    samplers.set_samplers()
    samplers.get_sampler_and_scheduler.cache_clear()
    return data


def applied() -> list[Any]:
    """What the extension's axes have applied: (value, all values)."""
    seen: list[Any] = script("axes").module.seen
    return seen
