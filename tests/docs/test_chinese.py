"""README.zh-CN.md says what README.md says: the same code, tables, headings, images and links."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import CHINESE, README, blocks, headings, links, prose, read

BOTH = [read(page) for page in (README, CHINESE)]


def code_of(text):
    """The blocks of code by language; a comment may be in another language."""
    comment = re.compile(r"(^|\s)# .*$", re.MULTILINE)
    return [(block.language, comment.sub("", block.text)) for block in blocks(text)]


def rows_of(text):
    """The generated tables: of each row the parts that are the same in every language."""
    tables = re.findall(r"<!-- ([\w -]+): [^\n]*-->\n(.*?)<!-- end of \1 -->", text, re.DOTALL)
    return {
        name: [re.findall(r"`[^`]+`|https?://[^)\s]+", row) or row for row in rows.splitlines()[1:]]
        for name, rows in tables
    }


def tables_of(text):
    """How many rows each table has."""
    return [len(found.splitlines()) for found in re.findall(r"(?:^\|.*\n)+", prose(text), re.MULTILINE)]


def levels_of(text):
    return [len(level) for level in re.findall(r"^(#{1,6}) ", prose(text), re.MULTILINE)]


def images_of(text):
    return [link.target for link in links(text) if link.image]


def outside_of(text):
    return sorted(link.target for link in links(text) if "://" in link.target)


@pytest.mark.parametrize("part", [code_of, rows_of, tables_of, levels_of, images_of, outside_of])
def test_both_have_the_same(part):
    english, chinese = map(part, BOTH)
    assert english
    assert chinese == english


def test_it_is_in_chinese():
    chinese = BOTH[1]
    assert len(re.findall(r"[\u4e00-\u9fff]", chinese)) > 2000
    assert all(re.search(r"[\u4e00-\u9fff]", heading) for heading in headings(chinese) if len(heading.split()) > 3)


def test_each_leads_to_the_other():
    english, chinese = BOTH
    assert CHINESE.name in [link.target for link in links(english)]
    assert README.name in [link.target for link in links(chinese)]
