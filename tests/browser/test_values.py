"""What is chosen on the page arrives in the scripts, comes back with an infotext, and goes along to the other tab."""

from __future__ import annotations

from PIL import Image

from lib_fewstep.models.settings import GROUPS
from lib_fewstep.options import page_fields
from lib_fewstep.sampling import FewStepSettings
from tests.browser.parts import (
    ACCORDIONS,
    BOTH_TABS,
    GUIDANCE,
    HIRES,
    MODELS,
    OF_GROUP,
    TABS,
    filled,
    guidance,
    hires,
    models,
    sampling,
    shown,
    small,
)
from tests.webui.standin.infotext import parse_generation_parameters

CHOSEN = {
    "HiDiffusion": {
        "method": "Deep Shrink",
        "preset": "Manual",
        "passes": "All",
        "trained_size": 192,
        "d1": 2,
        "s1": 0.45,
        "d2": 5,
        "s2": 0.8,
        "scaler": "bilinear",
        "downscale": 0.6,
        "upscale": 1.7,
        "smooth_scaling": False,
        "early_out": True,
    },
    "Few-Step": {"guidance": "lambda", "gamma": 0.55, "timesteps": "900 500 100"},
    "Guidance": {
        "preset": "v-prediction",
        "start": 0.25,
        "end": 0.85,
        "sigma_low": 0.28,
        "rescale": 0.65,
        "apg_momentum": -0.35,
        "nag_scale": 2.25,
        "seg_scale": 1.5,
        "seg_sigma": 2.5,
        "attention_blocks": "Down",
        "attention_passes": "All",
    },
    "Model sampling": {
        "kind": "v",
        "noise_schedule": "Cosine",
        "shift": 1.25,
        "size": "Custom",
        "original": "640 x 480",
    },
}
AS_TEXT = {
    "HiDiffusion method": "Deep Shrink",
    "HiDiffusion preset": "Manual",
    "HiDiffusion passes": "All",
    "HiDiffusion trained size": "192",
    "HiDiffusion depth 1": "2",
    "HiDiffusion stop 1": "0.45",
    "HiDiffusion depth 2": "5",
    "HiDiffusion stop 2": "0.8",
    "HiDiffusion scaler": "bilinear",
    "HiDiffusion downscale": "0.6",
    "HiDiffusion upscale": "1.7",
    "HiDiffusion smooth scaling": "False",
    "HiDiffusion early out": "True",
    "Few-Step guidance": "lambda",
    "Few-Step timesteps": "900 500 100",
    "Guidance preset": "v-prediction",
    "Guidance start": "0.25",
    "Guidance end": "0.85",
    "Guidance sigma low": "0.28",
    "Guidance rescale": "0.65",
    "APG momentum": "-0.35",
    "NAG scale": "2.25",
    "SEG scale": "1.5",
    "SEG sigma": "2.5",
    "Guidance blocks": "Down",
    "Guidance passes": "All",
    "Model kind": "v",
    "Model noise schedule": "Cosine",
    "Model shift": "1.25",
    "Model size": "Custom",
    "Model original size": "640 x 480",
    "Sampler": "Euler CFG++",
    "Steps": "3",
    "CFG scale": "1.5",
    "Seed": "7",
}
KOHYA = (
    "a lighthouse\nSteps: 3, Sampler: Euler, Schedule type: Automatic, CFG scale: 5, Seed: 3, Size: 128x128, "
    "DSHF_s1: 0.2, DSHF_d1: 2, DSHF_s2: 0.45, DSHF_d2: 5, DSHF_scaler: bilinear, DSHF_down: 0.55, DSHF_up: 1.8, "
    "DSHF_smooth: False, DSHF_early: True, DSHF_one: True, Version: v1.10.1"
)
ACCORDION_OF = dict(zip(CHOSEN, ACCORDIONS, strict=True))
INFOTEXT = "a lighthouse\n" + ", ".join(f"{key}: {value}" for key, value in [*AS_TEXT.items(), ("Size", "128x128")])
PLAIN = "a cat\nSteps: 3, Sampler: Euler, Schedule type: Automatic, CFG scale: 5, Seed: 3, Size: 128x128"


def put(ui, name, value):
    """Choose, type, write or tick, as the kind of the control wants it."""
    if isinstance(value, bool):
        ui.tick(name, value)
    elif isinstance(value, str) and not ui.part(name).locator("textarea").count():
        ui.choose(name, value)
    else:
        (ui.write if isinstance(value, str) else ui.set_number)(name, value)


def _groups(tab):
    """The folds of the accordions that are made of groups."""
    yield from (guidance(tab, f"group_{number}") for number in range(len(OF_GROUP)))
    yield from (models(tab, f"group_{number}") for number in range(len(GROUPS)))


def choose_everything(ui, tab):
    """All of CHOSEN, and a sampler that uses it."""
    ui.tab(tab)
    small(ui, tab)
    for accordion in ACCORDIONS:
        ui.fold(accordion(tab))
    for fold in (hires(tab, "when"), *_groups(tab)):
        ui.fold(fold)
    with ui.hastily():
        ui.choose(f"{tab}_sampling", "Euler CFG++")
        ui.set_number(f"{tab}_cfg_scale", 1.5)
        for title, chosen in CHOSEN.items():
            for name, value in chosen.items():
                put(ui, ACCORDION_OF[title](tab, name), value)


def picture(ui, tmp_path):
    """A picture for img2img to start from."""
    Image.new("RGB", (128, 128), "teal").save(tmp_path / "picture.png")
    ui.upload("img2img_image", tmp_path / "picture.png")


def said(infotext):
    """What an infotext says of our scripts, of the sampler and its numbers."""
    return {key: value for key, value in parse_generation_parameters(infotext).items() if key in AS_TEXT}


def controls(ui, tab):
    """The controls that CHOSEN names, as they are shown."""
    return {
        title: {name: ui.held(accordion(tab, name)) for name in CHOSEN[title]}
        for title, accordion in ACCORDION_OF.items()
    }


@BOTH_TABS
def test_what_is_chosen_arrives(ui, place, tab, tmp_path):
    """In the infotext; inside the stand-in also with its type, and with all that was not chosen."""
    choose_everything(ui, tab)
    if tab == "img2img":
        picture(ui, tmp_path)
        ui.set_number("img2img_denoising_strength", 1)
    assert said(ui.generate(tab)) == AS_TEXT
    if place.inside is None:
        return
    runner, p = place.inside.tabs[tab].runner, place.results[tab].p
    for names, (title, chosen) in zip(
        (HIRES, page_fields(FewStepSettings), GUIDANCE, MODELS), CHOSEN.items(), strict=True
    ):
        script = runner.script(title)
        first = dict(zip(names, (control.value for control in script.controls), strict=True))
        arrived = dict(zip(names, runner.arguments(script, p), strict=True))
        assert arrived == {**first, **chosen, "enabled": True}
        assert {name: type(arrived[name]) for name in chosen} == {name: type(chosen[name]) for name in chosen}
        assert {name for name in arrived if type(arrived[name]) is bool} == {n for n in first if type(first[n]) is bool}


@BOTH_TABS
def test_an_infotext_brings_everything_back(ui, tab):
    (other,) = {*TABS} - {tab}
    untouched = shown(ui, other), filled(ui, other)
    ui.tab(tab)
    ui.paste(tab, INFOTEXT)
    # gamma is of a sampler that does not use it, so an infotext does not say it
    assert controls(ui, tab) == {**CHOSEN, "Few-Step": {**CHOSEN["Few-Step"], "gamma": 0.3}}
    assert filled(ui, tab) == ("Euler CFG++", "Automatic", 3, 1.5)
    assert (shown(ui, other), filled(ui, other)) == untouched
    for accordion in ACCORDIONS:
        assert (ui.is_on(accordion(tab)), ui.is_open(accordion(tab))) == (True, True)
    assert ui.is_shown(hires(tab, "d1"))
    assert not ui.is_shown(hires(tab, "t1"))
    ui.paste(tab, PLAIN)
    assert not any(ui.is_on(accordion(tab)) for accordion in ACCORDIONS)


@BOTH_TABS
def test_an_infotext_of_kohya_hires_fix(ui, tab):
    ui.tab(tab)
    ui.paste(tab, KOHYA)
    assert ui.is_on(hires(tab))
    assert ui.is_shown(hires(tab, "d1"))
    assert not ui.is_on(sampling(tab))
    values = {name: ui.held(hires(tab, name)) for name in CHOSEN["HiDiffusion"] if name != "trained_size"}
    assert list(values.values()) == [
        *("Deep Shrink", "Manual", "First"),
        *(2, 0.2, 5, 0.45, "bilinear", 0.55, 1.8, False, True),
    ]


def test_send_to_img2img_takes_the_accordions_along(ui):
    ui.paste("txt2img", INFOTEXT)
    ui.set_number(sampling("txt2img", "gamma"), 0.55)
    wanted, infotext = shown(ui, "txt2img"), ui.generate("txt2img")
    ui.press("txt2img_send_to_img2img")
    assert ui.shown_tab() == "img2img"
    assert controls(ui, "img2img") == CHOSEN
    assert shown(ui, "img2img") == wanted
    assert ui.written("img2img_prompt") == "a lighthouse"
    assert ui.is_shown(hires("img2img", "d1"))
    with ui.hastily():
        ui.set_number("img2img_denoising_strength", 1)
        ui.choose("img2img_sampling", "Euler CFG++")
        ui.set_number("img2img_cfg_scale", 1.5)
    assert said(ui.generate("img2img")) == said(infotext) == AS_TEXT


def test_each_tab_uses_its_own(ui, tmp_path):
    """Both generate in turn, with another accordion on in each."""
    for tab in TABS:
        ui.tab(tab)
        small(ui, tab)
    picture(ui, tmp_path)
    ui.fold(sampling("img2img"))
    ui.choose(sampling("img2img", "preset"), "LCM-LoRA")
    ui.tab("txt2img")
    ui.fold(hires("txt2img"))
    ui.choose(hires("txt2img", "preset"), "Paper")
    first = ui.generate("txt2img")
    ui.tab("img2img")
    second = ui.generate("img2img")
    assert "HiDiffusion preset: Paper" in first
    assert "Few-Step" not in first
    assert "Few-Step preset: LCM-LoRA" in second
    assert "Sampler: LCM (reference grid)" in second
    assert "HiDiffusion" not in second
