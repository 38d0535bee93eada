"""`python -m bench`: seconds and exact work of plain model and methods on Stable Diffusion 1.5's full-size UNet.

The weights are random: they do not change the time. A run of `--steps` steps is the sum over its kinds of steps, each
measured in turn with the others and weighted by how often the schedule has it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from demo.host import prepare_host
from lib_fewstep.compare.meter import Meter
from lib_fewstep.compare.record import COLUMNS, Record, append
from lib_fewstep.hires import HiResSession, HiResSettings
from lib_fewstep.hires.schedule import Step

METHODS = {
    "RAU-Net": HiResSettings(preset="Paper", window_attention=False),
    "windows": HiResSettings(preset="Paper", raunet=False),
    "HiDiffusion": HiResSettings(preset="Paper"),
    "Deep Shrink": HiResSettings(preset="Paper", method="Deep Shrink"),
}
CONTEXT_WIDTH = 768
TOKENS = 77
REMOVALS = 20
IDLE_CALLS = 1000


def full_size_unet() -> nn.Module:
    """Stable Diffusion 1.5's UNet, 860 million parameters."""
    unet: nn.Module = UNetModel(
        image_size=64,
        in_channels=4,
        out_channels=4,
        model_channels=320,
        attention_resolutions=[4, 2, 1],
        num_res_blocks=2,
        channel_mult=[1, 2, 4, 4],
        num_heads=8,
        use_spatial_transformer=True,
        context_dim=CONTEXT_WIDTH,
        use_checkpoint=False,
        legacy=False,
    )
    return unet.requires_grad_(False)


def kinds_of(settings: HiResSettings, unet: nn.Module, side: int, steps: int) -> dict[Step, tuple[int, int]]:
    """Each kind of step: the first step of that kind, and how many there are."""
    schedule = HiResSession(unet, settings, (side, side), steps).schedule.steps
    counts = Counter(schedule)
    return {kind: (schedule.index(kind), counts[kind]) for kind in counts}


def call(unet: nn.Module, side: int) -> Tensor:
    """One evaluation of one image, without guidance."""
    device = next(unet.parameters()).device
    x = torch.zeros(1, 4, side, side, device=device)
    out: Tensor = unet(x, torch.zeros(1, device=device), context=torch.zeros(1, TOKENS, CONTEXT_WIDTH, device=device))
    return out


def seconds_of(unet: nn.Module, settings: HiResSettings, side: int, steps: int, index: int) -> float:
    """Seconds of one evaluation on step `index`."""
    with HiResSession(unet, settings, (side, side), steps) as session:
        session.at_step(index)
        started = time.perf_counter()
        call(unet, side)
        return time.perf_counter() - started


def work_of(meta: nn.Module, settings: HiResSettings, side: int, steps: int, index: int) -> float:
    """Exact work of one evaluation on step `index`, in TFLOP, counted without computing it."""
    with HiResSession(meta, settings, (side, side), steps) as session, FlopCounterMode(display=False) as counter:
        session.at_step(index)
        call(meta, side)
    return float(counter.get_total_flops()) / 1e12


def measure(unet: nn.Module, meta: nn.Module, side: int, steps: int, repeats: int) -> dict[str, Any]:
    """Seconds and work of a whole run, plain and with each method."""
    plain = HiResSettings(enabled=False)
    kinds = {name: kinds_of(settings, unet, side, steps) for name, settings in METHODS.items()}
    jobs = {("plain", Step()): (plain, 0)}
    jobs |= {
        (name, kind): (METHODS[name], index)
        for name, found in kinds.items()
        for kind, (index, _) in found.items()
        if kind.active
    }
    call(unet, side)
    times: dict[tuple[str, Step], list[float]] = {job: [] for job in jobs}
    for _ in tqdm(range(repeats), desc=f"{8 * side}x{8 * side}"):
        for job, (settings, index) in jobs.items():
            times[job].append(seconds_of(unet, settings, side, steps, index))
    seconds = {job: statistics.median(measured) for job, measured in times.items()}
    work = {job: work_of(meta, settings, side, steps, index) for job, (settings, index) in jobs.items()}

    def run(cost: dict[tuple[str, Step], float], name: str) -> float:
        idle = cost["plain", Step()]
        return sum(count * cost.get((name, kind), idle) for kind, (_, count) in kinds[name].items())

    whole = {"plain": {"seconds": steps * seconds["plain", Step()], "tflop": steps * work["plain", Step()]}}
    return whole | {name: {"seconds": run(seconds, name), "tflop": run(work, name)} for name in METHODS}


def overhead(unet: nn.Module, side: int) -> dict[str, float]:
    """Milliseconds to build, install and remove a session, medians."""
    built = []
    for _ in range(REMOVALS):
        started = time.perf_counter()
        with HiResSession(unet, METHODS["HiDiffusion"], (side, side), 50) as session:
            session.at_step(0)
        built.append(1000 * (time.perf_counter() - started))
    return {"session_ms": statistics.median(built)}


def record_cost(side: int, folder: Path) -> dict[str, float]:
    """What the record adds: microseconds for each evaluation, and milliseconds for each image's row, medians.

    Measured on a UNet that does nothing, since beside a real one it drowns in the noise.
    """
    idle, x = nn.Identity(), torch.zeros(2, 4, side, side)
    row: dict[str, Any] = dict.fromkeys(COLUMNS, 0)
    added, rows = [], []
    for _ in range(REMOVALS):
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
        append([Record(**row)], folder / "record.csv")
        rows.append(1000 * (time.perf_counter() - started))
    return {"record_evaluation_us": statistics.median(added), "record_row_ms": statistics.median(rows)}


def table(side: int, whole: dict[str, Any]) -> str:
    """One line a method: seconds, gain, work, and the gain that the work alone would give."""
    plain = whole["plain"]
    lines = [f"\n{8 * side}x{8 * side}{'':10}{'seconds':>10}{'gain':>8}{'TFLOP':>9}{'gain by work':>14}{'reached':>9}"]
    for name, cost in whole.items():
        gain, ideal = plain["seconds"] / cost["seconds"], plain["tflop"] / cost["tflop"]
        figures = f"{cost['seconds']:10.1f}{gain:7.2f}x{cost['tflop']:9.1f}{ideal:13.2f}x{gain / ideal:9.0%}"
        lines.append(f"{name:<{len(str(8 * side)) * 2 + 11}}{figures}")
    return "\n".join(lines)


def record_line(report: dict[str, Any]) -> str:
    """The record's cost, also as a share of the plain run at the smallest size."""
    seconds = next(iter(report["sizes"].values()))["plain"]["seconds"]
    added = report["steps"] * report["record_evaluation_us"] / 1e6 + report["record_row_ms"] / 1e3
    each = f"{report['record_evaluation_us']:.1f} us an evaluation and {report['record_row_ms']:.1f} ms an image"
    return f"the record: {each}, {added / seconds:.4%} of the plain run at the smallest size"


def main() -> None:
    """Read the command line, measure, print the table and write the report."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], help="sides in pixels")
    parser.add_argument("--steps", type=int, default=20, help="steps of the run (default: 20)")
    parser.add_argument("--repeats", type=int, default=3, help="how often each kind of step is measured")
    parser.add_argument("--out", type=Path, default=Path("bench/out/report.json"))
    arguments = parser.parse_args()
    prepare_host()
    with torch.inference_mode():
        unet = full_size_unet()
        with torch.device("meta"):
            meta = full_size_unet()
        report: dict[str, Any] = {"steps": arguments.steps, "threads": torch.get_num_threads(), "sizes": {}}
        report |= overhead(unet, 64)
        with tempfile.TemporaryDirectory() as folder:
            report |= record_cost(64, Path(folder))
        for size in arguments.sizes:
            whole = measure(unet, meta, size // 8, arguments.steps, arguments.repeats)
            report["sizes"][str(size)] = whole
            print(table(size // 8, whole))
    print(f"\nbuilding, installing and removing a session: {report['session_ms']:.1f} ms")
    print(record_line(report))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
