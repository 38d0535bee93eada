"""The lines of the page, its settings, its languages, and what is pasted into it, through a strict stand-in."""

from __future__ import annotations

import ast
import html
import json
import logging
import re
import sys
from pathlib import Path
from string import Formatter

import gradio as gr
import pytest

from lib_fewstep.compare.settings import ComparisonSettings
from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.highres import HighResSettings
from lib_fewstep.models import ModelSettings
from lib_fewstep.options import SettingError, options_of
from lib_fewstep.sampling import FewStepSettings
from lib_fewstep.sampling.presets import PRESETS
from lib_fewstep.webui.common.page_settings import PageSettings
from tests.webui.exact import OURS, made, refused, same
from tests.webui.standin import infotext
from tools.settings_table import LONGEST

ROOT = Path(__file__).parents[2]
CHINESE = json.loads((ROOT / "localizations" / "zh_CN.json").read_text(encoding="utf-8"))
TABS = ("txt2img", "img2img")
SOURCE = ("Resize by", "Width of the picture", "Height of the picture")


def hires(name, tab="txt2img"):
    return f"fewstep_hires_{tab}_{name}"


def few_step(name, tab="txt2img"):
    return f"fewstep_sampling_{tab}_{name}"


def few_step_line(host, tab="txt2img"):
    host.tabs[tab].trigger(few_step("refresh", tab), "click")
    return html.unescape(host.tabs[tab].value(few_step("line", tab)))


class TestWhichPresetFits:
    @pytest.fixture
    def lightning(self, unit):
        unit.checkpoints.add("merges/my_lightning_4step", "unit")
        unit.load_model("merges/my_lightning_4step.safetensors")
        yield unit
        unit.checkpoints.recipes.pop("merges/my_lightning_4step")

    def test_the_checkpoints_name_is_the_reason(self, lightning):
        page = lightning.tabs["txt2img"]
        assert few_step_line(lightning) == (
            'The preset "SDXL-Lightning 4 steps" (Euler, Trailing, 4 steps, CFG 1) fits, because the checkpoint is '
            'called "my_lightning_4step".'
        )
        page.trigger(few_step("use"), "click")
        assert page.value(few_step("preset")) == "SDXL-Lightning 4 steps"
        filled = [page.value(f"txt2img_{name}") for name in ("sampling", "scheduler", "steps", "cfg_scale")]
        assert filled == ["Euler", "Trailing", 4, 1.0]
        assert few_step_line(lightning).startswith("SDXL-Lightning 4 steps: Euler, Trailing, 4 steps, CFG 1. It fits")
        assert lightning.tabs["img2img"].value(few_step("preset", "img2img")) == "None"

    def test_a_lora_of_the_prompt_is_the_reason(self, unit):
        page = unit.tabs["txt2img"]
        page.trigger("txt2img_prompt", "change", "a cat <lora:TCD-SDXL-LoRA:1>")
        assert few_step_line(unit).endswith('because the LoRA is called "TCD-SDXL-LoRA".')

    def test_the_button_is_there_when_a_preset_fits_that_is_not_chosen(self, lightning):
        page = lightning.tabs["txt2img"]
        for chosen, offered in (("None", True), ("TCD", True), ("SDXL-Lightning 4 steps", False)):
            page.trigger(few_step("preset"), "change", chosen)
            news = page.trigger(few_step("refresh"), "click")
            assert news[few_step("use")]["visible"] is offered

    @pytest.mark.parametrize("name", PRESETS)
    def test_a_chosen_preset_says_what_it_is_for(self, unit, name):
        page = unit.tabs["img2img"]
        page.trigger(few_step("preset", "img2img"), "change", name)
        said = few_step_line(unit, "img2img")
        negative = (
            " At CFG 1 the negative prompt needs NAG, which the button switches on." if PRESETS[name].cfg == 1 else ""
        )
        assert said == f"{name}: {PRESETS[name].summary}. {PRESETS[name].help}{negative}"

    def test_names_are_no_html(self, unit):
        unit.checkpoints.add("a&b<i>_lightning_4step", "unit")
        unit.load_model("a&b<i>_lightning_4step.safetensors")
        assert few_step_line(unit).endswith('called "a&b<i>_lightning_4step".')
        assert "a&amp;b&lt;i&gt;_" in unit.tabs["txt2img"].value(few_step("line"))
        unit.checkpoints.recipes.pop("a&b<i>_lightning_4step")

    def test_a_model_of_another_kind_is_named(self, unit):
        page = unit.tabs["txt2img"]
        page.trigger("fewstep_hires_txt2img_refresh", "click")
        said = page.value("fewstep_hires_txt2img_line")
        assert said.startswith(
            "The model (UnitData) has no input_blocks and output_blocks, so it is not a UNet of Stable"
        )

    def test_none_is_needed(self, unit):
        assert few_step_line(unit) == 'Judging by its name, the checkpoint "unit" needs no preset.'


def setting(host, **values):
    for name, value in values.items():
        host.shared.opts.set(f"fewstep_{name}", value)


@pytest.fixture
def settings(unit):
    """A function that changes settings of the extension for one test."""
    before = dict(unit.shared.opts.data)
    yield lambda **values: setting(unit, **values)
    unit.shared.opts.data.clear()
    unit.shared.opts.data.update(before)
    unit.reload_ui()


WRONG = {
    "passes": "x",
    "guidance": None,
    "record": "yes",
    "record_folder": 5,
    "most_images": 0,
    "hidden_samplers": 5,
}


class TestWrongSettings:
    """What a config file or a request may hold, though the page does not offer it."""

    @pytest.mark.parametrize("name", WRONG)
    def test_they_are_named(self, unit, settings, name):
        from lib_fewstep.webui.common import host

        settings(**{name: WRONG[name]})
        with pytest.raises(SettingError, match=rf"^fewstep_{name} = .* is not allowed: it must be "):
            host.options.setting(name)

    @pytest.mark.parametrize("value", ["a", 2.5, -1, 10001])
    def test_a_comparison_needs_a_number(self, unit, settings, value):
        settings(most_images=value)
        answer = unit.api.txt2img(
            {"width": 32, "height": 24, "script_name": "Few-step comparison", "script_args": [{}]}
        )
        assert answer.status == 422
        assert f"fewstep_most_images = {value!r} is not allowed: it must be 1 to 10000." in answer.message

    def test_guidance_is_asked_of_jobs_with_cfgpp_alone(self, unit, settings):
        settings(guidance="x")
        assert made(unit, sampler_name="Euler").p.sampler_name == "Euler"
        assert "fewstep_guidance = 'x' is not allowed" in refused(unit, sampler_name="Euler CFG++")

    def test_the_page_shows_the_default_and_warns(self, unit, settings, log):
        settings(guidance="x", passes="x", hidden_samplers=None)
        unit.reload_ui()
        assert unit.tabs["txt2img"].value(few_step("guidance")) == "calibrated"
        assert unit.tabs["txt2img"].value("fewstep_hires_txt2img_passes") == "Auto"
        assert sum("is not allowed" in line for line in log()) >= 3

    def test_an_unknown_choice_of_lines_shows_all(self, unit, settings):
        settings(log="x")
        (handler,) = (handler for handler in logging.getLogger("fewstep").handlers if handler.name == "fewstep")
        assert handler.filter(logging.LogRecord("fewstep", 20, "", 1, "said", (), None))

    @pytest.mark.parametrize("folder", ["~nobody-of-that-name/x", "a\0b"])
    def test_a_folder_that_cannot_be(self, unit, settings, log, folder):
        settings(record=True, record_folder=folder)
        made(unit)
        assert any("The record of 1 images could not be written" in line for line in log())

    def test_a_folder_that_is_a_file(self, unit, settings, log, tmp_path):
        (tmp_path / "file").write_text("")
        settings(record=True, record_folder=str(tmp_path / "file"))
        made(unit)
        assert any("The record of 1 images could not be written" in line for line in log())


class TestAnotherDefaultOfGuidance:
    @pytest.fixture
    def raw(self, unit, settings):
        settings(guidance="lambda")
        unit.reload_ui()
        return unit

    def test_what_was_calibrated_says_so(self, raw):
        text = made(raw, {"guidance": "calibrated"}, sampler_name="Euler CFG++").infotexts[0]
        assert "Few-Step guidance: calibrated" in text
        assert "Few-Step" not in made(raw, {"guidance": "calibrated"}, sampler_name="Euler").infotexts[0]

    def test_what_says_nothing_is_calibrated(self, raw):
        """It was made where the default is the built-in one."""
        changes = infotext.paste("a cat\nSteps: 4, Sampler: Euler CFG++, Seed: 1", raw.tabs["txt2img"].fields)
        script = raw.tabs["txt2img"].runner.script("Few-Step")
        filled = {component.label: value for component, value in changes if component in script.controls}
        assert filled["Few-Step"] is True
        assert filled["CFG++ guidance"] == "calibrated"
        changes = infotext.paste("a cat\nSteps: 4, Sampler: Euler, Seed: 1", raw.tabs["txt2img"].fields)
        filled = {component.label: value for component, value in changes if component in script.controls}
        assert filled["Few-Step"] is False


class TestSettingsPage:
    def test_all_are_there_with_their_defaults(self, unit):
        keys = [key for key in unit.settings if key.startswith("fewstep_")]
        names = "passes guidance one_row detect_kind hidden_accordions log hidden_samplers"
        names += " record record_folder most_images"
        assert keys == [f"fewstep_{name}" for name in names.split()]
        infos = {key: unit.shared.opts.data_labels[key] for key in keys}
        assert {info.section for info in infos.values()} == {("fewstep", "Few-Step")}
        assert all(unit.shared.opts.data[key] == infos[key].default for key in keys)
        reloading = {key for key in keys if "requires Reload UI" in infos[key].comment_after}
        lists = {"fewstep_hidden_samplers", "fewstep_hidden_accordions"}
        assert reloading == {"fewstep_passes", "fewstep_guidance"} | lists

    def test_a_default_of_guidance_holds_while_the_accordion_is_closed(self, unit, settings, log):
        closed = made(unit, sampler_name="Euler CFG++")
        settings(guidance="lambda")
        unit.reload_ui()
        assert unit.tabs["txt2img"].value(few_step("guidance")) == "lambda"
        raw = made(unit, sampler_name="Euler CFG++")
        assert not same(closed, raw)
        assert same(raw, made(unit, {"guidance": "lambda"}, sampler_name="Euler CFG++"))
        assert same(closed, made(unit, {"guidance": "calibrated"}, sampler_name="Euler CFG++"))
        assert "Few-Step guidance: lambda" in raw.infotexts[0]
        assert "Few-Step" not in made(unit, sampler_name="Euler").infotexts[0]
        plain = made(unit, {"enabled": False, "guidance": "cfg/12.5"}, sampler_name="Euler CFG++")
        assert same(raw, plain), "what is switched off counts for nothing"

    def test_the_first_values_of_both_do_not_come_from_the_ui_config(self, unit):
        for name in (hires("passes"), few_step("guidance")):
            assert unit.tabs["txt2img"].components_by_elem_id[name].do_not_save_to_config
        hidden = [c for c in unit.tabs["img2img"].components if c.label in SOURCE]
        assert [component.do_not_save_to_config for component in hidden] == [True] * 3

    @pytest.mark.parametrize(
        ("choice", "shown"), [("All", [True, True]), ("Warnings", [False, True]), ("None", [False] * 2)]
    )
    def test_the_console_shows_what_is_chosen(self, unit, settings, choice, shown):
        settings(log=choice)
        logger = logging.getLogger("fewstep")
        (handler,) = (handler for handler in logger.handlers if handler.name == "fewstep")
        records = [logging.LogRecord("fewstep", level, "", 1, "said", (), None) for level in (20, 30)]
        assert [bool(handler.filter(record)) for record in records] == shown

    def test_hidden_samplers_are_in_no_list_but_work(self, unit, settings):
        settings(hidden_samplers=["TCD", "SA-Solver"])
        unit.reload_ui()
        offered = unit.tabs["txt2img"].components_by_elem_id["txt2img_sampling"].choices
        assert [name for name in OURS if name not in offered] == ["TCD", "SA-Solver"]
        assert made(unit, sampler_name="TCD").p.sampler_name == "TCD"
        settings(hidden_samplers=[])
        unit.reload_ui()
        offered = unit.tabs["txt2img"].components_by_elem_id["txt2img_sampling"].choices
        assert set(OURS) <= set(offered)

    def test_the_records_folder(self, unit, settings, tmp_path):
        settings(record=True, record_folder=str(tmp_path / "own" / "place"))
        made(unit)
        assert len((tmp_path / "own" / "place" / "fewstep-record.csv").read_text().splitlines()) == 2
        settings(record_folder="below")
        made(unit)
        assert (unit.data_path / "outputs" / "below" / "fewstep-record.csv").exists()
        made(unit, override_settings={"fewstep_record_folder": str(tmp_path / "api")})
        assert not (tmp_path / "api").exists()

    def test_a_comparison_has_at_most_so_many_images(self, unit, settings):
        settings(most_images=4)
        request = {"prompt": "x", "width": 32, "height": 24, "script_name": "Few-step comparison"}
        answer = unit.api.txt2img(request | {"script_args": [{"steps": [1, 2]}]})
        assert answer.status == 422
        assert "5 images (including the references) are not allowed" in answer.message
        assert "at most 4." in answer.message


def templates():
    """The first argument of every `Sentence(...)` in the package."""
    found = set()
    for path in sorted((ROOT / "lib_fewstep").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Sentence":
                (template,) = node.args
                assert isinstance(template, ast.Constant), f"{path}: a sentence's template must be a literal"
                found.add(template.value)
    return found


def texts_of(component):
    """What a component shows: label, help, choices, a button's text."""
    texts = [getattr(component, "label", None), getattr(component, "info", None)]
    texts += [choice if isinstance(choice, str) else choice[0] for choice in getattr(component, "choices", None) or []]
    texts += [component.value] if isinstance(component, gr.Button) else []
    return {text for text in texts if text}


def texts_of_the_page(host):
    """Every text of the extension that the page shows, as it stands there."""
    blocks = [block for tab in host.tabs.values() for block in tab.blocks.blocks.values()]
    found = {text for b in blocks if str(getattr(b, "elem_id", "")).startswith("fewstep") for text in texts_of(b)}
    for key in (key for key in host.settings if key.startswith("fewstep_")):
        comment = host.shared.opts.data_labels[key].comment_after
        note = re.search(r"<span class='info'>(.*?)</span>", comment)[1]
        found |= texts_of(host.settings[key]) | {note}
    xyz = next(data.module for data in host_scripts() if data.path.endswith("xyz_grid.py"))
    own = re.compile(r"\[(HiDiffusion|Few-Step|Guidance|Model)\]")
    found |= {axis.label for axis in xyz.axis_options if own.match(axis.label)}
    return found | {"Few-step comparison"}


def texts_of_the_tables():
    """What the documents' tables say of settings and presets, in words."""
    classes = (HighResSettings, FewStepSettings, GuidanceSettings, ModelSettings, ComparisonSettings, PageSettings)
    options = [option for settings in classes for option in options_of(settings).values()]
    listed = {option.values for option in options if option.values and len(option.values) <= LONGEST}
    said = {text for option in options for text in (option.label, option.help)}
    return said | listed | {preset.help for preset in PRESETS.values()}


def host_scripts():
    return sys.modules["modules.scripts"].scripts_data


def names(host):
    """What is called the same in every language: methods, samplers, presets, ways to resize."""
    own = options_of(HighResSettings)
    samplers = {sampler.name for sampler in sys.modules["modules.sd_samplers"].all_samplers}
    return {*own["method"].choices, *own["scaler"].choices, *samplers, *PRESETS, *PROPER}


class TestChinese:
    def test_lines_and_advice_are_said_in_it(self, unit, monkeypatch):
        monkeypatch.setitem(unit.shared.opts.data, "localization", "zh_CN")
        said = [few_step_line(unit), made(unit, sampler_name="DDIM CFG++", steps=4).comments]
        monkeypatch.undo()
        for text in said:
            rest = re.sub("unit|Few-Step|DDIM|CFG|WebUI|Euler|Trailing", "", text)
            assert re.search("[\u4e00-\u9fff]", rest)
            assert not re.search("[A-Za-z]{2,}", rest), text

    @pytest.mark.parametrize(
        "places", ["{nam}", "{name.upper}", "{name[0]}", "{name:>99999999999}", "{name!r}", "{", "{}", "{name:{name}}"]
    )
    def test_other_files_of_the_language_do_no_harm(self, unit, monkeypatch, tmp_path, places):
        words = {
            "broken": "{",
            "list": "[]",
            "empty": json.dumps({"No model is loaded yet.": "", "unit": "word", "{sampler}": 3}),
            "deep": "[" * 100_000,
            "places": json.dumps({NO_PRESET: places}),
        }
        for name, text in words.items():
            (tmp_path / f"{name}.json").write_text(text)
        files = {"xx": [str(tmp_path / f"{name}.json") for name in words] + [str(tmp_path / "missing.json")]}
        monkeypatch.setattr(sys.modules["modules.localization"], "localizations", files)
        monkeypatch.setitem(unit.shared.opts.data, "localization", "xx")
        assert few_step_line(unit) == 'Judging by its name, the checkpoint "unit" needs no preset.'
        monkeypatch.setattr(sys.modules["modules.shared"], "sd_model", None)
        assert few_step_line(unit) == "No model is loaded yet."

    def test_no_text_is_missing_and_none_is_left_over(self, unit):
        wanted = texts_of_the_page(unit) - names(unit)
        wanted |= templates() | texts_of_the_tables() - names(unit)
        assert sorted(wanted - CHINESE.keys()) == [], "these texts have no Chinese in localizations/zh_CN.json"
        assert sorted(CHINESE.keys() - wanted) == [], "these texts are not on the page any more"

    def test_every_template_keeps_its_values(self):
        for text in templates():
            assert _places(CHINESE[text]) == _places(text), text

    def test_all_of_it_is_chinese(self):
        assert [text for text, said in CHINESE.items() if not re.search("[\u4e00-\u9fff]", said)] == NO_WORDS


NO_PRESET = 'Judging by its name, the checkpoint "{name}" needs no preset.'
PROPER = ("CFG", "CFG++", "T1", "T2", "RAU-Net", "HiDiffusion", "lambda", "cfg/12.5")
PROPER += ("v", "EDM", "EDM v", "Kolors", "Paints-UNDO")
NO_WORDS = [
    "{before}, {part}",
    "{before}; {note}",
    "{family}, {size}: {parts}",
    "{name} {value:g}",
    "{preset}: {summary}. {help}",
    "{title}: {parts}.",
]


def _places(template):
    return sorted((name, spec) for _, name, spec, _ in Formatter().parse(template) if name is not None)
