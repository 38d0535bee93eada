"""The README is short, in both languages, and shows the lines that the page really shows."""

from __future__ import annotations

import html
import re

import pytest

from tests.docs.pages import CHINESE, README, read
from tests.webui import standin
from tests.webui.exact import SCRIPTS

MOST_WORDS = 1500
HAN = re.compile(r"[\u4e00-\u9fff]")
WORD = re.compile(r"[A-Za-z0-9][^\s\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]*")
CHARACTERS_A_WORD = (1.2, 2.0)
"""Of a Chinese text for each word of the English one, with as many words left in English."""

HIRES, FEW_STEP = "fewstep_hires_txt2img_", "fewstep_sampling_txt2img_"
NAMED = "sdxl_lightning_4step"
LINES = re.findall(r"^ *- `([^`]+)`", read(README), re.MULTILINE)
"""The examples of lines of the accordions."""


def test_it_is_short():
    """Counted as `wc -w` counts."""
    assert len(read(README).split()) <= MOST_WORDS


def test_the_chinese_one_is_as_long():
    english, chinese = (read(page) for page in (README, CHINESE))
    characters = len(HAN.findall(chinese)) + len(WORD.findall(HAN.sub(" ", chinese)))
    least, most = CHARACTERS_A_WORD
    assert least < characters / len(english.split()) < most


@pytest.fixture(scope="module")
def host():
    with standin.webui("sdxl", SCRIPTS) as made:
        made.checkpoints.add(NAMED, "sdxl")
        made.load_model(f"{NAMED}.safetensors")
        yield made


def shown(host, prefix, **values):
    """The line of an accordion after the tab's fields have changed."""
    page = host.tabs["txt2img"]
    for name, value in values.items():
        page.trigger(f"txt2img_{name}", "change", value)
    page.trigger(f"{prefix}refresh", "click")
    return html.unescape(page.value(f"{prefix}line"))


def test_there_are_lines():
    assert len(LINES) == 3


@pytest.mark.parametrize("line", [line for line in LINES if 'preset "SDXL' not in line])
def test_a_line_about_a_size_is_the_real_one(host, line):
    width, height = re.search(r"(\d+)x(\d+)", line).groups()
    assert shown(host, HIRES, width=int(width), height=int(height), steps=30) == line


def test_the_line_about_a_preset_is_the_real_one(host):
    (line,) = (line for line in LINES if NAMED in line)
    assert shown(host, FEW_STEP) == line
