"""The run of a comparison over servers, from its file to its table and pictures."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lib_fewstep.compare.curves import draw_curves
from lib_fewstep.compare.grid import NOT_RUN, draw_grid
from lib_fewstep.compare.outcome import Outcome
from lib_fewstep.compare.servers.addresses import servers_from
from lib_fewstep.compare.servers.dask_client import connected
from lib_fewstep.compare.servers.finished_rows import Rows
from lib_fewstep.compare.servers.plan import Plan, Task, read_plan, tasks
from lib_fewstep.compare.servers.survey import survey
from lib_fewstep.compare.servers.sweep import Sweep
from lib_fewstep.compare.table import tabulate, write_csv

INTERRUPTED = "Ctrl-C was pressed"


class Stopped(Exception):  # noqa: N818 (it is no error)
    """The comparison has ended before all cells were done; `interrupted` by Ctrl-C, or for want of servers."""

    def __init__(self, message: str, *, interrupted: bool) -> None:
        """With the sentence that says what is left."""
        super().__init__(message)
        self.interrupted = interrupted


def run(arguments: Namespace) -> None:
    """Make the images that are missing, then the table and the pictures of all.

    Raises SettingError, before the first image, for what cannot be done, OSError if the folder cannot be written to,
    and, after the pictures, Stopped if cells are left.
    """
    begun = time.monotonic()
    plan, servers = read_plan(arguments.config), servers_from(arguments.server)
    with connected(arguments.scheduler, len(servers)) as client:
        found = survey(client, servers, plan.samplers, plan.methods, any_checkpoint=plan.names_checkpoint)
        wanted, rows = tasks(plan, found), Rows(arguments.out)
        with _progress(rows, wanted) as progress:
            sweep = Sweep(client, servers, rows, arguments.timeout, progress)
            reason = _swept(sweep, [task for task in wanted if not rows.finished(task.key)])
    outcomes = _outcomes(plan, rows, wanted)
    _print(f"{_counts(outcomes)}; {time.monotonic() - begun:.0f} s.")
    _print(*(f"{address}: {images} images" for address, images in sweep.images_made.items()))
    _print(*_report(outcomes, arguments.out, arguments.config.stem))
    if reason:
        sentence = f"Stopped, because {reason} ({_counts(outcomes)}): run the same command to continue."
        raise Stopped(sentence, interrupted=reason is INTERRUPTED)


def _swept(sweep: Sweep, missing: Sequence[Task]) -> str:
    """Why the sweep stopped before all of the missing images were made; nothing if they are."""
    try:
        return sweep.run(missing)
    except KeyboardInterrupt:
        return INTERRUPTED


def _progress(rows: Rows, wanted: Sequence[Task]) -> Any:
    """A bar of all cells; those of earlier runs do not count for the time that is left."""
    done = sum(len(task.cells) for task in wanted if rows.finished(task.key))
    return tqdm(total=sum(len(task.cells) for task in wanted), initial=done, unit="cell", dynamic_ncols=True)


def _outcomes(plan: Plan, rows: Rows, wanted: Sequence[Task]) -> list[Outcome]:
    """What came of all cells in their order, with the other columns of the file of prompts."""
    columns = {prompt.text: {"category": prompt.category, "challenge": prompt.challenge} for prompt in plan.prompts}
    keys = {cell: task.key for task in wanted for cell in task.cells}
    outcomes = [rows.outcome(keys[cell], cell) for cell in plan.cells]
    for outcome in outcomes:
        details = {name: value for name, value in columns[outcome.cell.prompt].items() if value is not None}
        outcome.details = details | outcome.details
    return outcomes


def _counts(outcomes: Sequence[Outcome]) -> str:
    kinds = Counter("left" if outcome.error == NOT_RUN else bool(outcome.error) for outcome in outcomes)
    return f"{len(outcomes)} cells: {kinds[False]} done, {kinds[True]} failed, {kinds['left']} left"


def _report(outcomes: Sequence[Outcome], folder: Path, title: str) -> list[Path]:
    """Write the table and the pictures; returns where they are."""
    paths = [folder / name for name in ("comparison.csv", "curves.png", "grid.png")]
    frame = tabulate(outcomes)
    write_csv(frame, paths[0])
    draw_curves(frame, title).save(paths[1])
    draw_grid(outcomes, title).save(paths[2])
    return paths


def _print(*lines: object) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
