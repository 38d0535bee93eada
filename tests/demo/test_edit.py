"""Edits: what counts as kept, and that inversion leads back where img2img does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PilImage

from demo import report
from demo.drawings import draw_edits
from demo.edit import (
    SHORT_WAYS,
    WAYS,
    Edited,
    add_edit,
    edited,
    edits_for,
    img2img,
    inverting,
    kept,
    run_edits,
    steps_at,
)
from demo.model.layouts import LAYOUTS
from demo.pictures.judge import is_exact, judge
from demo.pictures.scenes import Scene, draw

SD15 = LAYOUTS["sd15"]
HOUSE = Scene("house", "red", 0.5)


def test_another_colour_keeps_everything_else():
    assert kept(draw(HOUSE), draw(replace(HOUSE, colour="blue"))) == 1


def test_another_background_keeps_nothing():
    assert kept(draw(HOUSE), draw(replace(HOUSE, background="yellow"))) < 0.01


def test_a_changed_half_is_a_half():
    before = draw(HOUSE)
    after = before.copy()
    after[:, :64] += 0.1
    assert kept(before, after) == pytest.approx(0.5, abs=0.03)


def test_a_thing_elsewhere_is_not_kept():
    before, after = draw(replace(HOUSE, width=0.3, offset_x=-0.25)), draw(replace(HOUSE, width=0.3, offset_x=0.25))
    assert kept(before, after) == pytest.approx(1 - 0.08, abs=0.02)


def test_eight_levels_are_kept_and_nine_are_not():
    before = np.full((32, 32, 3), 100 / 255, np.float32)
    assert [kept(before, before + levels / 255) for levels in (8, -8, 9, -9)] == [1, 1, 0, 0]


def test_an_edit_asks_for_another_colour_of_what_is_drawn():
    for edit in edits_for(12):
        assert edit.source.colour != edit.target.colour != edit.source.background
        assert replace(edit.target, colour=edit.source.colour) == edit.source
        assert is_exact(judge(edit.picture), edit.source.kind, edit.source.colour)


def test_steps_are_the_webuis():
    """As docs/host.md has them: int(min(denoise, 0.999) * steps) + 1."""
    assert [steps_at(strength) for strength in (0.4, 0.5, 0.99, 1.0)] == [9, 11, 20, 20]


def test_with_the_same_prompt_inversion_leads_back():
    edits = [replace(edit, target=edit.source) for edit in edits_for(2)]
    apart = {}
    for way in (inverting(1.0), img2img(1.0)):
        after, evaluations = edited(SD15, way, edits)
        apart[way.key] = np.mean([np.abs(a - edit.picture).mean() for a, edit in zip(after, edits, strict=True)])
        assert evaluations == (80 if way.refinements else 20)
    assert apart["inversion_1"] < 0.4 * apart["img2img_1"]


def test_the_short_ways_are_some_of_all():
    assert set(SHORT_WAYS) < set(WAYS)
    assert len({way.key for way in WAYS}) == len(WAYS)


def test_the_figures_and_the_picture(tmp_path):
    edits = edits_for(2)
    results = run_edits(SD15, edits, (inverting(0.5), img2img(0.5)))
    assert [len(result.images) for result in results] == [2, 2]
    assert [result.evaluations for result in results] == [11 * 4, 11]
    figures = report.of_edits(results)
    assert set(figures) == {"inversion_0.5", "img2img_0.5"}
    assert figures["inversion_0.5"]["kept"]["mean"] == pytest.approx(np.mean(results[0].kept))
    assert len(report.edit_table("mini", results).splitlines()) == 3
    draw_edits({"mini": results}, edits, tmp_path / "edit.png")
    with PilImage.open(tmp_path / "edit.png") as picture:
        assert len(picture.getcolors(maxcolors=10**7)) > 1000


def test_shares_of_edits():
    result, edits = Edited(WAYS[0]), edits_for(4)
    for edit in edits[:3]:
        add_edit(result, edit, edit.picture)
    right = draw(Scene(edits[3].target.kind, edits[3].target.colour, background=edits[3].target.background))
    add_edit(result, edits[3], right)
    assert (result.hits, result.share) == (1, 0.25)
    assert result.kept[:3] == [1, 1, 1]
