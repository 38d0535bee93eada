"""`python -m demo`: what HiDiffusion and Deep Shrink do for a model above the size that it was trained on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demo import checkpoint, report
from demo.compare import run_columns, tasks_for
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
    results = run_columns(model, tasks_for(arguments.images, arguments.seed))
    report.write(report.as_dict(results, metadata), arguments.out)
    print(report.table(results))
    print(f"report: {arguments.out}")
    if arguments.picture is not None:
        draw_comparison(results, tasks_for(arguments.images, arguments.seed), arguments.picture)
        print(f"picture: {arguments.picture}")
    return 0


def parse() -> argparse.Namespace:
    """The command line's arguments; a number of images below 1 ends in a usage error."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--images", type=positive, default=24, help="images per column (default: 24)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first image (default: 0)")
    parser.add_argument("--out", type=Path, default=DEFAULT_REPORT, help="where the figures go")
    parser.add_argument("--picture", type=Path, help="where the picture goes (default: none is drawn)")
    parser.add_argument("--checkpoint", type=Path, default=checkpoint.DEFAULT_PATH, help="safetensors file")
    return parser.parse_args()


def positive(text: str) -> int:
    """A whole number of at least 1. Raises argparse.ArgumentTypeError otherwise."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
