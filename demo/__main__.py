"""`python -m demo`: HiDiffusion and Deep Shrink above the trained size, CFG++ against CFG, samplers at few steps."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demo import checkpoint, report
from demo.checkpoint import MiniModel
from demo.compare import Task, run_columns, tasks_for
from demo.few_step import IMAGES, draw_few_step_curves, draw_few_step_grid, means, run_few_step
from demo.guidance import run_guidance
from demo.guidance_picture import draw_guidance
from demo.numbers import positive
from demo.picture import draw_comparison
from lib_fewstep.compare.table import tabulate, write_csv

DEFAULT_REPORT = Path("demo/out/report.json")


def main() -> int:
    """Read the command line, generate, judge, write report and picture; returns the exit status."""
    arguments = parse()
    try:
        model, metadata = checkpoint.load(arguments.checkpoint)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    tasks = tasks_for(arguments.images, arguments.seed)
    results, pairs = run_columns(model, tasks), run_guidance(model, tasks)
    report.write(report.as_dict(results, pairs, metadata), arguments.out)
    print(f"{report.table(results)}\n\n{report.guidance_table(pairs)}\n\nreport: {arguments.out}")
    if arguments.picture is not None:
        draw_comparison(results, tasks, arguments.picture)
        print(f"picture: {arguments.picture}")
    if arguments.guidance_picture is not None:
        draw_guidance(pairs, tasks, arguments.guidance_picture)
        print(f"picture: {arguments.guidance_picture}")
    if arguments.curves or arguments.comparison or arguments.grid:
        compare_samplers(model, tasks[:IMAGES], arguments)
    return 0


def compare_samplers(model: MiniModel, tasks: list[Task], arguments: argparse.Namespace) -> None:
    """Run the samplers at few steps, and write what the command line asks for."""
    outcomes = run_few_step(model, tasks)
    frame = tabulate(outcomes)
    print(f"\n{means(frame)}\n")
    if arguments.comparison is not None:
        write_csv(frame, arguments.comparison)
        print(f"table: {arguments.comparison}")
    if arguments.curves is not None:
        draw_few_step_curves(frame, arguments.curves)
        print(f"picture: {arguments.curves}")
    if arguments.grid is not None:
        draw_few_step_grid(outcomes, arguments.grid)
        print(f"picture: {arguments.grid}")


def parse() -> argparse.Namespace:
    """The command line's arguments; a number of images below 1 ends in a usage error."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--images", type=positive, default=24, help="images of each kind (default: 24)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first image (default: 0)")
    parser.add_argument("--out", type=Path, default=DEFAULT_REPORT, help="where the figures go")
    parser.add_argument("--picture", type=Path, help="where the picture of sizes goes (default: none)")
    parser.add_argument("--guidance-picture", type=Path, help="where that of CFG and CFG++ goes (default: none)")
    parser.add_argument("--curves", type=Path, help="where the picture of samplers at few steps goes (default: none)")
    parser.add_argument("--comparison", type=Path, help="where their table goes, as CSV (default: none)")
    parser.add_argument("--grid", type=Path, help="where the picture of their images goes (default: none)")
    parser.add_argument("--checkpoint", type=Path, default=checkpoint.DEFAULT_PATH, help="safetensors file")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
