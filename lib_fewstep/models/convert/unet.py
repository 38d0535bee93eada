"""The UNet: its layout as the original class takes it, and its weights under that class's names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lib_fewstep.models.convert.folder import COUNT, NotConvertible, Part, is_count
from lib_fewstep.models.convert.names import Rule, renamed, replaced
from lib_fewstep.models.convert.shapes import Shapes, check
from lib_fewstep.models.convert.unet_layout import Layout

WHOLE = "ldm.modules.diffusionmodules.openaimodel.UNetModel"
WITHOUT_MIDDLE = "lib_fewstep.webui.models.small_unet.UNetWithoutMiddle"
"""Classes of UNets, as a YAML file names them; the second one comes with this extension."""

_PREFIX = "model.diffusion_model."
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "time_embedding.cond_proj": "time_embed.cond_proj",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_UP_LIKE = {"DownBlock2D": "UpBlock2D", "CrossAttnDownBlock2D": "CrossAttnUpBlock2D"}
_FIXED: dict[str, tuple[object, ...]] = {
    "in_channels": (4,),
    "out_channels": (4,),
    "act_fn": ("silu",),
    "norm_num_groups": (32,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "resnet_time_scale_shift": ("default",),
    "addition_embed_type": (None,),
    "class_embed_type": (None,),
    "encoder_hid_dim": (None,),
    "time_embedding_type": ("positional",),
    "dual_cross_attention": (False,),
    "time_embedding_act_fn": (None,),
    "timestep_post_act": (None,),
    "num_class_embeds": (None,),
    "center_input_sample": (False,),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "norm_eps": (1e-5,),
    "downsample_padding": (1,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn", None),
    "mid_block_scale_factor": (1,),
    "mid_block_only_cross_attention": (None, False),
}
"""Settings that the original class has no choice of, with what it does; the first value goes without saying."""


def class_of(unet: Part) -> str:
    """The class that a YAML file names for it."""
    return WHOLE if _has_middle(unet) else WITHOUT_MIDDLE


def layout_of(unet: Part) -> dict[str, Any]:
    """The original class's arguments. Raises NotConvertible where it has none for what the UNet is."""
    for setting, allowed in _FIXED.items():
        unet.needs(setting, *allowed)
    if _one(unet, "transformer_layers_per_block", 1) != 1:  # the class hands the text to the first of them only
        raise unet.refused("transformer_layers_per_block", unet.said("transformer_layers_per_block"), "1")
    channels = unet.widths()
    attended = _attended(unet)
    return {
        "image_size": unet.config.get("sample_size") or 64,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": channels[0],
        "attention_resolutions": [2**level for level, attends in enumerate(attended) if attends],
        "num_res_blocks": _layers(unet),
        "channel_mult": [width // channels[0] for width in channels],
        **_heads(unet, attended),
        "use_spatial_transformer": True,
        "use_linear_in_transformer": unet.config.get("use_linear_projection", False),
        "transformer_depth": 1,
        "context_dim": _context(unet),
        **_without_self_attention(unet),
        "use_checkpoint": False,
        "legacy": False,
    }


def tensors_of(unet: Part) -> dict[str, Tensor]:
    """Its weights under the original class's names. Raises NotConvertible if they are not those of its config."""
    check(unet, _shapes(unet), unet.tensors)
    places = _Places(_layers(unet), _attended(unet))
    rules: tuple[Rule, ...] = (
        *((rf"{name}\..+", lambda match: replaced(match[0], _ENDS)) for name in _ENDS),
        (r"down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", places.down),
        (r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.(.+)", places.downsampler),
        (r"mid_block\.resnets\.([01])\.(.+)", places.middle),
        (r"mid_block\.attentions\.0\.(.+)", lambda match: f"middle_block.1.{match[1]}"),
        (r"up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", places.up),
        (r"up_blocks\.(\d+)\.upsamplers\.0\.(.+)", places.upsampler),
    )
    return renamed(unet.tensors, rules, _PREFIX)


@dataclass(frozen=True)
class _Places:
    """Where the original class, which counts blocks through, has the parts of each level."""

    layers: int
    attended: Sequence[bool]

    def down(self, match: re.Match[str]) -> str:
        level, kind, number, name = match.groups()
        return f"input_blocks.{int(level) * (self.layers + 1) + int(number) + 1}.{_inside(kind, name)}"

    def downsampler(self, match: re.Match[str]) -> str:
        return f"input_blocks.{(int(match[1]) + 1) * (self.layers + 1)}.0.op.{match[2]}"

    def middle(self, match: re.Match[str]) -> str:
        return f"middle_block.{2 * int(match[1])}.{replaced(match[2], _RESIDUAL)}"

    def up(self, match: re.Match[str]) -> str:
        level, kind, number, name = match.groups()
        return f"output_blocks.{int(level) * (self.layers + 1) + int(number)}.{_inside(kind, name)}"

    def upsampler(self, match: re.Match[str]) -> str:
        level = int(match[1])
        behind = 2 if self.attended[len(self.attended) - 1 - level] else 1
        return f"output_blocks.{level * (self.layers + 1) + self.layers}.{behind}.{match[2]}"


def _inside(kind: str, name: str) -> str:
    return f"1.{name}" if kind == "attentions" else f"0.{replaced(name, _RESIDUAL)}"


def _has_middle(unet: Part) -> bool:
    return unet.config.get("mid_block_type", "UNetMidBlock2DCrossAttn") is not None


def _layers(unet: Part) -> int:
    return _one(unet, "layers_per_block", 2)


def _context(unet: Part) -> int:
    unet.said("cross_attention_dim")
    return _one(unet, "cross_attention_dim", None)


def _attended(unet: Part) -> list[bool]:
    """Which levels have attention, from the largest feature maps down; the way up must be like the way down."""
    down, up = unet.said("down_block_types"), unet.said("up_block_types")
    kinds = down if isinstance(down, list) and all(kind in [*_UP_LIKE] for kind in down) else []
    if len(kinds) != len(unet.widths()) or [_UP_LIKE[kind] for kind in reversed(kinds)] != up:
        raise NotConvertible(
            f"{unet.name} has down_block_types {down} and up_block_types {up}, which are not allowed: they must be "
            "blocks with and without cross-attention, one for each of block_out_channels, the way up like the way down."
        )
    return [kind.startswith("CrossAttn") for kind in kinds]


def _heads(unet: Part, attended: Sequence[bool]) -> dict[str, int]:
    """How attention is split: into heads of one width, or into one number of them.

    What diffusers calls attention_head_dim is the number of heads, unless num_attention_heads says it.
    """
    name = "num_attention_heads" if unet.config.get("num_attention_heads") is not None else "attention_head_dim"
    heads = _each(unet, name, 8, is_count, COUNT)
    split = [*attended[:-1], attended[-1] or _has_middle(unet)]
    here = [number for number, attends in zip(heads, split, strict=True) if attends]
    widths = [width / number for width, number, attends in zip(unet.widths(), heads, split, strict=True) if attends]
    if all(map(float.is_integer, widths)):
        if len({*here}) == 1:
            return {"num_heads": here[0]}
        if len({*widths}) == 1:
            return {"num_head_channels": int(widths[0])}
    raise NotConvertible(
        f"{unet.name} has {name} = {heads}, which is not allowed: there must be as many heads at each "
        "level, or heads of one width, and each level's must divide its channels."
    )


def _without_self_attention(unet: Part) -> dict[str, list[bool]]:
    levels = _only_cross_attention(unet)
    return {"disable_self_attentions": levels} if any(levels) else {}


def _only_cross_attention(unet: Part) -> list[bool]:
    return _each(unet, "only_cross_attention", False, lambda value: isinstance(value, bool), "true or false")


def _each(unet: Part, setting: str, default: object, allows: Callable[[object], bool], allowed: str) -> list[Any]:
    """A setting for each level. Raises NotConvertible for a value that is not allowed, or for other levels."""
    value, levels = unet.config.get(setting, default), len(unet.widths())
    values = value if isinstance(value, list) else [value] * levels
    if len(values) != levels or not all(map(allows, values)):
        raise unet.refused(setting, value, f"{allowed}, or a list of {levels} such values")
    return values


def _one(unet: Part, setting: str, default: object) -> int:
    """A number that must be the same at each level. Raises NotConvertible where it is not."""
    values = _each(unet, setting, default, is_count, COUNT)
    if len({*values}) > 1:
        raise unet.refused(setting, values, "one number")
    return int(values[0])


def _shapes(unet: Part) -> Shapes:
    guided = unet.config.get("time_cond_proj_dim") is not None
    return Layout(
        channels=unet.widths(),
        layers=_layers(unet),
        attended=_attended(unet),
        crossed=_only_cross_attention(unet),
        context=_context(unet),
        linear=bool(unet.config.get("use_linear_projection", False)),
        middle=_has_middle(unet),
        guidance=unet.count("time_cond_proj_dim") if guided else None,
    ).shapes()
