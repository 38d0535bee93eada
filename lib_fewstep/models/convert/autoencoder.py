"""The autoencoder: its layout and its weights under the original class's names."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from lib_fewstep.models.convert.folder import Part
from lib_fewstep.models.convert.names import Rule, renamed, replaced
from lib_fewstep.models.convert.shapes import Shapes, check, layer, residual

_PREFIX = "first_stage_model."
_RESIDUAL = {"conv_shortcut": "nin_shortcut"}
_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
_OLDER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What older folders call the parts of attention."""


def layout_of(autoencoder: Part) -> dict[str, Any]:
    """The original class's arguments. Raises NotConvertible where it has none for what the autoencoder is."""
    for setting, usual in {"latent_channels": 4, "act_fn": "silu", "norm_num_groups": 32, "in_channels": 3}.items():
        autoencoder.needs(setting, usual)
    channels = autoencoder.widths()
    return {
        "embed_dim": 4,
        "ddconfig": {
            "double_z": True,
            "z_channels": 4,
            "resolution": autoencoder.config.get("sample_size", 512),
            "in_channels": 3,
            "out_ch": 3,
            "ch": channels[0],
            "ch_mult": [width // channels[0] for width in channels],
            "num_res_blocks": autoencoder.count("layers_per_block", 1),
            "attn_resolutions": [],
            "dropout": 0.0,
        },
        "lossconfig": {"target": "torch.nn.Identity"},
    }


def tensors_of(autoencoder: Part) -> dict[str, Tensor]:
    """Its weights under the original class's names, in which attention is made of 1x1 convolutions.

    Raises NotConvertible if they are not those of its config.
    """
    deepest = len(autoencoder.widths()) - 1
    held = renamed(autoencoder.tensors, _NEWER)
    held = {name: _convolution(tensor) if _is_projection(name) else tensor for name, tensor in held.items()}
    check(autoencoder, _shapes(autoencoder), held)
    rules: tuple[Rule, ...] = (
        (r"(encoder|decoder)\.conv_norm_out\.(.+)", lambda match: f"{match[1]}.norm_out.{match[2]}"),
        (r"(encoder|decoder)\.conv_(in|out)\..+|(post_)?quant_conv\..+", lambda match: match[0]),
        (
            r"(encoder|decoder)\.mid_block\.resnets\.([01])\.(.+)",
            lambda match: f"{match[1]}.mid.block_{int(match[2]) + 1}.{replaced(match[3], _RESIDUAL)}",
        ),
        (
            r"(encoder|decoder)\.mid_block\.attentions\.0\.(.+)",
            lambda match: f"{match[1]}.mid.attn_1.{replaced(match[2], _ATTENTION)}",
        ),
        (
            r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.(.+)",
            lambda match: f"encoder.down.{match[1]}.block.{match[2]}.{replaced(match[3], _RESIDUAL)}",
        ),
        (
            r"encoder\.down_blocks\.(\d+)\.downsamplers\.0\.(.+)",
            lambda match: f"encoder.down.{match[1]}.downsample.{match[2]}",
        ),
        (
            r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)\.(.+)",
            lambda match: f"decoder.up.{deepest - int(match[1])}.block.{match[2]}.{replaced(match[3], _RESIDUAL)}",
        ),
        (
            r"decoder\.up_blocks\.(\d+)\.upsamplers\.0\.(.+)",
            lambda match: f"decoder.up.{deepest - int(match[1])}.upsample.{match[2]}",
        ),
    )
    return renamed(held, rules, _PREFIX)


_NEWER: tuple[Rule, ...] = (
    (r"(.+\.attentions\.0\.)(.+)", lambda match: match[1] + replaced(match[2], _OLDER)),
    (r".+", lambda match: match[0]),
)


def _shapes(autoencoder: Part) -> Shapes:
    """With the projections of attention as 1x1 convolutions."""
    channels, layers = autoencoder.widths(), autoencoder.count("layers_per_block", 1)
    return {
        **_way("encoder.down_blocks", "downsamplers", channels, channels[0], layers),
        **_way("decoder.up_blocks", "upsamplers", channels[::-1], channels[-1], layers + 1),
        **_ends("encoder", (3, channels[0]), (channels[-1], 8), channels[-1]),
        **_ends("decoder", (4, channels[-1]), (channels[0], 3), channels[-1]),
        **layer("quant_conv", 8, 8, 1, 1),
        **layer("post_quant_conv", 4, 4, 1, 1),
    }


def _way(name: str, resampler: str, channels: list[int], width: int, layers: int) -> Shapes:
    """The levels of the encoder or the decoder, in the order of its blocks; the first one reads `width` channels."""
    found: Shapes = {}
    for level, outer in enumerate(channels):
        for number in range(layers):
            found |= residual(f"{name}.{level}.resnets.{number}", width, outer)
            width = outer
        if level < len(channels) - 1:
            found |= layer(f"{name}.{level}.{resampler}.0.conv", outer, outer, 3, 3)
    return found


def _ends(name: str, read: tuple[int, int], written: tuple[int, int], middle: int) -> Shapes:
    """What the encoder or the decoder begins and ends with, from and to so many channels, and its middle block."""
    attention = f"{name}.mid_block.attentions.0"
    found = {
        **layer(f"{name}.conv_in", read[1], read[0], 3, 3),
        **layer(f"{name}.conv_norm_out", written[0]),
        **layer(f"{name}.conv_out", written[1], written[0], 3, 3),
        **residual(f"{name}.mid_block.resnets.0", middle, middle),
        **residual(f"{name}.mid_block.resnets.1", middle, middle),
        **layer(f"{attention}.group_norm", middle),
    }
    for projection in ("to_q", "to_k", "to_v", "to_out.0"):
        found |= layer(f"{attention}.{projection}", middle, middle, 1, 1)
    return found


def _is_projection(name: str) -> bool:
    return re.search(r"\.attentions\.0\.to_(q|k|v|out\.0)\.weight$", name) is not None


def _convolution(weight: Tensor) -> Tensor:
    return weight[:, :, None, None] if weight.dim() == 2 else weight
