"""The record's line in the infotext, and reading it back."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_fewstep.compare.record import COLUMNS, Record, append, cost_from
from lib_fewstep.options import SettingError


def record(**changes):
    return Record(**{**dict.fromkeys(COLUMNS, 0), "evaluations": 8, **changes})


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        (1.92, "8 evals, 1.92 s"),
        (1.0, "8 evals, 1.00 s"),
        (123.456, "8 evals, 123.46 s"),
        (0.9999, "8 evals, 1.000 s"),
        (0.192, "8 evals, 0.192 s"),
        (0.1, "8 evals, 0.100 s"),
        (0.0213, "8 evals, 0.0213 s"),
        (0.0000123, "8 evals, 0.0000123 s"),
        (0.0, "8 evals, 0.00 s"),
        (0, "8 evals, 0.00 s"),
    ],
)
def test_the_line_has_two_decimals_and_below_a_second_three_digits(seconds, line):
    assert record(seconds=seconds).short == line


@given(st.integers(0, 10**9 - 1), st.one_of(st.floats(0, 1), st.floats(0, 1e9 - 1)))
def test_the_line_is_read_back(evaluations, seconds):
    line = record(evaluations=evaluations, seconds=seconds).short
    assert "e-" not in line
    assert cost_from(line) == (evaluations, pytest.approx(seconds, rel=0.005, abs=0))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "8 evals",
        "8 evals, 1e-3 s",
        "8 evals, .5 s",
        "-8 evals, 1.92 s",
        "8 evals, nan s",
        "\u0668 evals, 1.92 s",
        "1000000000 evals, 1.92 s",
        "8 evals, 1000000000.00 s",
        "1" * 5000 + " evals, 1.92 s",
    ],
)
def test_another_line_is_refused(line):
    with pytest.raises(SettingError, match=r"Few-Step cost = .* must be like '8 evals, 1\.92 s'") as refusal:
        cost_from(line)
    assert len(str(refusal.value)) < 200


def test_a_model_whose_file_name_is_no_utf_8_is_written(tmp_path):
    path = tmp_path / "record.csv"
    append([record(model="mod\udce9le")], path)
    with path.open(encoding="utf-8", newline="") as file:
        assert [row["model"] for row in csv.DictReader(file)] == ["mod\\udce9le"]


@pytest.mark.parametrize("model", ["model", 'a, "b"', "模型"])
def test_a_row_that_was_cut_off_takes_no_other_along(tmp_path, model):
    """Wherever it was cut: in a number, in a quoted text, in a character, in the end of the line."""
    path, whole = tmp_path / "record.csv", record(model=model, seed=7)
    append([whole], path)
    once = path.read_bytes()
    head = once.index(b"\n") + 1
    for length in range(head + 1, len(once)):
        path.write_bytes(once[:length])
        append([whole], path)
        append([whole], path)
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [found["model"] for found in rows[1:]] == [model, model]
        assert [found["seed"] for found in rows[1:]] == ["7", "7"]
