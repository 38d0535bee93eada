"""Building, saving and loading an embedded checkpoint, whose keys are those of the WebUI's model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from demo.model.autoencoder import Autoencoder
from demo.model.files import existing, save_half
from demo.model.layouts import Layout
from demo.model.lora import apply_low_rank
from demo.model.text import TextEncoder
from demo.model.unet import build_unet, embedded_sizes
from demo.pictures.scenes import TRAINED_SIDE

LARGEST_FILE = 30 * 10**6
LICENCE = "MIT"
TEXT_ENCODER_MARK = "conditioner.embedders.1.model.ln_final.weight"
"""By this key WebUI 1.10 knows that a checkpoint of SDXL's layout brings its text encoder, and looks for no other."""


@dataclass
class MiniModel:
    """The three networks of a checkpoint."""

    layout: Layout
    unet: nn.Module
    text: TextEncoder
    autoencoder: Autoencoder

    def parts(self) -> dict[str, nn.Module]:
        """Each network by the prefix of its keys."""
        layout = self.layout
        return {
            layout.unet_prefix: self.unet,
            layout.text_prefix: self.text,
            layout.autoencoder_prefix: self.autoencoder,
        }

    def conditioning(self, prompts: Sequence[str], sizes: Tensor | None = None) -> dict[str, Any]:
        """What the UNet is called with beside latents and timesteps.

        `sizes` (n, 6) are SDXL's: original height and width, the crop's top and left, target height and width. There,
        an empty prompt is all zeros, as the WebUI has it for an empty negative prompt.
        """
        context = self.text(prompts)
        if not self.layout.sized:
            return {"context": context}
        if sizes is None:
            raise ValueError(f"mini-{self.layout.name} needs the sizes of each picture")
        said = torch.tensor([prompt != "" for prompt in prompts])
        context = context * said[:, None, None]
        width = self.layout.unet["adm_in_channels"]
        return {"context": [context] * self.layout.unet["transformer_depth"], "y": embedded_sizes(sizes, width)}


def build(layout: Layout, seed: int = 0) -> MiniModel:
    """An untrained model; the weights come from `seed`, and the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MiniModel(layout, build_unet(layout.unet), TextEncoder(), Autoencoder(layout.autoencoder))


def save(model: MiniModel, path: Path, metadata: dict[str, str], marks: Sequence[str] = ()) -> None:
    """Write the weights in float16, with the header's keys of the model metadata standard.

    `marks` are names of tensors with one number, by which a file says what kind of model it has. Raises ValueError if
    the file would be above 30 MB.
    """
    layout = model.layout
    weights = {
        prefix + key: value for prefix, part in model.parts().items() for key, value in part.state_dict().items()
    }
    if layout.sized:
        weights[TEXT_ENCODER_MARK] = torch.ones(1)
    weights |= {mark: torch.ones(1) for mark in marks}
    header = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": layout.architecture,
        "modelspec.implementation": "sgm" if layout.sized else "ldm",
        "modelspec.title": layout.title,
        "modelspec.resolution": f"{TRAINED_SIDE}x{TRAINED_SIDE}",
        "modelspec.prediction_type": "epsilon",
        "modelspec.license": LICENCE,
    }
    save_half(weights, path, header | metadata, LARGEST_FILE)


def load(layout: Layout, lora: str = "", path: Path | None = None) -> MiniModel:
    """The model in float32, ready to sample, with the LoRA of a kind ("lcm", "tcd") if there is to be one.

    `path` is another file than the project's. Raises FileNotFoundError, naming the command that makes the file, if it
    does not exist.
    """
    whole, added = existing(path or layout.path), existing(layout.lora_path(lora)) if lora else None
    with safe_open(whole, framework="pt") as file:
        weights = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    model = build(layout)
    for prefix, part in model.parts().items():
        part.load_state_dict(_below(prefix, weights))
        part.eval().requires_grad_(False)
    if added is not None:
        apply_low_rank(model.unet, added, sized=layout.sized)
    return model


def _below(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
