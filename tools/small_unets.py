"""`python -m tools.small_unets WEBUI`: random checkpoints with small UNets, converted from folders of diffusers.

Their images are nothing to see; what counts is that a WebUI loads them. They are in a folder of their own,
models/Stable-diffusion/fewstep-small; deleting it removes them. `make live` tries them where they are installed.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from demo.model.layouts import TEXT_FOLDER
from lib_fewstep.models.convert import write

NAME = "fewstep-small"
_FOUR = {"block_out_channels": [32, 64, 128, 128], "layers_per_block": 1, "attention_head_dim": 4, "sample_size": 16}
_THREE = {
    "block_out_channels": [32, 64, 128],
    "layers_per_block": 1,
    "attention_head_dim": [2, 4, 8],
    "sample_size": 16,
    "mid_block_type": None,
}
_ATTENDED = {"down_block_types": ["CrossAttnDownBlock2D"] * 3, "up_block_types": ["CrossAttnUpBlock2D"] * 3}
LAYOUTS: dict[str, dict[str, Any]] = {
    "bk-sdm-base": _FOUR,
    "bk-sdm-small": _FOUR | {"mid_block_type": None},
    "bk-sdm-tiny": _THREE | _ATTENDED,
    "sdxs": _THREE
    | {
        "down_block_types": ["DownBlock2D", *_ATTENDED["down_block_types"][1:]],
        "up_block_types": [*_ATTENDED["up_block_types"][1:], "UpBlock2D"],
    },
    "sdxs-0.9": _THREE | _ATTENDED | {"use_linear_projection": True, "only_cross_attention": [True, False, False]},
}
"""The layouts of BK-SDM, small-sd and SDXS in diffusers' words, a tenth as wide."""


def main() -> int:
    """Read the command line and write the files; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.small_unets", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("webui", type=Path, help="folder of a WebUI")
    for path in install(parser.parse_args().webui):
        print(path)
    return 0


def install(webui: Path, names: Sequence[str] = tuple(LAYOUTS)) -> list[Path]:
    """Convert a random pipeline of each layout into a WebUI's folder of checkpoints."""
    place = webui / "models" / "Stable-diffusion" / NAME
    written = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            save_pipeline(Path(folder), name)
            written += write(Path(folder), place / f"{name}.safetensors", force=True)
    return written


def save_pipeline(folder: Path, layout: str) -> None:
    """A pipeline with random weights, as diffusers saves it; its text encoder reads the words of the small models."""
    config = CLIPTextConfig.from_pretrained(TEXT_FOLDER)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(layout.encode()))
        parts: dict[str, Any] = {
            "unet": UNet2DConditionModel(cross_attention_dim=config.hidden_size, **LAYOUTS[layout]),
            "vae": AutoencoderKL(
                block_out_channels=[32] * 4,
                down_block_types=["DownEncoderBlock2D"] * 4,
                up_block_types=["UpDecoderBlock2D"] * 4,
            ),
            "text_encoder": CLIPTextModel(config),
        }
        # The WebUI divides by the mean of the text encoder's output, which is 0 without a bias.
        nn.init.normal_(parts["text_encoder"].text_model.final_layer_norm.bias)
    parts["scheduler"] = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    shutil.copytree(TEXT_FOLDER, folder / "tokenizer")


if __name__ == "__main__":
    raise SystemExit(main())
