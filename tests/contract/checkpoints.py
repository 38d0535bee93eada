"""Small checkpoints with random weights, in the layouts that a real WebUI loads, and the tokenizer that it looks for.

Everything that the host would fetch is made here: vocabulary, configurations and weights. To be called once the host's
own `ldm`, `sgm` and `open_clip` can be imported.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import yaml
from torch import nn

WIDTH = 64
TOKENIZER = "openai/clip-vit-large-patch14"
CLIP = "contract-tiny"
SEEDS = {"sd1": 1, "sd1-other": 2, "sd1-inpaint": 5, "sdxl": 3, "sdxl-other": 4}
SGM = "sgm.modules.diffusionmodules."
UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": 2,
    "use_spatial_transformer": True,
    "use_checkpoint": False,
    "legacy": False,
}
VAE = {
    "embed_dim": 4,
    "monitor": "loss",
    "lossconfig": {"target": "torch.nn.Identity"},
    "ddconfig": {
        "double_z": True,
        "z_channels": 4,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 32,
        "ch_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
    },
}


def make(folder: Path) -> dict[str, Path]:
    """Write all of them below a folder, which becomes the working directory; the configuration of each layout."""
    _write_tokenizer(folder / TOKENIZER)
    _write_clip(folder / f"{CLIP}.json")
    target = folder / "models" / "Stable-diffusion"
    target.mkdir(parents=True)
    configs = {"sd1": _sd1(), "sd1-inpaint": _sd1(inpainting=True), "sdxl": _sdxl()}
    paths = {name: folder / f"{name}.yaml" for name in configs}
    for name, config in configs.items():
        paths[name].write_text(yaml.safe_dump(config))
    for name, seed in SEEDS.items():
        _write_weights(configs[name.removesuffix("-other")], seed, target / f"{name}.safetensors")
    return paths


def _write_tokenizer(folder: Path) -> None:
    """The vocabulary that open_clip brings, in the files that transformers reads."""
    import open_clip

    folder.mkdir(parents=True)
    source = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    merges = gzip.decompress(source.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    words = {names.get(word, word): number for word, number in open_clip.tokenizer.SimpleTokenizer().encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf8")
    end = "<|endoftext|>"
    marks = {"bos_token": "<|startoftext|>", "eos_token": end, "pad_token": end, "unk_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps({**marks, "tokenizer_class": "CLIPTokenizer"}))
    encoder = {
        "model_type": "clip_text_model",
        "vocab_size": 49408,
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "projection_dim": WIDTH,
        "num_hidden_layers": 12,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
    }
    (folder / "config.json").write_text(json.dumps(encoder))


def _write_clip(path: Path) -> None:
    """A text encoder of open_clip, for the second one of SDXL."""
    import open_clip

    image = {"image_size": 32, "layers": 1, "width": WIDTH, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": WIDTH, "heads": 4, "layers": 2}
    path.write_text(json.dumps({"embed_dim": WIDTH, "vision_cfg": image, "text_cfg": text}))
    open_clip.add_model_config(path)


def _sd1(*, inpainting: bool = False) -> dict[str, Any]:
    unet = {
        "attention_resolutions": [4, 2, 1],
        "channel_mult": [1, 2, 4, 4],
        "num_heads": 1,
        "context_dim": WIDTH,
        "image_size": 32,
    }
    params = {
        "linear_start": 0.00085,
        "linear_end": 0.012,
        "timesteps": 1000,
        "num_timesteps_cond": 1,
        "first_stage_key": "jpg",
        "cond_stage_key": "txt",
        "image_size": 64,
        "channels": 4,
        "cond_stage_trainable": False,
        "conditioning_key": "hybrid" if inpainting else "crossattn",
        "scale_factor": 0.18215,
        "use_ema": False,
        "unet_config": {
            "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
            "params": {**UNET, **unet, "in_channels": 9 if inpainting else 4},
        },
        "first_stage_config": {"target": "ldm.models.autoencoder.AutoencoderKL", "params": VAE},
        "cond_stage_config": {"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder"},
    }
    if inpainting:
        params["finetune_keys"] = None
    kind = "LatentInpaintDiffusion" if inpainting else "LatentDiffusion"
    return {"model": {"target": f"ldm.models.diffusion.ddpm.{kind}", "params": params}}


def _embedder(key: str, target: str, **params: Any) -> dict[str, Any]:
    return {
        "is_trainable": False,
        "input_key": key,
        "target": f"sgm.modules.encoders.modules.{target}",
        "params": params,
    }


def _sdxl() -> dict[str, Any]:
    sizes = ("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple")
    clip = {"arch": CLIP, "version": "none", "freeze": True, "layer": "penultimate", "always_return_pooled": True}
    embedders = [
        _embedder("txt", "FrozenCLIPEmbedder", layer="hidden", layer_idx=11),
        _embedder("txt", "FrozenOpenCLIPEmbedder2", legacy=False, **clip),
        *(_embedder(size, "ConcatTimestepEmbedderND", outdim=256) for size in sizes),
    ]
    denoiser = {
        "num_idx": 1000,
        "weighting_config": {"target": f"{SGM}denoiser_weighting.EpsWeighting"},
        "scaling_config": {"target": f"{SGM}denoiser_scaling.EpsScaling"},
        "discretization_config": {"target": f"{SGM}discretizer.LegacyDDPMDiscretization"},
    }
    unet = {
        **UNET,
        "adm_in_channels": WIDTH + 6 * 256,
        "num_classes": "sequential",
        "attention_resolutions": [4, 2],
        "channel_mult": [1, 2, 4],
        "num_head_channels": 16,
        "use_linear_in_transformer": True,
        "transformer_depth": [1, 2, 2],
        "context_dim": 2 * WIDTH,
        "spatial_transformer_attn_type": "softmax",
    }
    params = {
        "scale_factor": 0.13025,
        "disable_first_stage_autocast": True,
        "denoiser_config": {"target": f"{SGM}denoiser.DiscreteDenoiser", "params": denoiser},
        "network_config": {"target": f"{SGM}openaimodel.UNetModel", "params": unet},
        "conditioner_config": {"target": "sgm.modules.GeneralConditioner", "params": {"emb_models": embedders}},
        "first_stage_config": {
            "target": "sgm.models.autoencoder.AutoencoderKLInferenceWrapper",
            "params": {**VAE, "ddconfig": {**VAE["ddconfig"], "attn_type": "vanilla"}},  # type: ignore[dict-item]
        },
    }
    return {"model": {"target": "sgm.models.diffusion.DiffusionEngine", "params": params}}


@contextmanager
def _untrained() -> Iterator[None]:
    """Text encoders are made, not fetched."""
    import open_clip
    from transformers import CLIPTextConfig, CLIPTextModel

    create = open_clip.create_model_and_transforms

    def untrained(*args: Any, pretrained: Any = None, **kwargs: Any) -> Any:
        return create(*args, pretrained=None, **kwargs)

    def from_config(name: str, *args: Any, **kwargs: Any) -> Any:
        return CLIPTextModel(CLIPTextConfig.from_pretrained(name))

    with (
        patch.object(open_clip, "create_model_and_transforms", untrained),
        patch.object(CLIPTextModel, "from_pretrained", from_config),
    ):
        yield


def _write_weights(config: dict[str, Any], seed: int, path: Path) -> None:
    """A model of that configuration; parameters that begin at zero are drawn, too, so that all of it counts."""
    from ldm.util import instantiate_from_config
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    with _untrained():
        model = instantiate_from_config(config["model"])
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and float(parameter.abs().max()) == 0:
                nn.init.kaiming_normal_(parameter, a=1)
    state = model.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, str(path))
