"""What the documents name in backticks exists: files, functions, samplers, settings, axes and presets."""

from __future__ import annotations

import ast
import builtins
import re
from functools import cache
from pathlib import Path

import pytest

from lib_fewstep import sampling
from lib_fewstep.highres import METHODS, HighResSettings
from lib_fewstep.options import options_of
from lib_fewstep.sampling.presets import PRESETS
from tests.docs.pages import PAGES, ROOT, blocks, name_of, prose, read, spans

CODE = ("lib_fewstep", "scripts", "demo", "bench", "tools", "tests")
FILES = [ROOT / "install.py", *(path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py")))]
METHODS_PAGE, ACCEPTANCE = (ROOT / "docs" / name for name in ("methods.md", "acceptance.md"))
each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@cache
def defined(path: Path) -> set[str]:
    """Functions and classes of a file, those in classes also as Class.name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
            found |= {f"{node.name}.{inner.target.id}" for inner in node.body if isinstance(inner, ast.AnnAssign)}
    return found


def new_here(page: Path) -> tuple[set[str], set[str]]:
    """Files and functions that a page's own code makes."""
    files = set(re.findall(r"^`([\w/]+\.py)` \(new\)", read(page), re.MULTILINE))
    return files, set(re.findall(r"def (\w+)\(", "".join(block.text for block in blocks(read(page)))))


@each_page
def test_every_file_exists(page):
    known = [f"/{path.relative_to(ROOT)}" for path in FILES]
    named = {span for span in spans(read(page)) if re.fullmatch(r"[\w/.]+\.py", span)} - new_here(page)[0]
    assert {name for name in named if not any(path.endswith(f"/{name}") for path in known)} == set()


@each_page
def test_every_function_exists(page):
    known = set(dir(builtins)).union(*map(defined, FILES)) | new_here(page)[1]
    called = {re.match(r"([A-Za-z_][\w.]*)\((?!\.\.\.)", span) for span in spans(read(page)) if span.endswith(")")}
    named = {found[1] for found in called if found}
    assert {name for name in named if name not in known and name.split(".")[-1] not in known} == set()


def test_the_functions_of_the_methods_are_in_their_files():
    """*Code*: `file`: `function()`, `Class.method()`; `another file`: ..."""
    lines = re.findall(r"^\*Code\*: (.*)\.$", read(METHODS_PAGE), re.MULTILINE)
    assert len(lines) > 12
    for part in (part for line in lines for part in line.split("; ")):
        path, *names = re.findall(r"`([^`]+)`", part)
        missing = {name.removesuffix("()") for name in names} - defined(ROOT / path)
        assert names, path
        assert not missing, f"{path}: {missing}"


def test_every_section_of_the_methods_says_where_the_code_is():
    sections = re.split(r"^## ", read(METHODS_PAGE), flags=re.MULTILINE)[1:]
    silent = [section.splitlines()[0] for section in sections if "\n*Code*: " not in section]
    assert silent == ["Parity with the reference"]


def test_every_sampler_and_schedule_is_among_the_methods():
    functions = {name for name in sampling.__all__ if name[0].islower()}
    assert {name for name in functions if f"`{name}()`" not in read(METHODS_PAGE)} == set()
    assert all(method.name in read(METHODS_PAGE) for method in METHODS)


def test_the_protocol_names_what_there_is():
    """Axes, presets and the methods' settings."""
    text, options = prose(read(ACCEPTANCE)), options_of(HighResSettings).values()
    axes = set(re.findall(r"`\[HiDiffusion\] ([^`]+)`", text))
    assert axes
    assert axes <= {option.label for option in options}
    presets = set(re.findall(r"preset `([^`]+)`", text))
    assert presets
    assert presets <= PRESETS.keys()
