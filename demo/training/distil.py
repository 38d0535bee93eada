"""`python -m demo.training.distil sd15 lcm` (or sdxl, tcd): few-step LoRAs, taught by the trained checkpoint.

LCM is the latent consistency distillation of arXiv 2310.04378, TCD the trajectory consistency of arXiv 2402.19159.
The teacher is the checkpoint with guidance, one step of DDIM at a time.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from demo.model import checkpoint
from demo.model.checkpoint import MiniModel
from demo.model.layouts import LORAS
from demo.model.lora import add_low_rank, save_low_rank
from demo.model.unet import alphas_cumprod
from demo.sampling.generate import GUIDANCE
from demo.training.attention import quick_backwards
from demo.training.command import Command, parse, refusing_old_states
from demo.training.encoded import Encoded, encoded, facing_one_way, picked
from demo.training.loop import Plan, digest, train
from demo.training.unet import BATCH, batch

PLAN = Plan(steps=500, rate=1e-3, warm_up=50, memory=0.99, weight_decay=0.0)
RANK = 12
STRIDE = 40
"""Timesteps of one step of the teacher: about as long as those of 20 steps, so that what is learned near the image
reaches the noise within a short training.
"""
HUBER = 0.03
BOUNDARY, TIMESTEP_SCALE = 0.5, 10.0
"""LCM's boundary at timestep 0: shares of noisy latents and image, as in its paper's code."""


def main() -> None:
    """Read the command line, train, and write the LoRA."""
    command = parse(__doc__, layouts=True, kinds=LORAS)
    with refusing_old_states():
        distil(command)


def distil(command: Command) -> None:
    """Train a LoRA of the command's kind and write it beside its checkpoint.

    Its teacher is the checkpoint in the same folder, or that of the project where there is none.
    """
    layout = command.layout
    model = checkpoint.load(layout, path=_teacher(command))
    pictures = facing_one_way(encoded(model.autoencoder, command))
    student = copy.deepcopy(model.unet)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(command.seed)
        add_low_rank(student, RANK)
    loss = Lesson(model, student, pictures, tcd=command.kind == "tcd").loss
    name = f"{layout.name}-{command.kind}"
    with quick_backwards():
        state, since = command.state(name), digest(model.unet)
        average = train(student, loss, command.shortened(PLAN), command.seed, state, since)
    metadata = {
        "ss_base_model_version": "sdxl_base_v1-0" if layout.sized else "sd_v1",
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(RANK),
        "ss_network_alpha": str(RANK),
        "modelspec.title": f"{layout.title} {command.kind.upper()} LoRA",
        "modelspec.license": checkpoint.LICENCE,
    }
    save_low_rank(average, command.out / layout.lora_path(command.kind).name, metadata, sized=layout.sized)


def _teacher(command: Command) -> Path:
    beside = command.out / command.layout.path.name
    return beside if beside.is_file() else command.layout.path


@dataclass
class Lesson:
    """What the student is asked: the same answer from two neighbours on the teacher's path."""

    model: MiniModel
    student: nn.Module
    pictures: list[Encoded]
    tcd: bool

    def loss(self, _: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Pseudo-Huber distance of the student's answer here from its answer one teacher's step further on."""
        latents, prompts, sizes = batch(picked(self.pictures, rng), rng)
        noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
        here = torch.from_numpy(rng.integers(1, len(_KEPT), BATCH))
        there = (here - STRIDE).clamp(min=0)
        goal = torch.from_numpy(rng.integers(0, there.numpy() + 1)) if self.tcd else torch.zeros_like(here)
        signal, level = _scales(here)
        noised = signal * latents + level * noise
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):  # the cache would lose gradients
            given = self.model.conditioning(prompts, sizes)
            with torch.no_grad():
                further = self._teacher_step(noised, here, there, prompts, sizes)
                wanted = self._answer(further, there, goal, given)
            found = self._answer(noised, here, goal, given)
        distance = (((found - wanted) ** 2 + HUBER**2).sqrt() - HUBER).mean()
        return distance, {"distance": distance.item()}

    def _teacher_step(self, noised: Tensor, here: Tensor, there: Tensor, prompts: list[str], sizes: Tensor) -> Tensor:
        both = self.model.conditioning([*prompts, *[""] * len(prompts)], torch.cat([sizes, sizes]))
        predicted = self.model.unet(torch.cat([noised, noised]), torch.cat([here, here]), **both).float()
        with_prompt, without = predicted.chunk(2)
        return _moved(noised, without + GUIDANCE * (with_prompt - without), here, there)

    def _answer(self, noised: Tensor, here: Tensor, goal: Tensor, given: dict[str, Any]) -> Tensor:
        """Where the student sees the path from `noised` at the timestep `goal`."""
        predicted = self.student(noised, here, **given).float()
        end = _moved(noised, predicted, here, goal, to_image=not self.tcd)
        if self.tcd:
            return end
        scaled = (here * TIMESTEP_SCALE)[:, None, None, None]
        squares = scaled**2 + BOUNDARY**2
        return BOUNDARY**2 / squares * noised + scaled / squares.sqrt() * end


def _moved(noised: Tensor, predicted: Tensor, here: Tensor, goal: Tensor, *, to_image: bool = False) -> Tensor:
    """DDIM's step along the predicted noise to the timestep `goal`, or to the image itself."""
    signal, level = _scales(here)
    image = (noised - level * predicted) / signal
    if to_image:
        return image
    goal_signal, goal_level = _scales(goal)
    return goal_signal * image + goal_level * predicted


def _scales(timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the latents and of the noise at timesteps (n,), each (n, 1, 1, 1)."""
    kept = _KEPT[timesteps][:, None, None, None]
    return kept.sqrt(), (1 - kept).sqrt()


_KEPT = alphas_cumprod().float()

if __name__ == "__main__":
    main()
