"""How the accordions look: light and dark, narrow and in Chinese; screenshots are kept in `tests/browser/out`."""

from __future__ import annotations

import re

import pytest

from lib_fewstep.models.settings import GROUPS
from tests.browser.parts import ACCORDIONS, METHODS, OF_GROUP, TABS, guidance, hires, line, models, sampling, size

NARROW = {"width": 400, "height": 900}
READABLE = 4.5  # contrast of small text, by the Web Content Accessibility Guidelines
NAMES = {"HiDiffusion", "Deep Shrink", "RAU-Net", "Few-Step", "SA-Solver", "T1", "T2"}
TITLES = ("HiDiffusion", "Few-Step", "Guidance", "Model sampling")
CHINESE = re.compile("[\u4e00-\u9fff]")


def open_all(ui, tab):
    """The accordions with everything in them, at a size where something is done."""
    ui.tab(tab)
    size(ui, tab, 2048, 1536)
    folds = [accordion(tab) for accordion in ACCORDIONS]
    folds += [hires(tab, "when"), sampling(tab, "prior"), sampling(tab, "sa")]
    folds += [models(tab, f"group_{number}") for number in range(len(GROUPS))]
    folds += [guidance(tab, f"group_{number}") for number in range(len(OF_GROUP))]
    for name in folds + ([sampling(tab, "inversion")] if tab == "img2img" else []):
        ui.fold(name)
    ui.choose(hires(tab, "preset"), "Manual")


@pytest.mark.parametrize(("theme", "window_size"), [("light", None), ("dark", None), ("light", NARROW)])
def test_nothing_is_cut_off_and_all_can_be_read(window, place, theme, window_size):
    if window_size:
        window.page.set_viewport_size(window_size)
    ui = window.open(__theme=theme)
    wide, contrast = {}, {}
    for tab in TABS:
        name = f"{place.prefix}{tab}-{theme}{'-400px' if window_size else ''}"
        open_all(ui, tab)
        for method in METHODS:
            ui.choose(hires(tab, "method"), method)
            ui.picture(f"{name}-{method.replace(' ', '-')}", hires(tab))
            wide[tab, method] = ui.too_wide(hires(tab))
        for title, accordion in zip(TITLES[1:], ACCORDIONS[1:], strict=True):
            ui.picture(f"{name}-{title}", accordion(tab))
            wide[tab, title] = ui.too_wide(accordion(tab))
        ui.picture(name)
        contrast |= {accordion(tab, "line"): ui.contrast(accordion(tab, "line")) for accordion in ACCORDIONS}
    assert {part: found for part, found in wide.items() if found} == {}
    assert {part: value for part, value in contrast.items() if value < READABLE} == {}


def test_chinese(window, place):
    """Whatever the accordions say is translated, also what the server writes."""
    place.speak(window.page, "zh_CN")
    ui = window.open()
    for tab in TABS:
        open_all(ui, tab)
        seen = [word for accordion in ACCORDIONS for word in ui.words(accordion(tab))]
        ui.choose(hires(tab, "method"), METHODS[1])
        seen += ui.words(hires(tab))
        assert len(seen) > 90
        assert {word for word in seen if not CHINESE.search(word)} <= NAMES
        assert CHINESE.search(line(ui, tab))
        assert "2048x1536" in line(ui, tab)
        for name, accordion in zip(TITLES, ACCORDIONS, strict=True):
            ui.picture(f"{place.prefix}{tab}-chinese-{name.replace(' ', '-')}", accordion(tab))
        ui.picture(f"{place.prefix}{tab}-chinese")
    ui.write("img2img_prompt", "<lora:sdxl_lightning_4step_lora:1>")
    assert "SDXL-Lightning 4 steps" in ui.text(sampling("img2img", "line"))
    assert ui.is_shown(sampling("img2img", "use"))
    assert {word for word in ui.words(sampling("img2img")) if not CHINESE.search(word)} <= NAMES


def test_the_readmes_picture(ui, place):
    """The accordions as they open, where something is done and a preset fits: docs/page.png is this picture."""
    ui.write("txt2img_prompt", "a lighthouse at dusk <lora:sdxl_lightning_4step_lora:1>")
    size(ui, "txt2img", 2048, 2048)
    for accordion in ACCORDIONS[:3]:
        ui.fold(accordion("txt2img"))
    assert "2048x2048" in line(ui, "txt2img")
    assert "SDXL-Lightning 4 steps" in ui.text(sampling("txt2img", "line"))
    assert ui.is_shown(sampling("txt2img", "use"))
    ui.picture(f"{place.prefix}page", sampling("txt2img"), hires("txt2img"))
