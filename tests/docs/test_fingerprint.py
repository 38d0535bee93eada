"""The command that compares hashes of generations, on a few that are made up."""

from __future__ import annotations

import json
import sys
from functools import partial

import pytest
import torch

from tools.fingerprint import __main__ as command
from tools.fingerprint.table import digest, table_of

IMAGE = torch.arange(6.0).reshape(1, 2, 3)
BEFORE = {"Euler": IMAGE, "TCD": {"latents": IMAGE, "infotexts": ["a cat"]}, "a page": ["Enable", 0.5]}


def broken():
    raise ArithmeticError("out of numbers")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A function that gives the exit status and the lines of the command for {name: content, or what makes it}."""

    def run(contents, *options):
        generations = [
            (name, each if callable(each) else partial(dict, content=each)) for name, each in contents.items()
        ]
        monkeypatch.setattr(command, "all_generations", lambda: generations)
        monkeypatch.setattr(command.torch, "set_num_threads", lambda number: None)
        monkeypatch.setattr(command.logging, "disable", lambda: None)
        monkeypatch.setattr(sys, "argv", ["fingerprint", str(tmp_path / "hashes.json"), *options])
        status = command.main()
        return status, capsys.readouterr().out.splitlines()

    return run


def test_equal_generations_are_equal(run, tmp_path):
    status, (line,) = run(BEFORE)
    assert status == 0
    assert line.startswith("0 of 3 generations have failed (")
    assert list(json.loads((tmp_path / "hashes.json").read_text())) == list(BEFORE)
    status, (line,) = run(dict(reversed(BEFORE.items())), "--compare")
    assert status == 0
    assert line.startswith("0 of 3 generations are not as before (")


def test_what_differs_is_missing_or_new_is_named(run):
    run(BEFORE)
    after = {"Euler": IMAGE.nextafter(torch.tensor(9.0)), "a page": ["Enable", 0.5], "SA-Solver": IMAGE}
    status, lines = run(after, "--compare")
    assert status == 1
    assert lines[:-1] == ["differs: Euler", "missing: TCD", "new: SA-Solver"]
    assert lines[-1].startswith("3 of 3 generations are not as before")


def test_a_generation_that_fails_is_named(run):
    status, lines = run(BEFORE | {"TCD": broken})
    assert (status, lines[0]) == (1, "TCD has failed: ArithmeticError: out of numbers")
    run(BEFORE)
    status, lines = run(BEFORE | {"TCD": broken}, "--compare")
    assert (status, lines[0]) == (1, "differs: TCD (failed: ArithmeticError: out of numbers)")


def test_a_name_stands_for_one_generation():
    with pytest.raises(ValueError, match="two generations are called 'Euler'"):
        table_of([("Euler", list), ("Euler", list)])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (IMAGE, IMAGE.reshape(1, 3, 2)),
        (IMAGE, IMAGE.double()),
        (torch.zeros(1), -torch.zeros(1)),
        (["ab", "c"], ["a", "bc"]),
        (["a", ["b"]], ["a", "b"]),
        ([[], "a"], [["a"]]),
        ({"a": 1}, {"a": 1.0}),
        ({"a": None}, {"a": "None"}),
        (True, 1),
    ],
)
def test_what_differs_has_another_hash(one, other):
    assert digest(one) == digest(one)
    assert digest(one) != digest(other)


def test_what_has_no_bytes_of_its_own_has_no_hash():
    with pytest.raises(TypeError, match="object has no hash"):
        digest([object()])
