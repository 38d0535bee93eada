"""Seconds and exact work of whole runs: plain, with each method, and with the reference implementation.

A run is the sum over its kinds of steps. Each kind is measured in turn with all others, so that whatever slows the
machine down slows all alike, and weighted by how often the schedule has it.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from bench.memory import LiveMemory
from bench.methods import METHODS, TOME, ready, steps_of
from bench.reference import at_step, diffusers_twin, evaluate_twin, reference
from bench.unets import Layout, conditioning, evaluate, latent
from lib_fewstep.hires.schedule import Step

TERA, MEBI = 1e12, 2**20
THEIRS = "reference: "
COMPARED = ("RAU-Net", "MSW-MSA", "HiDiffusion")
Key = tuple[str, Step]
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


def kinds(unet: nn.Module, side: int, steps: int) -> dict[str, Counter[Key]]:
    """For each row of the table, what its run of `steps` consists of and how often."""
    rows = {"plain": Counter({("ours", Step()): steps}), TOME: Counter({(TOME, Step()): steps})}
    for method in METHODS:
        rows[method] = Counter(("ours", step) for step in steps_of(method, unet, side, steps))
    rows[f"{THEIRS}plain"] = Counter({(THEIRS, Step()): steps})
    for method in COMPARED:
        rows[THEIRS + method] = Counter((THEIRS, step) for step in steps_of(method, unet, side, steps))
    return rows


def places(unet: nn.Module, side: int, steps: int) -> dict[Key, tuple[str, int]]:
    """A method and the index of a step where each kind of step is met."""
    found: dict[Key, tuple[str, int]] = {("ours", Step()): ("plain", 0), (TOME, Step()): (TOME, 0)}
    for method in METHODS:
        for index, step in enumerate(steps_of(method, unet, side, steps)):
            found.setdefault(("ours", step), (method, index))
            if method in COMPARED:
                found.setdefault((THEIRS, step), (method, index))
    found[THEIRS, Step()] = ("plain", 0)
    return found


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Seconds that a call takes, until the device has finished."""
    _wait_for(device)
    started = time.perf_counter()
    call()
    _wait_for(device)
    return time.perf_counter() - started


def work_of(twins: Twins, method: str, side: int, steps: int, index: int, batch: int) -> float:
    """Exact work of one evaluation in TFLOP: twice the multiplications of matrix products and convolutions."""
    with ready(twins.meta, method, side, steps, index), FlopCounterMode(display=False) as counter:
        evaluate(twins.meta, (side, side), batch)
    return float(counter.get_total_flops()) / TERA


def memory_of(twins: Twins, method: str, side: int, steps: int, index: int, batch: int) -> float:
    """MiB of the tensors that are alive at once in one evaluation, besides the weights, in float32."""
    live = LiveMemory(twins.fake.parameters())
    with twins.without_computing, ready(twins.fake, method, side, steps, index), live:
        evaluate(twins.fake, (side, side), batch)
    return live.peak / MEBI


def measure(twins: Twins, side: int, steps: int, repeats: int, batch: int) -> dict[str, Any]:
    """Of whole runs at `side` latent pixels: medians of seconds, TFLOP, and the peak of the memory in MiB.

    With `repeats` = 0 nothing is computed and there are no seconds.
    """
    where = places(twins.unet, side, steps)
    ours = {key: place for key, place in where.items() if key[0] != THEIRS}
    tflop = {key: work_of(twins, method, side, steps, index, batch) for key, (method, index) in ours.items()}
    memory = {key: memory_of(twins, method, side, steps, index, batch) for key, (method, index) in ours.items()}
    seconds = _seconds(twins, where, side, steps, repeats, batch) if repeats else {}
    report: dict[str, Any] = {}
    for row, parts in kinds(twins.unet, side, steps).items():
        report[row] = {}
        for name, cost in (("seconds", seconds), ("tflop", tflop)):
            if all(key in cost for key in parts):
                report[row][name] = sum(count * cost[key] for key, count in parts.items())
        if all(key in memory for key in parts):
            report[row]["mib"] = max(memory[key] for key in parts)
    return report


def _seconds(
    twins: Twins, where: dict[Key, tuple[str, int]], side: int, steps: int, repeats: int, batch: int
) -> dict[Key, float]:
    """The median of each kind's seconds, all kinds in turn; a GPU, which tunes itself, has one turn before."""
    device = next(twins.unet.parameters()).device
    calls = {key: _call(twins, key, *place, side, steps, batch) for key, place in where.items()}
    warm = int(device.type == "cuda")
    times: dict[Key, list[float]] = {key: [] for key in where}
    for _ in tqdm(range(warm + repeats), desc=f"{twins.layout.name} at {8 * side}x{8 * side}"):
        for key, call in calls.items():
            times[key].append(call(device))
    return {key: statistics.median(measured[warm:]) for key, measured in times.items()}


def _call(
    twins: Twins, key: Key, method: str, index: int, side: int, steps: int, batch: int
) -> Callable[[torch.device], float]:
    """What measures one evaluation on step `index`."""
    if key[0] == THEIRS:
        twin = _reference_twin(twins, method, steps)
        x, given = latent(twins.unet, (side, side), batch), conditioning(twins.unet, batch)

        def theirs(device: torch.device) -> float:
            at_step(twin, index)
            return seconds_of(partial(evaluate_twin, twin, x, given), device)

        return theirs

    def ours(device: torch.device) -> float:
        with ready(twins.unet, method, side, steps, index):
            return seconds_of(partial(evaluate, twins.unet, (side, side), batch), device)

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
