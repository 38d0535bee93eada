"""The demo's pictures: sizes, few steps, CFG beside CFG++, and edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from demo.compare import Image, Result, Task
from demo.edit import SAME_WITHIN, Edit, Edited
from demo.sheet import Block, Column, Framed, describe, draw_sheet, framed, on_screen
from demo.ways import BURNING_CFG
from lib_fewstep.compare.grid import INK, PAPER

ROWS = 3
DARK, DOT_EVERY = 66, 3
"""Brightness, of 255, up to which a dot is light instead of black; pixels from dot to dot."""

FRAMES = "Green frame: exactly one thing, of the right kind and colour. Red frame: anything else."
SEEN = f"{FRAMES} Below: what is seen."
SIZES = (
    SEEN,
    "Above its trained size the plain model repeats the thing: its deep layers meet larger maps than in training.",
    "HiDiffusion and Deep Shrink shrink these maps during the first steps, while the composition is made.",
)
FEW_STEPS = (
    SEEN,
    "Euler runs with CFG 4. The LoRAs run by their presets, at CFG 1: half the work. LCM alone is without the LoRA.",
)
GUIDANCE = (
    "Dots: burnt colour values (0 or 255). Below each picture its share of them, above each column the mean.",
    "Both columns of a pair run Euler's method, CFG++ with the lambda that guides as strongly over its steps.",
    FRAMES,
)
EDITS = (
    "Each thing is to become another colour, and the rest to stay. The pictures before are drawn, not made by a model.",
    (
        f"Kept: pixels outside of the thing that changed by at most {SAME_WITHIN} of 255 levels; "
        "at the top, of all pictures."
    ),
    "Inversion finds the noise from which the picture would come, and samples from there with the new prompt.",
)


def draw_sizes(results: Mapping[str, Sequence[Result]], tasks: Sequence[Task], path: Path) -> None:
    """Sizes and methods, a block for each checkpoint by its title."""
    headline = "The same prompts and seeds above the size that the model was trained for"
    draw_sheet(headline, [block(title, rows, tasks, sized=True) for title, rows in results.items()], SIZES, path)


def draw_few_steps(results: Mapping[str, Sequence[Result]], tasks: Sequence[Task], path: Path) -> None:
    """Ways of few steps, a block for each checkpoint by its title."""
    headline = "Few steps: with guidance, and with LoRAs that were distilled for it"
    draw_sheet(headline, [block(title, rows, tasks) for title, rows in results.items()], FEW_STEPS, path)


def draw_guidance(results: Mapping[str, Sequence[Result]], tasks: Sequence[Task], path: Path) -> None:
    """CFG and CFG++ at the same slider, a block for each checkpoint by its title."""
    headline = f"CFG {BURNING_CFG:g} with and without CFG++: the same prompts and seeds"
    blocks = [
        Block(title, rows_of(tasks), [_burnt_column(result) for result in each]) for title, each in results.items()
    ]
    draw_sheet(headline, blocks, GUIDANCE, path)


def block(title: str, results: Sequence[Result], tasks: Sequence[Task], *, sized: bool = False) -> Block:
    """The first pictures of each way, with the share of all that are right."""
    return Block(title, rows_of(tasks), [_column(result, sized=sized) for result in results])


def rows_of(tasks: Sequence[Task]) -> list[list[str]]:
    """The words beside the first rows."""
    rows = []
    for task in tasks[:ROWS]:
        thing, _, background = task.prompt.partition(" on ")
        rows.append([thing, *([f"on {background}"] if background else []), f"seed {task.seed}"])
    return rows


def _column(result: Result, *, sized: bool) -> Column:
    height, width = result.way.size
    size = f"{width} x {height}: " if sized else ""
    cells = [framed(image) for image in result.images[:ROWS]]
    return Column(result.way.title, [f"{size}{100 * result.share:.0f}% right"], cells)


def _burnt_column(result: Result) -> Column:
    cells = [
        Framed(with_dots(image), image.right, f"{100 * image.clipped:.1f}% burnt") for image in result.images[:ROWS]
    ]
    notes = [f"{100 * result.share:.0f}% right", f"{100 * result.clipped:.1f}% burnt"]
    return Column(result.way.title, notes, cells)


def with_dots(image: Image) -> PilImage.Image:
    """The picture as a screen shows it, with dots where colours were clipped."""
    shown = on_screen(image.picture)
    brightness, pen = np.asarray(shown.convert("L")), ImageDraw.Draw(shown)
    clipped = image.is_clipped.any(axis=2)
    for y, x in np.argwhere(clipped[::DOT_EVERY, ::DOT_EVERY]) * DOT_EVERY:
        pen.point((x, y), fill=INK if brightness[y, x] > DARK else PAPER)
    return shown


def draw_edits(results: Mapping[str, Sequence[Edited]], edits: Sequence[Edit], path: Path) -> None:
    """Pictures before and after an edit, a block for each checkpoint by its title."""
    headline = "An edit: the same picture with another prompt"
    rows = [[f"{edit.source.colour} {edit.source.kind}", f"to {edit.target.colour}"] for edit in edits[:ROWS]]
    before = Column("before", [], [Framed(on_screen(edit.picture), None, "") for edit in edits[:ROWS]])
    blocks = [Block(title, rows, [before, *(_edited(each) for each in after)]) for title, after in results.items()]
    draw_sheet(headline, blocks, EDITS, path)


def _edited(result: Edited) -> Column:
    cells = [
        Framed(on_screen(image.picture), image.right, f"{describe(image)}, {100 * kept:.0f}% kept")
        for image, kept in zip(result.images[:ROWS], result.kept, strict=False)
    ]
    notes = [f"{100 * result.share:.0f}% right", f"{100 * np.mean(result.kept):.0f}% kept"]
    return Column(result.way.title, notes, cells)
