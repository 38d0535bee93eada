"""`python -m demo.training.autoencoder`: the autoencoder, on pieces of drawn pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ldm.modules.diffusionmodules.model import Downsample, ResnetBlock, Upsample
from torch import Tensor, nn

from demo.model.autoencoder import Autoencoder
from demo.model.layouts import LAYOUTS
from demo.pictures.scenes import as_bytes, draw, random_scene
from demo.training.command import Command, parse, refusing_old_states
from demo.training.loop import Loss, Plan, train

PLAN = Plan(steps=4500, rate=5e-4, memory=0.998, weight_decay=0.0)
SIDES = (128, 160, 192, 256)
PICTURES = 2000
PIECES, PIECE = 8, 64
WHOLE_FROM = 0.75
"""Share of the steps after which the pieces are whole pictures of the trained size: two instead of eight."""

DIVERGENCE_WEIGHT, LEVEL_WEIGHT = 5e-5, 0.05
GROUPS = 32
CONSTANT = 1.5
FIRST_LOG_VARIANCE = -4.0

Bank = Sequence[npt.NDArray[np.uint8]]


def main() -> None:
    """Read the command line and train."""
    command = parse(__doc__)
    with refusing_old_states():
        train_autoencoder(command)


def train_autoencoder(command: Command) -> Autoencoder:
    """The trained autoencoder; what its state has is not done again."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(command.seed)
        model = Autoencoder(LAYOUTS["sd15"].autoencoder)
        prepare(model)
    plan, count = command.shortened(PLAN), command.pictures or PICTURES
    loss = _loss(model, lambda: bank(command.seed, count), WHOLE_FROM * plan.steps)
    average = train(model, loss, plan, command.seed, command.state("autoencoder"))
    assert isinstance(average, Autoencoder)
    return average.eval()


def prepare(model: Autoencoder) -> None:
    """First weights with which it learns several times as fast as with torch's.

    Every convolution keeps the size of what goes in, residual blocks begin as nothing, and one channel of each group of
    a norm as a constant.
    """
    blocks = [module for module in model.modules() if isinstance(module, ResnetBlock)]
    resamplers = [module.conv for module in model.modules() if isinstance(module, (Downsample, Upsample))]
    with torch.no_grad():
        convolutions: list[Any] = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        for conv in convolutions:
            nn.init.normal_(conv.weight, std=conv.weight[0].numel() ** -0.5)
            nn.init.zeros_(conv.bias)
        for block in blocks:
            nn.init.zeros_(block.conv2.weight)
        for conv in (model.encoder.conv_in, model.decoder.conv_in, *resamplers, *(block.conv1 for block in blocks)):
            conv.bias[:: len(conv.bias) // GROUPS] = CONSTANT
        for conv in (model.encoder.conv_out, model.decoder.conv_out):
            conv.weight.mul_(0.3)
        last: Any = model.quant_conv
        last.bias[last.out_channels // 2 :] = FIRST_LOG_VARIANCE


def bank(seed: int, count: int) -> Bank:
    """Drawn pictures of several sizes, (side, side, 3), as bytes."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        side = int(rng.choice(SIDES))
        drawn.append(as_bytes(draw(random_scene(rng), side, side)))
    return drawn


def pieces(pictures: Bank, rng: np.random.Generator, count: int, side: int) -> Tensor:
    """Pieces (count, 3, side, side) cut at random from the pictures, values from -1 to 1."""
    cut = []
    for index in rng.integers(0, len(pictures), count):
        top, left = rng.integers(0, len(pictures[index]) - side + 1, 2)
        cut.append(pictures[index][top : top + side, left : left + side])
    return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _loss(model: Autoencoder, draw_bank: Callable[[], Bank], whole_from: float) -> Loss:
    """Absolute and squared error, that of the edges, and latents of mean 0 and deviation 1 in each channel."""
    drawn = cache(draw_bank)

    def loss(step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        count, side = (2, 2 * PIECE) if step > whole_from else (PIECES, PIECE)
        x = pieces(drawn(), rng, count, side)
        with torch.autocast("cpu", torch.bfloat16):
            mean, log_variance = model.moments(x)
            noise = torch.from_numpy(rng.standard_normal(mean.shape, dtype=np.float32))
            y = model.decode(mean + (log_variance / 2).exp() * noise).float()
        absolute, squared = (y - x).abs().mean(), ((y - x) ** 2).mean()
        edge = torch.stack([(a - b).abs().mean() for a, b in zip(edges(y), edges(x), strict=True)]).sum()
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).mean() / 2
        level = (mean.mean((0, 2, 3)) ** 2 + (mean.std((0, 2, 3)) - 1) ** 2).mean()
        found = absolute + squared + edge + DIVERGENCE_WEIGHT * divergence + LEVEL_WEIGHT * level
        return found, {"absolute": absolute.item(), "squared": squared.item(), "edge": edge.item()}

    return loss


def edges(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbours, downwards and across."""
    return pictures.diff(dim=-2), pictures.diff(dim=-1)


if __name__ == "__main__":
    main()
