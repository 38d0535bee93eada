"""A Chinese page says what its English one says: the same code, tables, headings, images and links."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import TRANSLATED, blocks, headings, links, name_of, prose, read

each_pair = pytest.mark.parametrize(("english", "chinese"), TRANSLATED.items(), ids=map(name_of, TRANSLATED))
HAN = re.compile(r"[\u4e00-\u9fff]")


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


@each_pair
@pytest.mark.parametrize("part", [code_of, rows_of, tables_of, levels_of, images_of, outside_of])
def test_both_have_the_same(part, english, chinese):
    assert part(read(chinese)) == part(read(english))


@pytest.mark.parametrize("part", [code_of, rows_of, tables_of, levels_of, images_of, outside_of])
def test_there_is_something_to_compare(part):
    assert any(part(read(page)) for page in TRANSLATED)


@each_pair
def test_it_is_in_chinese(english, chinese):
    text = read(chinese)
    assert len(HAN.findall(text)) > len(prose(read(english)).split()) / 2
    assert all(HAN.search(heading) for heading in headings(text) if len(heading.split()) > 3)


@each_pair
def test_each_leads_to_the_other(english, chinese):
    assert chinese.name in [link.target for link in links(read(english))]
    assert english.name in [link.target for link in links(read(chinese))]


@each_pair
def test_a_chinese_page_leads_to_chinese_pages(english, chinese):
    """Wherever there is one, except for the English page itself."""
    aims = [(chinese.parent / link.target.split("#")[0]).resolve() for link in links(read(chinese))]
    assert [name_of(aim) for aim in aims if aim in TRANSLATED and aim != english] == []
