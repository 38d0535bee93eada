"""The measurement at twice the trained size: each way sets what its title says."""

from __future__ import annotations

import json
import sys

import torch

from demo import larger
from demo.compare import loaded, shifted
from demo.model.layouts import LAYOUTS
from demo.sampling.denoiser import training_sigmas
from demo.sampling.generate import generate


def test_what_is_set_is_what_the_title_says():
    ways = {way.title: way for pair in larger.ways(sized=True) for way in pair}
    assert {title: (way.shift, way.told) for title, way in ways.items() if "HiDiffusion" not in title} == {
        "2x, plain": (1, None),
        "2x, plain, noise times 2": (2, None),
        "2x, plain, as trained": (1, larger.NATIVE),
        "2x, plain, noise times 2, as trained": (2, larger.NATIVE),
    }
    assert len(ways) == 8
    assert all((way.method is None) == ("plain" in title) for title, way in ways.items())
    assert all(way.told is None for pair in larger.ways(sized=False) for way in pair)


def test_shifted_noise_levels(model):
    torch.testing.assert_close(shifted(model, 2.0).sigmas.double(), 2 * training_sigmas(), rtol=1e-5, atol=1e-6)


def test_what_sdxl_is_told_changes_its_pictures_alone():
    for layout in LAYOUTS.values():
        made = [
            generate(loaded(layout), ["a red star"], [1], (64, 64), steps=2, told=told).latents
            for told in (None, (64, 64), larger.NATIVE)
        ]
        assert torch.equal(made[0], made[1])
        assert torch.equal(made[0], made[2]) != layout.sized


def test_the_command(monkeypatch, tmp_path, capsys):
    compared = larger.ways(sized=False)[-1:]
    monkeypatch.setattr(larger, "ways", lambda sized: compared)
    monkeypatch.setattr(sys, "argv", ["larger", "sd15", "--images", "1", "--out", str(tmp_path)])
    assert larger.main() == 0
    assert "2x, HiDiffusion, noise times 2 - 2x, HiDiffusion" in capsys.readouterr().out
    found = json.loads((tmp_path / "sd15.json").read_text())
    assert set(found) == {"hidiffusion_2x", "hidiffusion_2x_noise", "differences"}
