"""The text encoder: OpenAI's CLIP as transformers has it, or OpenCLIP's, whose attention is one matrix."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_fewstep.models.convert.folder import NotConvertible, Part
from lib_fewstep.models.convert.names import Rule, renamed, replaced
from lib_fewstep.models.convert.shapes import Shapes, check, layer

_CLIP_L = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
"""What the WebUI knows as openai/clip-vit-large-patch14."""

_OPEN_CLIP_WIDTH = 1024
_OPEN_CLIP_H = {
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "vocab_size": 49408,
    "max_position_embeddings": 77,
}
"""What the WebUI's class is; of its 24 layers the last is not read."""

_LAYER = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
_OPEN_CLIP: tuple[Rule, ...] = (
    (r"text_model\.embeddings\.token_embedding\.weight", lambda _: "token_embedding.weight"),
    (r"text_model\.embeddings\.position_embedding\.weight", lambda _: "positional_embedding"),
    (r"text_model\.final_layer_norm\.(.+)", lambda match: f"ln_final.{match[1]}"),
    (
        r"text_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.(.+)",
        lambda match: f"transformer.resblocks.{match[1]}.attn.out_proj.{match[2]}",
    ),
    (
        r"text_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)",
        lambda match: f"transformer.resblocks.{match[1]}.attn.{match[2]}.{match[3]}",
    ),
    (
        r"text_model\.encoder\.layers\.(\d+)\.((?:layer_norm|mlp).+)",
        lambda match: f"transformer.resblocks.{match[1]}.{replaced(match[2], _LAYER)}",
    ),
)


def is_open_clip(text: Part) -> bool:
    """Whether it is the text encoder of Stable Diffusion 2."""
    return bool(text.config.get("hidden_size") == _OPEN_CLIP_WIDTH)


def embedder_of(text: Part, out: Path) -> dict[str, Any]:
    """The class and arguments of a YAML file; a text encoder that the WebUI does not know is read from beside `out`.

    Raises NotConvertible for one of OpenCLIP's width that is not Stable Diffusion 2's.
    """
    if is_open_clip(text):
        for setting, value in _OPEN_CLIP_H.items():
            text.needs(setting, value)
        return {
            "target": "ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder",
            "params": {"freeze": True, "layer": "penultimate"},
        }
    known = all(text.config.get(name) == value for name, value in _CLIP_L.items())
    params = {} if known else {"params": {"version": beside(out).resolve().as_posix()}}
    return {"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder", **params}


def check_tokenizer(folder: Path) -> None:
    """Raise NotConvertible if a pipeline has no tokenizer to put beside the checkpoint."""
    if not (folder / "tokenizer").is_dir():
        raise NotConvertible("tokenizer is missing: a text encoder that the WebUI does not know needs that folder.")


def copy_beside(folder: Path, out: Path) -> None:
    """Put the tokenizer and the config of a pipeline's text encoder beside the checkpoint."""
    shutil.copytree(folder / "tokenizer", beside(out), dirs_exist_ok=True)
    shutil.copy(folder / "text_encoder" / "config.json", beside(out))


def beside(out: Path) -> Path:
    """The folder that a text encoder is read from."""
    return out.with_name(f"{out.stem}-text")


def tensors_of(text: Part) -> dict[str, Tensor]:
    """Its weights under the names that the WebUI reads. Raises NotConvertible if they are not those of its config."""
    held = {name: tensor for name, tensor in text.tensors.items() if not name.endswith("position_ids")}
    check(text, _shapes(text), held)
    if not is_open_clip(text):
        return {f"cond_stage_model.transformer.{name}": tensor for name, tensor in text.tensors.items()}
    tensors = renamed(held, _OPEN_CLIP)
    return {f"cond_stage_model.model.{name}": tensor for name, tensor in {**_joined(tensors), **_unused()}.items()}


def _shapes(text: Part) -> Shapes:
    width, inner = text.count("hidden_size"), text.count("intermediate_size")
    found = {
        "text_model.embeddings.token_embedding.weight": (text.count("vocab_size"), width),
        "text_model.embeddings.position_embedding.weight": (text.count("max_position_embeddings"), width),
        **layer("text_model.final_layer_norm", width),
    }
    for number in range(text.count("num_hidden_layers")):
        name = f"text_model.encoder.layers.{number}"
        for projection in ("q", "k", "v", "out"):
            found |= layer(f"{name}.self_attn.{projection}_proj", width, width)
        found |= layer(f"{name}.layer_norm1", width) | layer(f"{name}.layer_norm2", width)
        found |= layer(f"{name}.mlp.fc1", inner, width) | layer(f"{name}.mlp.fc2", width, inner)
    return found


def _joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value of each layer as one matrix."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(.+\.attn\.)([qkv])\.(weight|bias)", name)
        if match is None:
            found[name] = tensor
        elif match[2] == "q":
            block, _, kind = match.groups()
            found[f"{block}in_proj_{kind}"] = torch.cat([tensors[f"{block}{letter}.{kind}"] for letter in "qkv"])
    return found


def _unused() -> dict[str, Tensor]:
    """What the class has and Stable Diffusion 2 does not read."""
    return {"text_projection": torch.eye(_OPEN_CLIP_WIDTH), "logit_scale": torch.tensor(math.log(1 / 0.07))}
