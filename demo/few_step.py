"""Samplers at few steps: how near each comes, for its cost, to the image that many steps lead to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from demo.checkpoint import MiniModel
from demo.compare import Task
from demo.generate import GUIDANCE, generate
from demo.guidance import CFG
from demo.picture import rgb_picture, save
from demo.sampling.denoiser import trailing_sigmas
from demo.sampling.samplers import Sampler, sample_dpmpp_2m, sample_euler
from lib_fewstep.compare.curves import draw_curves
from lib_fewstep.compare.grid import counted, draw_grid
from lib_fewstep.compare.outcome import Outcome
from lib_fewstep.compare.prompts import Prompt
from lib_fewstep.compare.settings import NO_METHOD, Cell, ComparisonSettings, cells
from lib_fewstep.compare.table import CURVE, mean_curves
from lib_fewstep.sampling import (
    calibrated,
    sample_dpmpp_2m_cfgpp,
    sample_euler_cfgpp,
    sample_lcm,
    sample_sa_solver,
)

ORDINARY: dict[str, Sampler] = {"Euler": sample_euler, "DPM++ 2M": sample_dpmpp_2m}
CFGPP: dict[str, Sampler] = {"Euler CFG++": sample_euler_cfgpp, "DPM++ 2M CFG++": sample_dpmpp_2m_cfgpp}
NOISY: dict[str, Sampler] = {"LCM": sample_lcm, "SA-Solver": sample_sa_solver}
SAMPLERS = ORDINARY | CFGPP | NOISY

IMAGES = 6
"""Prompts and seeds that `make demo` compares, in one batch."""

GRID_IMAGES = 2
"""Prompts and seeds in the grid; more would make its images smaller."""

SETTINGS = ComparisonSettings(
    steps=(1, 2, 4, 8, 16),
    cfg=(GUIDANCE, CFG),
    samplers=tuple(SAMPLERS),
    methods=(NO_METHOD,),
    reference_sampler="DPM++ 2M",
    reference_steps=100,
)
"""The demo's two values of CFG: that of the comparison of sizes, and that at which plain CFG burns.

The reference's own error, as the PSNR between its 100 steps and 200 on the six images, is 54 dB at CFG 4 (39 to 64)
and 52 dB at CFG 8 (37 to 60). Euler's method leads to the same images: between 400 steps of each it is 56 and 50 dB.
"""

TITLE = "Few steps on the demo's model: how near each sampler comes to where many steps lead"
NOTE = (
    "At one step all samplers are the same. LCM is made for distilled models, and this one is not: with fresh noise at "
    "every step it ends at another image than the reference, however many steps it takes. So does SA-Solver, and CFG++ "
    "guides otherwise than the reference. What is far from the reference may still be right: see the grid."
)


def run_few_step(model: MiniModel, tasks: list[Task], settings: ComparisonSettings = SETTINGS) -> list[Outcome]:
    """Every cell of the settings on these tasks, in the order of `cells`."""
    wanted = cells(settings, [Prompt(task.prompt, seed=task.seed) for task in tasks], tasks[0].seed)
    groups = batches(wanted)
    run_batch(model, groups[0])  # not counted: the first run of a new size is slower
    outcomes: dict[Cell, Outcome] = {}
    with tqdm(total=sum(cell.steps for cell in wanted), unit="step", mininterval=1.0) as progress:
        for batch in groups:
            progress.set_description(f"{batch[0].sampler}, {counted(batch[0].steps)}", refresh=False)
            outcomes |= {outcome.cell: outcome for outcome in run_batch(model, batch)}
            progress.update(sum(cell.steps for cell in batch))
    return [outcomes[cell] for cell in wanted]


def batches(wanted: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that differ in prompt and seed alone, together; those of the fewest steps first."""
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in wanted:
        groups.setdefault(tuple(getattr(cell, name) for name in (*CURVE, "reference")), []).append(cell)
    return sorted(groups.values(), key=lambda batch: batch[0].steps)


def run_batch(model: MiniModel, batch: Sequence[Cell]) -> list[Outcome]:
    """Generate a batch at once; each image has its evaluations and its share of the seconds."""
    one, strength = batch[0], strength_of(batch[0])
    prompts, seeds = [cell.prompt for cell in batch], [cell.seed for cell in batch]
    generation = generate(model, prompts, seeds, steps=one.steps, guidance=strength, sampler=SAMPLERS[one.sampler])
    seconds = generation.meter.seconds / len(batch)
    details = {"guidance": strength, "unet_calls": generation.meter.unet_calls}
    return [
        Outcome(cell, rgb_picture(latent), generation.evaluations, seconds, details=dict(details))
        for cell, latent in zip(batch, generation.latents.numpy(), strict=True)
    ]


def strength_of(cell: Cell) -> float:
    """What the denoiser guides with: the cell's CFG, or the lambda that means the same over its steps."""
    if cell.sampler not in CFGPP:
        return cell.cfg
    return calibrated(CFGPP[cell.sampler], trailing_sigmas(cell.steps), cell.cfg)


def means(frame: pd.DataFrame) -> str:
    """The mean PSNR for people: a line for each CFG and sampler, a column for each number of steps."""
    columns = mean_curves(frame).pivot_table("psnr", ["cfg", "sampler"], "steps", sort=False)
    return f"PSNR in dB, means of the same prompts and seeds\n{columns.to_string(float_format='{:.1f}'.format)}"


def draw_few_step_curves(frame: pd.DataFrame, path: Path) -> None:
    """Write the PNG of quality against cost."""
    save(draw_curves(frame, TITLE, NOTE), path)


def draw_few_step_grid(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write a PNG with the images of the first `GRID_IMAGES` prompts and seeds."""
    in_grid = list(dict.fromkeys((one.cell.prompt, one.cell.seed) for one in outcomes))[:GRID_IMAGES]
    chosen = [one for one in outcomes if (one.cell.prompt, one.cell.seed) in in_grid]
    save(draw_grid(chosen, f"{TITLE}. {NOTE.removesuffix(': see the grid.')}."), path)
