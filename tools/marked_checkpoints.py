"""`python -m tools.marked_checkpoints WEBUI`: copies of the small checkpoints whose files say other kinds of models.

The weights stay those of a model that predicts noise, so the images are not good ones; what counts is that a WebUI
loads them, and that each is sampled as its file says. They are in a folder of their own,
models/Stable-diffusion/fewstep-kinds; deleting it removes them. `make live` compares them where they are installed.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from demo.install import NAME as SMALL

NAME = "fewstep-kinds"
GUIDANCE = "model.diffusion_model.time_embed.cond_proj.weight"
WIDTH = 256
"""Of the embedding of a guidance scale."""


@dataclass(frozen=True)
class Marks:
    """What a file says: tensors with one number, metadata, and the settings that mean the same."""

    numbers: dict[str, float] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


MARKS = {
    "v": Marks({"v_pred": 1.0}, settings={"kind": "v"}),
    "v-zero-snr": Marks({"v_pred": 1.0, "ztsnr": 1.0}, settings={"kind": "v", "zero_snr": "On"}),
    "v-metadata": Marks(metadata={"modelspec.prediction_type": "v"}, settings={"kind": "v"}),
    "edm-v": Marks({"edm_vpred.sigma_max": 120.0, "edm_vpred.sigma_min": 0.002}, settings={"kind": "EDM v"}),
    "edm": Marks({"edm_mean": 0.0, "edm_std": 1.0}),
    "lcm": Marks(),
}
"""By the end of the file's name. What Playground's latents are, and a guidance scale, no setting can say."""


def main() -> int:
    """Read the command line and write the files; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.marked_checkpoints",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("webui", type=Path, help="folder of a WebUI that has the small checkpoints")
    for path in write(parser.parse_args().webui):
        print(path)
    return 0


def write(webui: Path) -> list[Path]:
    """The marked copies of the small checkpoints that a WebUI has, with their YAML files."""
    models = webui / "models/Stable-diffusion"
    (models / NAME).mkdir(exist_ok=True)
    return [
        _marked(source, models / NAME, name)
        for source in sorted((models / SMALL).glob("*.safetensors"))
        for name in MARKS
    ]


def _marked(source: Path, folder: Path, name: str) -> Path:
    marks, path = MARKS[name], folder / f"{source.stem}-{name}.safetensors"
    numbers = {key: torch.tensor([value], dtype=torch.float64) for key, value in marks.numbers.items()}
    tensors = load_file(source) | numbers
    if name == "lcm":
        tensors[GUIDANCE] = _projection(tensors)
    save_file(tensors, path, metadata=marks.metadata or None)
    shutil.copy(source.with_suffix(".yaml"), path.with_suffix(".yaml"))
    return path


def _projection(tensors: dict[str, Tensor]) -> Tensor:
    """A random one of the size that the model's time embedding takes."""
    channels = tensors["model.diffusion_model.time_embed.0.weight"].shape[1]
    return torch.randn(channels, WIDTH, generator=torch.Generator().manual_seed(0)) / WIDTH**0.5


if __name__ == "__main__":
    raise SystemExit(main())
