"""The picture of the curves: what is drawn where, read from its pixels and its caption."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from lib_fewstep.compare import curves
from lib_fewstep.compare.curves import FRONT, HEIGHT, PALETTE, WIDTH, Styles, caption, draw_curves
from lib_fewstep.compare.grid import PAPER
from lib_fewstep.compare.table import COLUMNS, mean_curves


def frame(*points, **columns):
    """A table with a reference and a row for each (sampler, cfg, method, steps, psnr)."""
    rows = [("p", 1, "None", "DPM++ 2M", 7.0, 50, True, 50, 5.0, math.nan, math.nan, "")]
    for sampler, cfg, method, steps, psnr in points:
        error = "" if psnr is not None else "out of memory"
        value = math.nan if psnr is None else psnr
        ssim = 1.0 if value == math.inf else value / 100
        rows.append(("p", 1, method, sampler, cfg, steps, False, steps, steps * 0.3, value, ssim, error))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"evaluations": "Int64"}).assign(**columns)


def line(sampler="Euler", cfg=7.0, method="None", steps=(1, 2, 4, 8), start=20):
    return [(sampler, cfg, method, number, start + 5 * index) for index, number in enumerate(steps)]


def pixels(picture):
    return np.asarray(picture)


def share(picture, colour, box=(0, 0, 1, 1)):
    """The share of a part of the picture that has a colour."""
    height, width = pixels(picture).shape[:2]
    part = pixels(picture)[int(box[1] * height) : int(box[3] * height), int(box[0] * width) : int(box[2] * width)]
    wanted = np.array([round(255 * value) for value in to_rgb(colour)])
    return float((part == wanted).all(axis=2).mean())


PANELS = [(0.05, 0.05, 0.4, 0.45), (0.4, 0.05, 0.77, 0.45), (0.05, 0.5, 0.4, 0.92), (0.4, 0.5, 0.77, 0.92)]
LEGEND = (0.79, 0, 1, 0.9)


def test_lines_and_front_in_every_panel():
    picture = draw_curves(frame(*line("Euler"), *line("Heun", start=10)), "title")
    assert (picture.size, picture.mode) == ((WIDTH, HEIGHT), "RGB")
    for box in PANELS:
        assert share(picture, PALETTE[0], box) > 0.001
        assert share(picture, PALETTE[1], box) > 0.001
        assert share(picture, FRONT, box) > 0.002


def test_the_front_follows_the_better_line():
    """Of two samplers, the second is better everywhere: without the first the front is the same."""
    both = draw_curves(frame(*line("Euler", start=10), *line("Heun", start=30)), "title")
    swapped = draw_curves(frame(*line("Euler", start=30), *line("Heun", start=10)), "title")
    for picture, best, worse in ((both, 1, 0), (swapped, 0, 1)):
        near = [near_front(picture, PALETTE[index]) for index in (best, worse)]
        assert near[0] > 5 * near[1]


def test_each_cfg_has_a_front_of_its_own():
    """Its images are measured against other references."""
    picture = draw_curves(frame(*line("Euler", 1.0, start=30), *line("Heun", 7.0, start=10)), "title")
    ahead, behind = (near_front(picture, PALETTE[index]) for index in (0, 1))
    assert behind > 0.5 * ahead


def test_between_two_points_the_front_is_as_good_as_the_cheaper():
    """It goes to the right and then up: under the line, not above it."""
    picture = draw_curves(frame(*line(steps=(1, 8), start=20)), "title")
    left, top, right, bottom = PANELS[0]
    across, down = (left + right) / 2, (top + bottom) / 2
    assert share(picture, FRONT, (across, down, right, bottom)) > 0.01
    assert share(picture, FRONT, (left, top, across, down)) < 0.001


def near_front(picture, colour):
    """How many pixels of a colour lie within 8 pixels of the front, in the first panel."""
    height, width = pixels(picture).shape[:2]
    part = pixels(picture)[: int(height * 0.45), : int(width * 0.4)]
    front, drawn = ((part == [round(255 * v) for v in to_rgb(one)]).all(axis=2) for one in (FRONT, colour))
    grown = front.copy()
    for shift in range(-8, 9):
        for axis in (0, 1):
            grown |= np.roll(front, shift, axis)
    return int((grown & drawn).sum())


def test_the_legend_never_covers_data():
    """With 6 samplers of the longest names, 2 CFG and 2 methods: no panel reaches into the legend's columns."""
    samplers = [f"DPM++ 2M SDE Heun Exponential {index} with a long name" for index in range(6)]
    points = [
        point
        for index, sampler in enumerate(samplers)
        for cfg in (1.0, 7.0)
        for method in ("None", "HiDiffusion")
        for point in line(sampler, cfg, method, start=10 + index)
    ]
    picture = draw_curves(frame(*points), "title")
    white = (pixels(picture) == 255).all(axis=2)
    last_panel = np.flatnonzero(white.mean(axis=0) > 0.3)[-1]
    beside = pixels(picture)[:, last_panel + 6 : last_panel + 20]
    assert (beside == [round(255 * value) for value in to_rgb(PAPER)]).all()
    legend = (last_panel / picture.width, 0, 1, 1)
    for colour in PALETTE[:6]:
        assert share(picture, colour, legend) > 0
    assert not is_cut(picture)


def is_cut(picture):
    """Whether anything touches the picture's border."""
    paper = [round(255 * value) for value in to_rgb(PAPER)]
    edges = pixels(picture)
    return any((edge != paper).any() for edge in (edges[:4], edges[-4:], edges[:, :4], edges[:, -4:]))


def test_a_long_legend_makes_the_picture_higher():
    points = [point for index in range(40) for point in line(f"sampler {index}")]
    picture = draw_curves(frame(*points), "title")
    assert picture.width == WIDTH
    assert picture.height > HEIGHT
    assert not is_cut(picture)


@pytest.mark.parametrize("samplers", [3, 7, 8, 30])
def test_styles_tell_every_line_apart(samplers):
    points = [
        point for index in range(samplers) for cfg in (1.0, 2.0, 3.0, 4.0, 5.0, 7.0) for point in line(f"{index}", cfg)
    ]
    styles = Styles.of(mean_curves(frame(*points)))
    assert len({tuple(np.round(to_rgb(colour), 4)) for colour in styles.colours.values()}) == samplers
    assert len(set(styles.dashes.values())) == 6


def test_methods_get_markers_in_their_order():
    """What is no method has one of its own; beyond the markers that there are, they come again."""
    for methods, markers in (
        (["As set", "None", "HiDiffusion", "Deep Shrink"], "oDs^"),
        (["HiDiffusion", "None", "Deep Shrink", "Later"], "sD^v"),
        (["Later"], "s"),
        ([f"{index}" for index in range(10)], "s^vPX<>*s^"),
    ):
        points = [point for method in methods for point in line(method=method)]
        assert Styles.of(mean_curves(frame(*points))).markers == dict(zip(methods, markers, strict=True))


def test_one_point():
    picture = draw_curves(frame(("Euler", 7.0, "None", 4, 25.0)), "title")
    for box in PANELS:
        assert share(picture, PALETTE[0], box) > 0


def test_nothing_to_draw_is_said():
    failed = draw_curves(frame(*(("Euler", 7.0, "None", steps, None) for steps in (1, 2))), "title")
    assert failed.size == (WIDTH, HEIGHT)
    assert share(failed, "white") == 0
    assert share(failed, PAPER) < 0.999
    empty = draw_curves(frame().iloc[:0], "title")
    assert (pixels(failed) != pixels(empty)).any()


def test_infinite_psnr_is_left_to_the_caption():
    table = frame(*line(), ("Heun", 7.0, "None", 50, math.inf))
    picture = draw_curves(table, "title")
    upper, lower = PANELS[0], PANELS[2]
    assert share(picture, PALETTE[1], upper) == 0
    assert share(picture, PALETTE[1], lower) > 0
    note = "No PSNR where an image equals its reference: Heun, CFG 7, 50 steps."
    assert note in caption(table, mean_curves(table))
    assert "No PSNR" not in caption(frame(*line()), mean_curves(frame(*line())))


def test_only_infinite_psnr():
    picture = draw_curves(frame(("Heun", 7.0, "None", 50, math.inf)), "title")
    assert share(picture, PALETTE[0], PANELS[0]) == 0
    assert share(picture, PALETTE[0], PANELS[2]) > 0


def test_costs_that_have_no_place_on_the_axis():
    """An image without its time, or of no time at all, is drawn against its evaluations alone."""
    for seconds in (math.nan, 0.0):
        picture = draw_curves(frame(*line(), seconds=seconds), "title")
        assert share(picture, PALETTE[0], PANELS[0]) > 0
        assert share(picture, PALETTE[0], PANELS[1]) == 0


def test_caption():
    one = frame(*line())
    expected = "Each point is one image. Reference: DPM++ 2M, 50 steps, with the same prompt, seed and CFG."
    assert caption(one, mean_curves(one)) == expected
    many = frame(*line(), *line(), *line(steps=(1, 2)), ("Heun", 7.0, "None", 4, None))
    said = caption(many, mean_curves(many))
    assert said.startswith("Each point is the mean of 2 to 3 images. ")
    assert said.endswith("Left out: 1 of 12 images, which failed or were not run.")


def test_a_note_is_in_the_caption():
    bare, noted = (draw_curves(frame(*line()), "title", note) for note in ("", "What is to be known. " * 20))
    assert bare.size == noted.size
    assert (pixels(bare)[-60:] != pixels(noted)[-60:]).any()
    assert not is_cut(noted)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.011, 0.25, [0.02, 0.05, 0.1, 0.2]),
        (0.31, 0.65, [0.4, 0.5]),
        (0.9, 2.1, [1, 1.5, 2]),
        (0.004, 30, [0.01, 0.1, 1, 10]),
    ],
)
def test_small_costs_have_few_digits(low, high, ticks):
    assert curves._few_digits(low, high) == pytest.approx(ticks)


def test_titles_are_plain_text():
    """No mathematics between dollars, and a long one is cut."""
    short, dollars = (draw_curves(frame(*line()), title) for title in ("x", "costs $5 and $x^{2"))
    assert (pixels(short) != pixels(dollars)).any()
    assert not is_cut(draw_curves(frame(*line()), "a long title " * 60))


def test_names_of_samplers_are_plain_text():
    name = "costs $x^{2$"
    draw_curves(frame(*line(name)), "title")
