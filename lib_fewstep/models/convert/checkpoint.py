"""All parts of a diffusers folder in one checkpoint, and the YAML file that goes beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from lib_fewstep.models.convert import autoencoder, text, unet
from lib_fewstep.models.convert.folder import NotConvertible, Part, part, settings

_SCHEDULER = "scheduler/scheduler_config.json"
_PARAMETERIZATIONS = {"epsilon": "eps", "v_prediction": "v"}


@dataclass(frozen=True)
class Checkpoint:
    """Tensors under the original layout's names, and what the YAML file says of the model."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]


def write(folder: Path, out: Path, vae: Path | None = None, *, force: bool = False) -> list[Path]:
    """Convert a diffusers folder to `out` (.safetensors), with the YAML file beside it; what was written.

    `vae` is the folder of another autoencoder than the pipeline's; with `force`, what exists is replaced. Raises
    NotConvertible, with a sentence, for what a WebUI cannot load, before anything is written; OSError where the system
    refuses to write.
    """
    if out.suffix != ".safetensors":
        raise NotConvertible(f"OUT = {out.name} is not allowed: it must end in .safetensors.")
    config = out.with_suffix(".yaml")
    _check_free(f"OUT = {out.name}", out, force=force)
    _check_free(f"{config.name} beside OUT", config, force=force)
    found = checkpoint_of(folder, out, vae)
    own_text = "version" in found.config["model"]["params"]["cond_stage_config"].get("params", {})
    if own_text:
        text.check_tokenizer(folder)
        if text.beside(out).exists() and not force:
            raise _exists(f"{text.beside(out).name} beside OUT")
    out.parent.mkdir(parents=True, exist_ok=True)
    if own_text:
        text.copy_beside(folder, out)
    _save(found.tensors, out)
    config.write_text(yaml.safe_dump(found.config, sort_keys=False), encoding="utf-8")
    return [out, config]


def _check_free(told: str, path: Path, *, force: bool) -> None:
    if path.is_dir():
        raise NotConvertible(f"{told} is not allowed: it is a folder.")
    if path.exists() and not force:
        raise _exists(told)


def _exists(told: str) -> NotConvertible:
    return NotConvertible(f"{told} exists: give --force to replace it.")


def _save(tensors: dict[str, Tensor], out: Path) -> None:
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{out.name} cannot be written: {error}.") from None


def checkpoint_of(folder: Path, out: Path, vae: Path | None = None) -> Checkpoint:
    """The checkpoint of a diffusers folder. Raises NotConvertible for what a WebUI cannot load."""
    parts = (
        part(folder / "unet", "UNet2DConditionModel"),
        part(vae or folder / "vae", "AutoencoderKL"),
        part(folder / "text_encoder", "CLIPTextModel"),
    )
    scheduler = Part(_SCHEDULER, settings(folder / _SCHEDULER), {})
    config = _config(*parts, scheduler, out)
    each = (unet.tensors_of(parts[0]), autoencoder.tensors_of(parts[1]), text.tensors_of(parts[2]))
    return Checkpoint(
        {name: tensor for tensors in (*each, _marks(scheduler)) for name, tensor in tensors.items()}, config
    )


def _marks(scheduler: Part) -> dict[str, Tensor]:
    """Tensors by which a file says that the last step has no signal, and then, whether the model predicts v."""
    if not scheduler.config.get("rescale_betas_zero_snr"):
        return {}
    names = ("ztsnr", "v_pred") if scheduler.config.get("prediction_type") == "v_prediction" else ("ztsnr",)
    return {name: torch.ones(1) for name in names}


def _config(network: Part, vae: Part, encoder: Part, scheduler: Part, out: Path) -> dict[str, Any]:
    scheduler.needs("beta_schedule", "scaled_linear")
    scheduler.needs("prediction_type", *_PARAMETERIZATIONS)
    scheduler.needs("trained_betas", None)
    scheduler.needs("rescale_betas_zero_snr", False, True)
    params = {
        "linear_start": scheduler.number("beta_start"),
        "linear_end": scheduler.number("beta_end"),
        "timesteps": scheduler.count("num_train_timesteps"),
        "parameterization": _PARAMETERIZATIONS[scheduler.config.get("prediction_type", "epsilon")],
        "first_stage_key": "jpg",
        "cond_stage_key": "txt",
        "image_size": network.config.get("sample_size") or 64,
        "channels": 4,
        "conditioning_key": "crossattn",
        "scale_factor": vae.number("scaling_factor", 0.18215),
        "use_ema": False,
        "unet_config": {"target": unet.class_of(network), "params": unet.layout_of(network)},
        "first_stage_config": {
            "target": "ldm.models.autoencoder.AutoencoderKL",
            "params": autoencoder.layout_of(vae),
        },
        "cond_stage_config": text.embedder_of(encoder, out),
    }
    return {"model": {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": params}}
