"""The loaded checkpoint: what its file says, read once, and what a pass of a size makes of that."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from lib_fewstep.highres import HighResSettings
from lib_fewstep.highres.schedule import trained_size
from lib_fewstep.models import ModelPlan, ModelSettings, Told, plan_of
from lib_fewstep.models import header as headers
from lib_fewstep.models.kinds import FLOW
from lib_fewstep.models.settings import AUTO
from lib_fewstep.options import SettingError
from lib_fewstep.sampling.entries import entries_of
from lib_fewstep.sentences import Sentence
from lib_fewstep.unet import Topology, UnsupportedModel, inspect_unet
from lib_fewstep.webui.common import host


def told_of_loaded() -> Told:
    """What the loaded checkpoint's file says; nothing where its header cannot be read."""
    return _read_of_loaded()[0]


def unreadable() -> Sentence | None:
    """Why nothing of what the loaded checkpoint's file says is known; None where it is, or is not asked for."""
    error = _read_of_loaded()[1]
    if not error:
        return None
    return Sentence("{error}. So the model is sampled as the WebUI and the settings here say.", error=error)


def _read_of_loaded() -> tuple[Told, str]:
    path = host.noising.checkpoint_path()
    if path is None or not host.options.setting_shown("detect_kind") or not path.exists():
        return Told(), ""
    return _read(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _read(path: Path, changed: int) -> tuple[Told, str]:  # noqa: ARG001 (a file that has changed is read again)
    """What a file says, and else why its header cannot be read."""
    try:
        return headers.read(path), ""
    except ValueError as error:
        return Told(), str(error)


def tensor_of_loaded(name: str) -> Tensor:
    """A tensor that the loaded checkpoint's file has, and the host has not loaded."""
    path = host.noising.checkpoint_path()
    assert path is not None
    return headers.tensor(path, name)


def plan_for(settings: ModelSettings, size: tuple[int, int], sampler: str) -> ModelPlan:
    """What is done in a pass of a size in pixels (width, height) with a sampler. Raises SettingError."""
    ratio = 1.0 if settings.shift else _ratio(size)
    return plan_of(_with_kind(settings, sampler), told_of_loaded(), host.noising.host_model(ratio))


def _with_kind(settings: ModelSettings, sampler: str) -> ModelSettings:
    """A sampler that is for flows alone says what the model is, where nobody else does."""
    if not any(entry.flow for entry in entries_of([sampler])):
        return settings
    if settings.kind not in (AUTO, FLOW):
        raise SettingError(
            f'kind = "{settings.kind}" is not allowed with the sampling method {sampler}, which is for models of the '
            f'kind "{FLOW}" alone.'
        )
    return replace(settings, kind=FLOW)


def _ratio(size: tuple[int, int]) -> float:
    side = trained_side()
    return 1.0 if side is None else (size[0] * size[1]) ** 0.5 / side


def trained_side() -> int | None:
    """The side in pixels of the square that the loaded model was trained at; None where its layout is unknown."""
    topology = _topology()
    return None if topology is None else trained_size(HighResSettings(), topology, host.model.hints_of("first", 1.0))


def is_refiner() -> bool:
    """Whether the loaded model is SDXL's refiner."""
    topology = _topology()
    return topology is not None and topology.family == "SDXL refiner"


def _topology() -> Topology | None:
    unet = host.model.unet_with_blocks()
    try:
        return None if unet is None else inspect_unet(unet)
    except UnsupportedModel:
        return None
