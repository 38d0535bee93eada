"""Samplers at few steps: how near each comes, for its cost, to the picture that many steps lead to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from demo.compare import Task, loaded
from demo.model.layouts import Layout
from demo.sampling.generate import GUIDANCE, decoded, generate
from demo.sheet import on_screen
from lib_fewstep.compare.curves import draw_curves
from lib_fewstep.compare.grid import counted, draw_grid
from lib_fewstep.compare.outcome import Outcome
from lib_fewstep.compare.prompts import Prompt
from lib_fewstep.compare.settings import NO_METHOD, Cell, ComparisonSettings, cells
from lib_fewstep.compare.table import CURVE, mean_curves

IMAGES = 2
"""Prompts and seeds that are compared, in one batch; more would make the grid's pictures smaller."""

SETTINGS = ComparisonSettings(
    steps=(1, 2, 4, 8, 16),
    cfg=(GUIDANCE,),
    samplers=("Euler", "DPM++ 2M", "Euler CFG++", "DPM++ 2M CFG++", "SA-Solver"),
    methods=(NO_METHOD,),
    reference_sampler="DPM++ 2M",
    reference_steps=32,
)
TITLE = "Few steps on the demo's SD1.5 model: how near each sampler comes to where many steps lead"
NOTE = (
    "At one step all samplers are the same. SA-Solver adds fresh noise, so it ends at another picture than the "
    "reference, and CFG++ guides otherwise than the reference. What is far from it may still be right: see the grid."
)


def run_few_step(layout: Layout, tasks: Sequence[Task], settings: ComparisonSettings) -> list[Outcome]:
    """Every cell of the settings on these tasks, in the order of `cells`."""
    wanted = cells(settings, [Prompt(task.prompt, seed=task.seed) for task in tasks], tasks[0].seed)
    groups = batches(wanted)
    run_batch(layout, groups[0])  # not counted: the first run of a new size is slower
    outcomes: dict[Cell, Outcome] = {}
    with tqdm(total=sum(cell.steps for cell in wanted), unit="step", mininterval=1.0) as progress:
        for batch in groups:
            progress.set_description(f"{batch[0].sampler}, {counted(batch[0].steps)}", refresh=False)
            outcomes |= {outcome.cell: outcome for outcome in run_batch(layout, batch)}
            progress.update(sum(cell.steps for cell in batch))
    return [outcomes[cell] for cell in wanted]


def batches(wanted: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that differ in prompt and seed alone, together; those of the fewest steps first."""
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in wanted:
        groups.setdefault(tuple(getattr(cell, name) for name in (*CURVE, "reference")), []).append(cell)
    return sorted(groups.values(), key=lambda batch: batch[0].steps)


def run_batch(layout: Layout, batch: Sequence[Cell]) -> list[Outcome]:
    """Make a batch at once; each picture has its evaluations and its share of the seconds."""
    model, one = loaded(layout), batch[0]
    prompts, seeds = [cell.prompt for cell in batch], [cell.seed for cell in batch]
    made = generate(model, prompts, seeds, sampler=one.sampler, cfg=one.cfg, steps=one.steps)
    seconds = made.meter.seconds / len(batch)
    details = {"guidance": made.guidance, "unet_calls": made.meter.unet_calls}
    return [
        Outcome(cell, on_screen(picture), made.evaluations, seconds, details=dict(details))
        for cell, picture in zip(batch, decoded(model, made.latents), strict=True)
    ]


def means(frame: pd.DataFrame) -> str:
    """The mean PSNR for people: a line for each CFG and sampler, a column for each number of steps."""
    columns = mean_curves(frame).pivot_table("psnr", ["cfg", "sampler"], "steps", sort=False)
    return f"PSNR in dB, means of the same prompts and seeds\n{columns.to_string(float_format='{:.1f}'.format)}"


def draw_few_step_curves(frame: pd.DataFrame, path: Path) -> None:
    """Write the PNG of quality against cost."""
    draw_curves(frame, TITLE, NOTE).save(path)


def draw_few_step_grid(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write a PNG with all pictures."""
    draw_grid(list(outcomes), f"{TITLE}. {NOTE.removesuffix(': see the grid.')}.").save(path)
