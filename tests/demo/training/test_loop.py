"""A training that is stopped and taken up again ends as one that was not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from demo.training import loop
from demo.training.loop import OldStateError, Plan, train

PLAN = Plan(steps=40, rate=1e-2, warm_up=5)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def lesson(networks, stop=None):
    """Learns the sum of three numbers; stops like Ctrl+C before a step."""

    def loss(step, rng):
        if step == stop:
            raise KeyboardInterrupt
        x = torch.from_numpy(rng.standard_normal((16, 3), dtype=np.float32))
        found = ((networks(x)[:, 0] - x.sum(dim=1)) ** 2).mean()
        return found, {"loss": found.item()}

    return loss


def weights(average):
    return torch.cat([weight.flatten() for weight in average.parameters()])


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY", 10)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("stop", [3, 10, 27])
def test_stopped_and_taken_up(tmp_path, stop):
    whole, first, second = network(), network(), network()
    expected = weights(train(whole, lesson(whole), PLAN, 1, tmp_path / "whole.pt"))
    with pytest.raises(KeyboardInterrupt):
        train(first, lesson(first, stop), PLAN, 1, tmp_path / "parts.pt")
    found = weights(train(second, lesson(second), PLAN, 1, tmp_path / "parts.pt"))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_finished_training_is_only_loaded(tmp_path):
    first, second = network(), network()
    expected = weights(train(first, lesson(first), PLAN, 1, tmp_path / "state.pt"))

    def none(step, rng):
        raise AssertionError((step, rng))

    found = weights(train(second, none, PLAN, 1, tmp_path / "state.pt"))
    assert torch.equal(found, expected)


def test_another_seed_is_another_training(tmp_path):
    ends = []
    for seed in (1, 2):
        networks = network()
        ends.append(weights(train(networks, lesson(networks), PLAN, seed, tmp_path / f"{seed}.pt")))
    assert not torch.equal(*ends)


def test_the_rate_rises_and_falls():
    plan = Plan(steps=1000, rate=1.0, warm_up=100)
    assert plan.rate_at(0) == pytest.approx(0.01)
    assert plan.rate_at(99) == pytest.approx(1, abs=0.03)
    assert plan.rate_at(500) == pytest.approx(0.5)
    assert plan.rate_at(999) < 1e-5


def test_a_state_of_another_plan_is_refused(tmp_path):
    first = network()
    train(first, lesson(first), PLAN, 1, tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"state\.pt is of another training .*delete it"):
        train(first, lesson(first), replace(PLAN, steps=50), 1, tmp_path / "state.pt")


def test_a_state_that_came_after_another_training_is_refused(tmp_path):
    first = network()
    train(first, lesson(first), PLAN, 1, tmp_path / "state.pt", since="one")
    train(first, lesson(first), PLAN, 1, tmp_path / "state.pt", since="one")
    with pytest.raises(OldStateError, match="came after another"):
        train(first, lesson(first), PLAN, 1, tmp_path / "state.pt", since="two")
