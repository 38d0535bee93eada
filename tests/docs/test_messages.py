"""The messages that the documents explain are those of the code."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.docs.pages import MESSAGES, PAGES, ROOT, TRANSLATED, name_of, prose, read

HOLE = "\0"
SHARE = 0.6
"""How much of a message must be the code's own words; the rest is what stands in for values."""

PUT_TOGETHER = {"is not a field of a request here", "the plot has axes of Deep Shrink and of HiDiffusion"}
"""Of several texts of the code."""


@cache
def templates():
    """The texts of the code, with a hole for each value."""
    found = set()
    for path in (ROOT / "lib_fewstep").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(re.sub(r"\{[^{}]*\}|%[.\d]*[sdgr]", HOLE, node.value))
    return sorted(found)


def can_say(template, piece):
    """Whether a piece of a message can be a part of what a template becomes."""
    places = dict.fromkeys(range(len(template)), 0)  # where the next character is, and how many were the template's own
    for character in piece:
        after = {}
        for place, own in places.items():
            if place < len(template) and template[place] == HOLE:
                after[place], after[place + 1] = (max(own, after.get(to, 0)) for to in (place, place + 1))
            elif place < len(template) and template[place] == character:
                after[place + 1] = max(own + 1, after.get(place + 1, 0))
        places = after
    return max(places.values(), default=0) >= SHARE * len(piece)


def pieces(page):
    """What the first cells of a page's tables quote, without what stands for values."""
    for row in re.findall(r"^\|(.*)\|$", prose(read(page)), re.MULTILINE):
        for span in re.findall(r"`([^`]+)`", row.split("|")[0]):
            if "..." in span or len(span.split()) > 3:
                yield from (piece for part in span.split("...") if " " in (piece := part.strip(" :,")))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_message_is_the_codes(page):
    unsaid = [piece for piece in pieces(page) if not any(can_say(template, piece) for template in templates())]
    assert set(unsaid) <= PUT_TOGETHER


def test_the_page_explains_messages():
    assert len(set(pieces(MESSAGES))) > 60
    assert set(pieces(TRANSLATED[MESSAGES])) == set(pieces(MESSAGES))


def test_another_word_is_found_out():
    template = f"{HOLE}x{HOLE} is not above {HOLE} times the area that the model was trained for"
    assert can_say(template, "is not above 1.6 times the area")
    assert not can_say(template, "is not over 1.6 times the area")
    assert not can_say(f"{HOLE}: {HOLE}.", "is not above 1.6 times the area")
