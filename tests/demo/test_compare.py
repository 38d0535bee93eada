"""The comparison of ways: tasks, shares, paired differences, the report and the pictures."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image as PilImage

from demo import report
from demo.compare import Image, Result, difference, judged, run, tasks_for
from demo.drawings import draw_few_steps, draw_guidance, draw_sizes, with_dots
from demo.model.layouts import LAYOUTS
from demo.pictures.scenes import KINDS, all_kinds, draw, random_scene
from demo.sampling.named import schedule, strength
from demo.sheet import describe
from demo.ways import BURNING_CFG, FEW_STEPS, GUIDED, PAIRS, SIZES, WITHOUT_LORA, distilled, guided
from lib_fewstep.sampling.presets import PRESETS, recognise

SD15 = LAYOUTS["sd15"]


@pytest.fixture(scope="module")
def pairs():
    return run(SD15, [*guided(1), *guided(4)], tasks_for(3))


def drawn(count=4):
    """Results of two ways whose pictures are drawn: those of the first are right."""
    tasks = tasks_for(count)
    rng = np.random.default_rng(0)
    pictures = [draw(random_scene(rng, (task.kind, task.colour))) for task in tasks]
    right = Result(SIZES[0], [judged(task, picture) for task, picture in zip(tasks, pictures, strict=True)])
    wrong = Result(
        SIZES[1], [judged(task, np.tile(picture, (2, 2, 1))) for task, picture in zip(tasks, pictures, strict=True)]
    )
    return tasks, [right, wrong]


def test_tasks_have_all_kinds_and_a_seed_each():
    tasks = tasks_for(36, first_seed=7)
    assert {(task.kind, task.colour) for task in tasks} == set(all_kinds())
    assert [task.seed for task in tasks] == list(range(7, 43))
    assert all(task.background != task.colour for task in tasks)
    assert sum(bool(task.background) for task in tasks) == 18
    assert tasks[1].prompt == f"a {tasks[1].colour} {tasks[1].kind} on a {tasks[1].background} background"
    assert {(task.kind, bool(task.background)) for task in tasks} == {
        (kind, on) for kind in KINDS for on in (False, True)
    }
    assert all(a.kind != b.kind and a.colour != b.colour for a, b in pairwise(tasks))


def test_ways_have_keys_of_their_own():
    ways = (*SIZES, *FEW_STEPS, *WITHOUT_LORA, *GUIDED)
    assert len({way.key for way in ways}) == len(ways)


@pytest.mark.parametrize("kind", ["lcm", "tcd"])
def test_a_lora_runs_by_the_preset_that_its_name_means(kind):
    way, known = distilled(kind, 4), recognise("", [SD15.lora_path(kind).stem])
    assert known.preset is PRESETS["LCM-LoRA" if kind == "lcm" else "TCD"]
    assert (way.sampler, way.schedule, way.steps, way.cfg) == (
        known.preset.sampler,
        known.preset.schedule,
        known.preset.steps,
        known.preset.cfg,
    )


def test_shares_are_counted():
    _, (right, wrong) = drawn()
    assert (right.hits, right.share, wrong.hits) == (4, 1.0, 0)
    low, high = right.interval
    assert 0.5 < low < high == pytest.approx(1)
    assert right.clipped < 0.03


def test_clipped_values_are_the_ends_of_the_screen():
    picture = np.full((10, 10, 3), 0.5)
    picture[:5, :, 0] = 1.0
    picture[5:, :, 1] = 254 / 255
    assert Image(picture, [], right=False).clipped == pytest.approx(1 / 6)
    dots = np.asarray(with_dots(Image(picture, [], right=False)))
    assert len(np.unique(dots[:5].reshape(-1, 3), axis=0)) == 2
    assert len(np.unique(dots[5:].reshape(-1, 3), axis=0)) == 1


def test_both_guidances_are_the_same_picture_at_one_step(pairs):
    cfg, cfgpp = pairs[:2]
    for before, after in zip(cfg.images, cfgpp.images, strict=True):
        np.testing.assert_allclose(before.picture, after.picture, atol=1e-2)


def test_at_more_steps_lambda_is_smaller_and_the_pictures_differ(pairs):
    assert 1 < strength("Euler CFG++", BURNING_CFG, schedule("Trailing", 4)) < BURNING_CFG
    cfg, cfgpp = pairs[2:]
    apart = [np.abs(a.picture - b.picture).max() for a, b in zip(cfg.images, cfgpp.images, strict=True)]
    assert min(apart) > 0.05


def test_differences_are_paired():
    """Worked out by hand: differences of 1, 2 and 3 have a standard deviation of 1."""
    apart = difference([5.0, 1.0, 0.0], [6.0, 3.0, 3.0])
    assert apart.mean == pytest.approx(2)
    assert apart.standard_error == pytest.approx(1 / 3**0.5)
    assert difference([1.0], [0.0]).standard_error is None


def test_the_report(pairs, tmp_path):
    _, results = drawn()
    keys = [("cfg_1", "cfgpp_1"), ("cfg_4", "cfgpp_4"), ("native", "nothing")]
    figures = {"ways": report.of_results(results), "pairs": report.of_pairs(pairs, keys)}
    report.write(figures, tmp_path / "new" / "report.json")
    written = json.loads((tmp_path / "new" / "report.json").read_text())
    assert written["ways"]["native"]["right"] == 1
    assert written["ways"]["plain_2x"]["each_right"] == [False] * 4
    assert set(written["pairs"]) == {"cfgpp_1 - cfg_1", "cfgpp_4 - cfg_4"}
    four = written["pairs"]["cfgpp_4 - cfg_4"]["clipped"]["mean"]
    assert four == pytest.approx(pairs[3].clipped - pairs[2].clipped)
    assert len(report.table("mini", results).splitlines()) == 3
    assert len(report.pair_table(pairs, keys).splitlines()) == 3


def test_reports_are_compared_picture_by_picture():
    half, none = [{"each_right": right} for right in ([True, False] * 10, [False] * 12)]
    found = report.agreement({"a": half, "b": half, "c": half}, {"a": half, "b": none, "d": half})
    assert found == {"a": report.Agreement(20, 0, 0), "b": report.Agreement(12, 6, 0)}
    assert found["a"].chance == 1
    assert found["b"].chance == pytest.approx(2 / 2**6)
    assert report.Agreement(20, 3, 4).chance == 1


def test_every_pair_is_of_ways_that_there_are():
    keys = {way.key for way in (*SIZES, *FEW_STEPS, *WITHOUT_LORA, *GUIDED)}
    assert {key for pair in PAIRS for key in pair} <= keys


def test_what_is_seen_is_said():
    _, (right, wrong) = drawn(1)
    assert describe(right.images[0]) == "red house"
    assert describe(wrong.images[0]) == "4 things"
    assert describe(judged(tasks_for(1)[0], np.full((64, 64, 3), 0.5))) == "nothing"


def test_the_pictures_are_drawn(pairs, tmp_path):
    tasks, results = drawn()
    draw_sizes({"one": results, "two": results}, tasks, tmp_path / "new" / "sizes.png")
    draw_few_steps({"one": results}, tasks, tmp_path / "few.png")
    draw_guidance({"one": pairs}, tasks, tmp_path / "guidance.png")
    for name in ("new/sizes.png", "few.png", "guidance.png"):
        with PilImage.open(tmp_path / name) as picture:
            assert len(picture.getcolors(maxcolors=10**7)) > 1000
