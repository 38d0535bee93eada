"""`python -m demo` as a whole, with few ways and steps."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pandas as pd
import pytest
from PIL import Image

from demo import __main__ as command
from demo.compare import loaded
from demo.edit import SHORT_WAYS, WAYS, Edited
from demo.few_step import SETTINGS
from demo.model.layouts import LAYOUTS, Layout
from demo.ways import FEW_STEPS, GUIDED, SIZES, WITHOUT_LORA

PICTURES = {"comparison.png", "few_steps.png", "guidance.png", "edit.png", "curves.png", "grid.png"}


@pytest.fixture
def called(monkeypatch, tmp_path):
    """The command with two steps for each way; its exit status."""

    def short(ways):
        return tuple(replace(way, steps=2) for way in ways)

    monkeypatch.setattr(command, "SIZES", short(SIZES[:2]))
    monkeypatch.setattr(command, "FEW_STEPS", short(FEW_STEPS))
    monkeypatch.setattr(command, "WITHOUT_LORA", short(WITHOUT_LORA[:1]))
    monkeypatch.setattr(command, "GUIDED", short(GUIDED[4:]))
    monkeypatch.setattr(command, "BURNING_STEPS", (2,))
    monkeypatch.setattr(command, "SHORT_WAYS", command.SHORT_WAYS[3:4])
    monkeypatch.setattr(command, "SETTINGS", replace(SETTINGS, cfg=(4.0,), steps=(1, 2), reference_steps=2))
    monkeypatch.setattr(sys, "argv", ["demo", "--images", "1", "--out", str(tmp_path / "out")])
    return command.main


def test_everything_is_in_the_folder(called, tmp_path, capsys):
    assert called() == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == PICTURES | {"report.json", "samplers.csv"}
    for name in PICTURES:
        with Image.open(tmp_path / "out" / name) as picture:
            assert len(picture.getcolors(maxcolors=10**7)) > 100
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["images"], report["seed"]) == (1, 0)
    assert all(set(report[name]) == {"ways", "pairs", "edits"} for name in LAYOUTS)
    assert pd.read_csv(tmp_path / "out" / "samplers.csv")["error"].isna().all()
    assert "figures and pictures" in capsys.readouterr().out


def test_a_missing_checkpoint_is_a_sentence(called, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Layout, "path", tmp_path / "none.safetensors")
    monkeypatch.setattr("demo.compare.loaded", loaded.__wrapped__)
    assert called() == 1
    assert "make train" in capsys.readouterr().err


def test_a_file_in_the_folders_place_is_said_at_once(monkeypatch, tmp_path, capsys):
    place = tmp_path / "taken"
    place.touch()
    monkeypatch.setattr(sys, "argv", ["demo", "--out", str(place)])
    assert command.main() == 1
    assert "taken" in capsys.readouterr().err


def test_a_negative_seed_is_a_usage_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["demo", "--seed", "-1"])
    with pytest.raises(SystemExit):
        command.main()
    assert "'-1' is not a whole number of at least 0" in capsys.readouterr().err


def test_edits_are_drawn_in_the_order_of_the_demo(monkeypatch, tmp_path):
    drawn = {}
    monkeypatch.setattr(command, "draw_edits", lambda edited, edits, path: drawn.update(edited))
    for name in ("draw_sizes", "draw_few_steps", "draw_guidance"):
        monkeypatch.setattr(command, name, lambda *_: None)
    counted = command.Counted([], [], [], [Edited(way) for way in WAYS])
    command.draw({"sd15": counted}, [], [], tmp_path)
    assert [one.way for one in drawn[LAYOUTS["sd15"].title]] == list(SHORT_WAYS)
