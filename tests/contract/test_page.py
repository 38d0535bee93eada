"""The page: the host's components, those of the extension, and infotexts that are pasted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio
import pytest

from tests.contract.helpers import (
    SMALL,
    log_of,
    module,
    on,
    recorded,
    script,
)
from tests.webui import standin


def as_sent(value: Any) -> Any:
    """A value of the page as a browser sends it: its numbers know no type."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class TestPage:
    def test_the_accordion_is_a_checkbox_in_real_gradio(self, host: Any) -> None:
        tab = host.tabs["txt2img"]
        components = tab.components_by_elem_id
        accordion = components["script_txt2img_recorder_enabled"]
        box = components["script_txt2img_recorder_enabled-checkbox"]
        assert (type(accordion).__module__, box.value) == ("gradio.layouts", False)
        assert components["script_txt2img_recorder_mode"].parent.parent is accordion or (
            components["script_txt2img_recorder_mode"].parent is accordion
        )
        types = {entry["props"].get("elem_id"): entry["type"] for entry in tab.blocks.get_config_file()["components"]}
        assert types["script_txt2img_recorder_enabled-checkbox"] == "checkbox"
        assert types["script_txt2img_recorder_enabled"] == "accordion"

    def test_every_ui_is_built_three_times_for_each_tab(self, host: Any) -> None:
        recorder = script("recorder").script_class
        assert recorder.built == [False, True, False, False, True, True]

    def test_components_are_announced(self, host: Any) -> None:
        host.reload_ui()
        assert recorded("after") == ["Sampling steps"]

    def test_arguments_come_from_the_page(self, host: Any) -> None:
        host.txt2img(**SMALL)
        assert recorded("process")[0]["args"] == (False, "a", 0.5, 3)
        host.txt2img(**SMALL, ui={"Recorder mode": "b", "script_txt2img_recorder_enabled-checkbox": True})
        assert recorded("process")[1]["args"] == (True, "b", 0.5, 3)
        with pytest.raises(LookupError, match="Recoder"):
            host.txt2img(**SMALL, ui={"Recoder mode": "b"})

    def test_paste_casts_by_the_components_value(self, host: Any) -> None:
        text = (
            "a cat\nNegative prompt: a dog\nSteps: 4, Size: 64x72, Recorder enabled: yes, Recorder mode: b, "
            "Recorder strength: 0.25, Recorder count: 7"
        )
        pasted = host.paste("txt2img", text)
        assert pasted["Prompt"] == "a cat"
        assert (pasted["Width"], pasted["Height"]) == (64, 72)
        own = {label: value for label, value in pasted.items() if label.startswith("Recorder")}
        assert own == {"Recorder": True, "Recorder mode": "b", "Recorder strength": 0.25, "Recorder count": 7}
        assert (type(own["Recorder count"]), type(pasted["Width"])) == (float, float)
        assert (
            host.paste("txt2img", "a\nSteps: 4, Seed: 1, Recorder enabled: False, Recorder strength: 1")["Recorder"]
            is False
        )
        assert host.errors == []

    def test_paste_leaves_alone_what_is_missing_or_raises(self, host: Any) -> None:
        pasted = host.paste("txt2img", "a cat\nSteps: 4, Seed: 1, Size: 64x64")
        assert not [label for label in pasted if label.startswith("Recorder")]
        assert [type(error.exception) for error in host.errors] == [KeyError]

    def test_a_job_has_the_pages_second_pass(self, host: Any) -> None:
        text = "a\nSteps: 4, Seed: 1, Denoising strength: 0.5, Hires upscale: 1.5, Hires resize: 96x128, Hires steps: 3"
        tab = host.tabs["txt2img"]
        pasted = host.paste("txt2img", text)
        sent = {label: as_sent(value) for label, value in pasted.items()}
        tab.changed = {c._id: sent[c.label] for c in tab.components if c.label in sent}
        p = host.txt2img(prompt="a cat", width=64, height=64).p
        assert (p.enable_hr, p.denoising_strength, p.hr_second_pass_steps, p.hr_scale) == (True, 0.5, 3, 1.5)
        assert (p.hr_resize_x, p.hr_resize_y, p.hr_upscaler) == (96, 128, "Latent")
        assert "Hires resize: 96x128" in host.txt2img(prompt="a cat", width=64, height=64).infotexts[0]
        assert host.txt2img(**SMALL, enable_hr=False).p.enable_hr is False

    def test_img2img_resizes_by_a_factor_or_to_a_size(self, host: Any) -> None:
        tab = host.tabs["img2img"]
        tab.trigger("img2img_image", "change", standin.picture(64, 48))
        tab.trigger("img2img_scale", "change", 1.5)

        def size() -> tuple[int, int]:
            p = host.img2img(prompt="a cat", steps=2).p
            return p.width, p.height

        tab.trigger("img2img_width", "change", 72)
        tab.trigger("img2img_height", "change", 80)
        assert size() == (72, 80)
        tab.trigger("img2img_tab_resize_by", "select")
        assert size() == (96, 72)
        tab.trigger("img2img_tab_resize_to", "select")
        assert size() == (72, 80)
        assert {"mode_img2img", "img2img_tabs_resize", "img2img_update_resize_to"} <= set(tab.components_by_elem_id)

    def test_languages_are_the_files_of_the_extensions(self, host: Any) -> None:
        files = module("localization").localizations["zh_CN"]
        assert [Path(file).name for file in files] == ["zh_CN.json"]
        assert host.shared.opts.localization == "None"

    def test_a_reload_executes_the_scripts_again(self, host: Any) -> None:
        old = log_of()
        host.reload_ui()
        assert old[-1] == ("unloaded", None)
        assert log_of() is not old
        assert len(host.callbacks.kinds["cfg_denoiser"]) == 1
        assert host.api.txt2img(SMALL).status == 200

    def test_a_script_that_does_not_load_is_reported(self, host: Any) -> None:
        host.reload_ui()
        assert [error for error in map(str, host.errors) if "broken.py" in error]
        assert "script_txt2img_recorder_mode" in host.tabs["txt2img"].components_by_elem_id


class TestComponents:
    @pytest.mark.parametrize("tab", ["txt2img", "img2img"])
    def test_ids_and_labels(self, host: Any, tab: str) -> None:
        components = host.tabs[tab].components_by_elem_id
        labels = {
            "sampling": "Sampling method",
            "scheduler": "Schedule type",
            "steps": "Sampling steps",
            "cfg_scale": "CFG Scale",
            "seed": "Seed",
            "prompt": "Prompt",
        }
        assert {item: components[f"{tab}_{item}"].label for item in labels} == labels
        assert ("img2img_image" in components) is (tab == "img2img")

    def test_the_hosts_components_are_there_before_those_of_an_extension(self, host: Any) -> None:
        tab = host.tabs["txt2img"]
        order = [c.elem_id for c in tab.components if c.elem_id]
        wanted = ["txt2img_prompt", "txt2img_sampling", "txt2img_hr-checkbox", "txt2img_enable-checkbox"]
        wanted += ["txt2img_width", "txt2img_cfg_scale", "txt2img_seed", "script_txt2img_presets_preset", "script_list"]
        assert sorted(wanted, key=order.index) == wanted
        script = tab.runner.script("Presets")
        assert set(script.found) == {"sampling", "scheduler", "steps", "cfg_scale"}
        assert script.late == []
        titles = [s.title() for s in tab.runner.alwayson_scripts]
        wanted = ["Presets", "Recorder", "Section", "Refiner", "Sampler", "Seed"]
        assert sorted(wanted, key=titles.index) == wanted

    def test_a_choice_fills_the_page(self, host: Any) -> None:
        tab = host.tabs["txt2img"]
        changed = tab.trigger("script_txt2img_presets_preset", "input", "LCM")
        filled = {"txt2img_sampling": "LCM", "txt2img_scheduler": "Automatic", "txt2img_steps": 4}
        assert {name: changed[name] for name in filled} == filled
        assert changed["script_txt2img_presets_hint"] == "LCM"  # by the sampler's own change, which comes last
        p = host.txt2img(prompt="a cat", width=64, height=64).p
        assert (p.sampler_name, p.steps, p.cfg_scale) == ("LCM", 4, 1.5)
        alone = host.tabs["img2img"].trigger("script_img2img_presets_preset", "change", "LCM")
        assert alone["script_img2img_presets_hint"]["value"] == "chose LCM"

    def test_the_page_has_the_last_word_after_setup(self, host: Any) -> None:
        assert host.txt2img(**SMALL, ui={"Preset": "LCM"}).p.steps == 4
        sent = {"alwayson_scripts": {"Presets": {"args": ["LCM"]}}}
        assert host.api.txt2img({**SMALL, **sent}).p.steps == 2

    def test_a_section_puts_a_script_before_the_hosts(self, host: Any) -> None:
        tab = host.tabs["txt2img"]
        order = [c.elem_id for c in tab.components if c.elem_id]
        assert order.index("script_txt2img_section_mine") < order.index("txt2img_sampling")
        assert tab.runner.script("section").args_from < tab.runner.script("sampler").args_from

    def test_samplers_are_pasted(self, host: Any) -> None:
        text = "a\nSteps: 4, Sampler: Euler Karras, CFG scale: 2, Seed: 1, Hires upscale: 2, Denoising strength: 0.5"
        pasted = host.paste("txt2img", text + ", Hires sampler: Heun")
        names = ("Sampling method", "Schedule type", "Sampling steps", "CFG Scale", "Hires. fix")
        assert [pasted[name] for name in names] == ["Euler", "Karras", 4, 2.0, True]
        assert (pasted["Hires sampling method"], pasted["Hires schedule type"]) == ("Heun", "Use same scheduler")

    def test_refiner_and_seed_go_through_the_page(self, host: Any) -> None:
        p = host.txt2img(**SMALL, refiner_checkpoint="sd1-other", refiner_switch_at=0.5).p
        assert (p.refiner_checkpoint, p.refiner_switch_at, p.seed) == ("sd1-other", 0.5, 1)

    def test_blocks_are_announced_too(self, host: Any) -> None:
        seen: list[Any] = []
        on("after_component", lambda component, **kw: seen.append(component))
        with gradio.Blocks(), gradio.Row(elem_id="mine"):
            pass
        assert [getattr(component, "elem_id", None) for component in seen] == [None, "mine"]
