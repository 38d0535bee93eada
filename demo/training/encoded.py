"""The pictures that a UNet learns from: drawn, cut, and encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from demo.model.autoencoder import Autoencoder, as_tensor
from demo.pictures.scenes import TRAINED_SIDE, Picture, Scene, as_bytes, draw, random_scene
from demo.training.command import Command
from demo.training.loop import digest, keep, kept

PICTURES = 10_000
CHUNK = 16
TARGETS = ((128, 128), (96, 160), (160, 96))
TARGET_SHARES = (0.7, 0.15, 0.15)
RESOLUTIONS = (48, 64, 96, 128, 256)
RESOLUTION_SHARES = (0.05, 0.1, 0.1, 0.55, 0.2)
"""Shorter sides at which the originals are drawn, before they are brought to the trained size."""

CUT_SHARE = 0.3
LARGEST_CUT = 32
CLOSE_UPS, CLOSE_UP_SIDES = 4000, (160, 288)
"""Pieces of the trained size from drawings whose sides lie between these."""

Sizes = tuple[int, int, int, int, int, int]
"""Original height and width, the cut's top and left, target height and width."""


@dataclass(frozen=True)
class Shown:
    """A picture as training shows it."""

    picture: Picture
    scene: Scene
    sizes: Sizes


@dataclass(frozen=True)
class Encoded:
    """Pictures of one target size: prompts, sizes (n, 6), and their latents' means and deviations (n, 4, h, w).

    `mirrored` (n,) says which things face the other way.
    """

    prompts: list[str]
    sizes: Tensor
    means: Tensor
    deviations: Tensor
    mirrored: Tensor


def show(rng: np.random.Generator, *, sized: bool) -> Shown:
    """A random scene; `sized` is the way of SDXL: of any original size, and cut to one of three shapes."""
    scene = random_scene(rng)
    if not sized:
        return Shown(draw(scene), scene, (TRAINED_SIDE, TRAINED_SIDE, 0, 0, TRAINED_SIDE, TRAINED_SIDE))
    target = TARGETS[rng.choice(len(TARGETS), p=TARGET_SHARES)]
    resolution = int(rng.choice(RESOLUTIONS, p=RESOLUTION_SHARES))
    return _cut(scene, target, resolution, _surplus(rng), rng)


def close_up(rng: np.random.Generator, *, sized: bool) -> Shown:
    """A piece of a larger drawing. SDXL is told where it is from; SD1.5 is not, as with photographs."""
    scene, side = random_scene(rng), int(rng.integers(*CLOSE_UP_SIDES, endpoint=True))
    top, left = (int(place) for place in rng.integers(0, side - TRAINED_SIDE + 1, 2))
    cut = draw(scene, side, side)[top : top + TRAINED_SIDE, left : left + TRAINED_SIDE]
    sizes = (side, side, top, left) if sized else (TRAINED_SIDE, TRAINED_SIDE, 0, 0)
    return Shown(cut, scene, (*sizes, TRAINED_SIDE, TRAINED_SIDE))


def _surplus(rng: np.random.Generator) -> tuple[int, int]:
    """By how much a picture is higher and wider than its target; most are not."""
    if rng.random() >= CUT_SHARE:
        return 0, 0
    more = int(rng.integers(8, LARGEST_CUT + 1))
    return (more, 0) if rng.random() < 0.5 else (0, more)


def _cut(
    scene: Scene, target: tuple[int, int], resolution: int, surplus: tuple[int, int], rng: np.random.Generator
) -> Shown:
    """A scene drawn at its resolution, brought to the target's scale, and cut to the target."""
    height, width = (side + more for side, more in zip(target, surplus, strict=True))
    original = tuple(round(side * resolution / min(height, width)) for side in (height, width))
    drawn = Image.fromarray(as_bytes(draw(scene, *original)))
    whole = np.asarray(drawn.resize((width, height), Image.Resampling.BICUBIC), np.float32) / 255
    top, left = (int(rng.integers(0, more + 1)) for more in surplus)
    cut = whole[top : top + target[0], left : left + target[1]]
    return Shown(cut, scene, (original[0], original[1], top, left, *target))


def encoded(autoencoder: Autoencoder, command: Command) -> list[Encoded]:
    """Random scenes as latents, by target size; they are kept beside the states for the next time."""
    count = command.pictures or PICTURES
    return _encoded(autoencoder, command, show, count, command.state(f"latents-{command.layout.name}"))


def encoded_close_ups(autoencoder: Autoencoder, command: Command) -> list[Encoded]:
    """Pieces of larger drawings, in the same way."""
    count = command.pictures or CLOSE_UPS
    return _encoded(autoencoder, command, close_up, count, command.state(f"close-ups-{command.layout.name}"))


def _encoded(
    autoencoder: Autoencoder, command: Command, make: Callable[..., Shown], count: int, place: Path
) -> list[Encoded]:
    origin = {"autoencoder": digest(autoencoder), "count": count}
    if place.is_file():
        return [Encoded(**saved) for saved in kept(place, origin)["groups"]]
    rng, sized = np.random.default_rng(command.seed), command.layout.sized
    groups: dict[tuple[int, ...], list[Shown]] = {}
    for shown in tqdm((make(rng, sized=sized) for _ in range(count)), total=count, desc="drawing", unit="picture"):
        groups.setdefault(shown.sizes[4:], []).append(shown)
    found = [_encode(autoencoder, group) for _, group in sorted(groups.items())]
    keep({**origin, "groups": [vars(one) for one in found]}, place)
    return found


@torch.no_grad()
def _encode(autoencoder: Autoencoder, group: list[Shown]) -> Encoded:
    pictures = (as_tensor(np.stack([shown.picture for shown in chunk])) for chunk in _chunks(group))
    moments: list[Any] = [autoencoder.moments(chunk) for chunk in pictures]
    means, log_variances = (torch.cat(parts) for parts in zip(*moments, strict=True))
    sizes = torch.tensor([shown.sizes for shown in group])
    mirrored = torch.tensor([shown.scene.mirrored for shown in group])
    prompts = [shown.scene.prompt for shown in group]
    return Encoded(prompts, sizes, means, (log_variances / 2).exp(), mirrored)


def facing_one_way(pictures: Sequence[Encoded]) -> list[Encoded]:
    """Those whose things are not mirrored. Raises ValueError where there are none."""
    facing = [_facing_one_way(group) for group in pictures]
    if not any(group.prompts for group in facing):
        raise ValueError("no picture is left whose thing is not mirrored: draw more pictures")
    return facing


def _facing_one_way(group: Encoded) -> Encoded:
    chosen = ~group.mirrored
    prompts = [group.prompts[index] for index in chosen.nonzero().flatten().tolist()]
    return Encoded(prompts, group.sizes[chosen], group.means[chosen], group.deviations[chosen], group.mirrored[chosen])


def picked(pictures: Sequence[Encoded], rng: np.random.Generator) -> Encoded:
    """The pictures of one target size, each size as often as it has pictures."""
    counts = np.array([len(group.prompts) for group in pictures])
    return pictures[rng.choice(len(pictures), p=counts / counts.sum())]


def _chunks(group: list[Shown]) -> Iterator[list[Shown]]:
    for start in tqdm(range(0, len(group), CHUNK), desc="encoding", unit="batch"):
        yield group[start : start + CHUNK]
