"""`python -m demo`: the embedded checkpoints above their trained size, in few steps, with CFG++, and edited.

Everything goes into one folder: report.json with all figures, pictures, curves and their table.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import report
from demo.compare import Result, Task, run, tasks_for
from demo.drawings import draw_edits, draw_few_steps, draw_guidance, draw_sizes
from demo.edit import SHORT_WAYS, WAYS, Edit, Edited, edits_for, run_edits
from demo.few_step import IMAGES, SETTINGS, draw_few_step_curves, draw_few_step_grid, means, run_few_step
from demo.model.layouts import LAYOUTS, Layout
from demo.numbers import natural, positive
from demo.ways import BURNING_STEPS, FEW_STEPS, GUIDED, PAIRS, SIZES, WITHOUT_LORA
from lib_fewstep.compare.table import tabulate, write_csv

DEFAULT_FOLDER = Path("demo/out")
IN_PICTURE = ("euler_2", "euler_4", "lcm_1_without", "lcm_1", "lcm_4", "tcd_4")


@dataclass
class Counted:
    """What came of every way on one checkpoint."""

    sizes: list[Result]
    few: list[Result]
    guided: list[Result]
    edited: list[Edited]

    @property
    def results(self) -> list[Result]:
        """Those of every way to make a picture."""
        return [*self.sizes, *self.few, *self.guided]


def main() -> int:
    """Read the command line, make, judge, write report and pictures; returns the exit status."""
    arguments = parse()
    folder, tasks = arguments.out, tasks_for(arguments.images, arguments.seed)
    edits = edits_for(arguments.images, arguments.seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = {layout.name: count(layout, tasks, edits, full=arguments.full) for layout in LAYOUTS.values()}
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    figures = {name: figures_of(counted) for name, counted in found.items()}
    report.write({"images": len(tasks), "seed": arguments.seed} | figures, folder / "report.json")
    draw(found, tasks, edits, folder)
    compare_samplers(tasks[:IMAGES], folder)
    print(f"\nfigures and pictures: {folder}")
    return 0


def count(layout: Layout, tasks: list[Task], edits: list[Edit], *, full: bool) -> Counted:
    """Make and judge everything on one checkpoint, and print the tables; `full` has all ways to edit."""
    sizes, guided = run(layout, SIZES, tasks), run(layout, GUIDED, tasks)
    few = run(layout, (*FEW_STEPS, *WITHOUT_LORA), tasks)
    counted = Counted(sizes, few, guided, run_edits(layout, edits, WAYS if full else SHORT_WAYS))
    print(f"\n{report.table(layout.title, counted.results)}\n\n{report.pair_table(counted.results, PAIRS)}\n")
    print(f"{report.edit_table(layout.title, counted.edited)}\n")
    return counted


def figures_of(counted: Counted) -> dict[str, Any]:
    """The figures of one checkpoint, for the report."""
    return {
        "ways": report.of_results(counted.results),
        "pairs": report.of_pairs(counted.results, PAIRS),
        "edits": report.of_edits(counted.edited),
    }


def draw(found: dict[str, Counted], tasks: list[Task], edits: list[Edit], folder: Path) -> None:
    """Write the pictures of all checkpoints."""
    titled = {LAYOUTS[name].title: counted for name, counted in found.items()}
    draw_sizes({title: counted.sizes for title, counted in titled.items()}, tasks, folder / "comparison.png")
    few = {
        title: [one for key in IN_PICTURE for one in counted.few if one.way.key == key]
        for title, counted in titled.items()
    }
    draw_few_steps(few, tasks, folder / "few_steps.png")
    guided = {
        title: [one for one in counted.guided if one.way.steps in BURNING_STEPS] for title, counted in titled.items()
    }
    draw_guidance(guided, tasks, folder / "guidance.png")
    edited = {
        title: [one for way in SHORT_WAYS for one in counted.edited if one.way == way]
        for title, counted in titled.items()
    }
    draw_edits(edited, edits, folder / "edit.png")


def compare_samplers(tasks: list[Task], folder: Path) -> None:
    """Samplers at few steps against a reference: curves, grid and table."""
    outcomes = run_few_step(next(iter(LAYOUTS.values())), tasks, SETTINGS)
    frame = tabulate(outcomes)
    print(f"\n{means(frame)}")
    write_csv(frame, folder / "samplers.csv")
    draw_few_step_curves(frame, folder / "curves.png")
    draw_few_step_grid(outcomes, folder / "grid.png")


def parse() -> argparse.Namespace:
    """The command line's arguments; a number of pictures below 1 ends in a usage error."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--images", type=positive, default=2, help="pictures of each way (default: 2)")
    parser.add_argument("--seed", type=natural, default=0, help="seed of the first picture (default: 0)")
    parser.add_argument("--full", action="store_true", help="all ways to edit, too")
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER, help=f"folder (default: {DEFAULT_FOLDER})")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
