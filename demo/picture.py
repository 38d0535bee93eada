"""The comparison picture: one row per prompt, one column per way to generate, all at the same scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from demo.compare import Image, Result, Task
from demo.judge import UNKNOWN
from demo.scenes import FloatArray, to_rgb

ROWS = 8
ZOOM = 6
"""Pixels of the picture per latent pixel, in every column."""

GAP, MARGIN, LABEL_WIDTH = 22, 28, 128
HEAD_HEIGHT, CAPTION_HEIGHT, NOTE_HEIGHT = 128, 88, 24
MINIMUM_COLUMN = 150
FRAME = 3
PAPER, INK, FAINT = "#fbfaf7", "#22242a", "#6b6f7a"
RIGHT, WRONG = "#2e9d57", "#d2353a"

HEADLINE = "One model, the same prompts and seeds, above its trained size"
CAPTION = (
    "Green frame: exactly one object, of the right shape and colour. Red frame: anything else. Below: what is seen.",
    "Above its trained size the plain model repeats the object: its deep layers meet larger maps than in training.",
    "HiDiffusion and Deep Shrink shrink these maps during the first steps, while the composition is made.",
)


def draw_comparison(results: list[Result], tasks: list[Task], path: Path, rows: int = ROWS) -> None:
    """Write a PNG with the first `rows` tasks, making the folder where it is missing."""
    chosen = tasks[:rows]
    lefts, width = column_places(results)
    heights = max(result.column.size[0] for result in results) * ZOOM + NOTE_HEIGHT
    height = HEAD_HEIGHT + len(chosen) * (heights + GAP) + CAPTION_HEIGHT
    sheet = PilImage.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    write(pen, (MARGIN, 20), HEADLINE, 26)
    for left, result in zip(lefts, results, strict=True):
        draw_head(pen, left, result)
    for index, task in enumerate(chosen):
        top = HEAD_HEIGHT + index * (heights + GAP)
        draw_label(pen, top, heights - NOTE_HEIGHT, task)
        for left, result in zip(lefts, results, strict=True):
            draw_image(sheet, left, top, heights - NOTE_HEIGHT, result.images[index])
    finish(sheet, height - CAPTION_HEIGHT, CAPTION, path)


def finish(sheet: PilImage.Image, top: int, caption: Sequence[str], path: Path) -> None:
    """Write the lines of a caption from `top` down, and the PNG, making the folder where it is missing."""
    for line, text in enumerate(caption):
        write(ImageDraw.Draw(sheet), (MARGIN, top + 4 + 24 * line), text, 17, FAINT)
    save(sheet, path)


def save(picture: PilImage.Image, path: Path) -> None:
    """Write a PNG, making the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)


def column_places(results: list[Result]) -> tuple[list[int], int]:
    """The left edge of each column and the width of the whole picture, in pixels."""
    lefts, left = [], MARGIN + LABEL_WIDTH
    for result in results:
        lefts.append(left)
        left += max(result.column.size[1] * ZOOM, MINIMUM_COLUMN) + GAP
    return lefts, left - GAP + MARGIN


def draw_head(pen: ImageDraw.ImageDraw, left: int, result: Result) -> None:
    """The title of a column, its size and the share of its images that are right."""
    height, width = result.column.size
    write(pen, (left, 66), result.column.title, 19)
    write(pen, (left, 92), f"{width} x {height}: {100 * result.share:.0f}% right", 17, FAINT)


def draw_label(pen: ImageDraw.ImageDraw, top: int, height: int, task: Task) -> None:
    """The prompt and the seed of a row."""
    article, colour, shape = task.prompt.split()
    write(pen, (MARGIN, top + height // 2 - 34), f"{article} {colour}", 20)
    write(pen, (MARGIN, top + height // 2 - 10), shape, 20)
    write(pen, (MARGIN, top + height // 2 + 20), f"seed {task.seed}", 15, FAINT)


def draw_image(sheet: PilImage.Image, left: int, top: int, height: int, image: Image) -> None:
    """One image, centred in the height of its row, in a frame whose colour says whether it is right."""
    picture = as_picture(image)
    draw_framed(sheet, left, top + (height - picture.height) // 2, picture, RIGHT if image.exact else WRONG)
    note = (left, top + (height + picture.height) // 2 + 6)
    write(ImageDraw.Draw(sheet), note, describe(image), 15, RIGHT if image.exact else WRONG)


def draw_framed(sheet: PilImage.Image, left: int, top: int, picture: PilImage.Image, colour: str) -> None:
    """A picture with its upper left corner at a place, and a frame around it."""
    outer = (left - FRAME, top - FRAME, left + picture.width + FRAME - 1, top + picture.height + FRAME - 1)
    ImageDraw.Draw(sheet).rectangle(outer, fill=colour)
    sheet.paste(picture, (left, top))


def as_picture(image: Image, zoom: int = ZOOM) -> PilImage.Image:
    """The colour channels, enlarged."""
    picture = rgb_picture(image.latent)
    return picture.resize((picture.width * zoom, picture.height * zoom), PilImage.Resampling.BICUBIC)


def rgb_picture(latent: FloatArray) -> PilImage.Image:
    """The colour channels of a latent (4, height, width), a pixel for each of its own."""
    return PilImage.fromarray(np.round(to_rgb(latent) * 255).astype(np.uint8))


def describe(image: Image) -> str:
    """What is seen, in a few words."""
    if len(image.seen) == 1:
        only = image.seen[0]
        return f"{only.colour} {only.shape}" if only.shape != UNKNOWN else f"{only.colour}, odd shape"
    return f"{len(image.seen)} objects" if image.seen else "nothing"


def write(pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: str = INK) -> None:
    """Text with its upper left corner at `place`."""
    pen.text(place, text, fill=colour, font=ImageFont.load_default(size=size))
