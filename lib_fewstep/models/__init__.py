"""Kinds of models: what their output means, their noise levels, and how a checkpoint's file tells them."""

from lib_fewstep.models.denoiser import ModelDenoiser, TimestepDenoiser, levels_of, noisy
from lib_fewstep.models.header import Told, read
from lib_fewstep.models.kinds import KINDS, Factors, Kind
from lib_fewstep.models.noise_schedules import (
    NAMED,
    STABLE_DIFFUSION,
    NoiseSchedule,
    shares_at,
    shifted,
    sigmas_of,
    with_zero_terminal_snr,
)
from lib_fewstep.models.plan import HostModel, ModelPlan, plan_of
from lib_fewstep.models.settings import ModelSettings

__all__ = [
    "KINDS",
    "NAMED",
    "STABLE_DIFFUSION",
    "Factors",
    "HostModel",
    "Kind",
    "ModelDenoiser",
    "ModelPlan",
    "ModelSettings",
    "NoiseSchedule",
    "TimestepDenoiser",
    "Told",
    "levels_of",
    "noisy",
    "plan_of",
    "read",
    "shares_at",
    "shifted",
    "sigmas_of",
    "with_zero_terminal_snr",
]
