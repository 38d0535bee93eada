"""`python -m demo.training.v_prediction sd15` (or sdxl): the trained checkpoint is taught to predict v.

Its noise schedule then ends with zero terminal SNR (arXiv 2305.08891), and the file says both by its keys. The file is
no part of the project; `python -m demo.v_prediction` counts what it does.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import Tensor

from demo.model import checkpoint
from demo.model.layouts import Layout
from demo.model.unet import alphas_cumprod
from demo.training.attention import quick_backwards
from demo.training.command import Command, parse, refusing_old_states
from demo.training.encoded import encoded, facing_one_way
from demo.training.loop import Plan, digest, train
from demo.training.unet import Prediction, prediction_loss
from lib_fewstep.models import with_zero_terminal_snr

PLAN = Plan(steps=1200, rate=4e-4, warm_up=100, memory=0.99)
OUT = Path("demo/out/v_prediction")
MARKS = ("v_pred", "ztsnr")


def main() -> None:
    """Read the command line, train, and write the checkpoint."""
    command = parse(__doc__, layouts=True, out=OUT)
    with refusing_old_states():
        train_v(command)


def train_v(command: Command) -> Path:
    """Train the UNet of the project's checkpoint and write another one, with its YAML file; where it is."""
    layout = command.layout
    model = checkpoint.load(layout)
    pictures = facing_one_way(encoded(model.autoencoder, command))
    since, plan, path = digest(model.unet), command.shortened(PLAN), file_in(command.out, layout)
    unet = model.unet.requires_grad_(True)
    with quick_backwards():
        loss = prediction_loss(model, pictures, prediction=V)
        average = train(unet, loss, plan, command.seed, command.state(f"{layout.name}-v"), since)
    unet.load_state_dict(average.state_dict())
    metadata = {
        "modelspec.title": f"{layout.title} v",
        "modelspec.prediction_type": "v",
        "fewstep.steps": str(plan.steps),
        "fewstep.seed": str(command.seed),
    }
    checkpoint.save(model, path, metadata, MARKS)
    shutil.copy(layout.config_path, path.with_suffix(".yaml"))
    return path


def file_in(folder: Path, layout: Layout) -> Path:
    """The checkpoint in the folder where it was written."""
    return folder / f"mini-{layout.name}-v.safetensors"


def v(share: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
    """What is predicted (arXiv 2202.00512, section 4) where `share` of the latents' variance is left."""
    return share.sqrt() * noise - (1 - share).sqrt() * latents


V = Prediction(with_zero_terminal_snr(alphas_cumprod()).float(), v)

if __name__ == "__main__":
    main()
