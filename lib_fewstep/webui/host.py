"""Every question that the extension asks the WebUI about itself, its model and its job."""

from __future__ import annotations

import re
from typing import Any

from modules import sd_models, sd_unet, shared
from modules.processing import StableDiffusionProcessingImg2Img
from torch import nn

from lib_fewstep.hires import ModelHints
from lib_fewstep.hires.settings import Pass

_SD2_V_PREDICTION_SIZE = 768
_SDXL_TURBO = re.compile(r"(sd[-_ ]?xl|stable-diffusion-xl)[-_ ]?turbo", re.IGNORECASE)


def loaded_unet() -> nn.Module | None:
    """The UNet that the next step will run, or None while no model is loaded; it never makes the host load one."""
    loaded = sd_models.model_data.sd_model
    diffusion_model: nn.Module | None = getattr(getattr(loaded, "model", None), "diffusion_model", None)
    return diffusion_model


def replaced_unet() -> str | None:
    """The name of the engine that runs instead of the loaded UNet (TensorRT and others), or None."""
    engine = sd_unet.current_unet
    return None if engine is None else type(engine).__name__


def model_hints(p: Any) -> ModelHints:
    """What the model's name and type and the job tell beyond the UNet's structure."""
    name = shared.sd_model.sd_checkpoint_info.name
    v_prediction = getattr(shared.sd_model, "is_sd2", False) and shared.sd_model.parameterization == "v"
    kind = _pass_of(p)
    denoise = 1.0 if kind == "first" or p.denoising_strength is None else float(p.denoising_strength)
    return ModelHints(
        trained_size=_SD2_V_PREDICTION_SIZE if v_prediction else None,
        turbo=_SDXL_TURBO.search(name) is not None,
        playground="playground" in name.lower(),
        controlnet=_uses_controlnet(p),
        pass_=kind,
        denoise=min(max(denoise, 0.0), 1.0),
    )


def competing_attention(p: Any) -> str | None:
    """The name of what else rearranges the tokens of self-attention in this pass, or None."""
    second_pass = p.is_hr_pass and getattr(shared.opts, "hypertile_enable_unet_secondpass", False)
    if second_pass or getattr(shared.opts, "hypertile_enable_unet", False):
        return "HyperTile"
    if p.get_token_merging_ratio(for_hr=p.is_hr_pass) > 0:
        return "token merging"
    return None


def _pass_of(p: Any) -> Pass:
    if isinstance(p, StableDiffusionProcessingImg2Img):
        return "img2img" if p.image_mask is None else "inpaint"
    return "hires" if p.is_hr_pass else "first"


def _uses_controlnet(p: Any) -> bool:
    """Whether an enabled ControlNet unit, an object or the API's dict, is among the scripts' arguments."""
    units = (vars(arg) if hasattr(arg, "__dict__") else arg for arg in p.script_args or ())
    return any(isinstance(unit, dict) and unit.get("enabled") and "control_mode" in unit for unit in units)
