"""The labelled picture of all images of a comparison, and that of one image's steps."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont
from PIL.Image import Image

from lib_fewstep.compare.metrics import psnr
from lib_fewstep.compare.outcome import Outcome
from lib_fewstep.compare.settings import AS_SET, NO_METHOD, Cell

LARGEST_SIDE = 16_000
"""Pixels of the longest side of a picture that is drawn here."""

THUMBNAIL, SMALLEST_THUMBNAIL = 256, 32
ENLARGED_BELOW = 128
NOT_RUN = "not run"
METHOD_NAMES = {AS_SET: "method as set", NO_METHOD: "no method"}
"""What the methods are called that are none of their own."""


PAPER, INK, FAINT = "#fbfaf7", "#22242a", "#6b6f7a"
FAILED, FAILED_INK, IDLE = "#f9dcdc", "#8c1c20", "#e6e4df"
MARGIN, GAP, BLOCK_GAP = 24, 10, 30
TITLE, HEAD, LABEL, SMALL = 20, 15, 13, 12
LEADING = {TITLE: 28, HEAD: 21, LABEL: 17, SMALL: 16}
"""Pixels from line to line for each size of type."""

CELL_WIDTH, ROW_WIDTH, TITLE_WIDTH = 150, 130, 420
CAPTION_LINES = 2


@dataclass(frozen=True)
class Block:
    """The images of one prompt, seed and CFG: a reference and a table of rows (method, sampler) and steps."""

    head: Cell
    reference: Outcome | None
    rows: list[tuple[str, str]]
    cells: dict[tuple[str, str, int], Outcome]


@dataclass(frozen=True)
class Layout:
    """The sizes of a grid in pixels: the thumbnails' longest side, the box into which all fit, the steps' columns."""

    longest: int
    box: tuple[int, int]
    steps: tuple[int, ...]

    @property
    def column(self) -> int:
        """From one column to the next."""
        return max(self.box[0], CELL_WIDTH) + GAP

    @property
    def row(self) -> int:
        """From one row to the next."""
        return self.box[1] + 4 + CAPTION_LINES * LEADING[SMALL] + GAP

    @property
    def width(self) -> int:
        """The width of a block."""
        return max(self.column * (1 + len(self.steps)) + ROW_WIDTH, TITLE_WIDTH)


def draw_grid(outcomes: Sequence[Outcome], title: str) -> Image:
    """All images: a block for each prompt, seed and CFG with its reference, in it a row for each sampler and method.

    Where the picture would have more than `LARGEST_SIDE` pixels a side, the thumbnails are halved, at last down to
    `SMALLEST_THUMBNAIL`; blocks and columns that do not fit even then are left out, which a line below says.
    """
    blocks = _blocks(outcomes)
    layout = _layout(outcomes, blocks, title)
    heading = wrapped(title, TITLE, layout.width, 3)
    shown = _fitting(blocks, layout, len(heading))
    sheet = PilImage.new("RGB", (layout.width + 2 * MARGIN, _height(shown, layout, len(heading))), PAPER)
    pen = ImageDraw.Draw(sheet)
    top = write(pen, (MARGIN, MARGIN), heading, TITLE)
    for block in shown:
        _draw_block(sheet, top + BLOCK_GAP // 2, block, layout)
        top += _block_height(block, layout)
    left_out = _left_out(len(blocks) - len(shown), len(_all_steps(outcomes)) - len(layout.steps))
    write(pen, (MARGIN, top), left_out, SMALL, FAINT)
    return sheet


def draw_strip(outcome: Outcome) -> Image:
    """The predicted image at each step of one outcome, in a row, below a caption that names the cell.

    In a row that would be too long, the thumbnails are halved as in `draw_grid`; of steps that do not fit even then
    an even choice is shown.
    """
    longest, count = THUMBNAIL, len(outcome.strip)
    while longest > SMALLEST_THUMBNAIL and 2 * MARGIN + count * (_strip_column(outcome, longest)) > LARGEST_SIDE:
        longest //= 2
    column = _strip_column(outcome, longest)
    chosen = _even_choice(count, (LARGEST_SIDE - 2 * MARGIN) // column)
    thumbnails = [thumbnail(outcome.strip[index], longest) for index in chosen]
    width = max(len(chosen) * column, TITLE_WIDTH)
    caption = wrapped(described(outcome.cell), HEAD, width, 3) + wrapped(outcome.cell.prompt, HEAD, width, 1)
    below = max((picture.height for picture in thumbnails), default=0) + 4 + LEADING[SMALL]
    size = width + 2 * MARGIN, 2 * MARGIN + LEADING[HEAD] * len(caption) + GAP + below
    sheet = PilImage.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    top = write(pen, (MARGIN, MARGIN), caption, HEAD) + GAP
    for place, (index, picture) in enumerate(zip(chosen, thumbnails, strict=True)):
        left = MARGIN + place * column
        sheet.paste(picture, (left, top))
        write(pen, (left, top + picture.height + 4), [f"step {index + 1}"], SMALL, FAINT)
    if not thumbnails:
        write(pen, (MARGIN, top), wrapped(outcome.error or "no predicted images", LABEL, width, 1), LABEL, FAILED_INK)
    return sheet


def thumbnail(image: Image, longest: int = THUMBNAIL) -> Image:
    """The image in RGB with no side above `longest`; one below `ENLARGED_BELOW` is enlarged by a whole factor."""
    size = _thumbnail_size(image, longest)
    method = PilImage.Resampling.LANCZOS if size < image.size else PilImage.Resampling.NEAREST
    return image.convert("RGB").resize(size, method)


def described(cell: Cell) -> str:
    """A cell in words, such as "Euler CFG++, CFG 1, 4 steps, HiDiffusion, seed 42"."""
    kind = "reference: " if cell.reference else ""
    method = METHOD_NAMES.get(cell.method, cell.method)
    return f"{kind}{cell.sampler}, CFG {cell.cfg:g}, {counted(cell.steps)}, {method}, seed {cell.seed}"


def named(sampler: str, steps: int, method: str) -> str:
    """A reference in words, such as "DPM++ 2M, 50 steps"; with its method where that is one of its own."""
    return f"{sampler}, {counted(steps)}" + ("" if method in METHOD_NAMES else f", {method}")


def counted(number: int, thing: str = "step") -> str:
    """A number of things in words, such as "1 step" or "8 steps"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def wrapped(text: str, size: int, width: int, most: int) -> list[str]:
    """A text as at most `most` lines of at most `width` pixels; what is left out is marked by an ellipsis."""
    letters, lines = font(size), [""]
    for word in text.split():
        line = f"{lines[-1]} {word}".strip()
        if letters.getlength(line) <= width:
            lines[-1] = line
            continue
        if len(lines) > most:
            break
        pieces = _pieces(word, letters, width)
        lines = [*lines, *pieces] if lines[-1] else pieces
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    while last and letters.getlength(f"{last}…") > width:
        last = last[:-1]
    return [*lines[: most - 1], f"{last.rstrip()}…"]


def _pieces(word: str, letters: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """A word cut where it is wider than a line."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and letters.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def write(pen: ImageDraw.ImageDraw, place: tuple[int, int], lines: Sequence[str], size: int, colour: str = INK) -> int:
    """Lines of text with their upper left corner at `place`; returns where the next line would begin."""
    left, top = place
    for line in lines:
        pen.text((left, top), line, fill=colour, font=font(size))
        top += LEADING[size]
    return top


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: the Pillow of the WebUI has no font of its own in every size."""
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _blocks(outcomes: Sequence[Outcome]) -> list[Block]:
    groups: dict[tuple[str, int, float], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.cell.measured_against, []).append(outcome)
    return [_block(group) for group in groups.values()]


def _block(group: Sequence[Outcome]) -> Block:
    cells = {(one.cell.method, one.cell.sampler, one.cell.steps): one for one in group if not one.cell.reference}
    rows = list(dict.fromkeys((method, sampler) for method, sampler, _ in cells))
    reference = next((one for one in group if one.cell.reference), None)
    return Block(group[0].cell, reference, rows, cells)


def _layout(outcomes: Sequence[Outcome], blocks: Sequence[Block], title: str) -> Layout:
    """The largest layout with which everything fits, or else the smallest with as many columns as fit."""
    longest = THUMBNAIL
    while True:
        layout = Layout(longest, _box(outcomes, longest), _all_steps(outcomes))
        shown = _fitting(blocks, layout, len(wrapped(title, TITLE, layout.width, 3)))
        fits = len(shown) == len(blocks) and layout.width + 2 * MARGIN <= LARGEST_SIDE
        if fits or longest == SMALLEST_THUMBNAIL:
            break
        longest //= 2
    most = (LARGEST_SIDE - 2 * MARGIN - ROW_WIDTH) // layout.column - 1
    return Layout(longest, layout.box, layout.steps[:most])


def _all_steps(outcomes: Sequence[Outcome]) -> tuple[int, ...]:
    return tuple(sorted({one.cell.steps for one in outcomes if not one.cell.reference}))


def _left_out(blocks: int, columns: int) -> list[str]:
    """The line that says how many blocks and columns there is no room for, if any."""
    parts = [counted(number, thing) for number, thing in ((blocks, "block"), (columns, "column")) if number]
    return [f"Not shown for lack of space: {' and '.join(parts)}."] if parts else []


def _box(outcomes: Sequence[Outcome], longest: int) -> tuple[int, int]:
    """The width and height in which every thumbnail fits; three quarters of a square where there is none."""
    sizes = [_thumbnail_size(one.image, longest) for one in outcomes if one.image is not None]
    sizes = sizes or [(longest, longest * 3 // 4)]
    return max(width for width, _ in sizes), max(height for _, height in sizes)


def _thumbnail_size(image: Image, longest: int) -> tuple[int, int]:
    side = max(image.size)
    if side > longest:
        return max(1, round(image.width * longest / side)), max(1, round(image.height * longest / side))
    factor = longest // side if side < ENLARGED_BELOW else 1
    return image.width * factor, image.height * factor


def _height(blocks: Sequence[Block], layout: Layout, heading: int) -> int:
    """The height of the whole picture, with the line below for what is left out."""
    return (
        2 * MARGIN + heading * LEADING[TITLE] + sum(_block_height(block, layout) for block in blocks) + LEADING[SMALL]
    )


def _fitting(blocks: Sequence[Block], layout: Layout, heading: int) -> list[Block]:
    """The first blocks, as many as fit below each other."""
    height, shown = _height([], layout, heading), []
    for block in blocks:
        height += _block_height(block, layout)
        if height > LARGEST_SIDE:
            break
        shown.append(block)
    return shown


def _block_height(block: Block, layout: Layout) -> int:
    head, labels = _head_lines(block, layout), _label_lines(block, layout)
    above = len(head) * LEADING[HEAD] + LEADING[LABEL] + GAP + labels * LEADING[SMALL] + 4
    return BLOCK_GAP + above + max(1, len(block.rows)) * layout.row


def _head_lines(block: Block, layout: Layout) -> list[str]:
    return wrapped(block.head.prompt, HEAD, layout.width, 2)


def _reference_label(block: Block, layout: Layout) -> list[str]:
    if block.reference is None:
        return []
    cell = block.reference.cell
    name = named(cell.sampler, cell.steps, cell.method)
    return wrapped(f"reference: {name}", SMALL, layout.column - GAP, 4)


def _label_lines(block: Block, layout: Layout) -> int:
    return max(1, len(_reference_label(block, layout)))


def _draw_block(sheet: Image, top: int, block: Block, layout: Layout) -> None:
    """One block with its upper edge at `top`."""
    pen = ImageDraw.Draw(sheet)
    top = write(pen, (MARGIN, top), _head_lines(block, layout), HEAD)
    note = f"seed {block.head.seed} · CFG {block.head.cfg:g}"
    top = write(pen, (MARGIN, top), [note], LABEL, FAINT) + GAP
    reference = _reference_label(block, layout)
    labels = top + _label_lines(block, layout) * LEADING[SMALL]
    write(pen, (MARGIN, labels - len(reference) * LEADING[SMALL]), reference, SMALL)
    bottom = labels + 4
    if block.reference is not None:
        _draw_cell(sheet, (MARGIN, bottom), block.reference, None, layout)
    for index, steps in enumerate(layout.steps):
        write(pen, (_left(index, layout), labels - LEADING[SMALL]), [counted(steps)], SMALL)
    for index, row in enumerate(block.rows):
        _draw_row(sheet, bottom + index * layout.row, block, row, layout)


def _draw_row(sheet: Image, top: int, block: Block, row: tuple[str, str], layout: Layout) -> None:
    method, sampler = row
    pen, place, width = ImageDraw.Draw(sheet), MARGIN + layout.column, ROW_WIDTH - GAP
    below = write(pen, (place, top), wrapped(sampler, LABEL, width, 3), LABEL)
    if method not in METHOD_NAMES or len({method for method, _ in block.rows}) > 1:
        write(pen, (place, below), wrapped(METHOD_NAMES.get(method, method), SMALL, width, 1), SMALL, FAINT)
    for index, steps in enumerate(layout.steps):
        outcome = block.cells.get((method, sampler, steps))
        if outcome is not None:
            _draw_cell(sheet, (_left(index, layout), top), outcome, block.reference, layout)


def _left(index: int, layout: Layout) -> int:
    """The left edge of a column of steps."""
    return MARGIN + layout.column + ROW_WIDTH + index * layout.column


def _draw_cell(
    sheet: Image, place: tuple[int, int], outcome: Outcome, reference: Outcome | None, layout: Layout
) -> None:
    """A thumbnail with its caption, or the reason why there is none."""
    left, top = place
    if outcome.image is None:
        _draw_reason(sheet, place, outcome.error or "no image", layout)
        return
    picture = thumbnail(outcome.image, layout.longest)
    sheet.paste(picture, place)
    lines = [line for line in (_cost(outcome), _likeness(outcome, reference)) if line]
    lines = [part for line in lines for part in wrapped(line, SMALL, layout.column - GAP, 1)]
    write(ImageDraw.Draw(sheet), (left, top + picture.height + 4), lines, SMALL, FAINT)


def _draw_reason(sheet: Image, place: tuple[int, int], reason: str, layout: Layout) -> None:
    """A field with the sentence that says why there is no image."""
    (left, top), height = place, layout.row - GAP
    width = layout.column - GAP
    ground, ink = (IDLE, FAINT) if reason == NOT_RUN else (FAILED, FAILED_INK)
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((left, top, left + width - 1, top + height - 1), fill=ground)
    lines = wrapped(reason, SMALL, width - 16, max(1, (height - 12) // LEADING[SMALL]))
    write(pen, (left + 8, top + 6), lines, SMALL, ink)


def _cost(outcome: Outcome) -> str:
    evaluations = None if outcome.evaluations is None else counted(outcome.evaluations, "eval")
    seconds = None if outcome.seconds is None else f"{outcome.seconds:.2f} s"
    return " · ".join(part for part in (evaluations, seconds) if part is not None)


def _likeness(outcome: Outcome, reference: Outcome | None) -> str:
    """The second line of a caption; empty where there is no reference of the image's size."""
    if outcome.image is None or reference is None or reference.image is None:
        return ""
    if outcome.image.size != reference.image.size:
        return ""
    value = psnr(outcome.image, reference.image)
    return f"PSNR {value:.1f}" if math.isfinite(value) else "equal to the reference"


def _strip_column(outcome: Outcome, longest: int) -> int:
    """From one image of a strip to the next; "step 1000" fits below each."""
    return max([72, *(_thumbnail_size(image, longest)[0] for image in outcome.strip)]) + GAP


def _even_choice(count: int, most: int) -> list[int]:
    """At most `most` of `count` indices, evenly from the first to the last."""
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]
