"""What the extension costs where it does nothing: sessions and the record."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.methods import METHODS
from bench.speed import in_turn, seconds_of
from bench.unets import conditioning, evaluate_at
from lib_fewstep.compare.meter import Meter
from lib_fewstep.compare.record import COLUMNS, Record, append
from lib_fewstep.highres import HighResSession
from lib_fewstep.highres.methods.hidiffusion import window_places
from lib_fewstep.highres.windows import merge, partition, windowed
from lib_fewstep.unet import blocks_of, inspect_unet
from lib_fewstep.unet.topology import transformer_of

STEPS = 50
SIDE = 64
REPEATS, PAIRS = 20, 5
IDLE_CALLS = 1000


def session_ms(unet: nn.Module) -> float:
    """Milliseconds to build a session, put its blocks in and remove them, median."""
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        with HighResSession(unet, METHODS["HiDiffusion"], (SIDE, SIDE), STEPS) as session:
            session.at_step(0)
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def out_of_window(unet: nn.Module, side: int) -> dict[str, float]:
    """A step on which no method acts: microseconds that the session takes for it, and that as a share of the step.

    `share` is against the `seconds` of one evaluation; `beside` is the ratio of the medians of evaluations with and
    without such a session, in turn, less 1: what the machine's noise leaves of it.
    """
    device = next(unet.parameters()).device
    taken = []
    with HighResSession(unet, METHODS["RAU-Net"], (side, side), STEPS) as session:
        session.at_step(0)
        session.at_step(STEPS - 1)

        def step(*, with_session: bool) -> None:
            if with_session:
                session.at_step(STEPS - 1)
            evaluate_at(unet, (side, side), 1)

        for _ in range(IDLE_CALLS):
            started = time.perf_counter()
            session.at_step(STEPS - 1)
            taken.append(time.perf_counter() - started)
        calls = {there: partial(seconds_of, partial(step, with_session=there), device) for there in (False, True)}
        seconds = in_turn(calls, range(PAIRS))
    without, beside = statistics.median(seconds[False]), statistics.median(seconds[True])
    call = statistics.median(taken)
    return {"us": 1e6 * call, "seconds": without, "share": call / without, "beside": beside / without - 1}


def window_share(unet: nn.Module, side: int) -> float:
    """What cutting tokens into windows and joining them takes of a transformer block in windows, by the medians.

    The block is the first that MSW-MSA windows, at `side` latent pixels, with a shift.
    """
    topology = inspect_unet(unet)
    place = next(iter(window_places(topology)))
    size = topology.size_at(place, (side, side))
    stack: Any = transformer_of(blocks_of(unet)[place])
    block = stack.transformer_blocks[0]
    width = block.attn1.to_q.in_features
    weight = block.attn1.to_q.weight
    tokens, context = weight.new_ones(1, size[0] * size[1], width), conditioning(unet, 1)["context"][0]
    calls: dict[str, Callable[[], object]] = {
        "block": partial(block, tokens, context=context),
        "windows": lambda: merge(partition(tokens, size, 1), size, 1),
    }
    with windowed([(block.attn1, 1)], size, print):
        timed = {name: partial(seconds_of, call, weight.device) for name, call in calls.items()}
        seconds = in_turn(timed, range(PAIRS))
    return statistics.median(seconds["windows"]) / statistics.median(seconds["block"])


def record_cost() -> dict[str, float]:
    """What the record adds: microseconds for each evaluation, and milliseconds for each image's row, medians.

    Measured on a UNet that does nothing, since beside a real one it drowns in the noise.
    """
    idle, x = nn.Identity(), torch.zeros(2, 4, SIDE, SIDE)
    row: dict[str, Any] = dict.fromkeys(COLUMNS, 0)
    added, rows = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(REPEATS):
            seconds = {}
            for metered in (False, True):
                meter = Meter(x.device)
                meter.start(idle if metered else None)
                started = time.perf_counter()
                for _ in range(IDLE_CALLS):
                    idle(x)
                seconds[metered] = time.perf_counter() - started
                meter.stop()
            added.append(1e6 * (seconds[True] - seconds[False]) / IDLE_CALLS)
            started = time.perf_counter()
            append([Record(**row)], Path(folder) / "record.csv")
            rows.append(1000 * (time.perf_counter() - started))
    return {"evaluation_us": statistics.median(added), "row_ms": statistics.median(rows)}
