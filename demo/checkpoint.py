"""The small checkpoint: building its two networks, saving and loading them in the WebUI's key layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ldm.modules.diffusionmodules.openaimodel import UNetModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from demo.model.host import prepare_host
from demo.text import CONTEXT_WIDTH, TextEncoder

UNET_PREFIX = "model.diffusion_model."
TEXT_PREFIX = "cond_stage_model."
LARGEST_FILE = 25 * 1024**2
DEFAULT_PATH = Path(__file__).parent / "checkpoint" / "mini.safetensors"
UNET_LAYOUT: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "attention_resolutions": [4, 2, 1],
    "num_res_blocks": 2,
    "channel_mult": [1, 2, 4, 4],
    "num_heads": 4,
    "use_spatial_transformer": True,
    "transformer_depth": 1,
    "context_dim": CONTEXT_WIDTH,
    "use_checkpoint": False,
    "legacy": False,
}


@dataclass
class MiniModel:
    """A UNet of the SD1.5 layout and the text encoder that it was trained with."""

    unet: nn.Module
    text: TextEncoder

    def parameters(self) -> list[Tensor]:
        """All trainable weights of both networks."""
        return [*self.unet.parameters(), *self.text.parameters()]

    def state_dict(self) -> dict[str, Tensor]:
        """All weights under the WebUI's key names."""
        weights = {UNET_PREFIX + key: value for key, value in self.unet.state_dict().items()}
        weights |= {TEXT_PREFIX + key: value for key, value in self.text.state_dict().items()}
        return weights

    def load_state_dict(self, weights: dict[str, Tensor]) -> None:
        """Take over weights under the WebUI's key names; every key must be there."""
        self.unet.load_state_dict(_below(UNET_PREFIX, weights))
        self.text.load_state_dict(_below(TEXT_PREFIX, weights))


def _below(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in weights.items() if key.startswith(prefix)}


def build(seed: int = 0) -> MiniModel:
    """An untrained model; the weights come from `seed` and the global random state stays as it was."""
    prepare_host()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MiniModel(UNetModel(**UNET_LAYOUT), TextEncoder())
    for module in model.unet.modules():
        if isinstance(getattr(module, "checkpoint", None), bool):
            vars(module)["checkpoint"] = False
    return model


def save(model: MiniModel, path: Path, metadata: dict[str, str]) -> None:
    """Write the weights as float16 safetensors. Raises ValueError if the file would be above 25 MB."""
    weights = {key: value.to(torch.float16).contiguous() for key, value in model.state_dict().items()}
    size = sum(value.numel() * value.element_size() for value in weights.values())
    if size > LARGEST_FILE:
        raise ValueError(f"the checkpoint would take {size} bytes, allowed are {LARGEST_FILE}")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata=metadata)


def load(path: Path = DEFAULT_PATH) -> tuple[MiniModel, dict[str, str]]:
    """The model in float32, ready to sample, and the file's metadata.

    Raises FileNotFoundError, naming the command that makes the file, if it does not exist.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; make it with: python -m demo.train --out {path}")
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata() or {}
        weights = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    model = build()
    model.load_state_dict(weights)
    model.unet.eval().requires_grad_(False)
    model.text.eval().requires_grad_(False)
    return model, metadata
