"""The loaded model: its UNet, its name, and what they tell."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from modules import sd_models, sd_unet, shared
from torch import nn

from lib_fewstep.highres import ModelHints, Pass
from lib_fewstep.sampling.schedules import TRAINED_STEPS
from lib_fewstep.unet import UnsupportedModel
from lib_fewstep.webui.common.host import job
from lib_fewstep.webui.common.host.protocols import Processing

_RESOLUTION = re.compile(r"\s*(\d{2,4})\s*x\s*(\d{2,4})\s*")
_SMALLEST_TRAINED_SIZE = 64
_SD2_V_PREDICTION_SIZE = 768
_SDXL_TURBO = re.compile(r"(sd[-_ ]?xl|stable-diffusion-xl)[-_ ]?turbo", re.IGNORECASE)


def loaded_unet() -> nn.Module | None:
    """The UNet that the next step will run, or None while no model is loaded; it never makes the host load one."""
    loaded = sd_models.model_data.sd_model
    diffusion_model: nn.Module | None = getattr(getattr(loaded, "model", None), "diffusion_model", None)
    return diffusion_model


def unet_with_blocks() -> nn.Module | None:
    """The same, if it is made of blocks as Stable Diffusion's is."""
    unet = loaded_unet()
    return unet if hasattr(unet, "input_blocks") and hasattr(unet, "output_blocks") else None


def replaced_unet() -> str | None:
    """The name of the engine that runs instead of the loaded UNet (TensorRT and others), or None."""
    engine = sd_unet.current_unet
    return None if engine is None else type(engine).__name__


def model_hints(p: Processing) -> ModelHints:
    """What the model's name and type and the job tell beyond the UNet's structure."""
    kind, denoise = job.pass_of(p), job.denoising_strength(p)
    return hints_of(kind, denoise, controlnet=job.uses_controlnet(p), rival=competing_attention(p))


def hints_of(kind: Pass, denoise: float, *, controlnet: bool = False, rival: str | None = None) -> ModelHints:
    """What the loaded model's header, name and type tell, for a kind of pass.

    Raises UnsupportedModel where none is loaded.
    """
    model = sd_models.model_data.sd_model
    if model is None:
        raise UnsupportedModel("No model is loaded.")
    name = model.sd_checkpoint_info.name
    v_prediction = getattr(model, "is_sd2", False) and model.parameterization == "v"
    usual = _SD2_V_PREDICTION_SIZE if v_prediction else None
    return ModelHints(
        trained_size=trained_size(getattr(model.sd_checkpoint_info, "metadata", {})) or usual,
        turbo=_SDXL_TURBO.search(name) is not None,
        playground="playground" in name.lower(),
        controlnet=controlnet,
        pass_=kind,
        denoise=min(max(denoise, 0.0), 1.0),
        rival=rival,
    )


def trained_size(header: Mapping[str, Any]) -> int | None:
    """The side in pixels of a square as large as `modelspec.resolution` (width x height), or None if there is none.

    The key is that of the Stability AI model metadata standard. What is no size, or below 64x64, is no hint.
    """
    said = _RESOLUTION.fullmatch(str(header.get("modelspec.resolution", "")))
    side = round(math.prod(map(int, said.groups())) ** 0.5) if said else 0
    return side if side >= _SMALLEST_TRAINED_SIZE else None


def competing_attention(p: Processing) -> str | None:
    """The name of what else rearranges the tokens of self-attention in this pass, or None."""
    return _rival(hires=p.is_hr_pass, merging=p.get_token_merging_ratio(for_hr=p.is_hr_pass))


def competing_by_settings(kind: Pass) -> str | None:
    """The same for a pass that the page would start, as far as the WebUI's settings tell."""
    options, merging = shared.opts, shared.opts.token_merging_ratio
    if kind == "hires":
        merging = options.token_merging_ratio_hr or merging
    elif kind != "first":
        merging = options.token_merging_ratio_img2img or merging
    return _rival(hires=kind == "hires", merging=merging)


def _rival(*, hires: bool, merging: float) -> str | None:
    second_pass = hires and getattr(shared.opts, "hypertile_enable_unet_secondpass", False)
    if second_pass or getattr(shared.opts, "hypertile_enable_unet", False):
        return "HyperTile"
    return "token merging" if merging > 0 else None


def checkpoint_name() -> str:
    """The loaded checkpoint's file name without folder and ending; empty while none is loaded."""
    info = getattr(sd_models.model_data.sd_model, "sd_checkpoint_info", None)
    return "" if info is None else Path(info.name).stem


def flow_model() -> bool:
    """Whether the loaded model is a rectified flow (SD3), whose noise levels mean something else."""
    return bool(getattr(shared.sd_model, "is_sd3", False))


def is_sdxl() -> bool:
    """Whether the loaded model has SDXL's layout."""
    return bool(getattr(shared.sd_model, "is_sdxl", False))


def trained_steps() -> int:
    """How many timesteps the loaded model has; the usual number while none is loaded."""
    schedule = getattr(sd_models.model_data.sd_model, "alphas_cumprod", None)
    return TRAINED_STEPS if schedule is None else len(schedule)


def device() -> torch.device:
    """Where the UNet runs."""
    return torch.device(shared.device)
