"""CITATION.cff has what the Citation File Format asks for, and a reference for each source of the README."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.docs.pages import README, ROOT, read

CITATION = yaml.safe_load(read(ROOT / "CITATION.cff"))
REFERENCES = CITATION["references"]


def test_it_cites_this_software():
    assert {"cff-version", "message", "title", "authors"} <= CITATION.keys()
    assert (CITATION["cff-version"], CITATION["type"], CITATION["license"]) == ("1.2.0", "software", "MIT")
    project = read(ROOT / "pyproject.toml")
    assert f'name = "{CITATION["title"]}"' in project
    assert f'version = "{CITATION["version"]}"' in project


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference["url"])
def test_a_reference(reference):
    assert {"type", "title", "authors", "year", "url"} <= reference.keys()
    assert all(
        {"family-names", "given-names"} == author.keys() or {"name"} == author.keys() for author in reference["authors"]
    )


def test_every_source_of_the_readme_is_cited():
    sources = re.findall(r"\]\((https://[^)]+)\)", read(README).split("## Sources")[1])
    assert len(sources) > 5
    assert set(sources) <= {reference["url"] for reference in REFERENCES}
