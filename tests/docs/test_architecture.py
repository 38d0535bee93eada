"""The picture of the rooms: it shows what the page's table has, and is the one that the code draws."""

from __future__ import annotations

import re
import sys

from PIL import Image

from tests.docs.pages import ROOT, read
from tools import architecture_picture

PAGE, PICTURE = ROOT / "docs/architecture.md", ROOT / "docs/architecture.png"
NARROWEST = 1200


def test_the_rooms_are_those_of_the_table():
    shown = {name for room in architecture_picture.ROOMS for name in room.name.split(", ")}
    paths = re.findall(r"^\| `(?:lib_fewstep/)?([\w/]+)(?:/\*)?(?:\.py|/)?` \|", read(PAGE), re.MULTILINE)
    beside = {"webui", "demo", "bench", "tools", "tests"}
    """The room of the wings, and the folders around the extension."""
    assert shown == {path.rstrip("/") for path in paths} - beside


def test_each_trip_goes_down():
    for _, _, stops in architecture_picture.TRIPS:
        heights = [place[1] for place, _ in stops]
        assert len(heights) > 4
        assert heights == sorted(heights, reverse=True)


def test_the_picture_is_up_to_date():
    with Image.open(PICTURE) as there:
        assert there.text["Description"] == architecture_picture.described(), (
            "run: python -m tools.architecture_picture"
        )


def test_it_is_drawn_for_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["architecture_picture", "--out", str(tmp_path / "drawn.png")])
    architecture_picture.main()
    with Image.open(tmp_path / "drawn.png") as drawn, Image.open(PICTURE) as there:
        assert drawn.size == there.size
        assert drawn.width >= NARROWEST
        assert len(drawn.convert("RGB").getcolors(2**16) or []) > 100
