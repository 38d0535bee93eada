"""The accordions in a browser: what opens, what is shown, and what choosing changes.

`make test` runs them on the stand-in's page, `make live-ui WEBUI_URL=http://127.0.0.1:7860` on that of a running WebUI.
"""

from __future__ import annotations

import pytest

from lib_fewstep.options import options_of
from lib_fewstep.sampling.presets import PRESETS, recognise
from lib_fewstep.sampling.settings import PriorSettings
from tests.browser.page import WebUI
from tests.browser.parts import (
    ACCORDIONS,
    BOTH_TABS,
    INVERSION,
    OF_GROUP,
    OF_METHOD,
    TABS,
    filled,
    guidance,
    hires,
    sampling,
    shown,
)
from tests.browser.place import MODEL
from tests.browser.served import served
from tests.webui import standin
from tests.webui.exact import SCRIPTS

LIGHTNING, FITTING = "<lora:sdxl_lightning_4step_lora:1>", PRESETS["SDXL-Lightning 4 steps"]


def of_checkpoint(title):
    """The preset that fits a checkpoint, by the name of its file."""
    return recognise(title.partition(".")[0], [])


@BOTH_TABS
def test_opening_switches_on_and_the_box_switches_off(ui, tab):
    ui.tab(tab)
    accordions = [accordion(name) for name in TABS for accordion in ACCORDIONS]
    for accordion in ACCORDIONS:
        name = accordion(tab)
        assert (ui.is_open(name), ui.is_shown(accordion(tab, "line"))) == (False, False)
        assert not any(ui.is_on(other) for other in accordions)
        ui.fold(name)
        assert (ui.is_open(name), ui.is_shown(accordion(tab, "line"))) == (True, True)
        assert [other for other in accordions if ui.is_on(other)] == [name]
        ui.switch(name)
        assert (ui.is_open(name), ui.is_on(name)) == (True, False)


@BOTH_TABS
def test_manual_shows_the_settings_of_the_method_alone(ui, tab):
    def seen():
        return {method: {ui.is_shown(hires(tab, name)) for name in names} for method, names in OF_METHOD.items()} | {
            "fold": {ui.is_shown(hires(tab, "manual"))}
        }

    nothing = {"HiDiffusion": {False}, "Deep Shrink": {False}, "fold": {False}}
    ui.tab(tab)
    ui.fold(hires(tab))
    assert seen() == nothing
    ui.choose(hires(tab, "method"), "Deep Shrink")
    assert seen() == nothing
    ui.choose(hires(tab, "preset"), "Manual")
    assert ui.is_open(hires(tab, "manual"))
    assert seen() == {"HiDiffusion": {False}, "Deep Shrink": {True}, "fold": {True}}
    ui.choose(hires(tab, "method"), "HiDiffusion")
    assert seen() == {"HiDiffusion": {True}, "Deep Shrink": {False}, "fold": {True}}
    ui.choose(hires(tab, "preset"), "Paper")
    assert seen() == nothing


@BOTH_TABS
def test_what_is_rarely_needed_is_folded_away(ui, tab):
    ui.tab(tab)
    for accordion in ACCORDIONS:
        ui.fold(accordion(tab))
    folds = {
        guidance(tab, f"group_{number}"): [guidance(tab, n) for n in names] for number, names in enumerate(OF_GROUP)
    }
    folds |= {
        hires(tab, "when"): [hires(tab, name) for name in ("passes", "trained_size")],
        sampling(tab, "prior"): [sampling(tab, f"prior_{name}") for name in options_of(PriorSettings)],
    }
    if tab == "img2img":
        folds[sampling(tab, "inversion")] = [sampling(tab, name) for name in (*INVERSION, "invert_read")]
    else:
        assert not ui.is_shown(sampling(tab, "inversion"))
    for fold, inside in folds.items():
        for is_open in (False, True, False):
            assert ui.is_open(fold) == is_open
            assert {ui.is_shown(name) for name in inside} == {is_open}
            ui.fold(fold)
    assert not any(ui.is_shown(accordion(tab, "refresh")) for accordion in ACCORDIONS)


@BOTH_TABS
def test_a_preset_fills_the_fields_of_its_own_tab(ui, tab):
    (other,) = {*TABS} - {tab}
    untouched = filled(ui, other), shown(ui, other)
    ui.tab(tab)
    ui.fold(sampling(tab))
    for preset in (PRESETS["DMD2"], PRESETS["TCD"], FITTING):
        ui.choose(sampling(tab, "preset"), preset.name)
        assert filled(ui, tab) == (preset.sampler, preset.schedule, preset.steps, preset.cfg)
        assert ui.number(sampling(tab, "gamma")) == (0.3 if preset.gamma is None else preset.gamma)
        assert ui.written(sampling(tab, "timesteps")) == " ".join(map(str, preset.timesteps or ()))
    assert (filled(ui, other), shown(ui, other)) == untouched


@BOTH_TABS
def test_a_preset_that_fits_is_offered(ui, place, tab):
    """Here by the name of a LoRA in the prompt, which any WebUI may have."""
    use, line = sampling(tab, "use"), sampling(tab, "line")
    ui.tab(tab)
    ui.fold(sampling(tab))
    if of_checkpoint(ui.chosen("setting_sd_model_checkpoint")):
        pytest.skip("the loaded checkpoint's own name fits a preset")
    assert not ui.is_shown(use)
    without = ui.text(line)
    ui.write(f"{tab}_prompt", f"a cat {LIGHTNING}")
    assert ui.is_shown(use)
    assert all(word in ui.text(line) for word in (FITTING.name, "sdxl_lightning_4step_lora", FITTING.sampler))
    ui.picture(f"{place.prefix}{tab}-offered", sampling(tab))
    ui.press(use)
    assert not ui.is_shown(use)
    assert ui.chosen(sampling(tab, "preset")) == FITTING.name
    assert filled(ui, tab) == (FITTING.sampler, FITTING.schedule, FITTING.steps, FITTING.cfg)
    assert FITTING.name in ui.text(line)
    ui.choose(sampling(tab, "preset"), "DMD2")
    assert ui.is_shown(use), "another one is in use again"
    ui.write(f"{tab}_prompt", "a cat")
    assert not ui.is_shown(use)
    ui.choose(sampling(tab, "preset"), "None")
    assert ui.text(line) == without


def test_the_loaded_checkpoint_offers_its_preset(ui, place):
    """Also when it is loaded while the page is open."""
    named = {title: of_checkpoint(title) for title in place.checkpoints()}
    fitting = next((title for title, known in named.items() if known), None)
    if fitting is None:
        pytest.skip("no checkpoint of this WebUI is called like a distilled model")
    ui.fold(sampling("txt2img"))
    assert not ui.is_shown(sampling("txt2img", "use"))
    ui.choose("setting_sd_model_checkpoint", fitting)
    assert ui.is_shown(sampling("txt2img", "use"))
    assert fitting.partition(".")[0] in ui.text(sampling("txt2img", "line"))
    ui.press(sampling("txt2img", "use"))
    assert ui.chosen(sampling("txt2img", "preset")) == named[fitting].preset.name


@BOTH_TABS
def test_guidances_presets_and_the_button_that_chooses_one(ui, place, tab):
    (other,) = {*TABS} - {tab}
    untouched = shown(ui, other)
    ui.tab(tab)
    ui.fold(guidance(tab))
    ui.choose(guidance(tab, "preset"), "Anti-burn")
    assert [ui.number(guidance(tab, f"apg_{name}")) for name in ("eta", "threshold")] == [0, 15]
    ui.fold(guidance(tab))
    ui.switch(guidance(tab))
    ui.fold(sampling(tab))
    assert not ui.is_shown(sampling(tab, "negative"))
    ui.choose(sampling(tab, "preset"), FITTING.name)
    assert ui.is_shown(sampling(tab, "negative"))
    ui.picture(f"{place.prefix}{tab}-negative-prompt", sampling(tab))
    assert ui.too_wide(sampling(tab, "negative")) == [], "the button is as wide as its text"
    ui.press(sampling(tab, "negative"))
    assert ui.is_on(guidance(tab))
    assert ui.chosen(guidance(tab, "preset")) == "Distilled"
    assert [ui.number(guidance(tab, name)) for name in ("nag_scale", "apg_eta", "apg_threshold")] == [2, 1, 0]
    assert shown(ui, other) == untouched


def test_a_hidden_accordion_is_not_there_and_works(browser):
    """In a stand-in of its own: an accordion is hidden when the UI is loaded."""
    with (
        standin.webui(MODEL, SCRIPTS, config={"fewstep_hidden_accordions": ["Guidance"]}) as host,
        served(host) as site,
    ):
        context = browser.new_context()
        context.route(lambda url: not url.startswith(site.url), lambda route: route.fulfill(body=""))
        ui = WebUI(context.new_page(), site.url).open()
        assert [ui.is_shown(accordion("txt2img")) for accordion in ACCORDIONS] == [True, True, False, True]
        ui.paste("txt2img", "a cat\nSteps: 3, Sampler: Euler, CFG scale: 5, Seed: 3, Size: 128x128, Guidance end: 0.4")
        assert "Guidance end: 0.4" in ui.generate("txt2img")
        ui.paste("txt2img", "a cat\nSteps: 3, Sampler: Euler, CFG scale: 5, Seed: 3, Size: 128x128")
        assert "Guidance" not in ui.generate("txt2img")
        context.close()
        assert ui.troubles == []
