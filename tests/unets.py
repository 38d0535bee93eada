"""Small UNets of the real `ldm` class, and what the WebUI does to that class."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import torch
from ldm.modules.attention import CrossAttention
from ldm.modules.diffusionmodules import openaimodel
from ldm.modules.diffusionmodules.util import GroupNorm32
from torch import Tensor, nn

from demo.model.host import HostTorch, sdp_attention
from lib_fewstep.webui.models.small_unet import UNetWithoutMiddle

CONTEXT_WIDTH = 64
LATENT_CHANNELS = 4
DEEPEST = 10
"""Transformers in a stack of SDXL's."""


def sd1_unet(seed: int = 0, **changes: Any) -> nn.Module:
    """The layout of Stable Diffusion 1 with 32 base channels."""
    layout = {"channel_mult": [1, 2, 4, 4], "attention_resolutions": [4, 2, 1], **changes}
    return _unet(seed, **layout)


def sd2_unet(seed: int = 0, **changes: Any) -> nn.Module:
    """The layout of Stable Diffusion 2: linear projections around the transformers."""
    return sd1_unet(seed, use_linear_in_transformer=True, **changes)


def bk_sdm_unet(seed: int = 0, **changes: Any) -> nn.Module:
    """The layout of BK-SDM-Small: one residual block at each level, and no middle block."""
    return sd1_unet(seed, **{"kind": UNetWithoutMiddle, "num_res_blocks": 1, **changes})


def bk_sdm_tiny_unet(seed: int = 0, **changes: Any) -> nn.Module:
    """The layout of BK-SDM-Tiny: the same without the deepest level."""
    return bk_sdm_unet(seed, channel_mult=[1, 2, 4], **changes)


def sdxs_unet(seed: int = 0, **changes: Any) -> nn.Module:
    """The layout of SDXS-512-DreamShaper: no attention at the largest feature maps."""
    return bk_sdm_unet(seed, channel_mult=[1, 2, 4], attention_resolutions=[4, 2], **changes)


def sdxs_09_unet(seed: int = 0, **changes: Any) -> nn.Module:
    """The layout of SDXS-512-0.9, whose attention at the largest feature maps is cross-attention twice."""
    layout = {"use_linear_in_transformer": True, "disable_self_attentions": [True, False, False]}
    return bk_sdm_unet(seed, channel_mult=[1, 2, 4], **layout, **changes)


def sdxl_unet(seed: int = 0, depth: int = 2, **changes: Any) -> nn.Module:
    """The layout of Stable Diffusion XL, with one transformer depth and without size conditioning."""
    layout = {"channel_mult": [1, 2, 4], "attention_resolutions": [4, 2], **changes}
    return _unet(seed, transformer_depth=depth, context_dim=[CONTEXT_WIDTH] * depth, **layout)


def refiner_unet(seed: int = 0) -> nn.Module:
    """The layout of the SDXL refiner: four levels, attention on the middle two."""
    return _unet(seed, channel_mult=[1, 2, 4, 4], attention_resolutions=[4, 2])


def _unet(seed: int, **layout: Any) -> nn.Module:
    """A new copy each time: copying weights is quicker than drawing them."""
    key = seed, str(layout)
    if key not in _drawn:
        _drawn[key] = _draw(seed, layout)
    return copy.deepcopy(_drawn[key])


_drawn: dict[tuple[int, str], nn.Module] = {}


def _draw(seed: int, layout: dict[str, Any]) -> nn.Module:
    arguments = {**_LAYOUT, **layout}
    kind = arguments.pop("kind", openaimodel.UNetModel)
    with torch.random.fork_rng(devices=()):  # the class draws weights of its own
        unet: nn.Module = kind(**arguments)
    redraw(unet, seed)
    return unet.eval().requires_grad_(False)


_LAYOUT = {
    "image_size": 32,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "model_channels": 32,
    "num_res_blocks": 2,
    "num_heads": 4,
    "use_spatial_transformer": True,
    "context_dim": CONTEXT_WIDTH,
    "use_checkpoint": False,
    "legacy": False,
}


def redraw(unet: nn.Module, seed: int) -> None:
    """Draw every weight anew: some of a fresh UNet's are zero, and it would answer a constant."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in unet.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() == 1:
                centre = 1.0 if name.endswith("weight") else 0.0
                weight.copy_(centre + 0.1 * noise)
            else:
                weight.copy_(noise / math.sqrt(weight[0].numel()))


def latents(size: tuple[int, int], batch: int = 2, seed: int = 1, channels: int = LATENT_CHANNELS) -> Tensor:
    """Seeded noise (batch, channels, height, width)."""
    return torch.randn((batch, channels, *size), generator=torch.Generator().manual_seed(seed))


def contexts(batch: int = 2, seed: int = 2, tokens: int = 7) -> Tensor:
    """Seeded conditioning (batch, tokens, CONTEXT_WIDTH)."""
    return torch.randn((batch, tokens, CONTEXT_WIDTH), generator=torch.Generator().manual_seed(seed))


def call(unet: nn.Module, x: Tensor, context: Tensor, timestep: int = 500) -> Tensor:
    """One evaluation; the `ldm` class wants one context for each transformer of a stack, and takes more."""
    timesteps = torch.full((x.shape[0],), timestep)
    with torch.no_grad():
        return unet(x, timesteps, context=[context] * DEEPEST)


def has_layers_in(precision: torch.dtype) -> bool:
    """Whether this torch runs layers in that precision on the CPU; torch 2.1 runs none in float16 there."""
    try:
        nn.Linear(1, 1, dtype=precision)(torch.ones(1, dtype=precision))
    except RuntimeError as error:
        assert "not implemented for" in str(error)
        return False
    return True


def in_precision(unet: nn.Module, precision: torch.dtype) -> nn.Module:
    """The model with its weights and its arithmetic in another precision."""
    unet.to(precision).dtype = precision
    unet.time_embed.register_forward_pre_hook(lambda _, args: (args[0].to(precision),))
    for norm in unet.modules():
        if isinstance(norm, GroupNorm32):
            norm.__class__ = nn.GroupNorm  # the class itself computes in float32
    return unet


@contextmanager
def webui_attention() -> Iterator[None]:
    """Attention as the WebUI replaces it, at class level, by torch's own."""
    original = CrossAttention.forward
    CrossAttention.forward = sdp_attention
    try:
        yield
    finally:
        CrossAttention.forward = original


@contextmanager
def webui_cat() -> Iterator[HostTorch]:
    """The `ldm` class with the WebUI's `cat`; `resized` counts how often it had to resize."""
    original, cat = openaimodel.th, HostTorch()
    openaimodel.th = cat
    try:
        yield cat
    finally:
        openaimodel.th = original


def describe(unet: nn.Module) -> dict[str, Any]:
    """Everything about a model that a method might leave changed, but its weights' values; for comparison with `==`.

    The modules and their order, their classes, and every attribute: children, weights, hooks, own forwards.
    """
    return {
        name: (module, type(module), tuple(vars(module)), tuple(map(_contents, vars(module).values())))
        for name, module in unet.named_modules(remove_duplicate=False)
    }


def _contents(value: Any) -> Any:
    """A dict as it is now; of anything else the very object, which a comparison finds equal by its identity."""
    return tuple(value.items()) if isinstance(value, dict) else value


def values(unet: nn.Module) -> dict[str, int]:
    """A checksum of each weight and buffer, by its name."""
    named = [*unet.named_parameters(), *unet.named_buffers()]
    return {name: crc32(tensor.flatten().view(torch.uint8).numpy()) for name, tensor in named}
