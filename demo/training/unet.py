"""`python -m demo.training.unet sd15` (or sdxl): text encoder and UNet, on the pictures of the trained autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from demo.model import checkpoint
from demo.model.checkpoint import MiniModel
from demo.model.text import TextEncoder
from demo.model.unet import alphas_cumprod
from demo.pictures.scenes import KINDS, PALETTE, Scene, random_scene
from demo.training.attention import quick_backwards
from demo.training.autoencoder import train_autoencoder
from demo.training.command import Command, parse, refusing_old_states
from demo.training.encoded import Encoded, encoded, encoded_close_ups, facing_one_way, picked
from demo.training.loop import Loss, Plan, digest, train

PLANS = {"sd15": Plan(steps=5000, rate=5e-4), "sdxl": Plan(steps=2500, rate=5e-4)}
CLOSE_UP_PLANS = {
    "sd15": (Plan(steps=5000, rate=4e-4),),
    "sdxl": (Plan(steps=4000, rate=5e-4), Plan(steps=4500, rate=4e-4)),
}
FACING_PLANS = {"sd15": Plan(steps=2000, rate=3e-4), "sdxl": Plan(steps=3500, rate=4e-4)}
"""The last stage's things all face one way: where they may face either, so small a UNet draws fish with two tails."""

CLOSE_UP_SHARE, CLOSE_UPS_BELOW = 0.4, 650
"""Share of the later stages' batches that are pieces of larger drawings, and the timestep below which they are.

Photographs have edges and surfaces of every size, drawings of whole things have not. Without close-ups the UNet does
not know the details of a thing twice as large, and takes it apart as soon as a method for large images leaves it alone.
At the timesteps where the composition is made it still sees whole things alone.
"""

BATCH = 16
DROPPED_PROMPTS = 0.12
READING_STEPS, READING_BATCH, READING_RATE = 400, 32, 1e-3


def main() -> None:
    """Read the command line, train, and write the checkpoint."""
    command = parse(__doc__, layouts=True)
    with refusing_old_states():
        train_checkpoint(command)


def train_checkpoint(command: Command) -> None:
    """Train all stages and write the checkpoint."""
    layout = command.layout
    model = checkpoint.build(layout, command.seed)
    model.autoencoder.load_state_dict(train_autoencoder(command).state_dict())
    if not command.state(layout.name).is_file():
        learn_to_read(model.text, command.seed)
    networks = nn.ModuleList([model.unet, model.text])
    stages, since = _stages(model, command), f"autoencoder: {digest(model.autoencoder)}; "
    with quick_backwards():
        for number, stage in enumerate(stages):
            state = command.state(stage.name)
            average = train(networks, stage.loss, stage.plan, command.seed + number, state, since)
            networks.load_state_dict(average.state_dict())
            since += f"{stage.name}: {stage.plan}; "
    steps = "+".join(str(stage.plan.steps) for stage in stages)
    metadata = {"fewstep.steps": steps, "fewstep.seed": str(command.seed)}
    checkpoint.save(model, command.out / layout.path.name, metadata)


@dataclass(frozen=True)
class Stage:
    """One part of the training, which begins with the averaged weights of the one before; `name` is its state's."""

    name: str
    plan: Plan
    loss: Loss


def _stages(model: MiniModel, command: Command) -> list[Stage]:
    """Whole pictures, then close-ups beside them, then both with things that all face one way."""
    name = model.layout.name
    pictures = encoded(model.autoencoder, command)
    close_ups = encoded_close_ups(model.autoencoder, command)
    near = prediction_loss(model, pictures, close_ups)
    facing = prediction_loss(model, facing_one_way(pictures), facing_one_way(close_ups))
    return [
        Stage(name, command.shortened(PLANS[name]), prediction_loss(model, pictures)),
        *(
            Stage(f"{name}-close-ups-{number}", command.shortened(plan), near)
            for number, plan in enumerate(CLOSE_UP_PLANS[name], start=1)
        ),
        Stage(f"{name}-facing", command.shortened(FACING_PLANS[name]), facing),
    ]


def learn_to_read(text: TextEncoder, seed: int) -> None:
    """Teach the text encoder its words first: kind, colour and background are read off the mean of its vectors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = nn.ModuleList(nn.Linear(text.width, len(names)) for names in _ANSWERS)
    optimizer = torch.optim.AdamW([*text.parameters(), *heads.parameters()], READING_RATE)
    for step in tqdm(range(READING_STEPS), desc="reading", unit="step", mininterval=1.0):
        rng = np.random.default_rng([seed, step])
        scenes = [random_scene(rng) for _ in range(READING_BATCH)]
        vectors = text([scene.prompt for scene in scenes]).mean(dim=1)
        answers = zip(heads, _right_answers(scenes), strict=True)
        loss = torch.stack([functional.cross_entropy(head(vectors), right) for head, right in answers]).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


_ANSWERS = (list(KINDS), list(PALETTE), ["", *PALETTE])


def _right_answers(scenes: Sequence[Scene]) -> list[Tensor]:
    asked = zip(*((scene.kind, scene.colour, scene.background) for scene in scenes), strict=True)
    return [torch.tensor([names.index(word) for word in words]) for names, words in zip(_ANSWERS, asked, strict=True)]


@dataclass(frozen=True)
class Prediction:
    """What the UNet learns to predict.

    `kept` (n,) is the share of the latents' variance that is left at each timestep; `target` is called with these
    shares (16, 1, 1, 1), latents and noise.
    """

    kept: Tensor
    target: Callable[[Tensor, Tensor, Tensor], Tensor]


NOISE = Prediction(alphas_cumprod().float(), lambda _share, _latents, noise: noise)


def prediction_loss(
    model: MiniModel, pictures: list[Encoded], close_ups: Sequence[Encoded] = (), prediction: Prediction = NOISE
) -> Loss:
    """Mean squared error of what is predicted; close-ups have their share of the batches, if there are any."""
    kept = prediction.kept

    def loss(_: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        near = bool(close_ups) and rng.random() < CLOSE_UP_SHARE
        latents, prompts, sizes = batch(picked(close_ups if near else pictures, rng), rng)
        noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
        times = torch.from_numpy(rng.integers(0, CLOSE_UPS_BELOW if near else len(kept), BATCH))
        share = kept[times][:, None, None, None]
        with torch.autocast("cpu", torch.bfloat16):
            noised = share.sqrt() * latents + (1 - share).sqrt() * noise
            predicted = model.unet(noised, times, **model.conditioning(prompts, sizes))
        found = functional.mse_loss(predicted.float(), prediction.target(share, latents, noise))
        return found, {"loss": found.item()}

    return loss


def batch(group: Encoded, rng: np.random.Generator) -> tuple[Tensor, list[str], Tensor]:
    """Latents (16, 4, h, w) drawn from the pictures' distributions, prompts of which some are empty, and sizes."""
    chosen = rng.integers(0, len(group.prompts), BATCH)
    noise = torch.from_numpy(rng.standard_normal((BATCH, *group.means.shape[1:]), dtype=np.float32))
    latents = group.means[chosen] + group.deviations[chosen] * noise
    dropped = rng.random(BATCH) < DROPPED_PROMPTS
    prompts = ["" if drop else group.prompts[index] for index, drop in zip(chosen, dropped, strict=True)]
    return latents, prompts, group.sizes[chosen]


if __name__ == "__main__":
    main()
