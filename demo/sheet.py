"""A labelled sheet of pictures in rows and columns, each in a frame that says whether it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from demo.compare import Image
from demo.pictures.judge import UNKNOWN
from demo.pictures.scenes import Picture, as_bytes
from lib_fewstep.compare.grid import FAINT, HEAD, INK, LABEL, LEADING, PAPER, SMALL, TITLE, write

MARGIN, GAP, ROW_GAP, BLOCK_GAP, FRAME = 28, 18, 30, 26, 3
LABEL_WIDTH, NARROWEST = 130, 168
HEAD_HEIGHT = LEADING[HEAD] + 2 * LEADING[SMALL] + 6
RIGHT, WRONG = "#2e9d57", "#d2353a"


@dataclass(frozen=True)
class Framed:
    """A picture with a line below it; `right` None frames it in grey."""

    picture: PilImage.Image
    right: bool | None
    note: str


@dataclass(frozen=True)
class Column:
    """Pictures below each other, under a title and up to two lines about all of them."""

    title: str
    notes: Sequence[str]
    cells: Sequence[Framed]


@dataclass(frozen=True)
class Block:
    """Columns with common rows, each with up to three lines beside it."""

    title: str
    rows: Sequence[Sequence[str]]
    columns: Sequence[Column]

    @property
    def heights(self) -> list[int]:
        """The height of each row of pictures."""
        return [max(column.cells[row].picture.height for column in self.columns) for row in range(len(self.rows))]

    @property
    def height(self) -> int:
        """The whole height."""
        return BLOCK_GAP + LEADING[TITLE] + HEAD_HEIGHT + sum(height + ROW_GAP for height in self.heights)

    @property
    def lefts(self) -> list[int]:
        """The left edge of each column, and of what is right of the last one."""
        edges = [MARGIN + LABEL_WIDTH]
        for column in self.columns:
            widest = max(cell.picture.width for cell in column.cells)
            edges.append(edges[-1] + max(widest, NARROWEST) + GAP)
        return edges


def draw_sheet(headline: str, blocks: Sequence[Block], caption: Sequence[str], path: Path) -> None:
    """Write a PNG, making the folder where it is missing."""
    width = max(block.lefts[-1] for block in blocks) - GAP + MARGIN
    height = 2 * MARGIN + LEADING[TITLE] + sum(block.height for block in blocks) + LEADING[LABEL] * len(caption)
    sheet = PilImage.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    top = write(pen, (MARGIN, MARGIN), [headline], TITLE)
    for block in blocks:
        _draw_block(sheet, top + BLOCK_GAP, block)
        top += block.height
    write(pen, (MARGIN, top), caption, LABEL, FAINT)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def on_screen(picture: Picture) -> PilImage.Image:
    """A picture (h, w, 3) as a screen shows it."""
    return PilImage.fromarray(as_bytes(np.clip(picture, 0, 1)))


def framed(image: Image) -> Framed:
    """A judged picture, and in words what is seen in it."""
    return Framed(on_screen(image.picture), image.right, describe(image))


def describe(image: Image) -> str:
    """What is seen, in a few words."""
    if len(image.seen) != 1:
        return f"{len(image.seen)} things" if image.seen else "nothing"
    only = image.seen[0]
    kind = "odd thing" if only.kind == UNKNOWN else only.kind
    return f"{only.colour} {kind}" if only.colour != UNKNOWN else kind


def _draw_block(sheet: PilImage.Image, top: int, block: Block) -> None:
    pen = ImageDraw.Draw(sheet)
    top = write(pen, (MARGIN, top), [block.title], TITLE)
    lefts = block.lefts[:-1]
    for left, column in zip(lefts, block.columns, strict=True):
        below = write(pen, (left, top), [column.title], HEAD)
        write(pen, (left, below), column.notes, SMALL, FAINT)
    top += HEAD_HEIGHT
    for row, height in enumerate(block.heights):
        first, *others = block.rows[row]
        below = write(pen, (MARGIN, top + height // 2 - LEADING[LABEL]), [first], LABEL)
        write(pen, (MARGIN, below), others, SMALL, FAINT)
        for left, column in zip(lefts, block.columns, strict=True):
            _draw_cell(sheet, left, top, height, column.cells[row])
        top += height + ROW_GAP


def _draw_cell(sheet: PilImage.Image, left: int, top: int, height: int, cell: Framed) -> None:
    """A picture in the middle of its row's height, and its line."""
    colour = FAINT if cell.right is None else RIGHT if cell.right else WRONG
    pen, place = ImageDraw.Draw(sheet), (left, top + (height - cell.picture.height) // 2)
    right, bottom = left + cell.picture.width, place[1] + cell.picture.height
    pen.rectangle((left - FRAME, place[1] - FRAME, right + FRAME - 1, bottom + FRAME - 1), fill=colour)
    sheet.paste(cell.picture, place)
    write(pen, (left, bottom + 5), [cell.note], SMALL, INK if cell.right is None else colour)
