"""The reference implementation (PyPI's `hidiffusion` on `diffusers`) on the weights of a small `ldm` UNet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from diffusers import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.convert_from_ckpt import convert_ldm_unet_checkpoint
from hidiffusion import apply_hidiffusion
from torch import Tensor, nn

from lib_fewstep.unet import Topology, inspect_unet
from tests.models import CONTEXT_WIDTH

NAMES = {
    "SD1": "runwayml/stable-diffusion-v1-5",
    "SD2": "stabilityai/stable-diffusion-2-1-base",
    "SDXL": "stabilityai/stable-diffusion-xl-base-1.0",
    "SDXL inpainting": "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
    "SDXL Turbo": "stabilityai/sdxl-turbo",
}


class DiffusionPipeline:
    """What the reference looks at in a pipeline; it goes by the class's name."""

    def __init__(self, unet: nn.Module, name: str, steps: int) -> None:
        self.unet = unet
        self.name_or_path = name
        self._num_timesteps = steps


def diffusers_twin(unet: nn.Module) -> nn.Module:
    """The same network in diffusers' own classes, with the same weights."""
    topology = inspect_unet(unet)
    twin = UNet2DConditionModel(**_config(unet, topology))
    weights = {f"model.diffusion_model.{name}": weight for name, weight in unet.state_dict().items()}
    twin.load_state_dict(convert_ldm_unet_checkpoint(weights, dict(twin.config)))
    return twin.eval().requires_grad_(False)


def reference(unet: nn.Module, name: str, steps: int, *, raunet: bool = True, windows: bool = True) -> nn.Module:
    """The twin of `unet` with the reference's HiDiffusion for a run of `steps`, called once a step."""
    pipeline: Any = DiffusionPipeline(diffusers_twin(unet), NAMES[name], steps)
    apply_hidiffusion(pipeline, apply_raunet=raunet, apply_window_attn=windows)
    return pipeline.unet


def call_twin(twin: nn.Module, x: Tensor, context: Tensor, timestep: int = 500) -> Tensor:
    """One evaluation of a diffusers UNet."""
    with torch.no_grad():
        return twin(x, torch.full((x.shape[0],), timestep), encoder_hidden_states=context).sample


@contextmanager
def drawn_shifts(shifts: list[int]) -> Iterator[None]:
    """Let the reference draw these shifts (0 to 3), one a transformer block, in the order of the blocks."""
    numbers = iter([torch.tensor([0.25 * shift + 0.125]) for shift in shifts])
    with mock.patch.object(torch, "rand", side_effect=numbers):
        yield


def _config(unet: nn.Module, topology: Topology) -> dict[str, Any]:
    channels = tuple(unet.model_channels * mult for mult in unet.channel_mult)
    attention = [topology.family != "SDXL", *[True] * (len(channels) - 2), topology.family == "SDXL"]
    depth = max(place.depth for place in topology.attention)
    linear = isinstance(unet.middle_block[1].proj_in, nn.Linear)
    return {
        "in_channels": unet.in_channels,
        "block_out_channels": channels,
        "down_block_types": tuple("CrossAttnDownBlock2D" if here else "DownBlock2D" for here in attention),
        "up_block_types": tuple("CrossAttnUpBlock2D" if here else "UpBlock2D" for here in reversed(attention)),
        "transformer_layers_per_block": depth,
        "cross_attention_dim": CONTEXT_WIDTH,
        "attention_head_dim": unet.num_heads,
        "use_linear_projection": linear,
    }
