"""Training of the small checkpoint, on the CPU.

`python -m demo.train --seed 0 --steps 4500 --out demo/checkpoint/mini.safetensors`
(set the two malloc variables of the Makefile, they double the speed).
"""

from __future__ import annotations

import argparse
import copy
import functools
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from demo import checkpoint, scenes
from demo.model.unet import alphas_cumprod

BATCH = 16
PEAK_RATE = 4e-4
WARM_UP = 200
DROPPED_PROMPTS = 0.15
LONGEST_AVERAGE = 0.999
REPORT_EVERY = 50
SAVE_EVERY = 1000

Batch = tuple[Tensor, Tensor, Tensor, list[str]]


def batches(seed: int, size: int) -> Iterator[Batch]:
    """Endless training batches: clean latents, noise (size, 4, 16, 16), timesteps (size,) and prompts."""
    rng, timesteps = np.random.default_rng(seed), len(alphas_cumprod())
    while True:
        drawn = [scenes.random_scene(rng) for _ in range(size)]
        clean = np.stack([scenes.draw(scene) for scene in drawn]) + scenes.random_shifts(rng, size)
        noise = rng.standard_normal(clean.shape, dtype=np.float32)
        times = torch.from_numpy(rng.integers(0, timesteps, size=size))
        dropped = rng.random(size) < DROPPED_PROMPTS
        prompts = ["" if drop else scene.prompt for scene, drop in zip(drawn, dropped, strict=True)]
        yield torch.from_numpy(clean), torch.from_numpy(noise), times, prompts


def loss_of(model: checkpoint.MiniModel, batch: Batch, kept: Tensor) -> Tensor:
    """Mean squared error of the predicted noise; `kept` is the signal's share of variance per timestep."""
    clean, noise, times, prompts = batch
    share = kept[times][:, None, None, None]
    noised = share.sqrt() * clean + (1 - share).sqrt() * noise
    predicted: Tensor = model.unet(noised, times, context=model.text(prompts))
    return torch.nn.functional.mse_loss(predicted, noise)


def rate_at(step: int, steps: int) -> float:
    """Learning rate: linear warm-up, then a cosine down to zero."""
    warm = min(1.0, (step + 1) / WARM_UP)
    return PEAK_RATE * warm * 0.5 * (1 + math.cos(math.pi * step / steps))


def adamw(model: checkpoint.MiniModel) -> torch.optim.AdamW:
    """AdamW, fused where torch has that for the CPU; torch 2.1 has it for GPUs alone."""
    make = functools.partial(torch.optim.AdamW, list(model.parameters()), lr=PEAK_RATE, weight_decay=0.01)
    try:
        return make(fused=True)
    except RuntimeError:
        return make()


def update_average(average: checkpoint.MiniModel, model: checkpoint.MiniModel, step: int) -> None:
    """Move the averaged weights towards the current ones, faster in the first steps."""
    decay = min(LONGEST_AVERAGE, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(average.parameters(), model.parameters(), 1 - decay)


def train(steps: int, seed: int, out: Path) -> None:
    """Train for `steps` batches and save the averaged weights to `out`, and every 1000 steps on the way."""
    model = checkpoint.build(seed)
    average = copy.deepcopy(model)
    optimizer = adamw(model)
    kept = alphas_cumprod().float()
    started, recent = time.monotonic(), 0.0
    for step, batch in zip(range(steps), batches(seed, BATCH), strict=False):
        optimizer.param_groups[0]["lr"] = rate_at(step, steps)
        loss = loss_of(model, batch, kept)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        update_average(average, model, step)
        recent += loss.item() / REPORT_EVERY
        done = step + 1
        if done % REPORT_EVERY == 0:
            report(done, steps, recent, time.monotonic() - started)
            recent = 0.0
        if done % SAVE_EVERY == 0 or done == steps:
            checkpoint.save(average, out, {"steps": str(done), "seed": str(seed), "planned_steps": str(steps)})


def report(done: int, steps: int, loss: float, seconds: float) -> None:
    """Print one line of progress with the time left."""
    left = seconds / done * (steps - done) / 60
    print(
        f"step {done}/{steps}  loss {loss:.4f}  {seconds / done:.2f} s a step  {left:.0f} min left",
        flush=True,
    )


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m demo.train", description="Train the demo's checkpoint.")
    parser.add_argument("--steps", type=int, default=4500, help="batches of 16 scenes (default: 4500)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, scenes and noise (default: 0)")
    parser.add_argument("--out", type=Path, default=checkpoint.DEFAULT_PATH, help="safetensors file to write")
    arguments = parser.parse_args()
    train(arguments.steps, arguments.seed, arguments.out)


if __name__ == "__main__":
    main()
