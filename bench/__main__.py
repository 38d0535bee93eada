"""`python -m bench`: how fast the methods are on full-size UNets, and how good the samplers are for their evaluations.

On a GPU in float16, else on the CPU in float32. Sizes at which one plain evaluation would take longer than `--limit`
seconds are not computed; their exact work and memory are given all the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
from pathlib import Path
from typing import Any

import torch

from bench.overhead import out_of_window, record_cost, session_ms, window_share
from bench.samplers import measure_samplers, sampler_picture, sampler_table
from bench.speed import measure, twins_of, work_of
from bench.table import size_table
from bench.unets import LAYOUTS, random_weights
from demo.model.host import prepare_host

SIZES = {"cpu": {"SD1.5": (512, 1024, 1536, 2048), "SDXL": (1024, 1536, 2048)}}
SIZES["cuda"] = {"SD1.5": (512, 1024, 2048), "SDXL": (1024, 2048, 4096)}
LIMIT = 40
BATCH = {"cpu": 1, "cuda": 2}
MIB = 1024


def main() -> None:
    """Read the command line, measure, print the tables and write the report."""
    arguments = _parser().parse_args()
    prepare_host()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    report: dict[str, Any] = {"machine": machine(device), "steps": arguments.steps, "models": {}}
    with torch.inference_mode():
        for name in arguments.models:
            report["models"][name] = model_report(name, device, arguments)
            print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB:.0f} MiB")
    report["record"] = record_cost()
    print(f"\nthe record: {report['record']['evaluation_us']:.1f} us an evaluation, ", end="")
    print(f"{report['record']['row_ms']:.1f} ms an image")
    if arguments.samplers:
        report["samplers"] = measure_samplers()
        print(sampler_table(report["samplers"]))
        sampler_picture(report["samplers"], arguments.out.with_suffix(".png"))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": device.type, "name": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def model_report(name: str, device: torch.device, arguments: argparse.Namespace) -> dict[str, Any]:
    """One layout at all of its sizes, and what an idle session costs on it; the tables are printed as they come."""
    layout = LAYOUTS[name]
    unet = random_weights(layout.make()).to(device, torch.float16 if device.type == "cuda" else torch.float32)
    if device.type == "cuda":
        unet.dtype = torch.float16  # type: ignore[assignment]  # what the `ldm` class computes in
    twins, batch = twins_of(layout, unet), BATCH[device.type]
    sizes = arguments.sizes or SIZES[device.type][name]
    idle = out_of_window(unet, min(sizes) // 8)
    report: dict[str, Any] = {"session_ms": session_ms(unet), "out_of_window": idle, "sizes": {}}
    report["window_share"] = window_share(unet, 2 * layout.trained // 8)
    print(idle_line(name, report))
    rate = work_of(twins, "plain", min(sizes) // 8, 1, 0, 1) / idle["seconds"]
    for size in sizes:
        expected = work_of(twins, "plain", size // 8, 1, 0, batch) / rate
        repeats = arguments.repeats if expected <= arguments.limit else 0
        rows = measure(twins, size // 8, arguments.steps, repeats, batch)
        report["sizes"][str(size)] = rows
        why = "" if repeats else f" (not computed: a plain evaluation would take about {expected:.0f} s)"
        print(size_table(f"{name} at {size}x{size}", rows) + why, flush=True)
    return report


def idle_line(name: str, report: dict[str, Any]) -> str:
    """What sessions cost where no method acts, and windows where they do."""
    idle, built = report["out_of_window"], report["session_ms"]
    cost = f"{idle['us']:.1f} us a step, {idle['share']:.4%} of it at the smallest size"
    return (
        f"\n{name}: a session is built, put in and removed in {built:.1f} ms; out of its window it takes {cost} "
        f"(side by side: {idle['beside']:+.2%}); cutting and joining windows takes {report['window_share']:.1%} of a "
        "transformer block"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--sizes", type=int, nargs="+", help="sides in pixels (default: by device and model)")
    parser.add_argument("--steps", type=int, default=20, help="steps of the run (default: 20)")
    parser.add_argument("--repeats", type=int, default=3, help="how often each kind of step is measured (default: 3)")
    parser.add_argument("--limit", type=float, default=LIMIT, help=f"seconds of one evaluation (default: {LIMIT})")
    parser.add_argument("--samplers", action=argparse.BooleanOptionalAction, default=True, help="measure samplers, too")
    parser.add_argument("--out", type=Path, default=Path("bench/report.json"))
    return parser


if __name__ == "__main__":
    main()
