"""The WebUI's UNet in both layouts, from the `ldm` class."""

from __future__ import annotations

import math
from typing import Any

import torch
from ldm.modules.diffusionmodules.openaimodel import UNetModel
from ldm.modules.diffusionmodules.util import timestep_embedding
from torch import Tensor, nn

from demo.model.host import prepare_host
from demo.model.quiet import quiet

SIZES = 6
"""SDXL is told the original height and width, the crop's top and left, and the target height and width."""


def build_unet(layout: dict[str, Any]) -> nn.Module:
    """An untrained UNet from the YAML's parameters, as the WebUI runs it."""
    prepare_host()
    known = {name: value for name, value in layout.items() if name not in _SGM_ONLY}
    sized = layout.get("num_classes") == "sequential"
    if sized:
        known |= {"image_size": None, "num_classes": "continuous"}
    with quiet():
        unet: nn.Module = UNetModel(**known)
    if sized:
        unet.label_emb = _size_embedding(layout)
    return unet


_SGM_ONLY = ("adm_in_channels", "spatial_transformer_attn_type")


def _size_embedding(layout: dict[str, Any]) -> nn.Module:
    """What SDXL makes of the sizes; it begins at zero, so that sizes which training never shows say little."""
    width = 4 * layout["model_channels"]
    first = nn.Linear(layout["adm_in_channels"], width)
    nn.init.zeros_(first.weight)
    return nn.Sequential(nn.Sequential(first, nn.SiLU(), nn.Linear(width, width)))


def embedded_sizes(sizes: Tensor, width: int) -> Tensor:
    """The waves of sizes (n, 6) that a layout with `adm_in_channels` of `width` gets, (n, width)."""
    waves: Tensor = timestep_embedding(sizes.flatten(), width // SIZES)
    return waves.reshape(len(sizes), width)


def alphas_cumprod(steps: int = 1000, start: float = 0.00085, end: float = 0.012) -> Tensor:
    """Share of the signal's variance left at each training step, (steps,), float64: Stable Diffusion's schedule."""
    roots = torch.linspace(math.sqrt(start), math.sqrt(end), steps, dtype=torch.float64)
    return torch.cumprod(1 - roots**2, dim=0)
