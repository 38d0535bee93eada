"""The table, the means and the Pareto front."""

from __future__ import annotations

import csv
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib_fewstep.compare.outcome import Outcome
from lib_fewstep.compare.settings import Cell
from lib_fewstep.compare.table import COLUMNS, mean_curves, pareto, references, tabulate, write_csv


def flat(level, size=(8, 8)):
    return Image.new("RGB", size, (level,) * 3)


def outcome(level=None, steps=4, seed=1, reference=False, cell=(), **more):
    cell = Cell(
        **{"prompt": "p", "method": "None", "sampler": "Euler", "cfg": 7.0, **dict(cell)},
        seed=seed,
        steps=steps,
        reference=reference,
    )
    if level is None:
        return Outcome(cell, **more)
    return Outcome(cell, flat(level), **{"evaluations": steps, "seconds": steps / 10, **more})


def reference(level=0, seed=1, **more):
    return outcome(level, 50, seed, reference=True, **more)


def db(offset):
    return 20 * math.log10(255 / offset)


def test_a_row_for_each_outcome_in_order():
    made = [reference(), outcome(51, steps=8), outcome(10, steps=1), outcome(error="out of memory", steps=2)]
    frame = tabulate(made)
    assert list(frame.columns) == list(COLUMNS)
    assert frame["steps"].tolist() == [50, 8, 1, 2]
    assert frame["reference"].tolist() == [True, False, False, False]
    assert frame["evaluations"].tolist() == [50, 8, 1, pd.NA]
    assert frame["seconds"].tolist()[:3] == [5, 0.8, 0.1]
    assert frame["psnr"].tolist()[1:3] == pytest.approx([db(51), db(10)])
    assert frame["psnr"].isna().tolist() == frame["ssim"].isna().tolist() == [True, False, False, True]
    assert frame["error"].tolist() == ["", "", "", "out of memory"]
    assert frame.iloc[1][["prompt", "seed", "method", "sampler", "cfg"]].tolist() == ["p", 1, "None", "Euler", 7]


def test_measured_against_the_reference_of_the_same_prompt_seed_and_cfg():
    others = [outcome(100), outcome(100, seed=2), outcome(100, cell={"cfg": 1.0}), outcome(100, cell={"prompt": "q"})]
    made = [
        *others,
        reference(90),
        reference(80, seed=2),
        reference(70, cell={"cfg": 1.0, "method": "HiDiffusion"}),
        reference(60, cell={"prompt": "q"}),
    ]
    assert tabulate(made)["psnr"].tolist()[:4] == pytest.approx([db(10), db(20), db(30), db(40)])
    assert len(references(made)) == 4


def test_without_the_image_of_its_reference():
    frame = tabulate([outcome(10), outcome(10, seed=2), outcome(50, 50, reference=True, seed=2), reference(None)])
    assert frame["psnr"].isna().tolist() == [True, False, True, True]
    assert references([reference(None)]) == {}


def test_equal_to_the_reference():
    frame = tabulate([reference(5), outcome(5)])
    assert frame["psnr"][1] == math.inf
    assert frame["ssim"][1] == 1


def test_an_image_that_cannot_be_compared_says_why():
    odd = outcome(5)
    odd.image = flat(5, (8, 9))
    frame = tabulate([reference(5), odd])
    assert "8 x 9 and 8 x 8" in frame["error"][1]
    assert math.isnan(frame["psnr"][1])
    assert len(mean_curves(frame)) == 0


def test_details_follow_in_order_and_give_way_to_columns():
    made = [outcome(1, details={"host": "a", "psnr": -1, "steps": -1}), outcome(2, details={"peak": 5, "host": "b"})]
    frame = tabulate(made)
    assert list(frame.columns) == [*COLUMNS, "host", "peak"]
    assert frame["host"].tolist() == ["a", "b"]
    assert frame["steps"].tolist() == [4, 4]
    assert math.isnan(frame["psnr"][0])


def test_whole_numbers_stay_whole_where_a_cell_has_failed(tmp_path):
    said = {"width": 64, "share": 1.5, "mixed": 1, "none": None, "on": True, "huge": 10**30}
    made = [outcome(1, details=said), outcome(error="lost"), outcome(2, details={**said, "mixed": 2.5})]
    frame = tabulate(made)
    assert frame["width"].tolist() == [64, pd.NA, 64]
    assert frame["share"].dropna().tolist() == [1.5, 1.5]
    assert frame["mixed"].dropna().tolist() == [1, 2.5]
    assert frame["huge"].dropna().tolist() == [10**30] * 2
    write_csv(frame, tmp_path / "table.csv")
    back = pd.read_csv(tmp_path / "table.csv", dtype=str, keep_default_na=False)
    assert back["width"].tolist() == ["64", "", "64"]
    assert back["none"].tolist() == ["", "", ""]
    assert back["on"].tolist() == ["True", "", "True"]


def test_texts_are_read_back_as_they_were(tmp_path):
    texts = ["=1+1", "+a", "-a cat", "@a", "\tcat", "\rcat", "'quoted", "a \ud800 \0 cat"]
    path = tmp_path / "table.csv"
    write_csv(tabulate([outcome(1, cell={"prompt": text}) for text in texts]), path)
    with path.open(newline="", encoding="utf-8") as file:
        back = [row["prompt"] for row in csv.DictReader(file)]
    assert back == [*texts[:-1], "a \\ud800 \\x00 cat"]
    assert pd.read_csv(path)["prompt"].tolist() == back


def test_no_outcomes():
    frame = tabulate([])
    assert list(frame.columns) == list(COLUMNS)
    assert mean_curves(frame).empty


def test_means_over_prompts_and_seeds():
    made = [
        *(reference(0, seed) for seed in (1, 2)),
        outcome(51, seed=1, seconds=1.0),
        outcome(5, seed=2, seconds=2.0),
        outcome(5, seed=1, steps=8, seconds=3.0),
        outcome(seed=2, steps=8, error="not run"),
        outcome(5, seed=1, cell={"method": "HiDiffusion"}, seconds=4.0),
    ]
    curves = mean_curves(tabulate(made))
    assert curves[["method", "sampler", "cfg", "steps", "evaluations", "seconds", "images"]].to_numpy().tolist() == [
        ["None", "Euler", 7, 4, 4, 1.5, 2],
        ["None", "Euler", 7, 8, 8, 3, 1],
        ["HiDiffusion", "Euler", 7, 4, 4, 4, 1],
    ]
    assert curves["psnr"].tolist() == pytest.approx([(db(51) + db(5)) / 2, db(5), db(5)])


def test_a_mean_with_an_equal_image_is_infinite():
    made = [reference(0, 1), reference(0, 2), outcome(0, seed=1), outcome(51, seed=2)]
    curves = mean_curves(tabulate(made))
    assert curves["psnr"].tolist() == [math.inf]
    assert curves["ssim"][0] < 1


def test_means_without_a_reference_are_of_the_cost_alone():
    curves = mean_curves(tabulate([outcome(5, seed=1), outcome(5, seed=2, evaluations=None)]))
    assert curves["images"].tolist() == [0]
    assert curves["evaluations"].tolist() == [4]
    assert math.isnan(curves["psnr"][0])


def test_pareto_front():
    cost, quality = [1, 2, 2, 3, 3, 4, 1], [10, 20, 15, 20, 30, 30, 10]
    assert pareto(cost, quality) == [True, True, False, False, True, False, True]


numbers = st.one_of(st.integers(0, 5).map(float), st.sampled_from([math.inf, -math.inf, math.nan]))


@given(st.lists(st.tuples(numbers, numbers), max_size=12))
def test_pareto_front_is_what_no_point_beats(points):
    def beats(one, other):
        return one[0] <= other[0] and one[1] >= other[1] and (one[0] < other[0] or one[1] > other[1])

    expected = [
        not any(math.isnan(value) for value in point) and not any(beats(other, point) for other in points)
        for point in points
    ]
    assert pareto([cost for cost, _ in points], [quality for _, quality in points]) == expected


def test_pareto_needs_as_many_of_both():
    with pytest.raises(ValueError, match="1 costs and 2 qualities"):
        pareto([1], [1, 2])


def test_csv(tmp_path):
    made = [reference(0), outcome(51, cell={"prompt": "p"}), outcome(cell={"prompt": 'é, "\n'}, error="lost")]
    path = tmp_path / "new" / "folder" / "table.csv"
    write_csv(tabulate(made), path)
    lines = path.read_bytes().decode("utf-8").splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[1].startswith("p,1,None,Euler,7.0,50,True,50,5.0,,,")
    back = pd.read_csv(path, keep_default_na=False)
    assert back["prompt"].tolist() == ["p", "p", 'é, "\n']
    assert back["evaluations"].tolist() == ["50", "4", ""]
    assert float(back["psnr"][1]) == pytest.approx(db(51))
