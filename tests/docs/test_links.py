"""Every link inside of the project leads somewhere: files, anchors and images of all pages."""

from __future__ import annotations

import re

import pytest
from PIL import Image

from tests.docs.pages import PAGES, READMES, ROOT, anchors, headings, links, name_of, read, slug_of

LOCAL = re.compile(r"(?<![\w/.:])(?:/(?:work|home|root|tmp|Users|mnt|var)\b|[A-Z]:\\)")
each_page = pytest.mark.parametrize("page", dict.fromkeys([*PAGES, *READMES]), ids=name_of)


def broken(page):
    """The targets of a page inside of the project that are not there."""
    for link in links(read(page)):
        path, _, anchor = link.target.partition("#")
        if "://" in link.target or path.startswith("mailto:"):
            continue
        aim = (page.parent / path).resolve() if path else page
        there = aim.exists() and aim.is_relative_to(ROOT)
        if not there or (anchor and anchor not in anchors(read(aim))):
            yield link.target


@each_page
def test_every_relative_link_leads_somewhere(page):
    assert page.exists()
    assert list(broken(page)) == []


@each_page
def test_every_image_is_one(page):
    for link in links(read(page)):
        if link.image and "://" not in link.target and (page.parent / link.target).exists():
            with Image.open(page.parent / link.target) as image:
                image.load()
                assert len(image.convert("RGB").getcolors(2) or [0, 0]) > 1, f"{link.target} is blank"


@each_page
def test_no_path_of_a_machine(page):
    assert LOCAL.findall(read(page)) == []


def test_every_page_of_the_docs_can_be_reached():
    seen, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        aims = {(page.parent / link.target.split("#")[0]).resolve() for link in links(read(page))}
        left += [aim for aim in aims & set(PAGES) if aim not in seen]
        seen |= aims
    assert {name_of(page) for page in PAGES if page.parent.name == "docs"} <= {name_of(p) for p in seen & set(PAGES)}


@pytest.mark.parametrize(
    ("heading", "slug"),
    [
        ("What it works with, and what it yields to", "what-it-works-with-and-what-it-yields-to"),
        ("CFG++ (`sampling/cfgpp.py`)", "cfg-samplingcfgpppy"),
        ("Deep Shrink (`highres/methods/deep_shrink.py`)", "deep-shrink-highresmethodsdeep_shrinkpy"),
        ("A [link](target.md) and *stress*", "a-link-and-stress"),
        ("第一张大图", "第一张大图"),
        ("少步数:CFG++、TCD 与 LCM", "少步数cfgtcd-与-lcm"),
        ("C & D — e", "c--d--e"),
    ],
)
def test_the_anchor_of_a_heading(heading, slug):
    assert slug_of(heading) == slug


def test_headings_and_their_anchors():
    text = "# One\n\n## One\n\n```\n# no heading\n```\n\n### Two `x` ###\n"
    assert headings(text) == ["One", "One", "Two `x`"]
    assert anchors(text) == {"one", "one-1", "two-x"}


def test_links_are_found_outside_of_code():
    text = '[a](b.md#c) ![p](q.png) `[no](link)` [![badge](i.svg)](j.md)\n```\n[no](code)\n```\n<img src="k.png">'
    assert [link.target for link in links(text)] == ["b.md#c", "q.png", "j.md", "i.svg", "k.png"]
