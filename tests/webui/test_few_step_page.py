"""The page, the infotext, presets and advice of the script "Few-Step", driven through a strict stand-in."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from lib_fewstep.options import options_of
from lib_fewstep.sampling.presets import PRESETS
from lib_fewstep.sampling.settings import FewStepSettings, InvertSettings, PriorSettings
from tests.webui import standin
from tests.webui.exact import BASE, SCRIPTS, made, same, settings_of, timesteps
from tests.webui.exact import request as request_of
from tests.webui.standin import infotext

pytestmark = pytest.mark.long

TABS = ("txt2img", "img2img")
PICTURE = standin.picture(32, 24)
LABELS = {
    "Few-Step": "enabled",
    "Preset": "preset",
    "CFG++ guidance": "guidance",
    "TCD gamma": "gamma",
    "Timesteps": "timesteps",
    "Statistics file": "prior_statistics",
    "Reference images": "prior_images",
    "Save as": "prior_save",
    "Invert with CFG++": "invert",
    "Original prompt": "invert_prompt",
    "Original negative prompt": "invert_negative_prompt",
    "Inversion steps": "invert_steps",
    "Lambda": "cfgpp_lambda",
    "Hires CFG": "hires_cfg",
    "SA tau": "sa_tau",
    "SA predictor": "sa_predictor",
    "SA corrector": "sa_corrector",
    "Share of the noise": "prior_share",
    "Average of the images": "prior_mean",
    "Deviation from it": "prior_deviation",
    "Brightness": "prior_brightness",
}
"""The page's components in the order of the arguments."""

SHOWN = [False, "None", "calibrated", 0.3, "", "None", None, "", False, "", "", 0, 0.0, 0.0, 1.0, 2, 2]
SHOWN += [1.0, "Channels", "Channels", 0.0]
FIRST = dict(zip(LABELS, SHOWN, strict=True))
ON = {"Few-Step": True}


def elem(name, tab="txt2img"):
    return f"fewstep_sampling_{tab}_{name}"


def components(host, tab):
    script = host.tabs[tab].runner.script("Few-Step")
    return dict(zip(LABELS, script.controls, strict=True))


def pasted(host, tab, text):
    """What a pasted infotext changes in the script's own components, by label."""
    labels = {id(component): label for label, component in components(host, tab).items()}
    changes = infotext.paste(text, host.tabs[tab].fields)
    return {labels[id(component)]: value for component, value in changes if id(component) in labels}


def page(host, tab="txt2img", ui=None, **fields):
    hidden = {"Preset": elem("preset", tab)}
    changed = {hidden.get(name, name): value for name, value in (ui or {}).items()}
    result = getattr(host, tab)(ui=changed, **BASE | fields)
    assert not host.errors
    return result


class TestThePage:
    def test_components(self, unit):
        for tab in TABS:
            shown = components(unit, tab)
            assert {label: control.value for label, control in shown.items()} == FIRST
            assert [control.label for control in shown.values()] == list(LABELS)
            assert not unit.tabs[tab].duplicate_labels
            ids = {elem(name, tab) for name in LABELS.values() if name != "enabled"}
            assert ids <= set(unit.tabs[tab].components_by_elem_id)
            assert shown["Preset"].choices == ["None", *PRESETS]

    def test_ui_called_again_has_no_side_effects(self, unit):
        """As the API does, with the same objects."""
        import gradio as gr

        for tab in TABS:
            script = unit.tabs[tab].runner.script("Few-Step")
            before, wired = script.controls, len(unit.tabs[tab].blocks.dependencies)
            with gr.Blocks(analytics_enabled=False):
                again = script.ui(tab == "img2img")
            assert [type(control) for control in again] == [type(control) for control in before]
            assert not set(map(id, again)) & set(map(id, before))
            assert len(unit.tabs[tab].blocks.dependencies) == wired
            unit.tabs[tab].trigger(elem("preset", tab), "input", "TCD")
            assert unit.tabs[tab].value(f"{tab}_sampling") == "TCD"
        unit.reload_ui()

    @pytest.mark.parametrize("tab", TABS)
    @pytest.mark.parametrize("name", PRESETS)
    def test_a_preset_fills_its_own_tabs_fields(self, unit, tab, name):
        preset, other = PRESETS[name], {"txt2img": "img2img", "img2img": "txt2img"}[tab]
        values = {i: unit.tabs[other].value(i) for i in unit.tabs[other].components_by_elem_id if "enable" not in i}
        news = unit.tabs[tab].trigger(elem("preset", tab), "input", name)
        assert news == {
            f"{tab}_sampling": preset.sampler,
            f"{tab}_scheduler": preset.schedule,
            f"{tab}_steps": preset.steps,
            f"{tab}_cfg_scale": preset.cfg,
            elem("gamma", tab): 0.3 if preset.gamma is None else preset.gamma,
            elem("timesteps", tab): " ".join(str(timestep) for timestep in preset.timesteps or []),
        }
        assert preset.sampler in unit.tabs[tab].components_by_elem_id[f"{tab}_sampling"].choices
        assert preset.schedule in unit.tabs[tab].components_by_elem_id[f"{tab}_scheduler"].choices
        assert values == {i: unit.tabs[other].value(i) for i in values}

    @pytest.mark.parametrize("tab", TABS)
    def test_none_and_what_is_no_users_choice_fill_nothing(self, unit, tab):
        unit.reload_ui()
        page = unit.tabs[tab]
        fields = [f"{tab}_{name}" for name in ("sampling", "scheduler", "steps", "cfg_scale")]
        before = [page.value(name) for name in fields]
        page.trigger(elem("preset", tab), "input", "None")
        assert [page.value(name) for name in fields] == before
        assert page.trigger(elem("preset", tab), "change", "TCD") == {}, "that is what a pasted infotext does"
        assert [page.value(name) for name in fields] == before

    def test_what_was_filled_makes_the_presets_image_and_may_be_changed(self, unit):
        for name in ("DMD2", "TCD", "SDXL-Lightning 2 steps", "YOSO 2 steps"):
            unit.reload_ui()
            tab = unit.tabs["txt2img"]
            tab.trigger(elem("preset"), "input", name)
            size = {"width": 32, "height": 24, "seed": 1, "prompt": "a cat"}
            filled = unit.txt2img(ui=ON, **size)
            from_dict = made(unit, {"preset": name})
            assert same(filled, from_dict)
            keys = [re.sub(r"CFG scale: [\d.]+", "", text) for text in (filled.infotexts[0], from_dict.infotexts[0])]
            assert keys[0] == keys[1]
            tab.trigger("txt2img_cfg_scale", "input", 7.5)
            assert unit.txt2img(ui=ON, **size).p.cfg_scale == 7.5
        unit.reload_ui()

    def test_a_presets_list_from_the_api_sets_nothing(self, unit):
        request = BASE | {"alwayson_scripts": {"Few-Step": {"args": [True, "TCD"]}}}
        result = unit.api.txt2img(request)
        assert same(result, made(unit))
        assert "Few-Step preset: TCD" in result.infotexts[0]

    def test_the_button_reads_the_image(self, unit):
        original = made(unit, prompt="a dog, big", negative_prompt="bad", steps=7).images[0]
        tab = unit.tabs["img2img"]
        tab.trigger("img2img_image", "change", original)
        news = tab.trigger(elem("invert_read", "img2img"), "click")
        names = ("invert_prompt", "invert_negative_prompt", "invert_steps")
        assert news == dict(zip([elem(name, "img2img") for name in names], ["a dog, big", "bad", 7], strict=True))
        for nothing in (PICTURE, None):
            tab.trigger("img2img_image", "change", nothing)
            tab.trigger(elem("invert_read", "img2img"), "click")
            assert tab.value(elem("invert_prompt", "img2img")) == "a dog, big"
        unit.reload_ui()

    def test_the_button_on_an_infotext_that_others_have_written(self, unit):
        foreign, tab = PICTURE.copy(), unit.tabs["img2img"]
        foreign.info["parameters"] = "a bird\nSteps: many, Sampler: Euler, CFG scale: 1, Seed: 3"
        tab.trigger("img2img_image", "change", foreign)
        tab.trigger(elem("invert_read", "img2img"), "click")
        assert tab.value(elem("invert_prompt", "img2img")) == "a bird"

    def test_statistics_files_are_listed(self, unit):
        image = standin.as_base64(PICTURE)
        made(unit, {"prior": {"images": [image], "save": "listed"}}, sampler_name="TCD", steps=1, cfg_scale=1)
        unit.reload_ui()
        for tab in TABS:
            assert components(unit, tab)["Statistics file"].choices == ["None", "listed.safetensors"]
        fields = {"sampler_name": "TCD", "steps": 1, "cfg_scale": 1}
        on_page = page(unit, ui={**ON, "Statistics file": "listed.safetensors"}, **fields)
        assert same(on_page, made(unit, {"prior": {"statistics": "listed"}}, **fields))
        (Path(sys.modules["modules.paths"].models_path) / "FewStep" / "listed.safetensors").unlink()
        unit.reload_ui()

    def test_files_of_the_page_are_reference_images(self, unit, tmp_path):
        PICTURE.save(tmp_path / "a.png")
        upload = type("Upload", (), {"name": str(tmp_path / "a.png")})()
        fields = {"sampler_name": "TCD", "steps": 1, "cfg_scale": 1}
        on_page = page(unit, ui={**ON, "Reference images": [upload]}, **fields)
        wanted = made(unit, {"prior": {"images": [standin.as_base64(PICTURE)]}}, **fields)
        assert same(on_page, wanted)

    def test_inversion_from_the_page(self, unit):
        fields = {"init_images": [PICTURE], "sampler_name": "Euler CFG++", "denoising_strength": 1}
        ui = {**ON, "Invert with CFG++": True, "Original prompt": "a dog", "Inversion steps": 3.0}
        result = page(unit, "img2img", ui, **fields)
        wanted = made(unit, {"invert": {"prompt": "a dog", "steps": 3}}, **fields)
        assert same(result, wanted)
        assert result.infotexts == wanted.infotexts


class TestPresets:
    @pytest.mark.parametrize("name", PRESETS)
    def test_a_dict_sets_sampler_schedule_steps_and_cfg(self, unit, log, name):
        preset = PRESETS[name]
        result = made(unit, {"preset": name}, cfg_scale=7, steps=20, scheduler="Karras")
        for said in (f"Steps: {preset.steps},", f"Sampler: {preset.sampler},", f"CFG scale: {preset.cfg}"):
            assert said in result.infotexts[0]
        assert f"Few-Step preset: {name}" in result.infotexts[0].replace('"', "")
        assert bool(result.comments) == preset.prior, "which alone is not set"
        if preset.timesteps:
            assert timesteps(unit) == pytest.approx(list(preset.timesteps), abs=0.02)
        own = {"sampler_name": preset.sampler, "scheduler": preset.schedule}
        own |= {"steps": preset.steps, "cfg_scale": preset.cfg}
        more = {"timesteps": list(preset.timesteps or []), "gamma": preset.gamma}
        assert same(result, made(unit, more, **own))

    def test_what_is_kept(self, unit):
        fields = {"sampler_name": "DPM++ 2M", "scheduler": "Karras", "steps": 6, "cfg_scale": 1.5}
        values = {"sampler": "DPM++ 2M", "schedule": "Karras", "steps": 6, "cfg": 1.5}
        preset = {"sampler": "TCD", "schedule": "LCM grid", "steps": 4, "cfg": 1.0}
        for keep in (["sampler"], ["schedule"], ["steps"], ["cfg"], ["steps", "cfg"], list(values)):
            p = made(unit, {"preset": "TCD", "keep": keep}, **fields).p
            got = {"sampler": p.sampler_name, "schedule": p.scheduler, "steps": p.steps, "cfg": p.cfg_scale}
            assert got == {name: values[name] if name in keep else preset[name] for name in values}

    @pytest.mark.parametrize("keep", ["schedule", "steps"])
    def test_a_kept_grid_is_the_requests(self, unit, keep):
        made(unit, {"preset": "DMD2", "keep": [keep]}, scheduler="Trailing", steps=2)
        assert len(timesteps(unit)) == (2 if keep == "steps" else 4)
        assert timesteps(unit)[1] != pytest.approx(749, abs=5) or keep == "schedule"

    def test_what_the_request_gives_goes_before_the_preset(self, unit):
        made(unit, {"preset": "DMD2", "timesteps": [900, 300]})
        assert timesteps(unit) == pytest.approx([900, 300], abs=0.02)
        gentle = made(unit, {"preset": "TCD", "gamma": 0.9})
        assert not same(gentle, made(unit, {"preset": "TCD"}))
        assert "Few-Step gamma: 0.9" in gentle.infotexts[0]

    def test_a_preset_in_img2img_and_with_hires(self, unit):
        made(unit, {"preset": "DMD2"}, init_images=[PICTURE], denoising_strength=0.6)
        assert timesteps(unit) == pytest.approx([499, 249], abs=0.02)
        hires = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.6, "hr_upscaler": "Latent"}
        made(unit, {"preset": "TCD"}, **hires, hr_second_pass_steps=3)
        assert unit.probe.launches == [("TCD", 4), ("TCD", 3)]


LIGHTNING = "myModel_lightning4Steps"
GOOD = {"sampler_name": "Euler", "scheduler": "Trailing", "steps": 4, "cfg_scale": 1}


@pytest.fixture
def lightning(unit):
    """A checkpoint that bears the name of a distilled one."""
    unit.checkpoints.add(f"merges/{LIGHTNING}", "unit")
    unit.load_model(f"merges/{LIGHTNING}.safetensors")
    yield unit
    unit.load_model("unit")


class TestAdvice:
    def test_an_ordinary_model_with_ordinary_settings(self, unit, log):
        for name in ("Euler", "DPM++ 2M", "Euler CFG++", "Heun", "LCM"):
            for settings in (None, {}, {"enabled": False}):
                result = made(unit, settings, sampler_name=name, steps=20, cfg_scale=7, negative_prompt="bad")
                assert not result.comments
        assert all("is lambda" in line for line in log())

    @pytest.mark.parametrize("settings", [None, {}, {"enabled": False}])
    def test_a_checkpoints_name_suggests_its_preset_once_a_run(self, lightning, log, settings):
        result = made(lightning, settings, batch_size=2, n_iter=2, **GOOD | {"steps": 8})
        preset = 'The preset "SDXL-Lightning 4 steps" (Euler, Trailing, 4 steps, CFG 1)'
        suggestion = f'{preset} would fit better, because the checkpoint is called "{LIGHTNING}".'
        assert suggestion in result.comments
        assert f"Few-Step: {preset}" in result.comments
        assert "8 steps are too many for SDXL-Lightning 4 steps, which was made for at most 4" in result.comments
        assert len([line for line in log() if suggestion in line]) == 1
        assert sorted(line[10:] for line in result.comments.splitlines()) == sorted(log())

    @pytest.mark.parametrize("settings", [None, {}, {"preset": "SDXL-Lightning 4 steps"}])
    def test_none_where_the_presets_values_are_used(self, lightning, log, settings):
        assert not made(lightning, settings, **GOOD).comments
        assert not log()

    def test_a_lora_in_the_prompt(self, unit, log):
        for prompt, known in (
            ("a cat <lora:lcm-lora-sdv1-5:1>", "LCM-LoRA"),
            ("<lora:TCD-SD15-LoRA:0.8:1> a cat", "TCD"),
            ("a cat <lyco:Hyper-SD15-4steps-lora:1>", "Hyper-SD 4 steps"),
            ("a cat <lora:more_details:1>", None),
            ("a cat <hypernet:lcm-lora-sdv1-5:1>", None),
        ):
            comments = made(unit, prompt=prompt).comments
            assert (f'The preset "{known}"' in comments) == (known is not None)
            assert ("LoRA is called" in comments) == (known is not None)

    def test_the_loras_preset_by_hand_is_right(self, unit):
        fields = {"sampler_name": "TCD", "scheduler": "LCM grid", "steps": 4, "cfg_scale": 1}
        assert not made(unit, prompt="a cat <lora:TCD-SD15-LoRA:1>", **fields).comments

    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"cfg_scale": 2.5}, "CFG 2.5 is too high for SDXL-Lightning 4 steps: above 2 colours burn"),
            ({"steps": 5}, "5 steps are too many for"),
            ({"scheduler": "Karras"}, 'needs the schedule "Trailing", not "Karras" with Euler'),
            ({"scheduler": "Automatic"}, 'needs the schedule "Trailing", not "Automatic"'),
            ({"sampler_name": "DDIM", "steps": 4}, 'needs the schedule "Trailing", not "Trailing" with DDIM'),
        ],
    )
    def test_what_goes_wrong_on_a_distilled_model(self, lightning, log, fields, sentence):
        result = made(lightning, **GOOD | fields)
        assert sentence in result.comments
        assert any(sentence in line for line in log())

    @pytest.mark.parametrize("fields", [{"cfg_scale": 2}, {"steps": 3}, {"scheduler": "SGM Uniform"}])
    def test_what_is_still_right(self, lightning, fields):
        comments = made(lightning, **GOOD | fields).comments
        assert not re.search("burn|too many|needs the schedule", comments)

    def test_custom_timesteps_are_not_taken_for_the_wrong_schedule(self, lightning):
        settings = {"preset": "SDXL-Lightning 4 steps", "timesteps": [999, 749, 499, 249]}
        assert "needs the schedule" not in made(lightning, settings, **GOOD | {"scheduler": "Karras"}).comments

    @pytest.mark.parametrize("sampler", ["DDIM", "DDIM CFG++"])
    @pytest.mark.parametrize("steps", [2, 3, 4, 5, 6, 7, 8, 9, 20])
    def test_ddim_says_what_it_really_does(self, unit, sampler, steps):
        comments = made(unit, sampler_name=sampler, steps=steps).comments
        calls = unit.probe.calls
        fewer = steps <= 8 and len(calls) < steps
        assert (f"With {steps} steps the WebUI's {sampler} runs only {len(calls)} of them" in comments) == fewer
        assert not fewer or f"starting at timestep {calls[0].timestep:g}:" in comments
        assert ("divides CFG by 12.5" in comments) == (steps <= 8 and sampler == "DDIM CFG++")
        assert ("Euler CFG++" in comments) == (steps <= 8 and sampler == "DDIM CFG++")

    def test_one_step_of_ddim(self, unit):
        result = unit.api.txt2img(request_of(sampler_name="DDIM", steps=1))
        assert "With 1 step the WebUI's DDIM never runs the model" in result.comments
        assert not unit.probe.calls

    @pytest.mark.parametrize(
        "fields",
        [
            {"prompt": "a cat <lora:TCD-SDXL-LoRA:1>", "sampler_name": "TCD", "cfg_scale": 1},
            {
                "prompt": "a cat <lora:sdxl_lightning_4step_lora:1>",
                "sampler_name": "Euler",
                "scheduler": "SGM Uniform",
                "cfg_scale": 1,
            },
        ],
    )
    def test_what_comes_to_the_same_as_the_preset_needs_no_advice(self, unit, fields):
        assert "Few-Step" not in made(unit, **fields).comments

    def test_a_preset_that_starts_from_the_prior(self, unit):
        comments = made(unit, {"preset": "YOSO 1 step"}).comments
        assert "YOSO 1 step needs the informative prior, which is not set." in comments

    def test_the_hosts_ddim_in_img2img_is_not_judged(self, unit):
        fields = {"sampler_name": "DDIM", "steps": 8, "init_images": [standin.picture(32, 24)]}
        assert "Few-Step" not in made(unit, **fields).comments

    @pytest.mark.parametrize("steps", [0, -1])
    def test_a_senseless_number_of_steps_is_left_to_the_host(self, unit, steps):
        unit.api.txt2img(request_of(sampler_name="DDIM", steps=steps))
        assert not unit.errors

    def test_a_hires_prompts_lora(self, unit):
        hires = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.6, "hr_upscaler": "Latent"}
        comments = made(unit, hr_prompt="a cat <lora:lcm-lora-sdv1-5:1>", **hires).comments
        assert 'The preset "LCM-LoRA"' not in comments, "its pass has settings of its own"


class TestInfotext:
    DEFAULTS = [None, {}, {"enabled": False}, {"guidance": "calibrated"}, {"gamma": 0.3}, {"preset": "None"}]
    DEFAULTS += [{"timesteps": []}, {"prior": None, "invert": False}, {"enabled": False, "guidance": "lambda"}]

    @pytest.mark.parametrize("settings", DEFAULTS)
    def test_nothing_at_defaults(self, unit, settings):
        for sampler in ("Euler CFG++", "TCD", "Euler"):
            assert "Few-Step" not in made(unit, settings, sampler_name=sampler).infotexts[0]

    def test_only_what_the_samplers_use(self, unit):
        settings = {"guidance": "lambda", "gamma": 0.5}
        hires = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.6, "hr_upscaler": "Latent"}
        for fields, keys in (
            ({"sampler_name": "Euler"}, set()),
            ({"sampler_name": "TCD"}, {"gamma"}),
            ({"sampler_name": "Euler CFG++"}, {"guidance"}),
            ({"sampler_name": "TCD", "hr_sampler_name": "Euler CFG++", **hires}, {"gamma", "guidance"}),
            ({"sampler_name": "TCD", "hr_sampler_name": "Euler CFG++"}, {"gamma"}),
        ):
            assert set(re.findall(r"Few-Step (\w+)", made(unit, settings, **fields).infotexts[0])) == keys

    def test_keys_survive_the_hosts_parser(self):
        keys = [o.infotext for c in (FewStepSettings, PriorSettings, InvertSettings) for o in options_of(c).values()]
        assert {*keys} >= {"Few-Step guidance", "Few-Step invert steps"}
        assert all(re.fullmatch(r"\w[\w \-/]+", key) for key in keys if key)

    @pytest.mark.parametrize(
        ("tab", "ui", "fields"),
        [
            ("txt2img", {"CFG++ guidance": "lambda"}, {"sampler_name": "Euler CFG++", "cfg_scale": 1.5}),
            ("txt2img", {"CFG++ guidance": "lambda", "Lambda": 0.5}, {"sampler_name": "Euler CFG++"}),
            ("txt2img", {"CFG++ guidance": "cfg/12.5"}, {"sampler_name": "DPM++ 2S a CFG++"}),
            ("txt2img", {"TCD gamma": 0.85}, {"sampler_name": "TCD"}),
            ("txt2img", {"TCD gamma": 0.0}, {"sampler_name": "TCD"}),
            ("txt2img", {"Timesteps": "900 420 11"}, {"sampler_name": "DPM++ 2M"}),
            ("txt2img", {"Preset": "PCM 4 steps, normal CFG"}, {"scheduler": "Trailing"}),
            ("txt2img", {"Preset": "DMD2", "Timesteps": "999 749 499 249"}, {"sampler_name": "LCM (reference grid)"}),
            (
                "img2img",
                {"Invert with CFG++": True, "Original prompt": "a dog, (big:1.2)\nand: old", "Inversion steps": 3},
                {"sampler_name": "Euler CFG++", "init_images": [PICTURE]},
            ),
            (
                "img2img",
                {"Invert with CFG++": True, "Original negative prompt": 'so "bad"', "Inversion steps": 12},
                {"sampler_name": "DPM++ 2M CFG++", "init_images": [PICTURE], "denoising_strength": 0.8},
            ),
            (
                "img2img",
                {"Invert with CFG++": True, "Inversion steps": 2, "CFG++ guidance": "lambda", "Lambda": 0.5},
                {"sampler_name": "Euler CFG++", "init_images": [PICTURE]},
            ),
        ],
    )
    def test_the_way_there_and_back(self, unit, tab, ui, fields):
        result = page(unit, tab, ON | ui, **fields)
        text = result.infotexts[0]
        assert "Few-Step" in text
        got = pasted(unit, tab, text)
        kept = ("Reference images", "Save as")
        assert got == {label: value for label, value in (FIRST | ON | ui).items() if label not in kept}
        names = {"Sampling method": "sampler_name", "Schedule type": "scheduler", "Sampling steps": "steps"}
        shown = unit.paste(tab, text)
        again = {name: shown[label] for label, name in names.items()} | {"cfg_scale": float(shown["CFG Scale"])}
        again["steps"] = int(again["steps"])  # a number of the browser's has no type
        repeated = page(unit, tab, got, **fields | again)
        assert same(result, repeated)
        assert result.infotexts == repeated.infotexts

    def test_a_presets_dict_comes_back_as_the_page(self, unit):
        for name in PRESETS:
            if PRESETS[name].prior:
                continue
            result = made(unit, {"preset": name})
            got, shown = pasted(unit, "txt2img", result.infotexts[0]), unit.paste("txt2img", result.infotexts[0])
            fields = {"sampler_name": shown["Sampling method"], "scheduler": shown["Schedule type"]}
            fields |= {"steps": int(shown["Sampling steps"]), "cfg_scale": float(shown["CFG Scale"])}
            assert same(result, page(unit, "txt2img", got, **fields))

    @pytest.mark.parametrize("tab", TABS)
    def test_without_any_key_the_script_is_switched_off_and_nothing_else(self, unit, tab):
        fields = {"init_images": [PICTURE]} if tab == "img2img" else {}
        assert pasted(unit, tab, made(unit, **fields).infotexts[0]) == {"Few-Step": False}

    def test_what_is_not_allowed_is_left_alone(self, unit):
        text = "a cat\nSteps: 4, Sampler: Euler, CFG scale: 3, Seed: 1, Few-Step "
        for said, label in (
            ("preset: Magic", "Preset"),
            ("guidance: strong", "CFG++ guidance"),
            ("gamma: 7", "TCD gamma"),
            ("gamma: nan", "TCD gamma"),
            ("gamma: high", "TCD gamma"),
            ("invert steps: 90", "Inversion steps"),
            ("prior mean: Rows", "Average of the images"),
            ("prior brightness: 3", "Brightness"),
        ):
            got = pasted(unit, "txt2img", text + said)
            assert got["Few-Step"] is True
            assert label not in got

    def test_enabled_false_is_as_without_the_extension(self, unit):
        settings = {"enabled": False, "preset": "TCD", "timesteps": [999], "invert": True}
        for fields in ({}, {"init_images": [PICTURE]}):
            off_, without = made(unit, settings, **fields), made(unit, **fields)
            assert same(off_, without)
            assert off_.infotexts == without.infotexts
            assert off_.comments == without.comments

    def test_a_host_without_the_extension_makes_the_same(self, tmp_path):
        results = []
        for scripts in (SCRIPTS, tmp_path):
            with standin.webui("sd1", scripts) as host:
                results.append(host.api.txt2img(BASE | {"width": 64}))
        ours, bare = results
        assert same(ours, bare)
        assert ours.infotexts == bare.infotexts


class TestPlots:
    def test_cells_over_sampler_and_steps_are_single_images(self, unit):
        ui = {**ON, "CFG++ guidance": "lambda", "TCD gamma": 0.6}
        cells = unit.xyz({"Sampler": "TCD, Euler CFG++, Euler", "Steps": "2, 5"}, ui=ui, **BASE)
        assert len(cells) == 6
        singles = [
            made(unit, {"guidance": "lambda", "gamma": 0.6}, sampler_name=name, steps=steps)
            for name in ("TCD", "Euler CFG++", "Euler")
            for steps in (2, 5)
        ]
        for cell, single in zip(cells, singles, strict=True):
            assert cell.status == 200
            assert same(cell, single)
        keys = [[set(re.findall(r"Few-Step (\w+)", r.infotexts[0])) for r in made_] for made_ in (cells, singles)]
        assert keys[0] == keys[1]

    def test_a_cell_that_is_refused_stays_empty(self, unit):
        cells = unit.xyz({"Sampler": "Euler, DDIM, TCD"}, ui={**ON, elem("timesteps"): "999 499"}, **BASE)
        assert [cell.status for cell in cells] == [200, 500, 200]
        assert len(unit.errors) == 1
        unit.errors.clear()


def test_a_hidden_sampler_is_filled_all_the_same():
    with standin.webui("sd1", SCRIPTS, config={"hide_samplers": ["TCD"]}) as host:
        assert host.tabs["txt2img"].trigger(elem("preset"), "input", "TCD")["txt2img_sampling"] == "TCD"


def test_samplers_as_radio_buttons(unit):
    with settings_of(unit, samplers_in_dropdown=False):
        unit.reload_ui()
        assert unit.tabs["txt2img"].trigger(elem("preset"), "input", "TCD")["txt2img_steps"] == 4
    unit.reload_ui()
