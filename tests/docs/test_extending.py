"""The recipes of docs/extending.md, followed on a copy of the project."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from tests.docs.pages import ROOT, blocks, read

SAMPLER, METHOD = read(ROOT / "docs/extending.md").split("\n## Add ")[1:]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "out", ".[pr]*_cache", ".hypothesis", "__pycache__")
"""The cache of mypy is copied: it saves a minute."""
IN_THE_WEBUI = '''
import json
from pathlib import Path

from tests.webui import standin
from tests.webui.exact import made


def test_it_is_in_the_webui():
    """A request names it, the infotext says it, and pasting finds it."""
    request, said, pasted = json.loads(Path("request.json").read_text())
    with standin.webui("sd1") as host:
        result = made(host, **request)
        assert said in result.infotexts[0]
        assert pasted.items() <= host.paste("txt2img", result.infotexts[0]).items()
        assert len(host.probe.calls) == 4
'''


@dataclass
class Copy:
    """A copy of the project in a folder, and the files of it that a recipe has made or changed."""

    folder: str
    made: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def run(self, *command):
        """A module of Python's, which must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def followed(recipe, folder):
    """A copy of the project with everything done that a recipe asks for."""
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT, dirs_exist_ok=True)
    copy, path = Copy(folder), None
    for block in blocks(recipe):
        named = re.match(r"`([\w/]+\.py)`( \(new\))?", block.above)
        path = named[1] if named else path
        if block.language == "python":
            assert named, block.text
            assert named[2], path
            (folder / path).write_text(block.text, encoding="utf-8")
            copy.made.append(path)
        elif block.language == "diff":
            change(folder / path, block.text)
            copy.changed.append(path)
    copy.run("ruff", "check", *copy.made, *copy.changed)
    copy.run("ruff", "format", "--check", *copy.made, *copy.changed)
    return copy


def change(path, difference):
    """Apply a difference whose old lines stand in the file once."""
    lines = difference.splitlines()
    old, new = ("".join(f"{line[1:]}\n" for line in lines if line[0] != sign) for sign in "+-")
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} has not once, but {text.count(old)} times:\n{old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def check(copy, request, said, pasted, *tests):
    """Run the recipe's own tests, one in the WebUI's stand-in, and some of the project's, in the copy."""
    mine = "tests/webui/test_recipe.py"
    (copy.folder / mine).write_text(IN_THE_WEBUI)
    (copy.folder / "request.json").write_text(json.dumps([request, said, pasted]))
    own = [path for path in copy.made if "/test_" in path]
    copy.run("pytest", "-q", "-p", "no:cacheprovider", *own, mine, *tests)


def test_the_sampler(tmp_path):
    check(
        followed(SAMPLER, tmp_path),
        {"sampler_name": "dpmpp_2m_ancestral"},
        "Sampler: DPM++ 2M a, Schedule type: Automatic",
        {"Sampling method": "DPM++ 2M a"},
        *("tests/sampling/test_calls.py", "-k", "not cfgpp and not lcm and not tcd and not sa_solver"),
    )


def test_the_method(tmp_path):
    copy, settings = followed(METHOD, tmp_path), {"method": "Dilation", "preset": "Paper", "dilation_stop": 0.5}
    assert [path for path in copy.made if "/test_" not in path] == ["lib_fewstep/highres/methods/dilation.py"]
    assert set(copy.changed) == {"lib_fewstep/highres/methods/__init__.py"}
    copy.run("mypy", "lib_fewstep/highres")
    check(
        copy,
        {"alwayson_scripts": {"HiDiffusion": {"args": [settings]}}, "width": 64, "height": 64},
        "HiDiffusion method: Dilation, HiDiffusion preset: Manual, HiDiffusion dilation stop: 0.5",
        {"Method": "Dilation", "Dilation stop": 0.5},
        *("tests/highres/test_settings.py", "tests/highres/test_methods.py", "tests/test_rooms.py"),
    )


def test_the_row_fits_the_table():
    (row,) = (block.text for block in blocks(SAMPLER) if block.language == "markdown")
    (alike,) = (line for line in read(ROOT / "docs/settings.md").splitlines() if line.startswith("| SA-Solver |"))
    assert row.count("|") == alike.count("|")


@pytest.mark.parametrize("difference", ["-nowhere\n+here\n", " twice\n"])
def test_a_difference_that_does_not_fit_is_an_error(tmp_path, difference):
    (tmp_path / "code.py").write_text("twice\ntwice\n")
    with pytest.raises(AssertionError, match="times"):
        change(tmp_path / "code.py", difference)
