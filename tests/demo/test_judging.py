"""The judge's own error, as `python -m demo.judging` counts it."""

from __future__ import annotations

import numpy as np
import pytest

from demo import judging
from demo.pictures.scenes import draw, random_scene


@pytest.mark.parametrize("through_autoencoder", [False, True])
def test_few_of_the_drawn_pictures_are_judged_wrongly(through_autoencoder):
    assert judging.accepted(128, 25, through_autoencoder=through_autoencoder) >= 24


@pytest.mark.parametrize("fault", list(judging.FAULTS))
def test_few_faults_pass(fault):
    assert judging.accepted(128, 25, judging.FAULTS[fault], through_autoencoder=False) <= 1


def test_every_fault_changes_the_picture():
    scene = random_scene(np.random.default_rng(0))
    for drawn in judging.FAULTS.values():
        assert np.abs(drawn(scene, 128) - draw(scene)).max() > 0.2


def test_a_judge_who_sees_nothing_is_always_wrong(monkeypatch, capsys):
    monkeypatch.setattr(judging, "judge", lambda picture: [])
    monkeypatch.setattr("sys.argv", ["judging", "--pictures", "2"])
    assert judging.main() == 0
    said = capsys.readouterr().out
    assert said.count(": 2 of 2 (34.2% to 100.0%) refused") == 4
    assert said.count(": 0 of 2 (0.0% to 65.8%) accepted") == 4 * len(judging.FAULTS)
