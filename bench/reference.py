"""The reference implementation (PyPI's `hidiffusion` on `diffusers`) on the weights of an `ldm` UNet."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.convert_from_ckpt import convert_ldm_unet_checkpoint
from hidiffusion import apply_hidiffusion
from torch import Tensor, nn

from bench.unets import POOLED_WIDTH, SIZE_WIDTH, SIZES
from lib_fewstep.unet import Topology, inspect_unet
from lib_fewstep.unet.topology import transformer_of


class DiffusionPipeline:
    """What the reference looks at in a pipeline; it goes by the class's name."""

    def __init__(self, unet: nn.Module, name: str, steps: int) -> None:
        """A pipeline of a checkpoint's `name`, for a run of `steps`."""
        self.unet = unet
        self.info: dict[str, Any] = {}
        self.name_or_path = name
        self._num_timesteps = steps


def diffusers_twin(unet: nn.Module) -> nn.Module:
    """The same network in diffusers' own classes, with the very same weights: they take no memory of their own."""
    with torch.device("meta"):
        twin: Any = UNet2DConditionModel(**_config(unet, inspect_unet(unet)))  # type: ignore[no-untyped-call]
    weights = {f"model.diffusion_model.{name}": weight for name, weight in unet.state_dict().items()}
    converted = convert_ldm_unet_checkpoint(weights, dict(twin.config))  # type: ignore[no-untyped-call]
    twin.load_state_dict(converted, assign=True)
    frozen: nn.Module = twin.eval().requires_grad_(False)
    return frozen


def reference(unet: nn.Module, name: str, steps: int, *, raunet: bool = True, windows: bool = True) -> nn.Module:
    """A twin of `unet`, known as `name`, with the reference's HiDiffusion for a run of `steps`, called once a step."""
    pipeline = DiffusionPipeline(diffusers_twin(unet), name, steps)
    apply_hidiffusion(pipeline, apply_raunet=raunet, apply_window_attn=windows)
    pipeline.info["hooks"].clear()  # else the next call removes them: diffusers' models share their activations
    return pipeline.unet


def at_step(twin: nn.Module, index: int) -> None:
    """Let the reference believe that its next call is that of step `index`."""
    for module in twin.modules():
        if hasattr(module, "max_timestep"):
            module.timestep = index  # type: ignore[assignment]  # its blocks count their own calls


def evaluate_twin(twin: nn.Module, x: Tensor, conditioning: dict[str, Any]) -> Tensor:
    """One evaluation of a diffusers UNet, given what `bench.unets.conditioning` gives to the `ldm` one."""
    more: dict[str, Any] = {}
    if "y" in conditioning:
        pooled = conditioning["y"][:, :POOLED_WIDTH]
        more["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": pooled.new_zeros(len(pooled), SIZES)}
    timesteps = torch.full((len(x),), 500, device=x.device)
    out: Tensor = twin(x, timesteps, encoder_hidden_states=conditioning["context"][0], **more).sample
    return out


def _config(unet: Any, topology: Topology) -> dict[str, Any]:
    channels = tuple(unet.model_channels * mult for mult in unet.channel_mult)
    levels: dict[int, Any] = {
        topology.level(here.place): transformer_of(unet.input_blocks[here.place.index])
        for here in topology.attention
        if here.place.side == "input"
    }
    first = next(iter(levels.values()))
    attends = [level in levels for level in range(len(channels))]
    heads = [block.transformer_blocks[0].attn1.heads for block in levels.values()]
    config = {
        "in_channels": unet.in_channels,
        "block_out_channels": channels,
        "down_block_types": tuple("CrossAttnDownBlock2D" if here else "DownBlock2D" for here in attends),
        "up_block_types": tuple("CrossAttnUpBlock2D" if here else "UpBlock2D" for here in reversed(attends)),
        "transformer_layers_per_block": [
            len(levels[level].transformer_blocks) if here else 1 for level, here in enumerate(attends)
        ],
        "cross_attention_dim": first.transformer_blocks[0].attn2.to_k.in_features,
        "attention_head_dim": [heads[0]] * (len(channels) - len(heads)) + heads,
        "use_linear_projection": isinstance(first.proj_in, nn.Linear),
    }
    if hasattr(unet, "label_emb"):
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": SIZE_WIDTH,
            "projection_class_embeddings_input_dim": POOLED_WIDTH + SIZES * SIZE_WIDTH,
        }
    return config
