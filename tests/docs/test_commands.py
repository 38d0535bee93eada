"""Every command of the documents: targets and variables of make, and the programs behind them."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lib_fewstep.compare import __main__ as compare
from lib_fewstep.compare.servers.plan import read_plan
from tests.compare.servers.fake_webui import webuis
from tests.compare.servers.test_command import table
from tests.docs.pages import PAGES, ROOT, blocks, commands, read, spans

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = {name for names in re.findall(r"^([a-z][\w -]*):(?!=)", MAKEFILE, re.MULTILINE) for name in names.split()}
VARIABLES = set(re.findall(r"\$\((\w+)\)", MAKEFILE))
EVERY = dict.fromkeys(line for page in PAGES for line in commands(read(page)) if not line.startswith("[Few-Step]"))
MADE = dict.fromkeys(line for line in EVERY if line.startswith("make "))
OTHERS = ("ruff", "mypy", "pytest", "mutmut", "pip", "uv", "venv")
"""Programs of others, whose arguments `make lint test` itself proves."""

SMALLEST = {
    "demo.training.autoencoder": ["--steps", "1", "--pictures", "4", "--states", "{}"],
}
"""What makes a program end within seconds; the benchmark, of full-size models, runs in tests/bench."""


ENVIRONMENT = {**os.environ, "PYTHON": sys.executable, "HOST_PYTHON": sys.executable}
"""Without them, make starts every Python that it knows at every mention, where a line does not name one."""


class AcceptedError(Exception):
    """The arguments are what the program takes."""


def planned(line):
    """What make would do for a line of the documents, which gives it the variables that it tests for."""
    words = shlex.split(line)[1:]
    assert {word for word in words if "=" not in word and not word.startswith("-j")} <= TARGETS, line
    assert {word.split("=")[0] for word in words if "=" in word} <= VARIABLES, line
    run = subprocess.run(["make", "-n", *words], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert '-n ""' not in run.stdout, f"{line} leaves a variable out"
    return run.stdout.replace("\\\n", " ").splitlines()


def programs(lines):
    """The modules that lines of a shell run, with their arguments."""
    for line in lines:
        found = re.search(r"(?:^|\s)(?:\S*/)?python\S* -m (\S+)(.*)$", line)
        if found and found[1] not in OTHERS:
            yield found[1], shlex.split(re.split(r" && | \|\| | > ", found[2])[0])


@pytest.mark.parametrize("line", MADE)
def test_make_knows_it(line):
    assert planned(line)


def test_every_other_command_is_proven_elsewhere():
    """curl in test_requests.py, converting in tests/models, the comparison below, pip by the requirements."""
    starts = {" ".join(line.split()[:3]) for line in EVERY if line not in MADE}
    known = re.compile(
        r"curl|(\.venv/bin/)?python -m (lib_fewstep\.(compare|models\.convert)|tools\.\w+|demo\.install)"
        r"|pip install|git (clone|switch)"
    )
    assert {start for start in starts if not known.match(start)} == set()


def test_what_pip_is_asked_for_is_what_is_pinned():
    everywhere = [*EVERY, *(span for page in PAGES for span in spans(read(page)))]
    asked = {words for line in everywhere for words in re.findall(r"^pip install (.+)$", line)}
    pins = read(ROOT / "requirements-cluster.txt").splitlines()
    assert asked
    for words in asked:
        named = words.removeprefix("-r ")
        assert (ROOT / named).is_file() if named != words else named in pins, words
    torch = r"torch==[\d.]*\d"
    assert {found for line in everywhere for found in re.findall(torch, line)} == set(re.findall(torch, MAKEFILE))


def documented_programs():
    """Every program of this project that the documents run, directly or by make."""
    lines = [*(span for page in PAGES for span in spans(read(page)) if "python -m " in span), *EVERY]
    return dict.fromkeys((name, tuple(words)) for name, words in programs([*lines, *_recipes()]))


def _recipes():
    """The Makefile's own lines, those of `make -n` for every target that the documents name."""
    named = {word for line in MADE for word in line.split() if word in TARGETS}
    given = [
        "WEBUI_URL=http://127.0.0.1:7860",
        "SECOND_URL=http://127.0.0.1:7861",
        "SECOND_PID=4321",
        "WEBUI_DIR=/webui",
    ]
    return [planned_line for target in sorted(named) for planned_line in planned(shlex.join(["make", target, *given]))]


@pytest.mark.parametrize(("name", "words"), documented_programs())
def test_the_program_takes_its_arguments(name, words, monkeypatch):
    """A program that is named without any is only to be there."""
    package = ROOT / name.replace(".", "/")
    module = importlib.import_module(f"{name}.__main__" if package.is_dir() else name)
    read_arguments = argparse.ArgumentParser.parse_args

    def accept(parser, *arguments):
        read_arguments(parser, *arguments)
        raise AcceptedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", accept)
    monkeypatch.setattr(sys, "argv", [name, *words])
    if words:
        with pytest.raises(AcceptedError):
            module.main()


@pytest.mark.parametrize("name", SMALLEST)
def test_the_program_runs(name, tmp_path):
    words = [word.format(tmp_path) for word in SMALLEST[name]]
    run = subprocess.run(
        [sys.executable, "-m", name, *words], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.iterdir())


def examples():
    """The comparison's file, and the command that reads it."""
    (config,) = (block.text for page in PAGES for block in blocks(read(page)) if block.language == "yaml")
    (line,) = {line for line in EVERY if line.startswith("python -m lib_fewstep.compare ")}
    return config, line


def test_the_comparisons_file_is_accepted(tmp_path):
    (tmp_path / "comparison.yaml").write_text(examples()[0])
    plan = read_plan(tmp_path / "comparison.yaml")
    assert len(plan.cells) == 4 * 2 * (1 + 3 * 3)


def test_the_comparisons_command_runs(tmp_path, monkeypatch, capsys):
    """On servers of the tests: as it is written, with their addresses and a prompt, size and seed of one image."""
    config, line = examples()
    values = yaml.safe_load(config)
    values |= {"seeds": 1, "cfg": values["cfg"][:1], "samplers": ["Euler"], "steps": values["steps"][:1]}
    values["request"] |= {"width": 32, "height": 32}
    (tmp_path / "comparison.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    with webuis(None, None) as servers:
        words = line.split()[3:]
        places = [index + 1 for index, word in enumerate(words) if word == "--server"]
        assert len(places) == len(servers)
        for place, server in zip(places, servers, strict=True):
            words[place] = server.address
        monkeypatch.setattr(sys, "argv", ["compare", *words])
        assert compare.main() == 0, capsys.readouterr().err
    assert [row["error"] for row in table(Path("comparison"))] == ["", ""]
