"""The table of `make mutants`, from lines as mutmut prints them."""

from __future__ import annotations

import io
import sys

import pytest

from tools import mutants

LINES = """
    lib_fewstep.unet.scaler.x_run__mutmut_1: killed
    lib_fewstep.unet.scaler.xǁScalerǁ__call____mutmut_2: survived
    lib_fewstep.unet.swapper.x_put__mutmut_1: timeout
    lib_fewstep.highres.skips.x_scalings__mutmut_1: no tests
    lib_fewstep.highres.skips.x_scalings__mutmut_2: killed
"""


def printed(monkeypatch, capsys, lines, goal):
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    monkeypatch.setattr(sys, "argv", ["mutants", "--goal", str(goal)])
    mutants.main()
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_noticed_is_what_a_test_or_the_clock_has_ended(monkeypatch, capsys):
    rows = printed(monkeypatch, capsys, LINES, 0.5)
    assert ["lib_fewstep.unet.scaler", "2", "1", "50%"] in rows
    assert ["lib_fewstep.unet", "3", "2", "66.7%"] in rows
    assert ["lib_fewstep.highres", "2", "1", "50.0%"] in rows


CASES = [
    (LINES, 0.51, "fewer than 51%"),
    ("", 0.5, "no results of lib_fewstep.highres, lib_fewstep.unet"),
    (LINES.replace("highres", "unet"), 0.5, "no results of lib_fewstep.highres"),
]


@pytest.mark.parametrize(("lines", "goal", "words"), CASES)
def test_what_falls_short_ends_with_an_error(monkeypatch, capsys, lines, goal, words):
    with pytest.raises(SystemExit, match=words):
        printed(monkeypatch, capsys, lines, goal)
