"""The grid and the strip, read from their pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor

from lib_fewstep.compare import grid
from lib_fewstep.compare.grid import FAILED, IDLE, LARGEST_SIDE, draw_grid, draw_strip, font, thumbnail, wrapped
from lib_fewstep.compare.outcome import Outcome
from lib_fewstep.compare.prompts import Prompt
from lib_fewstep.compare.settings import ComparisonSettings, cells

SETTINGS = ComparisonSettings(steps=(1, 4), samplers=("Euler", "Heun"), methods=("None", "HiDiffusion"), cfg=(1.0, 7.0))


def noise(seed, size=(200, 150)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def outcomes(settings=SETTINGS, prompts=("a cat",), size=(200, 150)):
    made = cells(settings, [Prompt(text) for text in prompts], 1)
    return [Outcome(cell, noise(index, size), cell.steps, cell.steps / 4) for index, cell in enumerate(made)]


def place(sheet, picture):
    """The upper left corner of a picture that is in the sheet unchanged, once."""
    levels, wanted = np.asarray(sheet), np.asarray(picture.convert("RGB"))
    height, width = wanted.shape[:2]
    found = [
        (int(x), int(y))
        for y, x in np.argwhere(
            (levels[: len(levels) - height + 1, : levels.shape[1] - width + 1] == wanted[0, 0]).all(2)
        )
        if (levels[y : y + height, x : x + width] == wanted).all()
    ]
    assert len(found) == 1
    return found[0]


def count(sheet, colour):
    return int((np.asarray(sheet) == ImageColor.getrgb(colour)).all(axis=2).sum())


def test_every_image_is_there_unchanged():
    made = outcomes(prompts=("a cat", "a dog"))
    sheet = draw_grid(made, "title")
    places = {id(one): place(sheet, one.image) for one in made}
    assert len(set(places.values())) == len(made) == 2 * 2 * (1 + 8)


def test_rows_columns_and_blocks():
    made = outcomes()
    sheet = draw_grid(made, "title")
    at = {
        (one.cell.cfg, one.cell.method, one.cell.sampler, one.cell.steps): place(sheet, one.image)
        for one in made
        if not one.cell.reference
    }
    columns = {key[3]: {x for other, (x, _) in at.items() if other[3] == key[3]} for key in at}
    assert len(columns[1]) == len(columns[4]) == 1
    assert min(columns[1]) + 200 < min(columns[4])
    rows = {key[:3]: {y for other, (_, y) in at.items() if other[:3] == key[:3]} for key in at}
    tops = [min(tops) for tops in rows.values()]
    assert all(len(one) == 1 for one in rows.values())
    assert tops == sorted(tops)
    assert min(later - sooner for sooner, later in itertools.pairwise(tops)) > 150
    for one in (one for one in made if one.cell.reference):
        x, y = place(sheet, one.image)
        assert x + 200 < min(columns[1])
        assert y == min(tops for key, tops in rows.items() if key[0] == one.cell.cfg).pop()


def ink_below(sheet, picture, line):
    """Whether there is text in a line of a picture's caption, in the width of the picture."""
    x, y = place(sheet, picture)
    top = y + picture.height + 4 + line * 16
    part = np.asarray(sheet)[top : top + 16, x : x + picture.width]
    return bool((part != ImageColor.getrgb(grid.PAPER)).any())


def test_captions():
    made = outcomes()
    bare, lost = made[1], made[2]
    bare.evaluations = bare.seconds = None
    sheet = draw_grid(made, "title")
    reference = next(one for one in made if one.cell.reference)
    assert [ink_below(sheet, reference.image, line) for line in (0, 1)] == [True, False]
    assert [ink_below(sheet, lost.image, line) for line in (0, 1)] == [True, True]
    assert [ink_below(sheet, bare.image, line) for line in (0, 1)] == [True, False]
    reference.image = None
    assert [ink_below(draw_grid(made, "title"), lost.image, line) for line in (0, 1)] == [True, False]


def test_words_of_a_caption():
    one = outcomes()[1]
    one.evaluations, one.seconds = 8, 1.916
    assert grid._cost(one) == "8 evals · 1.92 s"
    one.evaluations = 1
    assert grid._cost(one) == "1 eval · 1.92 s"
    same = Outcome(one.cell, one.image.copy())
    assert grid._likeness(one, same) == "equal to the reference"
    other = Outcome(one.cell, one.image.point(lambda level: level ^ 1))
    assert grid._likeness(one, other) == "PSNR 48.1"
    assert grid._likeness(one, Outcome(one.cell, noise(0, (8, 8)))) == ""
    assert grid._likeness(one, None) == ""


def test_what_failed_is_red_and_what_was_not_run_is_grey():
    made = outcomes()
    assert count(draw_grid(made, "title"), FAILED) == count(draw_grid(made, "title"), IDLE) == 0
    made[1] = Outcome(made[1].cell, error="CUDA ran out of memory: 24 GiB are not enough.")
    made[2] = Outcome(made[2].cell, error="not run")
    sheet = draw_grid(made, "title")
    assert count(sheet, FAILED) > 150 * 100
    assert count(sheet, IDLE) > 150 * 100
    made[1].error = ""
    assert count(draw_grid(made, "title"), FAILED) > count(sheet, FAILED)
    made[1].error = "very long sentence " * 200
    cut = draw_grid(made, "title")
    assert cut.size == sheet.size
    for one in made[3:]:
        place(cut, one.image)


def test_nothing_but_failures():
    made = [Outcome(one.cell, error="out of memory") for one in outcomes()]
    sheet = draw_grid(made, "title")
    assert count(sheet, FAILED) > len(made) * 150 * 100
    assert draw_grid([], "title").width > 100


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((512, 768), (171, 256)),
        ((1024, 1024), (256, 256)),
        ((256, 200), (256, 200)),
        ((128, 128), (128, 128)),
        ((127, 100), (254, 200)),
        ((64, 64), (256, 256)),
        ((24, 16), (240, 160)),
        ((1, 1), (256, 256)),
        ((5000, 1), (256, 1)),
    ],
)
def test_thumbnails(size, shown):
    assert thumbnail(noise(0, size)).size == shown


def test_a_tiny_image_is_enlarged_by_whole_pixels():
    tiny = noise(0, (24, 16))
    made = [Outcome(one.cell, tiny) for one in outcomes()[:1]]
    large = Image.fromarray(np.asarray(tiny).repeat(10, axis=0).repeat(10, axis=1))
    place(draw_grid(made, "title"), large)


@pytest.mark.parametrize(("prompts", "side"), [(6, 256), (18, 128), (20, 64), (150, 32)])
def test_too_many_images_are_halved_until_they_fit(prompts, side):
    settings = ComparisonSettings(steps=(1, 2), samplers=("Euler", "Heun", "DDIM", "LMS"))
    made = outcomes(settings, [f"prompt {index}" for index in range(prompts)], (8, 8))
    sheet = draw_grid(made, "title")
    assert max(sheet.size) <= LARGEST_SIDE
    place(sheet, thumbnail(made[1].image, side))
    last = thumbnail(made[-1].image, side)
    if prompts < 150:
        place(sheet, last)
    else:
        with pytest.raises(AssertionError):
            place(sheet, last)


def test_too_many_columns():
    made = outcomes(ComparisonSettings(steps=tuple(range(1, 201)), samplers=("Euler",)), size=(8, 8))
    sheet = draw_grid(made, "title")
    assert LARGEST_SIDE * 0.9 < sheet.width <= LARGEST_SIDE
    place(sheet, thumbnail(made[1].image, 32))


LONG = "Wort " * 300 + "unbrechbar" * 100


def test_long_names_do_not_reach_the_images():
    """Prompts, samplers and titles of any length leave every image as it is."""
    settings = ComparisonSettings(steps=(1, 4), samplers=("DPM++ " * 60, "x" * 400))
    made = outcomes(settings, (LONG,))
    sheet = draw_grid(made, LONG)
    plain = draw_grid(outcomes(ComparisonSettings(steps=(1, 4), samplers=("Euler", "Heun"))), "t")
    assert sheet.width == plain.width
    for one in made:
        place(sheet, one.image)
    paper = ImageColor.getrgb(grid.PAPER)
    assert (np.asarray(sheet)[:, -grid.MARGIN + 4 :] == paper).all()


@settings(max_examples=60)
@given(st.text(st.characters(codec="utf-8"), max_size=80), st.integers(20, 300), st.integers(1, 4))
def test_wrapped_lines_fit(text, width, most):
    lines = wrapped(text, 13, width, most)
    assert 1 <= len(lines) <= most
    assert all(font(13).getlength(line) <= width or len(line) == 1 for line in lines)
    if lines and not lines[-1].endswith("…"):
        assert "".join(lines).replace(" ", "") == "".join(text.split())


def test_what_is_cut_ends_in_an_ellipsis():
    assert wrapped("one two three", 13, 1000, 1) == ["one two three"]
    assert wrapped("one two six", 13, 30, 3) == ["one", "two", "six"]
    assert wrapped("one two", 13, 40, 1) == ["one…"]


def strip(number, size=(64, 64), **more):
    cell = outcomes()[1].cell
    return Outcome(cell, strip=[noise(index, size) for index in range(number)], **more)


def test_strip_has_every_step_in_a_row():
    one = strip(4)
    sheet = draw_strip(one)
    places = [place(sheet, thumbnail(picture)) for picture in one.strip]
    assert len({y for _, y in places}) == 1
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    for picture in one.strip:
        assert ink_below(sheet, thumbnail(picture), 0)
    caption = np.asarray(sheet)[: places[0][1]]
    assert (caption != ImageColor.getrgb(grid.PAPER)).any()


def test_caption_of_a_strip_names_the_cell():
    reference, first = (grid.described(one.cell) for one in outcomes()[:2])
    assert reference == "reference: DPM++ 2M, CFG 1, 50 steps, no method, seed 1"
    assert first == "Euler, CFG 1, 1 step, no method, seed 1"


@pytest.mark.parametrize(("number", "side"), [(50, 256), (100, 128), (180, 64), (1000, 64)])
def test_long_strips(number, side):
    one = strip(number, (4, 4))
    sheet = draw_strip(one)
    assert max(sheet.size) <= LARGEST_SIDE
    longest = max(s for s in (256, 128, 64, 32) if s == 32 or number * (max(s, 72) + 10) + 48 <= LARGEST_SIDE)
    first, last = (place(sheet, thumbnail(one.strip[index], longest)) for index in (0, -1))
    assert first[0] < last[0]
    assert longest == (side if number < 1000 else 32)


def test_no_strip():
    missing, failed = draw_strip(strip(0)), draw_strip(strip(0, error="out of memory"))
    assert missing.size == failed.size
    assert (np.asarray(missing) != np.asarray(failed)).any()
