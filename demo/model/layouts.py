"""The two embedded checkpoints, by the YAML files that the WebUI reads beside them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "checkpoint"
TEXT_FOLDER = FOLDER / "clip"
"""Tokenizer and configuration of the text encoder, in the form of transformers."""


LORAS = ("lcm", "tcd")
"""Kinds of few-step LoRAs that each checkpoint has."""


@dataclass(frozen=True)
class Layout:
    """One checkpoint: its name, and where each network's keys are in its file."""

    name: str
    title: str
    architecture: str
    text_prefix: str
    unet_prefix: str = "model.diffusion_model."
    autoencoder_prefix: str = "first_stage_model."

    @property
    def path(self) -> Path:
        """The safetensors file."""
        return FOLDER / f"mini-{self.name}.safetensors"

    def lora_path(self, kind: str) -> Path:
        """The LoRA of a kind for this checkpoint."""
        return FOLDER / f"mini-{self.name}-{kind}.safetensors"

    @property
    def config_path(self) -> Path:
        """The YAML file beside it."""
        return self.path.with_suffix(".yaml")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The parameters that the WebUI builds the model with."""
        found: dict[str, Any] = yaml.safe_load(self.config_path.read_text(encoding="utf-8"))["model"]["params"]
        return found

    @property
    def unet(self) -> dict[str, Any]:
        """Parameters of the UNet."""
        found: dict[str, Any] = self.config["unet_config" if "unet_config" in self.config else "network_config"][
            "params"
        ]
        return found

    @property
    def autoencoder(self) -> dict[str, Any]:
        """Parameters of the autoencoder's two halves."""
        found: dict[str, Any] = self.config["first_stage_config"]["params"]["ddconfig"]
        return found

    @property
    def scale_factor(self) -> float:
        """What the autoencoder's latents are multiplied with for the UNet."""
        return float(self.config["scale_factor"])

    @property
    def sized(self) -> bool:
        """Whether the UNet is told the sizes of the picture, as SDXL's is."""
        return self.unet.get("num_classes") == "sequential"


LAYOUTS = {
    "sd15": Layout("sd15", "Fewstep mini SD1.5", "stable-diffusion-v1", "cond_stage_model."),
    "sdxl": Layout("sdxl", "Fewstep mini SDXL", "stable-diffusion-xl-v1-base", "conditioner.embedders.0."),
}
