"""Samplers at few steps: how near each comes, for its cost, to the picture that many steps lead to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from demo.few_step import batches
from demo.mini.compare import Task, loaded
from demo.mini.sheet import on_screen
from demo.mini.ways import BURNING_CFG
from demo.model.layouts import Layout
from demo.sampling.generate import GUIDANCE, decoded, generate
from demo.sampling.named import SAMPLERS, schedule, strength
from lib_fewstep.compare.curves import draw_curves
from lib_fewstep.compare.grid import counted, draw_grid
from lib_fewstep.compare.outcome import Outcome
from lib_fewstep.compare.prompts import Prompt
from lib_fewstep.compare.settings import NO_METHOD, Cell, ComparisonSettings, cells

SCHEDULE = "Trailing"
IMAGES = 3
"""Prompts and seeds that `make demo` compares, in one batch."""

GRID_IMAGES = 2
"""Prompts and seeds in the grid; more would make its pictures smaller."""

SETTINGS = ComparisonSettings(
    steps=(1, 2, 4, 8, 16),
    cfg=(GUIDANCE, BURNING_CFG),
    samplers=("Euler", "DPM++ 2M", "Euler CFG++", "DPM++ 2M CFG++", "LCM (reference grid)", "SA-Solver"),
    methods=(NO_METHOD,),
    reference_sampler="DPM++ 2M",
    reference_steps=64,
)
TITLE = "Few steps on the demo's model: how near each sampler comes to where many steps lead"
NOTE = (
    "At one step all samplers are the same. LCM is made for distilled models, and this one is not: with fresh noise at "
    "every step it ends at another picture than the reference, however many steps it takes. So does SA-Solver, and "
    "CFG++ guides otherwise than the reference. What is far from the reference may still be right: see the grid."
)


def run_few_step(layout: Layout, tasks: Sequence[Task], settings: ComparisonSettings = SETTINGS) -> list[Outcome]:
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


def run_batch(layout: Layout, batch: Sequence[Cell]) -> list[Outcome]:
    """Make a batch at once; each picture has its evaluations and its share of the seconds."""
    model, one = loaded(layout), batch[0]
    sigmas = schedule(SCHEDULE, one.steps)
    guidance = strength(one.sampler, one.cfg, sigmas)
    prompts, seeds = [cell.prompt for cell in batch], [cell.seed for cell in batch]
    made = generate(model, prompts, seeds, guidance=guidance, sampler=SAMPLERS[one.sampler], sigmas=sigmas)
    seconds = made.meter.seconds / len(batch)
    details = {"guidance": guidance, "unet_calls": made.meter.unet_calls}
    return [
        Outcome(cell, on_screen(picture), made.evaluations, seconds, details=dict(details))
        for cell, picture in zip(batch, decoded(model, made.latents), strict=True)
    ]


def draw_few_step_curves(frame: pd.DataFrame, path: Path) -> None:
    """Write the PNG of quality against cost."""
    draw_curves(frame, TITLE, NOTE).save(path)


def draw_few_step_grid(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write a PNG with the pictures of the first `GRID_IMAGES` prompts and seeds."""
    in_grid = list(dict.fromkeys((one.cell.prompt, one.cell.seed) for one in outcomes))[:GRID_IMAGES]
    chosen = [one for one in outcomes if (one.cell.prompt, one.cell.seed) in in_grid]
    draw_grid(chosen, f"{TITLE}. {NOTE.removesuffix(': see the grid.')}.").save(path)
