"""Low-rank changes of a UNet (LoRA, arXiv 2106.09685), in files with the key names of Kohya's scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from demo.model.files import save_half

LARGEST_FILE = 4 * 10**6
_BLOCK = re.compile(r"(input_blocks|middle_block|output_blocks)\.(\d+)\.(?:(\d+)\.)?(.+)")
_IN_RESNETS = {
    "in_layers.2": "conv1",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}


class LowRank(nn.Module):
    """Adds a matrix of low rank to a weight; it begins at zero."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        """For a weight (out, in) or (out, in, k, k)."""
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, *weight.shape[1:]))
        self.up = nn.Parameter(torch.zeros(len(weight), rank))
        nn.init.normal_(self.down, std=weight[0].numel() ** -0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight."""
        return weight + (self.up @ self.down.flatten(1)).view_as(weight)


def add_low_rank(unet: nn.Module, rank: int) -> None:
    """Give every layer in the UNet's residual blocks and transformers a trainable change; all else is frozen."""
    unet.requires_grad_(False)
    for _, layer in changeable(unet):
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))


def changeable(unet: nn.Module) -> Iterator[tuple[str, Any]]:
    """Name and module of each layer in residual blocks and transformers."""
    for name, module in unet.named_modules():
        found = _BLOCK.fullmatch(name)
        if found and isinstance(module, (nn.Linear, nn.Conv2d)) and found[4] not in ("conv", "op", "0"):
            yield name, module


def kohya_name(name: str, *, sized: bool) -> str:
    """The key of a layer in Kohya's files: SDXL's are the UNet's own names, SD1.5's those of diffusers."""
    if sized:
        return "lora_unet_" + name.replace(".", "_")
    side, index, inner, rest = _taken_apart(name)
    if side == "middle_block":
        kind, place = (
            ("attentions", "mid_block_attentions_0") if index == 1 else ("resnets", f"mid_block_resnets_{index // 2}")
        )
    else:
        kind = "attentions" if inner == 1 else "resnets"
        first = 1 if side == "input_blocks" else 0
        block, position = divmod(index - first, 3)
        place = f"{'down' if first else 'up'}_blocks_{block}_{kind}_{position}"
    return f"lora_unet_{place}_{(_IN_RESNETS[rest] if kind == 'resnets' else rest).replace('.', '_')}"


def _taken_apart(name: str) -> tuple[str, int, int, str]:
    """Side, index in it, index in the block (0 in the middle) and the rest of a layer's name."""
    if name.startswith("middle_block"):
        side, index, rest = name.split(".", 2)
        return side, int(index), 0, rest
    side, index, inner, rest = name.split(".", 3)
    return side, int(index), int(inner), rest


def save_low_rank(unet: nn.Module, path: Path, metadata: dict[str, str], *, sized: bool) -> None:
    """Write the changes in float16. Raises ValueError if the file would be above 4 MB."""
    weights: dict[str, Tensor] = {}
    for name, layer in changeable(unet):
        change = layer.parametrizations["weight"][0]
        key, rank = kohya_name(name, sized=sized), change.up.shape[1]
        spatial = (1,) * (change.down.ndim - 2)
        weights[f"{key}.lora_down.weight"] = change.down
        weights[f"{key}.lora_up.weight"] = change.up.view(*change.up.shape, *spatial)
        weights[f"{key}.alpha"] = torch.tensor(float(rank))
    save_half(weights, path, metadata, LARGEST_FILE)


@torch.no_grad()
def apply_low_rank(unet: nn.Module, path: Path, *, sized: bool) -> None:
    """Add the changes in a file to the UNet's weights. Raises KeyError where the file lacks one."""
    weights = load_file(path)
    for name, layer in changeable(unet):
        key = kohya_name(name, sized=sized)
        down, up = weights[f"{key}.lora_down.weight"].float(), weights[f"{key}.lora_up.weight"].float()
        scale = float(weights[f"{key}.alpha"]) / len(down)
        layer.weight += scale * (up.flatten(1) @ down.flatten(1)).view_as(layer.weight)
