"""The judge's own error, as `python -m demo.judging` counts it."""

from __future__ import annotations

import pytest

from demo import judging


@pytest.mark.parametrize("through_autoencoder", [False, True])
def test_few_of_the_drawn_pictures_are_judged_wrongly(through_autoencoder):
    assert judging.wrong_judgements(128, 25, through_autoencoder=through_autoencoder) <= 1


def test_a_judge_who_sees_nothing_is_always_wrong(monkeypatch, capsys):
    monkeypatch.setattr(judging, "judge", lambda picture: [])
    monkeypatch.setattr("sys.argv", ["judging", "--pictures", "2"])
    assert judging.main() == 0
    assert capsys.readouterr().out.count(": 2 of 2 wrong, 34.2% to 100.0%") == 4
