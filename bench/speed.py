"""Seconds and exact work of whole runs: plain, with each method, and with the reference implementation.

A run is the sum over its kinds of steps. Each kind is measured in turn with all others, so that whatever slows the
machine down slows all alike, and weighted by how often the schedule has it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from bench.memory import LiveMemory
from bench.methods import METHODS, TOME, ready, steps_of
from bench.parts import InParts
from bench.reference import at_step, diffusers_twin, evaluate_twin, reference
from bench.unets import Layout, conditioning, evaluate, evaluate_at, latent
from lib_fewstep.highres.methods.base import Parts

TERA, MEBI = 1e12, 2**20
THEIRS = "reference: "
COMPARED = ("RAU-Net", "MSW-MSA", "HiDiffusion")
Name = TypeVar("Name")
Key = tuple[str, Parts]
"""What is run, and which kind of step: methods that do the same on a step share its figures."""


@dataclass(frozen=True)
class Twins:
    """A layout's UNet with weights, and two without, on which work and memory are counted.

    The second of these is to be called `without_computing`.
    """

    layout: Layout
    unet: nn.Module
    meta: nn.Module
    fake: nn.Module
    without_computing: FakeTensorMode


def twins_of(layout: Layout, unet: nn.Module) -> Twins:
    """The UNet and its twins without weights."""
    with torch.device("meta"):
        meta = layout.make().eval().requires_grad_(False)
    without_computing = FakeTensorMode()
    with without_computing:
        fake = layout.make().eval().requires_grad_(False)
    return Twins(layout, unet, meta, fake, without_computing)


def runs(unet: nn.Module, side: int, steps: int) -> dict[str, tuple[Key, ...]]:
    """For each row of the table, the kinds of step of which its run of `steps` consists, in their order."""
    idle: tuple[Parts, ...] = ((),) * steps
    ours = {"plain": idle, **{method: steps_of(method, unet, side, steps) for method in METHODS}}
    theirs = {method: ours[method] for method in ("plain", *COMPARED)}
    rows = {method: tuple(("ours", step) for step in run) for method, run in ours.items()}
    rows[TOME] = tuple((TOME, step) for step in idle)
    return rows | {THEIRS + method: tuple((THEIRS, step) for step in run) for method, run in theirs.items()}


def places(rows: dict[str, tuple[Key, ...]]) -> dict[Key, tuple[str, int]]:
    """A method and the index of a step where each kind of step is met."""
    found: dict[Key, tuple[str, int]] = {}
    for row, run in rows.items():
        for index, key in enumerate(run):
            found.setdefault(key, (row.removeprefix(THEIRS), index))
    return found


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Seconds that a call takes, until the device has finished."""
    _wait_for(device)
    started = time.perf_counter()
    call()
    _wait_for(device)
    return time.perf_counter() - started


def in_turn(calls: Mapping[Name, Callable[[], float]], rounds: Iterable[int], warm: int = 0) -> dict[Name, list[float]]:
    """What each call measures in each round, all in turn; the first `warm` rounds do not count."""
    times: dict[Name, list[float]] = {name: [] for name in calls}
    for _ in rounds:
        for name, call in calls.items():
            times[name].append(call())
    return {name: measured[warm:] for name, measured in times.items()}


def work_of(twins: Twins, method: str, side: int, steps: int, index: int, batch: int) -> float:
    """Exact work of one evaluation in TFLOP: twice the multiplications of matrix products and convolutions."""
    with ready(twins.meta, method, side, steps, index), FlopCounterMode(display=False) as counter, InParts():
        evaluate_at(twins.meta, (side, side), batch)
    return float(counter.get_total_flops()) / TERA


def memory_of(twins: Twins, method: str, side: int, steps: int, index: int, batch: int) -> float:
    """MiB of the tensors that are alive at once in one evaluation, besides the weights, in float32."""
    live = LiveMemory(twins.fake.parameters())
    with twins.without_computing, ready(twins.fake, method, side, steps, index), live:
        x = torch.empty(batch, 4, side, side)  # torch 2.1 cannot draw noise without computing it
        evaluate(twins.fake, x, conditioning(twins.fake, batch))
    return live.peak / MEBI


def measure(twins: Twins, side: int, steps: int, repeats: int, batch: int) -> dict[str, Any]:
    """Of whole runs at `side` latent pixels: seconds, TFLOP, and the peak of the memory in MiB.

    `seconds` sums the medians of each kind of step, `rounds` has the seconds of each round by itself. With
    `repeats` = 0 nothing is computed and there are neither.
    """
    rows = runs(twins.unet, side, steps)
    where = places(rows)
    ours = {key: place for key, place in where.items() if key[0] != THEIRS}
    tflop = {key: work_of(twins, method, side, steps, index, batch) for key, (method, index) in ours.items()}
    memory = {key: memory_of(twins, method, side, steps, index, batch) for key, (method, index) in ours.items()}
    taken = _seconds(twins, where, side, steps, repeats, batch) if repeats else {}
    seconds = {key: statistics.median(rounds) for key, rounds in taken.items()}
    report: dict[str, Any] = {}
    for row, run in rows.items():
        report[row] = {}
        for name, cost, whole in (("seconds", seconds, sum), ("tflop", tflop, sum), ("mib", memory, max)):
            if all(key in cost for key in run):
                report[row][name] = whole(cost[key] for key in run)
        if taken:
            report[row]["rounds"] = [sum(taken[key][turn] for key in run) for turn in range(repeats)]
    return report


def _seconds(
    twins: Twins, where: dict[Key, tuple[str, int]], side: int, steps: int, repeats: int, batch: int
) -> dict[Key, list[float]]:
    """Each kind's seconds in each round, all kinds in turn; a GPU, which tunes itself, has one turn before.

    Ours and the reference's for the same step follow on each other.
    """
    device = next(twins.unet.parameters()).device
    kinds = list(dict.fromkeys(step for _, step in where))
    order = sorted(where, key=lambda key: kinds.index(key[1]))
    calls = {key: partial(_call(twins, key, *where[key], side, steps, batch), device) for key in order}
    warm = int(device.type == "cuda")
    rounds = tqdm(range(warm + repeats), desc=f"{twins.layout.name} at {8 * side}x{8 * side}")
    return in_turn(calls, rounds, warm)


def _call(
    twins: Twins, key: Key, method: str, index: int, side: int, steps: int, batch: int
) -> Callable[[torch.device], float]:
    """What measures one evaluation on step `index`."""
    x, given = latent(twins.unet, (side, side), batch), conditioning(twins.unet, batch)
    if key[0] == THEIRS:
        twin = _reference_twin(twins, method, steps)

        def theirs(device: torch.device) -> float:
            at_step(twin, index)
            return seconds_of(partial(evaluate_twin, twin, x, given), device)

        return theirs

    def ours(device: torch.device) -> float:
        with ready(twins.unet, method, side, steps, index):
            return seconds_of(partial(evaluate, twins.unet, x, given), device)

    return ours


def _reference_twin(twins: Twins, method: str, steps: int) -> nn.Module:
    """The reference's model, plain or with a method; all share our model's weights."""
    if method == "plain":
        return diffusers_twin(twins.unet)
    settings = METHODS[method]
    windows = settings.window_attention is not False
    return reference(twins.unet, twins.layout.reference_name, steps, raunet=settings.raunet, windows=windows)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
