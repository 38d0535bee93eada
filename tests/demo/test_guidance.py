"""CFG against CFG++ on the embedded checkpoint: the figures, the report, and what counts as out of range."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from demo import report
from demo.columns import COLUMNS
from demo.compare import Result, judged, tasks_for
from demo.generate import Generation
from demo.guidance import CFG, difference, out_of_range, run_guidance
from demo.guidance_picture import draw_guidance
from demo.scenes import Scene, draw, random_scene, random_shifts
from lib_fewstep.compare.meter import Meter

SIDES = {"exact", "out_of_range"}


@pytest.fixture(scope="module")
def pairs(model):
    return run_guidance(model, tasks_for(3), steps=(1, 4))


def test_drawn_scenes_are_in_range():
    """Whatever the levels of their channels, and also with the noise that the judge is calibrated to."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        latent = draw(random_scene(rng)) + random_shifts(rng, 1)[0]
        assert out_of_range(latent) == 0
        assert out_of_range(latent + 0.15 * rng.standard_normal(latent.shape)) == 0


def test_oversaturated_colours_are_out_of_range():
    """At 1.2 times its colour a red square fits on the screen; at 1.6 times all three values of a pixel are beyond."""
    latent = draw(Scene("square", "red", 0.5))
    colours = np.array([1, 1, 1, 0])[:, None, None]
    assert out_of_range(latent * (1 + 0.2 * colours)) == 0
    burnt = latent * (1 + 0.6 * colours)
    assert out_of_range(burnt) == 64 / 256
    assert out_of_range(burnt + random_shifts(np.random.default_rng(2), 1)[0]) == 64 / 256


def test_both_are_the_same_image_at_one_step(pairs):
    one = pairs[0]
    assert one.cfgpp.strength == pytest.approx(CFG)
    for before, after in zip(one.cfg.images, one.cfgpp.images, strict=True):
        np.testing.assert_allclose(before.latent, after.latent, atol=1e-3)


def test_at_more_steps_lambda_is_smaller_and_the_images_differ(pairs):
    four = pairs[1]
    assert 1 < four.cfgpp.strength < CFG
    assert all(
        np.abs(before.latent - after.latent).max() > 0.1
        for before, after in zip(four.cfg.images, four.cfgpp.images, strict=True)
    )


def test_pairs_are_reproducible(model, pairs):
    again = run_guidance(model, tasks_for(3), steps=(1, 4))
    for first, second in zip(pairs, again, strict=True):
        for name in ("cfg", "cfgpp"):
            one, other = getattr(first, name), getattr(second, name)
            assert one.out_of_range == other.out_of_range
            assert all(np.array_equal(a.latent, b.latent) for a, b in zip(one.images, other.images, strict=True))


def test_differences_are_paired():
    """Worked out by hand: differences of 1, 2 and 3 have a standard deviation of 1."""
    apart = difference([5.0, 1.0, 0.0], [6.0, 3.0, 3.0])
    assert apart.mean == pytest.approx(2)
    assert apart.standard_error == pytest.approx(1 / 3**0.5)
    assert difference([1.0], [0.0]).standard_error is None


def test_the_report_has_the_comparison(pairs, tmp_path):
    plain = Result(
        COLUMNS[0], judged(tasks_for(1), Generation(torch.zeros(1, 4, 16, 16), 1, Meter(torch.device("cpu"))))
    )
    report.write(report.as_dict([plain], pairs, {}), tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text())["guidance"]
    assert written["cfg"] == CFG
    assert set(written["steps"]) == {"1", "4"}
    for figures in written["steps"].values():
        assert set(figures["cfg"]) == set(figures["cfgpp"]) == SIDES
        assert set(figures) == {"cfg", "cfgpp", "lambda"} | {
            f"{side}_{what}" for side in SIDES for what in ("difference", "standard_error")
        }
        apart = figures["cfgpp"]["out_of_range"] - figures["cfg"]["out_of_range"]
        assert figures["out_of_range_difference"] == pytest.approx(apart, abs=2e-6)
    assert len(report.guidance_table(pairs).splitlines()) == 4


def test_the_picture_is_drawn(pairs, tmp_path):
    draw_guidance(pairs, tasks_for(3), tmp_path / "out" / "guidance.png", rows=2)
    with Image.open(tmp_path / "out" / "guidance.png") as picture:
        assert len(picture.getcolors(maxcolors=10**6)) > 100
