"""The picture of CFG and CFG++: one row per prompt, a pair of columns per number of steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from demo.compare import Image, Task
from demo.guidance import CFG, Guided, Pair, is_clipped
from demo.picture import (
    FAINT,
    INK,
    LABEL_WIDTH,
    MARGIN,
    PAPER,
    RIGHT,
    WRONG,
    as_picture,
    draw_framed,
    draw_label,
    finish,
    write,
)
from demo.scenes import TRAINED_SIDE

ROWS = 6
ZOOM = 8
SIDE = TRAINED_SIDE * ZOOM
GAP, PAIR_GAP, ROW_GAP = 12, 44, 40
PAIR_WIDTH = 2 * SIDE + GAP
HEAD_HEIGHT, CAPTION_HEIGHT = 176, 84

DARK = 66
"""Brightness, of 255, up to which a dot is light instead of black."""

HEADLINE = f"CFG {CFG:g} with and without CFG++: one model, the same prompts and seeds"
CAPTION = (
    "Dots: colours below black or above white, which the screen clips. Shares: of the image; at the top, of all {}.",
    "Both columns of a pair run Euler's method, CFG++ with the lambda that guides as strongly over its steps.",
    "Green frame: exactly one object, of the right shape and colour. Red frame: anything else.",
)


def draw_guidance(pairs: list[Pair], tasks: list[Task], path: Path, rows: int = ROWS) -> None:
    """Write a PNG with the first `rows` tasks, making the folder where it is missing."""
    chosen = tasks[:rows]
    first, apart = MARGIN + LABEL_WIDTH, PAIR_WIDTH + PAIR_GAP
    height = HEAD_HEIGHT + len(chosen) * (SIDE + ROW_GAP) + CAPTION_HEIGHT
    sheet = PilImage.new("RGB", (first + len(pairs) * apart - PAIR_GAP + MARGIN, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    write(pen, (MARGIN, 20), HEADLINE, 26)
    for index, task in enumerate(chosen):
        draw_label(pen, HEAD_HEIGHT + index * (SIDE + ROW_GAP), SIDE, task)
    for index, pair in enumerate(pairs):
        draw_pair(sheet, first + index * apart, pair, len(chosen))
    finish(sheet, height - CAPTION_HEIGHT, [text.format(len(tasks)) for text in CAPTION], path)


def draw_pair(sheet: PilImage.Image, left: int, pair: Pair, rows: int) -> None:
    """The columns of one number of steps, below their head."""
    pen = ImageDraw.Draw(sheet)
    write(pen, (left, 66), f"{pair.steps} step{'s' if pair.steps > 1 else ''}", 22)
    pen.line((left, 96, left + PAIR_WIDTH - 1, 96), fill=FAINT)
    draw_column(sheet, left, pair.cfg, rows)
    draw_column(sheet, left + SIDE + GAP, pair.cfgpp, rows)


def draw_column(sheet: PilImage.Image, left: int, guided: Guided, rows: int) -> None:
    """The first images of one sampler at one number of steps, below its shares."""
    pen = ImageDraw.Draw(sheet)
    write(pen, (left, 102), guided.title, 19)
    write(pen, (left, 127), f"{100 * guided.exact_share:.0f}% right", 15, FAINT)
    write(pen, (left, 146), f"{100 * guided.out_of_range_share:.1f}% clipped", 15, FAINT)
    for index, (image, share) in enumerate(zip(guided.images[:rows], guided.out_of_range, strict=False)):
        top = HEAD_HEIGHT + index * (SIDE + ROW_GAP)
        colour = RIGHT if image.exact else WRONG
        draw_framed(sheet, left, top, with_dots(image), colour)
        write(pen, (left, top + SIDE + 6), f"{100 * share:.1f}% clipped", 15, colour)


def with_dots(image: Image) -> PilImage.Image:
    """The picture as a screen shows it, with a dot wherever a colour was clipped."""
    picture = as_picture(image, ZOOM)
    brightness = np.asarray(picture.convert("L"))
    pen = ImageDraw.Draw(picture)
    for y, x in np.argwhere(is_clipped(image.latent).any(axis=2)) * ZOOM + ZOOM // 2:
        pen.rectangle((x - 1, y - 1, x, y), fill=INK if brightness[y, x] > DARK else PAPER)
    return picture
