"""Guidance's accordion: its line, its presets, what is pasted into it, and hiding it, through a strict stand-in."""

from __future__ import annotations

import html
import re
import sys

import gradio as gr
import pytest

from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.guidance.settings import GROUPS, PRESETS
from lib_fewstep.options import options_of, page_fields
from lib_fewstep.sampling.presets import PRESETS as FEW_STEP_PRESETS
from tests.webui import standin
from tests.webui.exact import pasted, same, settings_of
from tests.webui.guided import BASE, HIRES, made
from tests.webui.standin import infotext

pytestmark = pytest.mark.long

TABS = ("txt2img", "img2img")
FIELDS = page_fields(GuidanceSettings)
OPTIONS = {name: option for name, option in options_of(GuidanceSettings).items() if name != "enabled"}
PICTURE = standin.picture(64, 48)
SMALL = {"width": 64, "height": 48, "steps": 8, "cfg_scale": 3.0, "denoising_strength": 0.6, "sampling": "Euler"}
HR = {"txt2img_hr-checkbox": True, "hires_steps": 6}
LIMITS = {"sigma_low": 0.5, "sigma_high": 5.42}
FIRST_HALF = {"end": 0.5}


def guidance(name, tab="txt2img"):
    return f"fewstep_guidance_{tab}_{name}"


def few_step(name, tab="txt2img"):
    return f"fewstep_sampling_{tab}_{name}"


def set_on(host, tab, values):
    """Change components as the user does; by id, or without what stands before it."""
    page = host.tabs[tab]
    for name, value in values.items():
        known = (name, f"{tab}_{name}", guidance(name, tab), few_step(name, tab))
        page.trigger(next(i for i in known if i in page.components_by_elem_id), "change", value)


def line(host, tab="txt2img", **values):
    """Guidance's line after components have changed."""
    set_on(host, tab, values)
    host.tabs[tab].trigger(guidance("refresh", tab), "click")
    return html.unescape(host.tabs[tab].value(guidance("line", tab)))


def rows_of_line(said):
    """The rows of all passes that the line names."""
    return sum(int(rows) for rows in re.findall(r"(\d+) (?:instead of \d+ rows|rows, as usual)", said))


def rows_of_page(host, tab="txt2img"):
    """The rows that the model then really evaluates, with the accordion open."""
    job = {"prompt": "a cat", "negative_prompt": "a dog", "seed": 1}
    job |= {"init_images": [PICTURE]} if tab == "img2img" else {}
    getattr(host, tab)(ui={guidance("enabled-checkbox", tab): True}, **job)
    assert not host.errors
    return sum(call.rows for call in host.probe.calls)


@pytest.fixture
def small(unit):
    """The same host with a small SD1 model, which has attention."""
    unit.load_model("sd1")
    return unit


class TestComponents:
    @pytest.mark.parametrize("tab", TABS)
    def test_they_are_the_settings_in_their_order(self, unit, tab):
        shown = unit.tabs[tab].runner.script("Guidance").controls
        assert [control.label for control in shown] == ["Guidance", *(option.label for option in OPTIONS.values())]
        assert [control.value for control in shown] == [field.shown for field in FIELDS.values()]
        assert not unit.tabs[tab].duplicate_labels
        ids = [guidance(name, tab) for name in OPTIONS]
        assert [control.elem_id for control in shown] == [guidance("enabled-checkbox", tab), *ids]
        assert [control.info for control in shown[1:]] == [option.help for option in OPTIONS.values()]

    def test_each_kind_of_value_has_its_kind_of_component(self, unit):
        page = unit.tabs["txt2img"].components_by_elem_id
        for name, option in OPTIONS.items():
            component = page[guidance(name)]
            if option.choices:
                assert component.choices == list(option.choices)
            elif name in LIMITS:
                assert isinstance(component, gr.Number), "on a slider up to 100000 the mouse finds no noise level"
            else:
                assert isinstance(component, gr.Slider)
                assert component.minimum in (0, option.low)
                assert component.minimum <= min(option.low, component.value)
                assert component.value <= component.maximum == option.high

    def test_every_setting_but_the_preset_is_folded_away(self, unit):
        folds = [block for block in unit.tabs["txt2img"].all_blocks if isinstance(block, gr.Accordion)]
        of_group = {fold.label: fold for fold in folds if fold.label in GROUPS}
        assert list(of_group) == list(GROUPS)
        for name, option in OPTIONS.items():
            parents, block = [], unit.tabs["txt2img"].components_by_elem_id[guidance(name)]
            while block.parent is not None:
                block = block.parent
                parents.append(block)
            assert name == "preset" or of_group[option.group] in parents
        assert not any(fold.open for fold in of_group.values())


AGREEING = {
    "nothing": ("txt2img", {}),
    "start and end": ("txt2img", {"start": 0.25, "end": 0.75}),
    "levels": ("txt2img", LIMITS),
    "levels of Karras": ("txt2img", LIMITS | {"scheduler": "Karras"}),
    "levels of Trailing": ("txt2img", LIMITS | {"scheduler": "Trailing"}),
    "levels of DDIM": ("txt2img", LIMITS | {"sampling": "DDIM", "steps": 9}),
    "levels of custom timesteps": ("txt2img", LIMITS | {"enabled-checkbox": True, "timesteps": "999 800 600 400 90"}),
    "levels in img2img": ("img2img", LIMITS | {"steps": 13, "denoising_strength": 0.75}),
    "second order": ("txt2img", FIRST_HALF | {"sampling": "Heun"}),
    "DDIM": ("txt2img", FIRST_HALF | {"sampling": "DDIM"}),
    "DDIM in img2img": ("img2img", FIRST_HALF | {"sampling": "DDIM"}),
    "img2img": ("img2img", {"start": 0.5}),
    "CFG 1": ("txt2img", {"cfg_scale": 1}),
    "CFG 1 in img2img": ("img2img", {"cfg_scale": 1}),
    "a ramp": ("txt2img", {"schedule": "Linear"}),
    "CFG++ as a schedule": ("txt2img", {"schedule": "CFG++", "end": 0.5}),
    "a CFG++ sampler": ("txt2img", {"sampling": "Euler CFG++", "cfg_scale": 1}),
    "a CFG++ sampler on some steps": ("txt2img", {"sampling": "Euler CFG++", "start": 0.5, "schedule": "Linear"}),
    "hires": ("txt2img", HR | {"start": 0.25, "end": 0.75}),
    "hires by levels": ("txt2img", HR | LIMITS),
    "hires with DDIM": ("txt2img", HR | FIRST_HALF | {"sampling": "DDIM"}),
    "hires with a sampler of its own": ("txt2img", HR | FIRST_HALF | {"hr_sampler": "Heun"}),
    "hires with a schedule of its own": ("txt2img", HR | LIMITS | {"hr_scheduler": "Karras"}),
    "hires with a CFG of its own": ("txt2img", HR | {"cfg_scale": 1, "enabled-checkbox": True, "hires_cfg": 4}),
    "hires with custom timesteps": (
        "txt2img",
        HR | LIMITS | {"enabled-checkbox": True, "timesteps": "999 800 500 300 90"},
    ),
}
INSIDE = {
    "PAG": ("txt2img", {"pag_scale": 3, "end": 0.75}),
    "SEG and PAG": ("txt2img", {"pag_scale": 3, "seg_scale": 2}),
    "SAG": ("txt2img", {"sag_scale": 0.75, "start": 0.5}),
    "PAG at CFG 1": ("txt2img", {"pag_scale": 3, "cfg_scale": 1}),
    "SAG at CFG 1": ("txt2img", {"sag_scale": 0.75, "cfg_scale": 1}),
    "NAG": ("txt2img", {"nag_scale": 2, "cfg_scale": 1}),
    "PAG in the first pass": ("txt2img", HR | {"pag_scale": 3}),
    "PAG in both passes": ("txt2img", HR | {"pag_scale": 3, "attention_passes": "All"}),
    "all of them in img2img": ("img2img", {"pag_scale": 3, "seg_scale": 2, "sag_scale": 0.75}),
}


class TestTheLine:
    @pytest.mark.parametrize("case", AGREEING)
    def test_its_rows_are_evaluated(self, unit, case):
        tab, values = AGREEING[case]
        # Few-Step's accordion is switched on by "enabled-checkbox", which Guidance's bears, too
        on = {few_step("enabled-checkbox", tab): values["enabled-checkbox"]} if "enabled-checkbox" in values else {}
        own = {name: value for name, value in values.items() if name != "enabled-checkbox"}
        said = line(unit, tab, **SMALL | own | on)
        assert rows_of_line(said) == rows_of_page(unit, tab), said

    @pytest.mark.parametrize("case", INSIDE)
    def test_and_those_inside_of_the_unet(self, small, case):
        tab, values = INSIDE[case]
        said = line(small, tab, **SMALL | {"steps": 4} | values)
        assert rows_of_line(said) == rows_of_page(small, tab), said

    def test_what_it_says(self, small):
        assert line(small, **SMALL) == "8 of 8 steps guided; 16 rows, as usual"
        assert line(small, start=0.5) == "4 of 8 steps guided; 12 instead of 16 rows"
        said = line(small, pag_scale=3, sag_scale=0.75, rescale=0.5, apg_eta=0, threshold_mimic=4, schedule="Cosine")
        names = "cosine schedule, APG, rescale 0.5, thresholding to CFG 4, PAG 3, SAG 0.75"
        assert said == f"3 of 8 steps guided, {names}; 17 instead of 16 rows"
        said = line(small, **HR).split("<br>")
        assert said[0] == f"First pass: 3 of 8 steps guided, {names}; 17 instead of 16 rows"
        assert said[1].startswith("Hires pass: 2 of 6 steps guided, cosine schedule, APG, rescale 0.5")
        assert "PAG" not in said[1]

    def test_samplers_with_steps_of_their_own(self, unit):
        own = SMALL | {"sampling": "DPM adaptive"}
        assert line(unit, **own, start=0.5) == "4 of 8 steps guided"
        assert line(unit, **LIMITS) == "The noise levels of DPM adaptive are known once it runs."

    def test_custom_timesteps_that_the_model_has_in_the_job_alone(self, unit):
        own = SMALL | LIMITS | {few_step("enabled-checkbox"): True, "timesteps": "1099 600 100"}
        assert line(unit, **own) == "The noise levels of Euler are known once it runs."

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"start": 0.5, "end": 0.5}, "end = 0.5 is not allowed: it must be above start, which is 0.5."),
            ({"sigma_low": 2, "sigma_high": 1}, "sigma_high = 1 is not allowed: it must be above sigma_low"),
            ({"sigma_low": -1}, "sigma_low = -1"),
            ({"few": "<b>"}, "timesteps = ['<b>'] is not allowed"),
            ({"sigma_high": 0.001}, "No step is guided"),
            ({"steps": 60, "scheduler": "LCM grid"}, 'schedule = "LCM grid" is not allowed for a grid of 60 steps'),
        ],
        ids=str,
    )
    def test_what_cannot_be_done_is_a_sentence(self, unit, values, words):
        if values == {"few": "<b>"}:
            values = {few_step("enabled-checkbox"): True, "timesteps": "<b>"}
        assert line(unit, **SMALL | values).startswith(words)
        assert "<b>" not in unit.tabs["txt2img"].value(guidance("line"))

    @pytest.mark.parametrize("sampler", ["Euler", "DDIM", "DPM adaptive", "Euler CFG++"])
    @pytest.mark.parametrize("values", [{"steps": 1}, {"denoising_strength": 0}, {"denoising_strength": 0.01}], ids=str)
    def test_the_least_of_everything(self, unit, sampler, values):
        """Whatever the host makes of such a pass, the line has words for it."""
        for tab in TABS:
            shared = SMALL | {"sampling": sampler} | ({"txt2img_hr-checkbox": True} if tab == "txt2img" else {})
            assert "guided" in line(unit, tab, **shared | values)

    @pytest.mark.parametrize("name", ["start", "sigma_low", "steps", "nag_scale", "cfg_scale"])
    def test_while_a_number_is_typed_it_says_nothing(self, unit, name):
        assert line(unit, **SMALL)
        assert line(unit, **{name: None}) == ""

    def test_without_a_model(self, unit, monkeypatch):
        monkeypatch.setattr(sys.modules["modules.shared"], "sd_model", None)
        assert line(unit, **SMALL | LIMITS) == "No model is loaded yet."

    def test_where_nothing_can_be_done(self, small, monkeypatch):
        small.load_model("unit")
        reason = "the loaded model has no UNet of Stable Diffusion 1, 2 or XL"
        assert line(small, **SMALL, nag_scale=2) == f"Nothing will be done: {reason}"
        assert "instead of" in line(small, nag_scale=0, start=0.5)
        small.load_model("sd3")
        assert line(small, **SMALL) == "Nothing will be done: the loaded model is a rectified flow (SD3)"
        small.load_model("sd1")
        engine = type("<i>Engine", (), {})()
        monkeypatch.setattr(sys.modules["modules.sd_unet"], "current_unet", engine)
        assert line(small, **SMALL, pag_scale=2) == "Nothing will be done: <i>Engine runs instead of the loaded UNet"
        assert "&lt;i&gt;" in small.tabs["txt2img"].value(guidance("line"))
        assert rows_of_line(line(small, pag_scale=0, start=0.5)) == 16, "the engine reads both rows"

    def test_what_reads_all_rows_and_what_rearranges_tokens(self, small):
        with settings_of(small, live_preview_content="Negative prompt"):
            assert rows_of_line(line(small, **SMALL | {"cfg_scale": 1})) == 16
        with settings_of(small, fewstep_one_row=False):
            assert rows_of_line(line(small)) == 16
        assert rows_of_line(line(small)) == 8
        with settings_of(small, token_merging_ratio=0.5):
            assert rows_of_line(line(small, seg_scale=2, sag_scale=1)) == rows_of_page(small) == 8

    def test_it_follows_everything_that_it_depends_on(self, unit):
        """The page's JavaScript presses the button when one of them changes."""
        for tab in TABS:
            page = unit.tabs[tab]
            press = f"() => fewstepSoon({guidance('refresh', tab)!r})"
            followed = {
                target
                for dependency in page.blocks.dependencies
                if dependency["js"] == press
                for target in dependency["targets"]
            }
            names = ["steps", "sampling", "scheduler", "cfg_scale", "denoising_strength"]
            ids = [guidance(name, tab) for name in OPTIONS] + [f"{tab}_{name}" for name in names]
            ids += [few_step("timesteps", tab), few_step("enabled-checkbox", tab)]
            ids += ["txt2img_hr-checkbox", "hr_sampler", "hr_scheduler"] if tab == "txt2img" else []
            assert {page.components_by_elem_id[name]._id for name in ids} <= followed

    def test_it_is_said_in_the_language_of_the_page(self, small):
        with settings_of(small, localization="zh_CN"):
            said = [
                line(small, **SMALL),
                line(small, **HR, schedule="Cosine", pag_scale=2, apg_eta=0, rescale=0.5, threshold_mimic=2),
                line(small, start=0.3, end=0.31),
            ]
        for text in said:
            assert re.search("[\u4e00-\u9fff]", text)
            assert not re.search("[A-Za-z]{2,}", re.sub("<br>|APG|PAG|CFG", "", text)), text


class TestPresets:
    @pytest.mark.parametrize("tab", TABS)
    def test_choosing_another_one_resets_what_the_first_has_set(self, unit, tab):
        page = unit.tabs[tab]
        names = {name for values in PRESETS.values() for name in values}
        set_on(unit, tab, {"start": 0.25, "nag_tau": 4})
        for preset in (*PRESETS, "Anti-burn", "None"):
            page.trigger(guidance("preset", tab), "input", preset)
            held = {name: page.value(guidance(name, tab)) for name in names}
            assert held == {name: PRESETS[preset].get(name, FIELDS[name].shown) for name in names}
        assert (page.value(guidance("start", tab)), page.value(guidance("nag_tau", tab))) == (0.25, 4)

    def test_a_pasted_preset_fills_nothing(self, unit):
        assert unit.tabs["txt2img"].trigger(guidance("preset"), "change", "Distilled") == {}

    @pytest.mark.parametrize("preset", [name for name in PRESETS if name != "None"])
    def test_what_it_fills_is_the_apis_preset(self, small, preset):
        page = small.tabs["txt2img"]
        page.trigger(guidance("preset"), "input", preset)
        on_page = small.txt2img(ui={guidance("enabled-checkbox"): True}, **BASE)
        wanted = made(small, {"preset": preset})
        assert same(on_page, wanted)
        assert on_page.infotexts == wanted.infotexts


OFF_DEFAULT = {
    "preset": {"preset": "Anti-burn"},
    "start": {"start": 0.25},
    "end": {"end": 0.5},
    "sigma_low": {"sigma_low": 0.5},
    "sigma_high": {"sigma_high": 5.42},
    "schedule": {"schedule": "CFG++"},
    "ramp_from": {"ramp_from": 0.5, "schedule": "Linear"},
    "ramp_to": {"ramp_to": 2, "schedule": "Cosine"},
    "rescale": {"rescale": 0.7},
    "apg_eta": {"apg_eta": 0.3},
    "apg_threshold": {"apg_threshold": 3},
    "apg_momentum": {"apg_momentum": -0.35},
    "threshold_mimic": {"threshold_mimic": 1.5},
    "threshold_percentile": {"threshold_percentile": 0.9, "threshold_mimic": 1.5},
    "nag_scale": {"nag_scale": 2.25},
    "nag_tau": {"nag_tau": 1.1, "nag_scale": 8},
    "nag_alpha": {"nag_alpha": 0.25, "nag_scale": 2},
    "pag_scale": {"pag_scale": 3, "attention_blocks": "Down"},
    "seg_scale": {"seg_scale": 3, "attention_blocks": "Down"},
    "seg_sigma": {"seg_sigma": 0.5, "seg_scale": 3, "attention_blocks": "Down"},
    "sag_scale": {"sag_scale": 0.75},
    "attention_blocks": {"attention_blocks": "Up", "pag_scale": 3},
    "attention_passes": {"attention_passes": "All", "pag_scale": 3, "attention_blocks": "Down"},
}
"""A value off its default for each setting, with what it needs to have an effect."""


class TestInfotext:
    @pytest.mark.parametrize("name", OPTIONS)
    def test_every_setting_comes_back(self, unit, name):
        settings = OFF_DEFAULT[name]
        fields = HIRES if name == "attention_passes" else {}
        if GuidanceSettings.from_dict(settings).changes_attention:
            unit.load_model("sd1")
        result = made(unit, settings, **fields)
        assert OPTIONS[name].infotext in result.infotexts[0]
        rest = {other: value for other, value in settings.items() if other != name}
        assert not same(result, made(unit, rest or None, **fields)), "the setting has an effect"
        again = pasted(unit, "txt2img", result.infotexts[0])
        assert same(again, result)
        assert again.p.extra_generation_params == result.p.extra_generation_params

    def test_in_img2img(self, small):
        fields = {"init_images": [PICTURE], "denoising_strength": 0.75}
        result = made(small, {"preset": "Distilled", "pag_scale": 2, "sigma_high": 5.42}, **fields)
        assert same(pasted(small, "img2img", result.infotexts[0], init_images=[PICTURE]), result)

    @pytest.mark.parametrize("tab", TABS)
    def test_an_image_without_the_script_switches_it_off_and_nothing_else(self, unit, tab):
        fields = {"init_images": [PICTURE]} if tab == "img2img" else {}
        for settings in (None, {"enabled": False, "start": 0.5}):
            assert self.changes(unit, tab, made(unit, settings, **fields).infotexts[0]) == {"enabled": False}

    def test_what_is_not_said_was_at_its_default(self, unit):
        changes = self.changes(unit, "txt2img", made(unit, {"end": 0.5}).infotexts[0])
        assert changes == {name: field.shown for name, field in FIELDS.items()} | {"enabled": True, "end": 0.5}

    @pytest.mark.parametrize(
        ("said", "name"),
        [
            ("Guidance preset: Magic", "preset"),
            ("Guidance start: 2", "start"),
            ("Guidance start: nan", "start"),
            ("Guidance end: late", "end"),
            ("Guidance sigma low: none", "sigma_low"),
            ("Guidance sigma high: inf", "sigma_high"),
            ("Guidance schedule: Sideways", "schedule"),
            ("APG momentum: -3", "apg_momentum"),
            ("NAG tau: 0.5", "nag_tau"),
            ("SEG sigma: 0.01", "seg_sigma"),
            ("Guidance blocks: all", "attention_blocks"),
            ("Guidance passes: Hires", "attention_passes"),
        ],
    )
    def test_what_is_not_allowed_is_left_alone(self, unit, said, name):
        changes = self.changes(unit, "txt2img", f"a cat\nSteps: 4, Sampler: Euler, CFG scale: 3, Seed: 1, {said}")
        assert changes["enabled"] is True
        assert name not in changes
        assert len(changes) == len(FIELDS) - 1

    def test_keys_that_nobody_knows_say_nothing(self, unit):
        text = "a cat\nSteps: 4, Sampler: Euler, CFG scale: 3, Seed: 1, Guidance magic: 3, PAG Scale: 3"
        assert self.changes(unit, "txt2img", text) == {"enabled": False}

    def test_the_apis_list_is_in_the_order_of_the_page(self, small):
        values = {name: settings[name] for name, settings in OFF_DEFAULT.items()} | {"schedule": "Linear"}
        shown = {"enabled": True, **{name: values[name] for name in FIELDS if name != "enabled"}}
        args = {"alwayson_scripts": {"Guidance": {"args": list(shown.values())}}}
        by_list, by_name = small.api.txt2img(BASE | args), made(small, values)
        assert same(by_list, by_name)
        assert by_list.infotexts == by_name.infotexts

    @staticmethod
    def changes(host, tab, text):
        """What a pasted infotext changes in the script's own components, by setting."""
        names = dict(zip(map(id, host.tabs[tab].runner.script("Guidance").controls), FIELDS, strict=True))
        found = infotext.paste(text, host.tabs[tab].fields)
        return {names[id(component)]: value for component, value in found if id(component) in names}


class TestFewStepsButton:
    @pytest.mark.parametrize("tab", TABS)
    def test_it_is_there_for_presets_with_cfg_1_alone(self, unit, tab):
        for name in ("None", *FEW_STEP_PRESETS):
            set_on(unit, tab, {few_step("preset", tab): name})
            news = unit.tabs[tab].trigger(few_step("refresh", tab), "click")
            wanted = name != "None" and FEW_STEP_PRESETS[name].cfg == 1
            assert news[few_step("negative", tab)]["visible"] is wanted
            assert ("needs NAG" in news[few_step("line", tab)]) is wanted

    @pytest.mark.parametrize("tab", TABS)
    def test_it_opens_guidance_with_the_preset_for_distilled_models(self, small, tab):
        page = small.tabs[tab]
        set_on(small, tab, {"rescale": 0.5, "start": 0.25})
        news = page.trigger(few_step("negative", tab), "click")
        filled = {"preset": "Distilled", "nag_scale": 2.0, "apg_eta": 1.0, "apg_threshold": 0.0}
        filled |= {"rescale": 0.0, "enabled-checkbox": True}
        assert news == {guidance(name, tab): value for name, value in filled.items()}
        other = small.tabs[{"txt2img": "img2img", "img2img": "txt2img"}[tab]]
        assert not other.changed
        page.changed[page.components_by_elem_id[guidance("start", tab)]._id] = 0.0
        fields = {"init_images": [PICTURE]} if tab == "img2img" else {}
        found = getattr(small, tab)(**BASE | fields | {"cfg_scale": 1})
        wanted = made(small, {"preset": "Distilled"}, **fields, cfg_scale=1)
        assert same(found, wanted)
        assert found.infotexts == wanted.infotexts


@pytest.fixture
def hidden(unit):
    """A function that gives the setting a value and reloads the UI."""
    with settings_of(unit):

        def hide(value):
            unit.shared.opts.data["fewstep_hidden_accordions"] = value
            unit.reload_ui()

        yield hide
    unit.reload_ui()


def visible(host, tab):
    """Which of the three accordions are shown."""
    ids = {"HiDiffusion": f"fewstep_hires_{tab}_enabled", "Few-Step": few_step("enabled", tab)}
    ids["Guidance"] = guidance("enabled", tab)
    return [name for name, elem_id in ids.items() if host.tabs[tab].components_by_elem_id[elem_id].visible]


class TestHiddenAccordions:
    def test_they_are_not_shown_but_work(self, small, hidden):
        before = made(small, {"pag_scale": 3})
        hidden(["Guidance", "HiDiffusion"])
        for tab in TABS:
            assert visible(small, tab) == ["Few-Step"]
        assert same(made(small, {"pag_scale": 3}), before)
        assert same(pasted(small, "txt2img", before.infotexts[0]), before)
        assert line(small, **SMALL)
        hidden([])
        assert visible(small, "txt2img") == ["HiDiffusion", "Few-Step", "Guidance"]

    def test_few_steps_button_opens_nothing_that_is_hidden(self, unit, hidden):
        for names, offered in ((["Guidance"], False), (["HiDiffusion"], True)):
            hidden(names)
            set_on(unit, "txt2img", {few_step("preset"): "TCD"})
            news = unit.tabs["txt2img"].trigger(few_step("refresh"), "click")
            assert news[few_step("negative")]["visible"] is offered
            assert ("NAG" in news[few_step("line")]) is offered

    @pytest.mark.parametrize("value", [5, "Guidance", None, ["Guidance", 3]], ids=str)
    def test_of_a_wrong_value_the_default_is_shown_with_a_line(self, unit, hidden, log, value):
        hidden(value)
        for tab in TABS:
            assert visible(unit, tab) == ["HiDiffusion", "Few-Step", "Guidance"]
        assert any(f"fewstep_hidden_accordions = {value!r} is not allowed: it must be" in said for said in log())
        assert unit.api.txt2img(BASE).status == 200

    def test_names_of_no_accordion_hide_nothing(self, unit, hidden):
        hidden(["Dynamic Thresholding"])
        assert visible(unit, "img2img") == ["HiDiffusion", "Few-Step", "Guidance"]
