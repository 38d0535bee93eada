"""The count of right pictures of a v-prediction checkpoint: every way goes through the extension's library."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from demo import v_prediction
from demo.model import checkpoint
from demo.model.layouts import LAYOUTS
from demo.training.v_prediction import MARKS, file_in

SD15 = LAYOUTS["sd15"]


@pytest.fixture
def folder(tmp_path, model):
    """Has a file that says it predicts v; its weights predict noise."""
    checkpoint.save(model, file_in(tmp_path, SD15), {}, MARKS)
    return tmp_path


@pytest.fixture
def ways(folder):
    return {one.way.key: one for one in v_prediction.compared(SD15, file_in(folder, SD15))}


def test_each_way_is_sampled_as_its_title_says(ways):
    found = {key: (one.plan.name, round(float(one.plan.sigmas[-1]), 1)) for key, one in ways.items()}
    assert found == {
        "noise": ("noise", 14.6),
        "v": ("v", 4518.8),
        "v_not_from_noise": ("v", 14.6),
        "v_as_noise": ("noise", 4518.8),
        "v_as_neither": ("noise", 14.6),
    }


def test_the_command(folder, monkeypatch, capsys):
    words = ["sd15", "--images", "1", "--trained", str(folder), "--out", str(folder / "new")]
    monkeypatch.setattr(sys, "argv", ["v_prediction", *words])
    assert v_prediction.main() == 0
    said = capsys.readouterr().out
    assert 'v, as the file says: v prediction (the file says "v_pred"), zero terminal SNR' in said
    report = json.loads((folder / "new" / "sd15.json").read_text())
    assert (report["noise"]["right"], report["v_as_noise"]["right"]) == (1, 0)
    assert set(report["brightness"]) == {"drawn", *(one.way.key for one in v_prediction.compared(SD15, folder))}
    assert (folder / "new" / "sd15.png").is_file()


def test_a_missing_file_names_the_command_that_trains_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["v_prediction", "sdxl", "--trained", str(tmp_path)])
    assert v_prediction.main() == 1
    assert "python -m demo.training.v_prediction sdxl" in capsys.readouterr().err


def test_brightness():
    """Worked out by hand."""
    black, white = torch.zeros(4, 4, 3).numpy(), torch.ones(4, 4, 3).numpy()
    assert v_prediction.brightness([black, white, (black + white) / 2]) == [0, 1, 0.5]
