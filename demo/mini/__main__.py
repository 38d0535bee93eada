"""`python -m demo.mini`: the embedded checkpoints above their trained size, in few steps, with CFG++, and edited.

Everything goes into one folder: report.json with all figures, pictures, curves and their table.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from demo.few_step import means
from demo.mini import report
from demo.mini.compare import Result, Task, run, tasks_for
from demo.mini.drawings import draw_edits, draw_few_steps, draw_guidance, draw_sizes
from demo.mini.edit import SHORT_WAYS, WAYS, edits_for, run_edits
from demo.mini.few_step import IMAGES, draw_few_step_curves, draw_few_step_grid, run_few_step
from demo.mini.ways import FEW_STEPS, GUIDED, PAIRS, SIZES
from demo.model.layouts import LAYOUTS
from demo.numbers import positive
from lib_fewstep.compare.table import tabulate, write_csv

DEFAULT_FOLDER = Path("demo/out")
IN_PICTURE = ("euler_4", "euler_cfgpp_4", "lcm_2", "lcm_4", "tcd_4", "euler_8")
GUIDED_IN_PICTURE = (4, 8, 20)


def main() -> int:
    """Read the command line, make, judge, write report and pictures; returns the exit status."""
    arguments = parse()
    folder, tasks = arguments.out, tasks_for(arguments.images, arguments.seed)
    try:
        found = measure(tasks, folder, full=arguments.full)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    report.write({"images": len(tasks)} | found, folder / "report.json")
    compare_samplers(tasks[:IMAGES], folder)
    print(f"\nfigures and pictures: {folder}")
    return 0


def measure(tasks: list[Task], folder: Path, *, full: bool = False) -> dict[str, Any]:
    """Everything that is counted, on each checkpoint; writes the pictures and prints the tables.

    `full` has all ways to edit, which take long.
    """
    figures: dict[str, Any] = {}
    sizes, few, guided, edited = {}, {}, {}, {}
    edits = edits_for(len(tasks), tasks[0].seed)
    for layout in LAYOUTS.values():
        title = layout.title
        sizes[title], few[title] = run(layout, SIZES, tasks), run(layout, FEW_STEPS, tasks)
        guided[title] = run(layout, GUIDED, tasks)
        edited[title] = run_edits(layout, edits, WAYS if full else SHORT_WAYS)
        results = [*sizes[title], *few[title], *guided[title]]
        figures[layout.name] = {
            "ways": report.of_results(results),
            "pairs": report.of_pairs(results, PAIRS),
            "edits": report.of_edits(edited[title]),
        }
        print(f"\n{report.table(title, results)}\n\n{report.pair_table(results, PAIRS)}\n")
        print(f"{report.edit_table(title, edited[title])}\n")
    draw_sizes(sizes, tasks, folder / "comparison.png")
    draw_few_steps({title: _in_picture(each) for title, each in few.items()}, tasks, folder / "few_steps.png")
    shown = {title: [one for one in each if one.way.steps in GUIDED_IN_PICTURE] for title, each in guided.items()}
    draw_guidance(shown, tasks, folder / "guidance.png")
    short = {title: [one for one in each if one.way in SHORT_WAYS] for title, each in edited.items()}
    draw_edits(short, edits, folder / "edit.png")
    return figures


def _in_picture(results: list[Result]) -> list[Result]:
    return [one for key in IN_PICTURE for one in results if one.way.key == key]


def compare_samplers(tasks: list[Task], folder: Path) -> None:
    """Samplers at few steps against a reference: curves, grid and table."""
    outcomes = run_few_step(next(iter(LAYOUTS.values())), tasks)
    frame = tabulate(outcomes)
    print(f"\n{means(frame)}")
    write_csv(frame, folder / "samplers.csv")
    draw_few_step_curves(frame, folder / "curves.png")
    draw_few_step_grid(outcomes, folder / "grid.png")


def parse() -> argparse.Namespace:
    """The command line's arguments; a number of pictures below 1 ends in a usage error."""
    parser = argparse.ArgumentParser(prog="python -m demo.mini", description=__doc__)
    parser.add_argument("--images", type=positive, default=6, help="pictures of each way (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first picture (default: 0)")
    parser.add_argument("--full", action="store_true", help="all ways to edit, too")
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER, help=f"folder (default: {DEFAULT_FOLDER})")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
