"""The lines that say what HiDiffusion and Guidance will do follow whatever they depend on, in a browser."""

from __future__ import annotations

import math
import re

import pytest
from PIL import Image

from tests.browser.parts import BOTH_TABS, guidance, hires, line, sampling, size, small, steps_and_rows, trained

UNKNOWN = "There is no picture to resize yet."


def told(ui, tab, what, width, height, first=1, last=r"\d+", steps=20):
    """The line must say that a method acts at a size on some steps; returns the last one."""
    pattern = rf"\S+, {width}x{height}: {what} on (?:steps {first}-({last})|step ({first})) of {steps}\b"
    found = re.search(pattern, line(ui, tab))
    assert found, (pattern, line(ui, tab))
    return int(found[1] or found[2])


@BOTH_TABS
def test_size_and_steps(ui, tab):
    side = trained(ui)
    ui.tab(tab)
    ui.fold(hires(tab))
    size(ui, tab, side, side)
    assert line(ui, tab).startswith(f"At {side}x{side} nothing will be done: ")
    size(ui, tab, 2 * side, side * 3 // 2)
    steps = 20 if tab == "txt2img" else 16  # at denoising strength 0.75
    before = told(ui, tab, "RAU-Net", 2 * side, side * 3 // 2, steps=steps)
    ui.set_number(f"{tab}_steps", 40)
    assert told(ui, tab, "RAU-Net", 2 * side, side * 3 // 2, steps=40 if tab == "txt2img" else 31) > before
    assert re.search(r"window attention in \d+ transformer blocks", line(ui, tab))
    if tab == "img2img":
        ui.set_number("img2img_denoising_strength", 0.6)
        told(ui, tab, "RAU-Net", 2 * side, side * 3 // 2, steps=25)
        ui.set_number("img2img_denoising_strength", 0.4)
        assert "nothing will be done" in line(ui, tab)


@BOTH_TABS
def test_every_setting(ui, tab):
    side = trained(ui)
    steps = 20 if tab == "txt2img" else 16
    ui.tab(tab)
    ui.fold(hires(tab))
    ui.fold(hires(tab, "when"))
    size(ui, tab, side, side)
    ui.choose(hires(tab, "preset"), "Paper")
    told(ui, tab, "RAU-Net", side, side, steps=steps)
    ui.choose(hires(tab, "method"), "Deep Shrink")
    told(ui, tab, "Deep Shrink", side, side, last=math.ceil(0.3 * steps), steps=steps)
    ui.choose(hires(tab, "preset"), "Manual")
    ui.set_number(hires(tab, "s2"), 0.5)
    told(ui, tab, "Deep Shrink", side, side, last=steps // 2, steps=steps)
    ui.choose(hires(tab, "method"), "HiDiffusion")
    with ui.hastily():
        ui.tick(hires(tab, "window_attention"), False)
        ui.tick(hires(tab, "aggressive"), False)
        ui.set_number(hires(tab, "t1"), 0.5)
    told(ui, tab, "RAU-Net", side, side, last=steps // 2, steps=steps)
    assert "window attention" not in line(ui, tab)
    ui.tick(hires(tab, "raunet"), False)
    assert line(ui, tab).startswith(f"At {side}x{side} nothing will be done: ")
    ui.choose(hires(tab, "preset"), "Auto")
    ui.set_number(hires(tab, "trained_size"), side // 2)
    told(ui, tab, "RAU-Net", side, side, steps=steps)
    ui.choose(hires(tab, "passes"), "Hires")
    assert line(ui, tab).startswith(f"At {side}x{side} nothing will be done: ")


def test_the_second_pass(ui, place):
    side = trained(ui)
    ui.fold(hires("txt2img"))
    size(ui, "txt2img", side, side)
    ui.fold("txt2img_hr")

    def second():
        first, hires_pass = line(ui, "txt2img").splitlines()
        assert first.startswith(f"First pass: At {side}x{side} nothing will be done: ")
        assert hires_pass.startswith("Hires pass: ")
        return hires_pass

    def acts(width, height, steps):
        assert re.search(rf"Hires pass: \S+, {width}x{height}: RAU-Net on steps 1-\d+ of {steps}\b", second())

    acts(2 * side, 2 * side, 20)
    ui.picture(f"{place.prefix}txt2img-two-passes", hires("txt2img"))
    ui.set_number("txt2img_hires_steps", 10)
    acts(2 * side, 2 * side, 10)
    ui.set_number("txt2img_hr_scale", 1.5)
    acts(side * 3 // 2, side * 3 // 2, 10)
    ui.set_number("txt2img_hr_resize_x", 2 * side)
    acts(2 * side, 2 * side, 10)
    ui.set_number("txt2img_hr_resize_y", side * 3 // 2)
    acts(2 * side, side * 3 // 2, 10)
    ui.set_number("txt2img_denoising_strength", 0.3)
    assert "nothing will be done" in second()
    ui.switch("txt2img_hr")
    assert line(ui, "txt2img").startswith(f"At {side}x{side} nothing will be done: ")


@pytest.fixture
def pictures(tmp_path):
    """Two pictures of different sizes."""
    sizes = {"wide": (192, 128), "high": (128, 256)}
    for name, (width, height) in sizes.items():
        Image.new("RGB", (width, height), "teal").save(tmp_path / f"{name}.png")
    return tmp_path


def test_resize_by_takes_the_size_of_the_picture(ui, pictures):
    """And so does the image."""
    ui.tab("img2img")
    ui.fold(hires("img2img"))
    ui.choose(hires("img2img", "preset"), "Paper")
    small(ui, "img2img")
    told(ui, "img2img", "RAU-Net", 128, 128, steps=3)
    ui.resize("by")
    ui.set_number("img2img_scale", 1.5)
    assert line(ui, "img2img") == UNKNOWN
    ui.upload("img2img_image", pictures / "wide.png")
    told(ui, "img2img", "RAU-Net", 288, 192, steps=3)
    ui.set_number("img2img_scale", 2)
    told(ui, "img2img", "RAU-Net", 384, 256, steps=3)
    assert "Size: 384x256" in ui.generate("img2img")
    ui.remove("img2img_image")
    ui.upload("img2img_image", pictures / "high.png")
    told(ui, "img2img", "RAU-Net", 256, 512, steps=3)
    ui.resize("to")
    told(ui, "img2img", "RAU-Net", 128, 128, steps=3)
    assert "Size: 128x128" in ui.generate("img2img")


@pytest.mark.parametrize(
    ("mode", "field"),
    [
        ("Sketch", "img2img_sketch"),
        ("Inpaint", "img2maskimg"),
        ("Inpaint sketch", "inpaint_sketch"),
        ("Inpaint upload", "img_inpaint_base"),
    ],
)
def test_every_mode_of_img2img_has_a_picture_of_its_own(ui, pictures, mode, field):
    ui.tab("img2img")
    ui.fold(hires("img2img"))
    ui.choose(hires("img2img", "preset"), "Paper")
    ui.set_number("img2img_steps", 10)
    ui.resize("by")
    ui.upload("img2img_image", pictures / "wide.png")
    told(ui, "img2img", "RAU-Net", 192, 128, steps=8)
    ui.mode(mode)
    assert line(ui, "img2img") == UNKNOWN
    ui.upload(field, pictures / "high.png")
    told(ui, "img2img", "RAU-Net", 128, 256, steps=8)
    ui.mode("img2img")
    told(ui, "img2img", "RAU-Net", 192, 128, steps=8)
    ui.mode("Batch")
    assert line(ui, "img2img") == UNKNOWN


def test_the_loaded_checkpoint(ui, place):
    """Another one is loaded while the page is open; the lines of both tabs then speak of it."""
    ui.tab("img2img")
    size(ui, "img2img", 256, 256)
    ui.tab("txt2img")
    before = trained(ui)
    assert f"({before}x{before})" in line(ui, "img2img")
    for title in place.checkpoints():
        ui.choose("setting_sd_model_checkpoint", title)
        words = line(ui, "txt2img")
        assert line(ui, "img2img") == words
        if f"({before}x{before})" not in words:
            break
    else:
        pytest.skip("all checkpoints of this WebUI were trained for one size")


def test_the_last_of_quick_changes_counts(ui):
    """Also while the server is slow: gradio drops an event whose function is still answering an earlier one."""
    side = trained(ui)
    ui.fold(hires("txt2img"))
    ui.set_number("txt2img_height", 2 * side)
    ui.slow_down(0.5)
    with ui.hastily():
        ui.choose(hires("txt2img", "preset"), "Manual")
        for method in ("Deep Shrink", "HiDiffusion", "Deep Shrink"):
            ui.choose(hires("txt2img", "method"), method)
    with ui.hastily():
        with ui.page.expect_request("**/run/predict"):
            ui.set_number("txt2img_width", side * 3 // 2)
        ui.set_number("txt2img_width", 2 * side)
    told(ui, "txt2img", "Deep Shrink", 2 * side, 2 * side)
    assert ui.is_shown(hires("txt2img", "d1"))
    assert not ui.is_shown(hires("txt2img", "t1"))
    ui.part("txt2img_width").locator("input[type=number]").fill("")
    ui.settle()
    assert line(ui, "txt2img") == "", "an empty field is no number yet"
    ui.set_number("txt2img_width", side)
    told(ui, "txt2img", "Deep Shrink", side, 2 * side)


def test_after_a_lost_answer_the_line_follows_again(ui):
    side = trained(ui)
    ui.fold(hires("txt2img"))
    ui.lose_an_answer()
    ui.set_number("txt2img_width", 2 * side)
    assert len(ui.troubles) == 2, "the browser has noticed"
    ui.troubles.clear()
    ui.set_number("txt2img_height", 2 * side)
    told(ui, "txt2img", "RAU-Net", 2 * side, 2 * side)


@BOTH_TABS
def test_guidances_steps_and_rows(ui, tab):
    ui.tab(tab)
    for name in (guidance(tab), guidance(tab, "group_0"), guidance(tab, "group_3"), sampling(tab)):
        ui.fold(name)

    def becomes(words, name, value):
        (ui.choose if isinstance(value, str) else ui.set_number)(name, value)
        assert steps_and_rows(ui, tab) == words

    if tab == "img2img":
        becomes("20 of 20 steps guided; 40 rows, as usual", "img2img_denoising_strength", 1)
    becomes("10 of 10 steps guided; 20 rows, as usual", f"{tab}_steps", 10)
    becomes("5 of 10 steps guided; 15 instead of 20 rows", guidance(tab, "end"), 0.5)
    becomes("5 of 10 steps guided; 29 instead of 38 rows", f"{tab}_sampling", "Heun")
    becomes("5 of 10 steps guided; 15 instead of 20 rows", f"{tab}_sampling", "Euler")
    becomes("No step is guided, so the image is refused: widen the interval.", guidance(tab, "sigma_low"), 14.65)
    becomes("5 of 10 steps guided; 15 instead of 20 rows", guidance(tab, "sigma_low"), 0)
    becomes("5 of 10 steps guided, PAG 3; 20 rows, as usual", guidance(tab, "pag_scale"), 3)
    becomes("5 of 10 steps guided, PAG 3; 15 instead of 20 rows", f"{tab}_cfg_scale", 1)
    ui.part(guidance(tab, "end")).locator("input[type=number]").fill("")
    ui.settle()
    assert steps_and_rows(ui, tab) == "", "an empty field is no number yet"
    ui.set_number(guidance(tab, "end"), 0.5)
    if tab == "txt2img":
        ui.set_number(guidance(tab, "pag_scale"), 0)
        ui.fold("txt2img_hr")
        ui.set_number("txt2img_cfg_scale", 3)
        becomes(
            "First pass: 5 of 10 steps guided; 15 instead of 20 rows\n"
            "Hires pass: 2 of 4 steps guided; 6 instead of 8 rows",
            "txt2img_hires_steps",
            4,
        )
