"""What is left of a prior in images: whose priors they are, and where the runs start."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
import torch

from demo import prior
from demo.model.layouts import LAYOUTS
from demo.pictures.scenes import Scene, draw
from demo.sampling.generate import decoded, encoded


def test_the_subject_is_the_drawn_house(model):
    """The prior has no deviation, so it decodes to the picture."""
    found = prior.subject(model)
    assert torch.equal(found.std, torch.zeros(4))
    (picture,) = decoded(model, found.mean[None])
    assert prior.overlap(picture.clip(0, 1)) > 0.9
    assert prior.overlap(draw(Scene("house", "red", width=0.4, offset_x=-0.2))) < 0.5


@pytest.mark.parametrize("brightness", [-1.0, 0.0, 1.0])
def test_a_brightness_is_that_of_a_plain_picture(model, brightness):
    """The offset from medium grey leads to what the autoencoder makes of the picture."""
    levels = (1 + brightness) / 2, 0.5
    whole, grey = encoded(model, np.stack([np.full((64, 64, 3), level, np.float32) for level in levels]))
    moved = grey.mean(dim=(1, 2)) + prior.plain(model, brightness).mean
    both = decoded(model, torch.stack([moved[:, None, None].expand_as(whole), whole]))
    assert abs(both[0].mean() - both[1].mean()) < 0.03


def test_the_command(monkeypatch, capsys):
    """With hardly any noise the picture is the prior's."""
    monkeypatch.setattr(prior, "STEPS", (2,))
    monkeypatch.setattr(prior, "SHARES", (0.1,))
    monkeypatch.setattr(sys, "argv", ["prior", "sd15", "--images", "1"])
    assert prior.main() == 0
    found = re.search(r"2 steps, share 0\.1, the subject: (\d+)%", capsys.readouterr().out)
    assert int(found[1]) > 90


def test_each_line_comes_as_soon_as_it_is_measured(monkeypatch):
    """Of the first prior, before the pictures of the next are made."""
    made = []
    monkeypatch.setattr(prior, "pictures", lambda *given: made.append(given) or [draw(prior.SUBJECT)])
    lines = prior.table(LAYOUTS["sd15"], 1)
    counts = [len(made) for _, _ in zip(range(3), lines, strict=False)]
    assert counts == [0, 1, 2]


def test_pictures_are_of_their_own_seeds(model):
    made = list(prior.pictures(LAYOUTS["sd15"], 2, 2, prior.subject(model), 0.8))
    assert np.abs(made[0] - made[1]).max() > 0.1
