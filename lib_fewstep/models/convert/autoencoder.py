"""The autoencoder: its layout and its weights under the original class's names."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from lib_fewstep.models.convert.folder import Part
from lib_fewstep.models.convert.names import Rule, renamed, replaced

_PREFIX = "first_stage_model."
_RESIDUAL = {"conv_shortcut": "nin_shortcut"}
_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "query": "q",
    "key": "k",
    "value": "v",
    "proj_attn": "proj_out",
}
"""The last four are what older folders say."""


def layout_of(autoencoder: Part) -> dict[str, Any]:
    """The original class's arguments. Raises NotConvertible where it has none for what the autoencoder is."""
    for setting, usual in {"latent_channels": 4, "act_fn": "silu", "norm_num_groups": 32, "in_channels": 3}.items():
        autoencoder.needs(setting, usual)
    channels = autoencoder.said("block_out_channels")
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
            "num_res_blocks": autoencoder.config.get("layers_per_block", 1),
            "attn_resolutions": [],
            "dropout": 0.0,
        },
        "lossconfig": {"target": "torch.nn.Identity"},
    }


def tensors_of(autoencoder: Part) -> dict[str, Tensor]:
    """Its weights under the original class's names, in which attention is made of 1x1 convolutions."""
    deepest = len(autoencoder.said("block_out_channels")) - 1
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
    tensors = renamed(autoencoder, rules, _PREFIX)
    return {name: _convolution(tensor) if _is_projection(name) else tensor for name, tensor in tensors.items()}


def _is_projection(name: str) -> bool:
    return re.search(r"\.mid\.attn_1\.(q|k|v|proj_out)\.weight$", name) is not None


def _convolution(weight: Tensor) -> Tensor:
    return weight[:, :, None, None] if weight.dim() == 2 else weight
