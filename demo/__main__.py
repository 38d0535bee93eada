"""`python -m demo`: HiDiffusion and Deep Shrink above the trained size, and CFG++ against ordinary guidance."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demo import checkpoint, report
from demo.compare import run_columns, tasks_for
from demo.guidance import run_guidance
from demo.guidance_picture import draw_guidance
from demo.picture import draw_comparison

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
    return 0


def parse() -> argparse.Namespace:
    """The command line's arguments; a number of images below 1 ends in a usage error."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--images", type=positive, default=24, help="images of each kind (default: 24)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first image (default: 0)")
    parser.add_argument("--out", type=Path, default=DEFAULT_REPORT, help="where the figures go")
    parser.add_argument("--picture", type=Path, help="where the picture of sizes goes (default: none)")
    parser.add_argument("--guidance-picture", type=Path, help="where that of CFG and CFG++ goes (default: none)")
    parser.add_argument("--checkpoint", type=Path, default=checkpoint.DEFAULT_PATH, help="safetensors file")
    return parser.parse_args()


def positive(text: str) -> int:
    """A whole number of at least 1. Raises argparse.ArgumentTypeError otherwise."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
