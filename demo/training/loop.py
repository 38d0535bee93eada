"""A training that can be stopped at any step and taken up again, with the same end."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

SAVE_EVERY = 200
SHOW_EVERY = 50


@dataclass(frozen=True)
class Plan:
    """How long and how fast: the learning rate rises over `warm_up` steps and falls to zero as a cosine.

    The average of the weights remembers about 1 / (1 - `memory`) steps.
    """

    steps: int
    rate: float
    warm_up: int = 200
    memory: float = 0.999
    weight_decay: float = 0.01

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        return self.rate * min(1.0, (step + 1) / self.warm_up) * (1 + math.cos(math.pi * step / self.steps)) / 2


Loss = Callable[[int, np.random.Generator], tuple[Tensor, Mapping[str, float]]]
"""The loss of a step, which draws all that is random from the generator, and figures to show."""


class OldStateError(ValueError):
    """A file of an earlier training is not of this one; the sentence says which, and what to do."""


def train(networks: nn.Module, loss: Loss, plan: Plan, seed: int, state: Path, since: str = "") -> nn.Module:
    """Train the networks in place, and return the average of their weights over the last steps.

    Every step draws from a generator of its own, by `seed` and its number. `state` keeps everything that the next step
    needs; if it is there, training goes on from it. `since` tells what came before this training. Raises OldStateError
    if the state is of another plan, or came after something else.
    """
    average = copy.deepcopy(networks).requires_grad_(False)
    weights = [weight for weight in networks.parameters() if weight.requires_grad]
    optimizer = _adamw(weights, plan)
    origin = {"plan": asdict(plan), "since": since}
    done = _resume(state, origin, networks, average, optimizer) if state.is_file() else 0
    shown: dict[str, list[float]] = {}
    with tqdm(total=plan.steps, initial=done, unit="step", mininterval=1.0) as progress:
        for step in range(done, plan.steps):
            optimizer.param_groups[0]["lr"] = plan.rate_at(step)
            found, figures = loss(step, np.random.default_rng([seed, step]))
            optimizer.zero_grad()
            found.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            _follow(average, networks, min(plan.memory, (1 + step) / (10 + step)))
            for name, value in figures.items():
                shown.setdefault(name, []).append(value)
            progress.update()
            if (step + 1) % SHOW_EVERY == 0:
                progress.set_postfix({name: f"{np.mean(values):.4f}" for name, values in shown.items()})
                shown.clear()
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == plan.steps:
                _save(state, origin, networks, average, optimizer, step + 1)
    return average


def _adamw(weights: list[nn.Parameter], plan: Plan) -> torch.optim.AdamW:
    """AdamW, fused where torch has that for the CPU; torch 2.1 has it for GPUs alone."""
    given: dict[str, Any] = {"lr": plan.rate, "betas": (0.9, 0.99), "weight_decay": plan.weight_decay}
    try:
        return torch.optim.AdamW(weights, fused=True, **given)
    except RuntimeError:
        return torch.optim.AdamW(weights, **given)


@torch.no_grad()
def _follow(average: nn.Module, networks: nn.Module, memory: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(networks.parameters()), 1 - memory)


def _save(
    state: Path,
    origin: Mapping[str, Any],
    networks: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    done: int,
) -> None:
    parts: dict[str, Any] = {"networks": networks, "average": average, "optimizer": optimizer}
    keep({name: part.state_dict() for name, part in parts.items()} | {**origin, "done": done}, state)


def keep(content: Any, path: Path) -> None:
    """Save with torch, beside an old file first, so that a stop in the middle leaves one of the two whole."""
    fresh = path.with_suffix(".fresh")
    torch.save(content, fresh)
    fresh.replace(path)


def digest(networks: nn.Module) -> str:
    """The SHA-256 of the weights in float16, which they have in the files of the project."""
    found = hashlib.sha256()
    for name, weight in networks.state_dict().items():
        found.update(name.encode() + weight.half().contiguous().numpy().tobytes())
    return found.hexdigest()


def kept(path: Path, origin: Mapping[str, Any]) -> dict[str, Any]:
    """What was saved, if it has this origin. Raises OldStateError if not."""
    saved: dict[str, Any] = torch.load(path, weights_only=True)
    if any(saved.get(name) != value for name, value in origin.items()):
        raise OldStateError(f"{path} is of another training or came after another one: delete it to train anew")
    return saved


def _resume(
    state: Path,
    origin: Mapping[str, Any],
    networks: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Take up a saved state; the number of steps that were done."""
    saved = kept(state, origin)
    networks.load_state_dict(saved["networks"])
    average.load_state_dict(saved["average"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["done"])
