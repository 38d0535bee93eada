"""The first fifty generations of `make soak`, and what it says when something grows."""

from __future__ import annotations

import gc
import sys
from dataclasses import replace

import pytest

from tests import soak
from tests.soak import BrokenError, Held, grown, soaking, table

START = Held(100.0, 50, 20.0, 1000, 7, 0, 5, 2)


@pytest.fixture
def counted():
    """Everything, with what was there before the tests began."""
    gc.unfreeze()
    yield
    gc.collect()
    gc.freeze()


@pytest.mark.long
@pytest.mark.usefixtures("counted")
def test_fifty_generations_leave_nothing(monkeypatch):
    """What is resident is left out: so early it still follows the largest request so far."""
    lines = []
    monkeypatch.setattr(soak, "EVERY", 25)
    start, end, answers = soak.soak(seed=0, generations=50, warm=40, say=lines.append)
    assert grown(start, end, resident=False) == []
    assert answers[200] > 30
    assert answers[422] > 1
    assert answers[500] > 1
    assert [line.split()[:2] for line in lines] == [["25", "generations:"], ["50", "generations:"]]


@pytest.mark.parametrize("name", ["resident", "tensors", "tensor_memory", "objects"])
def test_memory_may_grow_by_one_percent(name):
    value = getattr(START, name)
    assert grown(START, replace(START, **{name: value * 1.009})) == []
    (said,) = grown(START, replace(START, **{name: value * 1.011}))
    assert said.startswith(f"{name} has grown from {value:.10g} to ")


@pytest.mark.parametrize("name", ["callbacks", "hooks", "open_files", "files"])
def test_nothing_else_may_grow(name):
    assert len(grown(START, replace(START, **{name: getattr(START, name) + 1}))) == 1
    assert f"{name.replace('_', ' '):16}" in table(START, START, 200, 2000)


def test_the_command_says_what_is_broken(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["soak", "--generations", "20"])
    for end, status, said in ((START, 0, "Nothing has grown."), (replace(START, files=9), 1, "files has grown from 2")):
        monkeypatch.setattr(soak, "soak", lambda *_, end=end: (START, end, {}))
        assert soak.main() == status
        assert said in capsys.readouterr().out


def test_what_a_generation_leaves_is_named(monkeypatch, capsys):
    with soaking(seed=0) as run:
        run.run(2)
        sys.modules["modules.script_callbacks"].on_cfg_denoiser(print)
        with pytest.raises(BrokenError, match="Generation 50 leaves other callbacks"):
            run.run(50)
        sys.modules["modules.script_callbacks"].remove_callbacks_for_function(print)
        run.unet.left = 1
        with pytest.raises(BrokenError, match="Generation 100 leaves the model changed"):
            run.run(100)
        del run.unet.left
        run.first = run.first + 1
        with pytest.raises(BrokenError, match="Generation 150, a plain image, is not the first one"):
            run.run(150)
