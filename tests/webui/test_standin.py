"""The stand-in itself: it behaves as the host is known to."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ldm.modules import attention
from ldm.modules.diffusionmodules import openaimodel

gradio = pytest.importorskip("gradio")

from fastapi import HTTPException  # noqa: E402

from tests import models  # noqa: E402
from tests.webui import standin  # noqa: E402
from tests.webui.standin import infotext  # noqa: E402

SCRIPT = """
import gradio as gr
from modules import script_callbacks, scripts
from modules.ui_components import InputAccordion

log = []


class Recorder(scripts.Script):
    built = []

    def title(self):
        return "Recorder"

    def show(self, is_img2img):
        self.on_after_component(lambda on: log.append(("after", on.component.label)), elem_id="txt2img_steps")
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        self.built.append(is_img2img)
        with InputAccordion(False, label="Recorder", elem_id=self.elem_id("enabled")) as enabled:
            with enabled.extra():
                gr.HTML("beside")
            mode = gr.Dropdown(["a", "b"], value="a", label="Recorder mode", elem_id=self.elem_id("mode"))
            strength = gr.Slider(0, 1, value=0.5, step=0.1, label="Recorder strength")
            count = gr.Slider(1, 9, value=3, step=1, label="Recorder count")
        self.infotext_fields = [
            (enabled, "Recorder enabled"),
            (mode, "Recorder mode"),
            (strength, lambda params: params["Recorder strength"]),
            (count, "Recorder count"),
        ]
        self.paste_field_names = ["Recorder mode"]
        return [enabled, mode, strength, count]


def recorded(name):
    def method(self, p, *args, **kwargs):
        log.append((name, {"args": args, "sampler": p.sampler, "is_hr_pass": p.is_hr_pass, **kwargs}))
        if args and args[-3] == name:
            raise ValueError(f"planted in {name}")
    return method


for name in (
    "setup", "before_process", "process", "before_process_batch", "after_extra_networks_activate", "process_batch",
    "process_before_every_sampling", "before_hr", "post_sample", "postprocess_batch", "postprocess_batch_list",
    "postprocess_image", "postprocess_image_after_composite", "postprocess",
):
    setattr(Recorder, name, recorded(name))


def on_cfg_denoiser(params):
    log.append(("denoiser", params))


script_callbacks.on_cfg_denoiser(on_cfg_denoiser)
script_callbacks.on_cfg_after_cfg(lambda params: log.append(("after_cfg", params)))
script_callbacks.on_script_unloaded(lambda: log.append(("unloaded", None)))
"""
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 1, "sampler_name": "Euler"}
HOOKS_BEFORE = ["before_process_batch", "after_extra_networks_activate", "process_batch"]
HOOKS_AFTER = [
    "post_sample",
    "postprocess_batch",
    "postprocess_batch_list",
    "postprocess_image",
    "postprocess_image_after_composite",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An extension's `scripts` folder with one script."""
    scripts = tmp_path / "recorder" / "scripts"
    scripts.mkdir(parents=True)
    (scripts / "recorder.py").write_text(SCRIPT)
    return scripts


@pytest.fixture
def host(folder: Path) -> Iterator[standin.Host]:
    """A WebUI with SD1 loaded."""
    with standin.webui("sd1", folder) as running:
        yield running


def recorder_data() -> Any:
    """What the host knows of the script."""
    return next(data for data in sys.modules["modules.scripts"].scripts_data if data.path.endswith("recorder.py"))


def log_of(host: standin.Host) -> list[tuple[str, Any]]:
    """What the script has recorded."""
    log: list[tuple[str, Any]] = recorder_data().module.log
    return log


def recorded(host: standin.Host, name: str) -> list[Any]:
    """What the script has recorded under one name."""
    return [content for kind, content in log_of(host) if kind == name]


def steps_seen(host: standin.Host) -> list[tuple[int, int, int, int]]:
    """(lagging step, its total, denoiser's step, its total), as they are during each callback."""
    seen = []

    def watch(params: Any) -> None:
        denoiser = params.denoiser
        seen.append((params.sampling_step, params.total_sampling_steps, denoiser.step, denoiser.total_steps))

    sys.modules["modules.script_callbacks"].on_cfg_denoiser(watch)
    return seen


class TestOrder:
    def test_hooks_of_two_batches_with_a_second_pass(self, host: standin.Host) -> None:
        host.txt2img(**SMALL, n_iter=2, enable_hr=True, denoising_strength=0.5)
        second = ["after_extra_networks_activate", "before_hr", "process_before_every_sampling"]
        hires = ["process_before_every_sampling", *second]
        batch = [*HOOKS_BEFORE, *hires, *HOOKS_AFTER]
        expected = ["setup", "before_process", "process", *batch, *batch, "postprocess"]
        assert host.probe.hooks == expected
        names = [kind for kind, _ in log_of(host) if kind not in ("denoiser", "after_cfg", "after", "unloaded")]
        assert names == expected

    def test_every_pass_has_a_new_sampler_before_its_hook(self, host: standin.Host) -> None:
        host.txt2img(**SMALL, enable_hr=True, denoising_strength=0.5)
        first, second = recorded(host, "process_before_every_sampling")
        assert first["sampler"] is not None
        assert second["sampler"] not in (None, first["sampler"])
        assert (first["is_hr_pass"], second["is_hr_pass"]) == (False, True)
        assert first["x"].shape == (1, 4, 8, 8)
        assert second["x"].shape == second["noise"].shape == (1, 4, 16, 16)

    def test_the_callback_comes_before_its_evaluation(self, host: standin.Host) -> None:
        calls: list[int] = []
        sys.modules["modules.script_callbacks"].on_cfg_denoiser(lambda params: calls.append(len(host.probe.calls)))
        host.txt2img(**SMALL)
        assert calls == [0, 1, 2, 3]

    def test_callbacks_iterate_the_live_list(self, host: standin.Host) -> None:
        callbacks, heard = sys.modules["modules.script_callbacks"], []

        def once(params: Any) -> None:
            heard.append("once")
            callbacks.remove_callbacks_for_function(once)

        callbacks.on_cfg_denoiser(once)
        callbacks.on_cfg_denoiser(lambda params: heard.append("next"))
        host.txt2img(**{**SMALL, "steps": 2})
        assert heard == ["once", "next"]  # the first removal makes the list skip the next one


class TestSteps:
    def test_sampling_step_lags(self, host: standin.Host) -> None:
        seen = steps_seen(host)
        host.txt2img(**SMALL)
        assert seen == [(0, 4, 0, 4), (0, 4, 1, 4), (1, 4, 2, 4), (2, 4, 3, 4)]

    def test_second_order_samplers_double_the_total(self, host: standin.Host) -> None:
        seen = steps_seen(host)
        host.txt2img(**{**SMALL, "sampler_name": "Heun"})
        assert [(step, total) for *_, step, total in seen] == [(index, 8) for index in range(7)]

    @pytest.mark.parametrize(("steps", "calls"), [(1, 0), (4, 3), (20, 19), (60, 62)])
    def test_ddim_makes_other_numbers_of_calls(self, host: standin.Host, steps: int, calls: int) -> None:
        seen = steps_seen(host)
        host.txt2img(**{**SMALL, "sampler_name": "DDIM", "steps": steps, "width": 16, "height": 16})
        assert [(step, total) for *_, step, total in seen] == [(index, steps) for index in range(calls)]

    def test_sigma_is_a_timestep_for_ddim_and_a_sigma_for_euler(self, host: standin.Host) -> None:
        for sampler, sigma in (("DDIM", 751.0), ("Euler", pytest.approx(14.61, abs=0.01))):
            log_of(host).clear()
            host.txt2img(**{**SMALL, "sampler_name": sampler})
            assert float(recorded(host, "denoiser")[0].sigma[0]) == sigma

    def test_img2img_runs_a_share_of_the_steps_and_one_more(self, host: standin.Host) -> None:
        fields = {**SMALL, "steps": 8, "init_images": [standin.picture(64, 64)]}
        host.img2img(**fields, denoising_strength=0.5)
        assert (host.probe.launches, len(host.probe.calls)) == ([("Euler", 5)], 5)
        host.shared.opts.img2img_fix_steps = True
        host.img2img(**fields, denoising_strength=0.5)
        assert (host.probe.launches, len(host.probe.calls)) == ([("Euler", 8)], 8)

    def test_hires_steps_are_run_in_full(self, host: standin.Host) -> None:
        """At any denoising strength: the second pass is always given its number of steps."""
        fields = {**SMALL, "enable_hr": True, "denoising_strength": 0.5}
        host.txt2img(**fields)
        assert host.probe.launches == [("Euler", 4), ("Euler", 4)]
        host.txt2img(**fields, hr_second_pass_steps=6)
        assert host.probe.launches == [("Euler", 4), ("Euler", 6)]
        assert [call.size for call in host.probe.calls] == 4 * [(8, 8)] + 6 * [(16, 16)]

    def test_an_adaptive_sampler_makes_as_many_calls_as_it_likes(self, host: standin.Host) -> None:
        host.txt2img(**{**SMALL, "sampler_name": "DPM adaptive"})
        sigmas = [float(params.sigma[0]) for params in recorded(host, "denoiser")]
        assert len(sigmas) > 4
        assert sigmas[0] > 14
        assert min(sigmas) < 0.1


class TestRows:
    def test_conditional_rows_come_first(self, host: standin.Host) -> None:
        host.txt2img(**{**SMALL, "prompt": "a cat AND a dog :0.5", "batch_size": 2})
        params = recorded(host, "denoiser")[0]
        assert params.x.shape[0] == params.text_cond.shape[0] + params.text_uncond.shape[0] == 6
        assert host.probe.calls[0].rows == 6

    def test_split_rows_give_the_same_image(self, host: standin.Host) -> None:
        both = host.txt2img(**SMALL)
        host.shared.opts.batch_cond_uncond = False
        split = host.txt2img(**SMALL)
        assert [call.rows for call in host.probe.calls] == 8 * [1]
        assert torch.allclose(both.latents, split.latents, rtol=1e-4, atol=1e-3)

    def test_prompts_of_different_length_are_evaluated_apart(self, host: standin.Host) -> None:
        host.txt2img(**{**SMALL, "prompt": 80 * "cat "})
        assert [(call.step, call.rows) for call in host.probe.calls[:4]] == [(0, 1), (0, 1), (1, 1), (1, 1)]

    def test_skipped_unconditional_rows_are_copies(self, host: standin.Host) -> None:
        host.shared.opts.skip_early_cond = 0.5
        outputs: list[torch.Tensor] = []
        sys.modules["modules.script_callbacks"].on_cfg_denoised(lambda params: outputs.append(params.x))
        host.txt2img(**SMALL)
        assert [call.rows for call in host.probe.calls] == [1, 1, 1, 2]
        assert torch.equal(outputs[0][0], outputs[0][1])
        assert not torch.equal(outputs[3][0], outputs[3][1])

    def test_s_min_uncond_skips_every_other_one_below_it(self, host: standin.Host) -> None:
        host.txt2img(**SMALL, s_min_uncond=100.0)
        assert [call.rows for call in host.probe.calls] == [2, 1, 2, 1]

    @pytest.mark.parametrize("sampler", ["Euler", "Euler a", "Heun", "DDIM", "DDIM CFG++"])
    def test_a_batch_equals_single_images(self, host: standin.Host, sampler: str) -> None:
        fields = {**SMALL, "sampler_name": sampler}
        batch = host.txt2img(**fields, batch_size=2, n_iter=2)
        singles = [host.txt2img(**{**fields, "seed": seed}).latents for seed in (1, 2, 3, 4)]
        assert torch.allclose(batch.latents, torch.cat(singles), rtol=1e-4, atol=1e-3)
        assert [text.split("Seed: ")[1][0] for text in batch.infotexts] == list("1234")

    def test_the_same_seed_gives_the_same_image_and_leaves_the_global_state(self, host: standin.Host) -> None:
        state = torch.get_rng_state()
        first, second = host.txt2img(**SMALL), host.txt2img(**SMALL)
        assert torch.equal(first.latents, second.latents)
        assert torch.equal(torch.get_rng_state(), state)


class TestTrouble:
    def test_what_a_script_raises_is_logged_and_swallowed(self, host: standin.Host) -> None:
        clean = host.txt2img(**SMALL)
        for name in ("process", "process_before_every_sampling", "post_sample", "postprocess"):
            host.errors.clear()
            result = host.api.txt2img({**SMALL, "alwayson_scripts": {"Recorder": {"args": [True, name]}}})
            assert (result.status, [str(error.exception) for error in host.errors]) == (
                200,
                [f"planted in {name}"],
            )
            assert torch.equal(result.latents, clean.latents)

    def test_what_a_callback_raises_is_logged_and_swallowed(self, host: standin.Host) -> None:
        sys.modules["modules.script_callbacks"].on_cfg_denoiser(lambda params: 1 / 0)
        assert host.api.txt2img(SMALL).status == 200
        assert [type(error.exception) for error in host.errors] == 4 * [ZeroDivisionError]

    @pytest.mark.parametrize("launch", [0, 1])
    def test_what_a_block_raises_ends_the_job(self, host: standin.Host, launch: int) -> None:
        fields = {**SMALL, "enable_hr": True, "denoising_strength": 0.5}
        clean = host.txt2img(**fields)
        fault = host.fault(block=14, step=1, launch=launch, error=RuntimeError("boom"))
        result = host.api.txt2img(fields)
        assert (result.status, result.error, result.message) == (500, "RuntimeError", "boom")
        assert fault.fired
        assert host.probe.hooks[-1] == "process_before_every_sampling"
        assert torch.equal(host.txt2img(**fields).latents, clean.latents)

    def test_the_page_raises(self, host: standin.Host) -> None:
        host.fault(block="input_blocks.3.0", step=3)
        with pytest.raises(RuntimeError, match="planted in a block at step 3"):
            host.txt2img(**SMALL)

    def test_an_error_with_a_status_is_answered_with_it(self, host: standin.Host) -> None:
        host.fault(block=0, step=0, error=HTTPException(status_code=422, detail="no such depth"))
        result = host.api.txt2img(SMALL)
        assert (result.status, result.message) == (422, "no such depth")

    def test_nan_ends_the_job_after_its_steps(self, host: standin.Host) -> None:
        host.fault(nan=2)
        result = host.api.txt2img(SMALL)
        assert (result.status, result.error, len(host.probe.calls)) == (500, "NansException", 4)
        assert host.probe.hooks[-1] == "post_sample"

    def test_an_interrupt_ends_all_batches_but_not_the_methods(self, host: standin.Host) -> None:
        host.fault(interrupt=2)
        result = host.api.txt2img({**SMALL, "n_iter": 3})
        assert (result.status, len(result.images), len(host.probe.calls)) == (200, 1, 2)
        assert host.probe.hooks[-6:] == [*HOOKS_AFTER, "postprocess"]

    def test_a_skip_ends_one_batch(self, host: standin.Host) -> None:
        clean = host.txt2img(**SMALL, n_iter=2)
        host.fault(skip=2)
        result = host.api.txt2img({**SMALL, "n_iter": 2})
        assert (len(result.images), len(host.probe.calls)) == (2, 6)
        assert not torch.equal(result.latents[0], clean.latents[0])
        assert torch.equal(result.latents[1], clean.latents[1])

    def test_interrupts_are_no_exceptions(self, host: standin.Host) -> None:
        interrupted = sys.modules["modules.sd_samplers_common"].InterruptedException
        assert not issubclass(interrupted, Exception)


class TestModels:
    def test_a_refiner_of_the_same_layout_is_loaded_in_place_before_the_callback(self, host: standin.Host) -> None:
        model, unet = host.shared.sd_model, host.unet
        seen: list[str] = []
        sys.modules["modules.script_callbacks"].on_cfg_denoiser(
            lambda params: seen.append(host.shared.sd_model.sd_checkpoint_info.name_for_extra)
        )
        result = host.txt2img(**SMALL, refiner_checkpoint="sd1-other", refiner_switch_at=0.5)
        assert seen == ["sd1", "sd1", "sd1-other", "sd1-other"]
        assert host.shared.sd_model is model
        assert host.unet is unet
        assert "Refiner switch at: 0.5" in result.infotexts[0]
        for name, weight in models.sd1_unet(7).state_dict().items():
            assert torch.equal(unet.state_dict()[name], weight)

    def test_renamed_parameters_are_silently_not_loaded(self, host: standin.Host) -> None:
        block = host.unet.input_blocks[1]
        host.unet.input_blocks[1] = openaimodel.TimestepEmbedSequential(block)
        host.load_model("sd1-other")
        kept, other = models.sd1_unet(0), models.sd1_unet(7)
        assert torch.equal(block[0].in_layers[2].weight, kept.input_blocks[1][0].in_layers[2].weight)
        assert torch.equal(host.unet.out[2].weight, other.out[2].weight)

    def test_a_refiner_of_another_layout_is_another_model(self, folder: Path) -> None:
        with standin.webui("sdxl", folder) as host:
            clean, model = host.txt2img(**SMALL), host.shared.sd_model
            host.txt2img(**SMALL, refiner_checkpoint="sdxl-refiner", refiner_switch_at=0.5)
            assert host.shared.sd_model is not model
            again = host.txt2img(**SMALL)
            assert host.shared.sd_model.sd_checkpoint_info.name_for_extra == "sdxl"
            assert torch.equal(again.latents, clean.latents)

    def test_a_hires_checkpoint_serves_the_second_pass(self, host: standin.Host) -> None:
        seen: list[str] = []
        sys.modules["modules.script_callbacks"].on_cfg_denoiser(
            lambda params: seen.append(host.shared.sd_model.sd_checkpoint_info.name_for_extra)
        )
        fields = {**SMALL, "enable_hr": True, "denoising_strength": 0.5, "hr_checkpoint_name": "sd1-other"}
        for _ in range(2):
            seen.clear()
            host.txt2img(**fields)
            assert seen == [*4 * ["sd1"], *4 * ["sd1-other"]]

    @pytest.mark.parametrize("name", sorted(standin.RECIPES))
    def test_every_checkpoint_generates(self, folder: Path, name: str) -> None:
        with standin.webui(name, folder) as host:
            result = host.api.txt2img(SMALL)
            assert (result.status, result.message) == (200, "")
            assert bool(torch.isfinite(result.latents).all())
            model = host.shared.sd_model
            assert (model.is_sdxl, model.parameterization == "v") == (
                name.startswith("sdxl"),
                name.endswith("-v"),
            )

    @pytest.mark.parametrize("model", ["sd1", "sd1-inpaint"])
    @pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
    def test_inpainting_keeps_what_is_not_masked(self, folder: Path, model: str, sampler: str) -> None:
        with standin.webui(model, folder) as host:
            images = {"init_images": [standin.picture(64, 64)], "mask": standin.mask_picture(64, 64)}
            result = host.img2img(**{**SMALL, "sampler_name": sampler}, **images, denoising_strength=0.9)
            kept = result.p.init_latent[..., :4]
            assert torch.equal(result.latents[..., :4], kept)
            assert not torch.allclose(result.latents[..., 4:], result.p.init_latent[..., 4:], atol=0.1)

    def test_another_unet_implementation_bypasses_the_blocks(self, host: standin.Host) -> None:
        class Unet:
            def forward(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
                return torch.zeros_like(x)

        sys.modules["modules.sd_unet"].current_unet = Unet()
        assert host.api.txt2img(SMALL).status == 200
        assert host.probe.calls == []

    def test_odd_sizes_lean_on_the_resizing_cat(self, host: standin.Host) -> None:
        host.txt2img(**SMALL)
        assert host.cat.resized == 0
        host.txt2img(**{**SMALL, "width": 264, "height": 200})
        assert host.cat.resized > 0
        assert host.probe.calls[0].size == (25, 33)

    def test_loading_replaces_the_attention_class_method(self, host: standin.Host) -> None:
        before = attention.CrossAttention.forward
        host.load_model("sd1-other")
        assert attention.CrossAttention.forward is not before


class TestPage:
    def test_the_accordion_is_a_checkbox_in_real_gradio(self, host: standin.Host) -> None:
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

    def test_every_ui_is_built_three_times_for_each_tab(self, host: standin.Host) -> None:
        recorder = recorder_data().script_class
        assert recorder.built == [False, True, False, False, True, True]

    def test_components_are_announced(self, host: standin.Host) -> None:
        assert recorded(host, "after") == ["Sampling steps"]

    def test_arguments_come_from_the_page(self, host: standin.Host) -> None:
        host.txt2img(**SMALL)
        assert recorded(host, "process")[0]["args"] == (False, "a", 0.5, 3)
        host.txt2img(**SMALL, ui={"Recorder mode": "b", "script_txt2img_recorder_enabled-checkbox": True})
        assert recorded(host, "process")[1]["args"] == (True, "b", 0.5, 3)
        with pytest.raises(LookupError, match="Recoder"):
            host.txt2img(**SMALL, ui={"Recoder mode": "b"})

    def test_paste_casts_by_the_components_value(self, host: standin.Host) -> None:
        text = (
            "a cat\nNegative prompt: a dog\nSteps: 4, Size: 64x72, Recorder enabled: yes, Recorder mode: b, "
            "Recorder strength: 0.25, Recorder count: 7"
        )
        pasted = host.paste("txt2img", text)
        assert pasted["Prompt"] == "a cat"
        assert (pasted["Width"], pasted["Height"]) == (64, 72)
        own = {label: value for label, value in pasted.items() if label.startswith("Recorder")}
        assert own == {"Recorder": True, "Recorder mode": "b", "Recorder strength": 0.25, "Recorder count": 7}
        assert (
            host.paste("txt2img", "a\nSteps: 4, Seed: 1, Recorder enabled: False, Recorder strength: 1")["Recorder"]
            is False
        )
        assert host.errors == []

    def test_paste_leaves_alone_what_is_missing_or_raises(self, host: standin.Host) -> None:
        pasted = host.paste("txt2img", "a cat\nSteps: 4, Seed: 1, Size: 64x64")
        assert not [label for label in pasted if label.startswith("Recorder")]
        assert [type(error.exception) for error in host.errors] == [KeyError]

    def test_a_job_has_the_pages_second_pass(self, host: standin.Host) -> None:
        text = "a\nSteps: 4, Seed: 1, Denoising strength: 0.5, Hires upscale: 1.5, Hires resize: 96x128, Hires steps: 3"
        tab = host.tabs["txt2img"]
        changes = infotext.paste(text, tab.fields)
        tab.changed = {component._id: value for component, value in changes}
        p = host.txt2img(prompt="a cat", width=64, height=64).p
        assert (p.enable_hr, p.denoising_strength, p.hr_second_pass_steps, p.hr_scale) == (True, 0.5, 3, 1.5)
        assert (p.hr_resize_x, p.hr_resize_y, p.hr_upscaler) == (96, 128, "Latent")
        assert "Hires resize: 96x128" in host.txt2img(prompt="a cat", width=64, height=64).infotexts[0]
        assert host.txt2img(**SMALL, enable_hr=False).p.enable_hr is False

    def test_img2img_resizes_by_a_factor_or_to_a_size(self, host: standin.Host) -> None:
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

    def test_languages_are_the_files_of_the_extension(self, folder: Path) -> None:
        words = folder.parent / "localizations"
        words.mkdir()
        (words / "zh_CN.json").write_text('{"Recorder": "..."}')
        with standin.webui("sd1", folder) as host:
            assert sys.modules["modules.localization"].localizations == {"zh_CN": [str(words / "zh_CN.json")]}
            assert host.shared.opts.localization == "None"

    def test_labels_that_stand_twice_are_found(self, folder: Path) -> None:
        (folder / "recorder.py").write_text(SCRIPT.replace('label="Recorder count"', 'label="Recorder mode"'))
        with standin.webui("sd1", folder) as host:
            assert host.tabs["txt2img"].duplicate_labels == ["Recorder mode"]

    def test_a_reload_executes_the_scripts_again(self, host: standin.Host) -> None:
        old = log_of(host)
        host.reload_ui()
        assert old[-1] == ("unloaded", None)
        assert log_of(host) is not old
        assert len(host.callbacks.kinds["cfg_denoiser"]) == 1
        assert host.api.txt2img(SMALL).status == 200

    def test_a_script_that_does_not_load_is_reported(self, folder: Path) -> None:
        (folder / "broken.py").write_text("from modules import nothing_of_the_kind\n")
        with standin.webui("sd1", folder) as host:
            assert "broken.py" in str(host.errors[0])
            assert "recorder" in host.tabs["txt2img"].components_by_elem_id["script_txt2img_recorder_mode"].elem_id


class TestApi:
    @pytest.mark.parametrize(
        ("sent", "received"),
        [
            ([], (False, "a", 0.5, 3)),
            ([True, "b"], (True, "b", 0.5, 3)),
            ([None, "b", 1, 2, 3, 4], (None, "b", 1, 2)),
            ([{"enabled": True}], ({"enabled": True}, "a", 0.5, 3)),
        ],
    )
    def test_arguments(self, host: standin.Host, sent: list[Any], received: tuple[Any, ...]) -> None:
        assert host.api.txt2img({**SMALL, "alwayson_scripts": {"rEcOrDeR": {"args": sent}}}).status == 200
        assert recorded(host, "process")[0]["args"] == received

    def test_a_dict_in_the_place_of_the_list_fails(self, host: standin.Host) -> None:
        result = host.api.txt2img({**SMALL, "alwayson_scripts": {"Recorder": {"args": {"enabled": True}}}})
        assert (result.status, result.error) == (500, "KeyError")

    def test_an_unknown_script_is_refused(self, host: standin.Host) -> None:
        result = host.api.txt2img({**SMALL, "alwayson_scripts": {"Nobody": {"args": []}}})
        assert (result.status, result.message) == (422, "there is no script 'Nobody'")

    def test_img2img_takes_base64(self, host: standin.Host) -> None:
        picture = standin.picture(64, 64)
        sent = host.api.img2img({**SMALL, "init_images": [standin.as_base64(picture)]})
        assert torch.equal(sent.latents, host.img2img(**SMALL, init_images=[picture]).latents)
        assert host.api.img2img(SMALL).status == 404

    def test_unknown_samplers_become_the_first_one_and_schedulers_are_cut_off(self, host: standin.Host) -> None:
        names = {
            "Nobody": ("DPM++ 2M", "Automatic"),
            "Euler Karras": ("Euler", "Karras"),
            "DDIM": ("DDIM", "Automatic"),
        }
        for name, expected in names.items():
            p = host.api.txt2img({**SMALL, "sampler_name": name}).p
            assert (p.sampler_name, p.scheduler) == expected

    def test_a_registered_sampler_is_found(self, host: standin.Host) -> None:
        module = sys.modules["modules.sd_samplers"]
        families, common = (sys.modules[f"modules.sd_samplers_{end}"] for end in ("kdiffusion", "common"))
        assert module.get_sampler_and_scheduler("Mine", None)[0] == "DPM++ 2M"

        def sample(model: Any, x: Any, sigmas: Any, extra_args: Any, callback: Any = None, disable: Any = None) -> Any:
            return model(x, sigmas[0] * x.new_ones(len(x)), **extra_args)

        data = common.SamplerData("Mine", lambda model: families.KDiffusionSampler(sample, model), ["mine"], {})
        module.all_samplers.append(data)
        module.all_samplers_map["Mine"] = data
        module.set_samplers()
        module.get_sampler_and_scheduler.cache_clear()
        host.txt2img(**{**SMALL, "sampler_name": "Mine"})
        assert (host.probe.launches, len(host.probe.calls)) == ([("Mine", 4)], 1)

    def test_settings_are_restored_only_if_the_configuration_had_them(self, folder: Path) -> None:
        with standin.webui("sd1", folder, config={"img2img_fix_steps": False}) as host:
            overridden = {"img2img_fix_steps": True, "skip_early_cond": 0.5}
            host.api.txt2img({**SMALL, "override_settings": overridden})
            assert host.shared.opts.img2img_fix_steps is False
            assert host.shared.opts.skip_early_cond == 0.5


class TestInfotext:
    def test_values_are_quoted_and_read_back(self, host: standin.Host) -> None:
        p = host.job("txt2img", **SMALL)
        values = {"Plain": "x", "Comma": "a, b", "Colon": "a: b", "Quote": 'say "x", y', "Number": 0.5}
        p.extra_generation_params.update(values)
        text = standin.api.run_job(p).infotexts[0]
        assert 'Comma: "a, b", Colon: "a: b"' in text
        parsed = sys.modules["modules.infotext_utils"].parse_generation_parameters(text)
        assert {key: parsed[key] for key in values} == {key: str(value) for key, value in values.items()}

    def test_keys_with_other_characters_do_not_come_back(self, host: standin.Host) -> None:
        p = host.job("txt2img", **SMALL)
        p.extra_generation_params["CFG++ mode"] = "x"
        text = standin.api.run_job(p).infotexts[0]
        assert "CFG++ mode" not in sys.modules["modules.infotext_utils"].parse_generation_parameters(text)

    def test_what_is_set_while_sampling_reaches_the_image_only(self, host: standin.Host) -> None:
        p = host.job("txt2img", **SMALL)
        sys.modules["modules.script_callbacks"].on_cfg_denoiser(
            lambda params: params.denoiser.p.extra_generation_params.update(Late="yes")
        )
        result = standin.api.run_job(p)
        assert "Late: yes" in result.infotexts[0]
        assert "Late" not in result.params_txt
        assert "Steps: 4" in result.params_txt


class TestXYZ:
    def test_cells(self, host: standin.Host) -> None:
        cells = host.xyz({"Seed": "1, 2", "Steps": "2, 3"}, **SMALL)
        assert [(cell.p.seed, cell.p.steps) for cell in cells] == [(1, 2), (1, 3), (2, 2), (2, 3)]
        assert [len(recorded(host, name)) for name in ("setup", "before_process", "postprocess")] == [1, 4, 4]
        assert torch.equal(cells[3].latents, host.txt2img(**{**SMALL, "seed": 2, "steps": 3}).latents)

    def test_an_axis_of_an_extension(self, host: standin.Host) -> None:
        module = next(d.module for d in sys.modules["modules.scripts"].scripts_data if d.path.endswith("xyz_grid.py"))
        module.axis_options.append(module.AxisOption("Mine", float, lambda p, x, xs: setattr(p, "mine", x)))
        assert [cell.p.mine for cell in host.xyz({"Mine": "0.5,1"}, **SMALL)] == [0.5, 1.0]
        host.reload_ui()
        with pytest.raises(LookupError, match="Mine"):
            host.xyz({"Mine": "0.5"}, **SMALL)

    def test_a_cell_that_fails_is_reported(self, host: standin.Host) -> None:
        host.fault(block=3, launch=0)
        cells = host.xyz({"Seed": "1, 2"}, **SMALL)
        assert [cell.status for cell in cells] == [500, 200]
        assert len(host.errors) == 1


class TestStrictness:
    @pytest.mark.parametrize(
        "name",
        ["scripts", "shared", "processing", "script_callbacks", "sd_samplers", "devices", "errors", "paths"],
    )
    def test_modules_refuse_unknown_names(self, host: standin.Host, name: str) -> None:
        module = sys.modules[f"modules.{name}"]
        with pytest.raises(AttributeError, match=f"modules.{name} has no 'nothing'"):
            _ = module.nothing
        with pytest.raises(AttributeError, match="that could be set"):
            module.nothing = 1

    def test_objects_refuse_unknown_names(self, host: standin.Host) -> None:
        shared = host.shared
        p = host.job("txt2img", **SMALL)
        for thing in (shared.opts, shared.cmd_opts, shared.state, shared.sd_model.sd_checkpoint_info, p):
            with pytest.raises(AttributeError, match="nothing"):
                _ = thing.nothing
        for thing in (shared.opts, shared.cmd_opts, shared.state):
            with pytest.raises(AttributeError, match="nothing"):
                thing.nothing = 1
        p.mine = 1
        assert p.mine == 1
        with pytest.raises(TypeError, match="nothing"):
            host.job("txt2img", **SMALL, nothing=1)

    def test_modules_that_are_not_there_do_not_import(self, host: standin.Host) -> None:
        with pytest.raises(ImportError):
            __import__("modules.nothing")

    def test_nothing_is_left_behind(self, folder: Path) -> None:
        import gradio.components

        forward, init, cat = (
            attention.CrossAttention.forward,
            gradio.components.IOComponent.__init__,
            openaimodel.th,
        )
        names = set(sys.modules)
        with standin.webui("sd1", folder):
            assert "modules.scripts" in sys.modules
        left = {name for name in set(sys.modules) - names if name.split(".")[0] in ("modules", "launch", "k_diffusion")}
        assert left == set()
        assert attention.CrossAttention.forward is forward
        assert gradio.components.IOComponent.__init__ is init
        assert openaimodel.th is cat

    def test_the_installer_sees_what_is_there(self, host: standin.Host, tmp_path: Path) -> None:
        installer = tmp_path / "install.py"
        installer.write_text(
            inspect.cleandoc("""
                import launch
                for package in ("here", "missing"):
                    if not launch.is_installed(package):
                        launch.run_pip(f"install {package}", package)
            """)
        )
        host.installed = {"here"}
        assert host.run_installer(installer) == ["install missing"]

    def test_without_the_page_nothing_is_built_before_it(self, folder: Path) -> None:
        (folder / "early.py").write_text(
            "from modules import script_callbacks, shared\n"
            "script_callbacks.on_before_ui(lambda: setattr(shared.state, 'job', 'before the page'))\n"
        )
        for nowebui, job in ((True, ""), (False, "before the page")):
            with standin.webui("sd1", folder, nowebui=nowebui) as host:
                assert (host.shared.state.job, host.shared.cmd_opts.nowebui) == (job, nowebui)


def schedule_of(host: standin.Host, **fields: Any) -> list[float]:
    """The sigmas of a job, rounded."""
    seen: list[float] = []
    watch = lambda params: seen.append(round(float(params.sigma[0]), 3))  # noqa: E731
    callbacks = sys.modules["modules.script_callbacks"]
    callbacks.on_cfg_denoiser(watch)
    host.last = host.txt2img(**{**SMALL, **fields})
    callbacks.remove_callbacks_for_function(watch)
    return seen


def register(function: Any, options: dict[str, Any] | None = None, name: str = "Mine") -> Any:
    """A sampler of an extension."""
    module = sys.modules["modules.sd_samplers"]
    families, common = (sys.modules[f"modules.sd_samplers_{end}"] for end in ("kdiffusion", "common"))
    data = common.SamplerData(name, lambda model: families.KDiffusionSampler(function, model), ["mine"], options or {})
    module.all_samplers.append(data)
    module.all_samplers_map[name] = data
    module.set_samplers()
    module.get_sampler_and_scheduler.cache_clear()
    return data


class TestSamplers:
    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            (("DPM++ 2M Karras", None), ("DPM++ 2M", "Automatic")),
            (("DPM++ 2M", "karras"), ("DPM++ 2M", "Automatic")),
            (("Euler karras", "Beta"), ("Euler", "Karras")),
            (("Euler SGMUniform", None), ("Euler", "SGM Uniform")),
            (("Euler", "Nobody's"), ("Euler", "Automatic")),
            ((None, None), ("DPM++ 2M", "Automatic")),
        ],
    )
    def test_names(self, host: standin.Host, asked: Any, found: Any) -> None:
        assert sys.modules["modules.sd_samplers"].get_sampler_and_scheduler(*asked) == found

    def test_a_default_schedule_may_be_kept(self, host: standin.Host) -> None:
        samplers = sys.modules["modules.sd_samplers"]
        kept = samplers.get_sampler_and_scheduler("DPM++ 2M Karras", None, convert_automatic=False)
        assert kept == ("DPM++ 2M", "Karras")

    def test_names_in_infotexts(self, host: standin.Host) -> None:
        samplers = sys.modules["modules.sd_samplers"]
        text = {"Sampler": "Euler", "Schedule type": "Karras", "Hires sampler": "Heun"}
        assert samplers.get_sampler_from_infotext(text) == "Euler"
        assert samplers.get_scheduler_from_infotext(text) == "Karras"
        assert samplers.get_hr_sampler_from_infotext(text) == "Heun"
        assert samplers.get_hr_scheduler_from_infotext(text) == "Use same scheduler"

    def test_hidden_and_unknown_samplers(self, host: standin.Host) -> None:
        samplers = sys.modules["modules.sd_samplers"]
        host.shared.opts.hide_samplers = ["Euler"]
        samplers.set_samplers()
        assert "Euler" not in samplers.visible_sampler_names()
        assert samplers.find_sampler_config("Nobody") is None
        assert samplers.create_sampler("Euler", host.shared.sd_model).config.name == "Euler"
        with pytest.raises(AssertionError, match="Nobody"):
            samplers.create_sampler("Nobody", host.shared.sd_model)

    def test_every_sampler_generates_with_every_schedule(self, host: standin.Host) -> None:
        samplers, schedulers = (sys.modules[f"modules.{name}"] for name in ("sd_samplers", "sd_schedulers"))
        names = [(sampler.name, "Karras") for sampler in samplers.all_samplers]
        names += [("Euler", scheduler.label) for scheduler in schedulers.schedulers]
        for sampler, scheduler in names:
            result = host.txt2img(**{**SMALL, "sampler_name": sampler}, scheduler=scheduler)
            assert bool(torch.isfinite(result.latents).all()), (sampler, scheduler)
            assert f"Schedule type: {scheduler}," in result.infotexts[0]

    def test_schedules(self, host: standin.Host) -> None:
        assert schedule_of(host) == [14.615, 2.918, 0.932, 0.029]
        assert schedule_of(host, scheduler="SGM Uniform") == [14.615, 4.086, 1.616, 0.695]
        assert schedule_of(host, sampler_name="DPM++ 2M") == schedule_of(host, scheduler="Karras")
        assert len(schedule_of(host, sampler_name="DPM2")) == 7  # the fifth of five sigmas is left out
        host.shared.opts.always_discard_next_to_last_sigma = True
        assert schedule_of(host)[-1] > 0.029
        assert "Discard penultimate sigma: True" in host.last.infotexts[0]

    def test_limits_of_the_settings(self, host: standin.Host) -> None:
        opts = host.shared.opts
        opts.sigma_min, opts.sigma_max, opts.rho = 0.5, 5.0, 3.0
        sigmas = schedule_of(host, scheduler="Karras")
        assert (sigmas[0], sigmas[-1]) == (5.0, 0.5)
        assert "Schedule min sigma: 0.5, Schedule max sigma: 5.0, Schedule rho: 3.0" in host.last.infotexts[0]

    def test_a_job_may_bring_its_own_schedule(self, host: standin.Host) -> None:
        p = host.job("txt2img", **SMALL)
        p.sampler_noise_scheduler_override = lambda steps: torch.linspace(8.0, 0.0, steps + 1)
        standin.api.run_job(p)
        assert [call.step for call in host.probe.calls] == [0, 1, 2, 3]
        assert float(recorded(host, "denoiser")[0].sigma[0]) == 8.0

    def test_schedule_of_the_second_pass(self, host: standin.Host) -> None:
        fields = {"enable_hr": True, "denoising_strength": 0.5, "scheduler": "Karras", "hr_scheduler": "Normal"}
        text = host.txt2img(**SMALL, **fields, hr_sampler_name="Heun").infotexts[0]
        assert "Schedule type: Karras" in text
        assert "Hires schedule type: Normal" in text
        assert "Hires sampler: Heun" in text
        assert "Hires prompt" not in text

    def test_lcm_knows_fifty_timesteps(self, host: standin.Host) -> None:
        sampler = sys.modules["modules.sd_samplers"].create_sampler("LCM", host.shared.sd_model)
        denoiser = sampler.model_wrap_cfg.inner_model
        assert len(denoiser.sigmas) == 50
        assert denoiser.sigma_to_t(denoiser.sigmas).tolist() == list(range(19, 1000, 20))
        grid = torch.arange(19, 1000, 20)
        assert torch.allclose(denoiser.t_to_sigma(grid), denoiser.sigmas)
        result = host.txt2img(**{**SMALL, "sampler_name": "LCM"}, cfg_scale=1.0)
        assert host.probe.launches == [("LCM", 4)]
        assert bool(torch.isfinite(result.latents).all())

    def test_arguments_go_by_the_function(self, host: standin.Host) -> None:
        got: dict[str, Any] = {}

        def sample(
            model: Any, x: Any, sigmas: Any, extra_args: Any, callback: Any, disable: Any, eta=1.0, noise_sampler=None
        ) -> Any:
            got.update(eta=eta, noise_sampler=noise_sampler, names=sorted(extra_args))
            return x

        register(sample, {"brownian_noise": True})
        host.shared.opts.eta_ancestral = 0.5
        text = host.txt2img(**{**SMALL, "sampler_name": "Mine"}).infotexts[0]
        assert (got["eta"], "Eta: 0.5" in text) == (0.5, True)
        assert got["names"] == ["cond", "cond_scale", "image_cond", "s_min_uncond", "uncond"]
        assert torch.equal(got["noise_sampler"](2.0, 1.0), got["noise_sampler"](2.0, 1.0))
        host.shared.opts.no_dpmpp_sde_batch_determinism = True
        host.txt2img(**{**SMALL, "sampler_name": "Mine"})
        assert got["noise_sampler"] is None

    def test_extra_params_come_from_the_settings(self, host: standin.Host) -> None:
        host.shared.opts.s_noise, host.shared.opts.s_churn = 0.9, 2.0
        plain = host.txt2img(**SMALL)
        assert "Sigma churn: 2.0, Sigma noise: 0.9" in plain.infotexts[0]
        assert "Sigma" not in host.txt2img(**{**SMALL, "sampler_name": "Euler a"}).infotexts[0]

    def test_solver_types_differ(self, host: standin.Host) -> None:
        names = ("DPM++ 2M SDE", "DPM++ 2M SDE Heun")
        first, second = (host.txt2img(**{**SMALL, "sampler_name": name}) for name in names)
        assert not torch.equal(first.latents, second.latents)

    def test_extra_noise_of_img2img(self, host: standin.Host) -> None:
        heard: list[Any] = []
        sys.modules["modules.script_callbacks"].on_extra_noise(heard.append)
        host.shared.opts.img2img_extra_noise = 0.2
        result = host.img2img(**SMALL, init_images=[standin.picture(64, 64)])
        assert "Extra noise: 0.2" in result.infotexts[0]
        assert len(heard) == 1

    def test_pictures_become_latents(self, host: standin.Host) -> None:
        common, picture = sys.modules["modules.sd_samplers_common"], standin.picture(64, 64)
        p = host.img2img(**SMALL, init_images=[picture]).p
        pixels = torch.tensor(list(picture.getdata())).view(64, 64, 3).permute(2, 0, 1)[None] / 255
        assert torch.allclose(common.images_tensor_to_samples(pixels), p.init_latent, atol=1e-6)


class TestDenoiser:
    def test_ngms_is_noted(self, host: standin.Host) -> None:
        assert "NGMS: 100.0" in host.txt2img(**SMALL, s_min_uncond=100.0).infotexts[0]
        host.shared.opts.s_min_uncond_all = True
        text = host.txt2img(**SMALL, s_min_uncond=100.0).infotexts[0]
        assert [call.rows for call in host.probe.calls] == [1, 1, 1, 1]
        assert "NGMS all steps: True" in text

    def test_without_uncond_the_scale_is_one(self, host: standin.Host) -> None:
        host.shared.opts.skip_early_cond = 1.0
        low, high = (host.txt2img(**SMALL, cfg_scale=scale).latents for scale in (1.0, 9.0))
        assert torch.equal(low, high)

    def test_the_last_uncond_is_kept_on_demand(self, host: standin.Host) -> None:
        seen: list[Any] = []

        def sample(model: Any, x: Any, sigmas: Any, extra_args: Any, callback: Any, disable: Any) -> Any:
            model.need_last_noise_uncond, model.cond_scale_miltiplier = True, 0.0
            guided = model(x, sigmas[0] * x.new_ones(len(x)), **extra_args)
            seen.append(torch.equal(guided, model.last_noise_uncond))
            return guided

        register(sample)
        host.txt2img(**{**SMALL, "sampler_name": "Mine"})
        assert seen == [True]

    @pytest.mark.parametrize(("sampler", "before"), [("Euler", False), ("DDIM", True)])
    def test_mask_blends(self, host: standin.Host, sampler: str, before: bool) -> None:
        blends: list[Any] = []
        recorder = host.tabs["img2img"].runner.script("Recorder")
        recorder.on_mask_blend = lambda p, mba, *args: blends.append((mba.is_final_blend, mba.denoiser))
        images = {"init_images": [standin.picture(64, 64)], "mask": standin.mask_picture(64, 64)}
        host.img2img(**{**SMALL, "sampler_name": sampler}, **images)
        assert [final for final, _ in blends] == [*(len(blends) - 1) * [False], True]
        assert blends[0][1].mask_before_denoising is before

    def test_padding(self, host: standin.Host) -> None:
        host.shared.opts.pad_cond_uncond = True
        text = host.txt2img(**{**SMALL, "prompt": 80 * "cat "}).infotexts[0]
        assert [call.rows for call in host.probe.calls] == 4 * [2]
        assert "Pad conds: True" in text

    @pytest.mark.parametrize(("by_steps", "first"), [(False, 3), (True, 2)])
    def test_the_refiner_is_due_by_sigma_or_by_steps(self, host: standin.Host, by_steps: bool, first: int) -> None:
        host.shared.opts.refiner_switch_by_sample_steps = by_steps
        seen: list[str] = []
        sys.modules["modules.script_callbacks"].on_cfg_denoiser(
            lambda params: seen.append(host.shared.sd_model.sd_checkpoint_info.name_for_extra)
        )
        fields = {"refiner_checkpoint": "sd1-other", "refiner_switch_at": 0.5, "scheduler": "SGM Uniform"}
        text = host.txt2img(**SMALL, **fields).infotexts[0]
        assert seen.index("sd1-other") == (2 if by_steps else first - 1)
        assert ("Refiner switch by sampling steps: True" in text) is by_steps


class TestPrompts:
    @pytest.mark.parametrize(
        ("prompt", "schedule"),
        [
            ("a cat", [[10, "a cat"]]),
            ("cat [hat:4]", [[4, "cat "], [10, "cat hat"]]),
            ("a [cat:dog:0.5] sits", [[5, "a cat sits"], [10, "a dog sits"]]),
            ("cat [hat::0.2]", [[2, "cat hat"], [10, "cat "]]),
            ("x[red:[green:blue:6]:3]y", [[3, "xredy"], [6, "xgreeny"], [10, "xbluey"]]),
            ("[(cat:1.2):7]", [[7, ""], [10, "(cat:1.2)"]]),
            ("cat [hat", [[10, "cat [hat"]]),
            ("cat [hat]", [[10, "cat [hat]"]]),
            (r"cat \[hat:3]", [[10, r"cat \[hat:3]"]]),
            ("[a|b]", [[step, "ab"[(step - 1) % 2]] for step in range(1, 11)]),
        ],
    )
    def test_schedules(self, host: standin.Host, prompt: str, schedule: list[Any]) -> None:
        parser = sys.modules["modules.prompt_parser"]
        assert parser.get_learned_conditioning_prompt_schedules([prompt], 10) == [schedule]

    def test_fractions_go_on_counting_in_the_second_pass(self, host: standin.Host) -> None:
        schedules = sys.modules["modules.prompt_parser"].get_learned_conditioning_prompt_schedules
        assert schedules(["cat [hat:0.7]"], 10, 20) == [[[20, "cat hat"]]]
        assert schedules(["cat [hat:1.7]"], 10, 20) == [[[14, "cat "], [20, "cat hat"]]]
        assert schedules(["cat [hat:13]"], 10, 20) == [[[3, "cat "], [20, "cat hat"]]]

    def test_the_conditioning_depends_on_the_step(self, host: standin.Host) -> None:
        host.txt2img(**{**SMALL, "prompt": "a [cat:dog:0.5]"})
        texts = [params.text_cond for params in recorded(host, "denoiser")]
        assert [torch.equal(texts[0], text) for text in texts] == [True, True, True, False]
        host.txt2img(**{**SMALL, "prompt": "a [cat:dog:0.5]", "sampler_name": "Heun"})
        texts = [params.text_cond for params in recorded(host, "denoiser")][4:]
        assert [torch.equal(texts[0], text) for text in texts] == [*5 * [True], False, False]

    def test_batches_are_put_together(self, host: standin.Host) -> None:
        parser, model = sys.modules["modules.prompt_parser"], host.shared.sd_model
        prompts = parser.SdConditioning(["a AND [b:c:2] :0.5", "d"], width=64, height=32)
        cond = parser.get_multicond_learned_conditioning(model, prompts, 4)
        rows, text = parser.reconstruct_multicond_batch(cond, 0)
        assert rows == [[(0, 1.0), (1, 0.5)], [(2, 1.0)]]
        later = parser.reconstruct_multicond_batch(cond, 3)[1]
        assert [torch.equal(*both) for both in zip(text, later, strict=True)] == [True, False, True]
        uncond = parser.get_learned_conditioning(model, parser.SdConditioning(["x"], copy_from=prompts), 4)
        assert parser.reconstruct_cond_batch(uncond, 0).shape == (1, 77, 64)
        assert parser.SdConditioning(["x"], copy_from=prompts).width == 64

    def test_extra_networks_are_taken_out(self, host: standin.Host) -> None:
        networks = sys.modules["modules.extra_networks"]
        prompts, found = networks.parse_prompts(["a <lora:fast:0.5:unet=1> cat", "b"])
        assert prompts == ["a  cat", "b"]
        assert [params.items for params in found["lora"]] == [["fast", "0.5", "unet=1"]]
        assert found["lora"][0].named == {"unet": "1"}
        result = host.txt2img(**{**SMALL, "prompt": "a cat<lora:fast:1>"})
        assert torch.equal(result.latents, host.txt2img(**SMALL).latents)
        assert result.infotexts[0].startswith("a cat<lora:fast:1>")
        assert recorded(host, "after_extra_networks_activate")[0]["extra_network_data"]["lora"][0].items[0] == "fast"

    def test_a_registered_network_is_activated(self, host: standin.Host) -> None:
        networks, log = sys.modules["modules.extra_networks"], []

        class Mine(networks.ExtraNetwork):
            def activate(self, p: Any, params_list: Any) -> None:
                log.append([params.items for params in params_list])

            def deactivate(self, p: Any) -> None:
                log.append("off")

        networks.register_extra_network(Mine("mine"))
        host.txt2img(**{**SMALL, "prompt": "a cat <mine:x>"})
        assert log == [[["x"]], "off"]
        host.txt2img(**{**SMALL, "prompt": "a cat <mine:x>"}, enable_hr=True, denoising_strength=0.5)
        assert log[2:] == [[["x"]], [["x"]], "off"]  # once for each pass


class TestAnswers:
    def test_comments_are_for_the_page_alone(self, host: standin.Host) -> None:
        recorder = host.tabs["txt2img"].runner.script("recorder")
        recorder.before_process = lambda p, *args: p.comment("mind the gap")
        result = host.api.txt2img(SMALL)
        assert result.comments == "mind the gap\n"
        info = json.loads(result.info)
        assert "mind the gap" not in result.info
        assert (info["seed"], info["sampler_name"], info["infotexts"]) == (1, "Euler", result.infotexts)

    def test_pictures_keep_their_text(self, host: standin.Host) -> None:
        made = host.txt2img(**SMALL).images[0]
        images = sys.modules["modules.images"]
        assert images.read_info_from_image(made)[0].startswith("a cat")
        p = host.api.img2img({**SMALL, "init_images": [standin.as_base64(made)]}).p
        assert p.init_images[0].info["parameters"] == made.info["parameters"]
        assert images.read_info_from_image(standin.picture(8, 8)) == (None, {})

    def test_lists_of_samplers_and_schedulers(self, host: standin.Host) -> None:
        first = {"name": "DPM++ 2M", "aliases": ["k_dpmpp_2m"], "options": {"scheduler": "karras"}}
        assert host.api.samplers()[0] == first
        register(len, {"second_order": True})
        assert host.api.samplers()[-1]["options"] == {"second_order": "True"}
        register(len, {"scheduler": None}, name="Bad")
        with pytest.raises(ValueError, match="options"):
            host.api.samplers()
        assert host.api.schedulers()[5] == {
            "name": "sgm_uniform",
            "label": "SGM Uniform",
            "aliases": ["SGMUniform"],
            "default_rho": -1,
            "need_inner_model": True,
        }

    def test_a_sent_scheduler_is_looked_up_after_before_process(self, host: standin.Host) -> None:
        seen: list[Any] = []
        recorder = host.tabs["txt2img"].runner.script("recorder")
        recorder.before_process = lambda p, *args: seen.append((p.sampler_name, p.scheduler))
        p = host.api.txt2img({**SMALL, "sampler_name": "Euler", "scheduler": "karras"}).p
        assert (seen, p.scheduler) == ([("Euler", "karras")], "Karras")

    def test_functions_in_infotexts(self, host: standin.Host) -> None:
        p = host.job("txt2img", **SMALL)
        p.extra_generation_params.update(Asked=lambda index, **more: f"image {index}", Raises=lambda **more: 1 / 0)
        text = standin.api.run_job(p).infotexts[0]
        assert "Asked: image 0" in text
        assert "Raises" not in text


PRESETS = """
import gradio as gr
from modules import scripts


class Presets(scripts.Script):
    def __init__(self):
        self.found = {}  # not in show, which elem_id calls again

    def title(self):
        return "Presets"

    def show(self, is_img2img):
        for name in ("sampling", "scheduler", "steps", "cfg_scale"):
            elem_id = f"{'img2img' if is_img2img else 'txt2img'}_{name}"
            self.on_after_component(self.finder(name), elem_id=elem_id)
        return scripts.AlwaysVisible

    def finder(self, name):
        return lambda on: self.found.update({name: on.component})

    def ui(self, is_img2img):
        self.when_built = sorted(self.found)
        self.late = []
        self.on_after_component(self.late.append, elem_id="txt2img_sampling")
        preset = gr.Dropdown(["None", "LCM"], value="None", label="Preset", elem_id=self.elem_id("preset"))
        hint = gr.Textbox(label="Hint", elem_id=self.elem_id("hint"))
        if self.found:
            values = {"sampling": "LCM", "scheduler": "Automatic", "steps": 4, "cfg_scale": 1.5}
            outputs = [self.found[name] for name in values]
            preset.input(lambda chosen: [*values.values()], [preset], outputs)
            preset.change(lambda chosen: gr.update(value=f"chose {chosen}", visible=True), [preset], [hint])
            self.found["sampling"].change(lambda name: name.upper(), [self.found["sampling"]], [hint])
        return [preset]

    def setup(self, p, preset):
        p.seen_in_setup = p.steps
        p.steps = 2
"""


class TestComponents:
    @pytest.fixture
    def host(self, folder: Path) -> Iterator[standin.Host]:
        (folder / "presets.py").write_text(PRESETS)
        with standin.webui("sd1", folder) as running:
            yield running

    @pytest.mark.parametrize("tab", ["txt2img", "img2img"])
    def test_ids_and_labels(self, host: standin.Host, tab: str) -> None:
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

    def test_the_hosts_components_are_there_before_those_of_an_extension(self, host: standin.Host) -> None:
        tab = host.tabs["txt2img"]
        order = [c.elem_id for c in tab.components if c.elem_id]
        wanted = ["txt2img_prompt", "txt2img_sampling", "txt2img_hr-checkbox", "txt2img_enable-checkbox"]
        wanted += ["txt2img_width", "txt2img_cfg_scale", "txt2img_seed", "script_txt2img_presets_preset", "script_list"]
        assert sorted(wanted, key=order.index) == wanted
        script = tab.runner.script("Presets")
        assert set(script.found) == {"sampling", "scheduler", "steps", "cfg_scale"}
        assert script.late == []
        assert [s.title() for s in tab.runner.alwayson_scripts][-4:] == ["Recorder", "Refiner", "Sampler", "Seed"]

    def test_a_choice_fills_the_page(self, host: standin.Host) -> None:
        tab = host.tabs["txt2img"]
        changed = tab.trigger("script_txt2img_presets_preset", "input", "LCM")
        filled = {"txt2img_sampling": "LCM", "txt2img_scheduler": "Automatic", "txt2img_steps": 4}
        assert {name: changed[name] for name in filled} == filled
        assert changed["script_txt2img_presets_hint"] == "LCM"  # by the sampler's own change, which comes last
        p = host.txt2img(prompt="a cat", width=64, height=64).p
        assert (p.sampler_name, p.steps, p.cfg_scale) == ("LCM", 4, 1.5)
        alone = host.tabs["img2img"].trigger("script_img2img_presets_preset", "change", "LCM")
        assert alone["script_img2img_presets_hint"]["value"] == "chose LCM"

    def test_the_page_has_the_last_word_after_setup(self, host: standin.Host) -> None:
        assert host.txt2img(**SMALL).p.steps == 4
        assert host.api.txt2img(SMALL).p.steps == 2

    def test_a_section_puts_a_script_before_the_hosts(self, folder: Path) -> None:
        (folder / "presets.py").write_text(
            PRESETS.replace("    def title", '    section = "sampler"\n\n    def title', 1)
        )
        with standin.webui("sd1", folder) as host:
            script = host.tabs["txt2img"].runner.script("presets")
            assert (script.found.keys(), script.args_from) != (set(), 0)
            order = [c.elem_id for c in host.tabs["txt2img"].components if c.elem_id]
            assert order.index("script_txt2img_presets_preset") < order.index("txt2img_sampling")

    def test_samplers_are_pasted(self, host: standin.Host) -> None:
        text = "a\nSteps: 4, Sampler: Euler Karras, CFG scale: 2, Seed: 1, Hires upscale: 2, Denoising strength: 0.5"
        pasted = host.paste("txt2img", text + ", Hires sampler: Heun")
        names = ("Sampling method", "Schedule type", "Sampling steps", "CFG Scale", "Hires. fix")
        assert [pasted[name] for name in names] == ["Euler", "Karras", 4, 2.0, True]
        assert (pasted["Hires sampling method"], pasted["Hires schedule type"]) == ("Heun", "Use same scheduler")

    def test_refiner_and_seed_go_through_the_page(self, host: standin.Host) -> None:
        p = host.txt2img(**SMALL, refiner_checkpoint="sd1-other", refiner_switch_at=0.5).p
        assert (p.refiner_checkpoint, p.refiner_switch_at, p.seed) == ("sd1-other", 0.5, 1)

    def test_blocks_are_announced_too(self, host: standin.Host) -> None:
        seen: list[Any] = []
        sys.modules["modules.script_callbacks"].on_after_component(lambda component, **kw: seen.append(component))
        with gradio.Blocks(), gradio.Row(elem_id="mine"):
            pass
        assert [getattr(component, "elem_id", None) for component in seen] == [None, "mine"]


class TestPlaces:
    def test_models_have_a_folder(self, host: standin.Host) -> None:
        folder = Path(sys.modules["modules.paths"].models_path)
        (folder / "mine").mkdir()
        assert folder.is_dir()

    @pytest.mark.parametrize(("name", "kind"), [("sd1", "sd1"), ("sd2-v", "sd2"), ("sdxl", "sdxl"), ("sd3", "sd3")])
    def test_kinds_of_models(self, folder: Path, name: str, kind: str) -> None:
        with standin.webui(name, folder) as host:
            model = host.shared.sd_model
            flags = {flag: getattr(model, f"is_{flag}") for flag in ("sd1", "sd2", "sdxl", "ssd", "sd3")}
            assert flags == {flag: flag == kind for flag in flags}
            assert hasattr(model, "create_denoiser") is (kind == "sd3")

    def test_a_flow_model_makes_its_own_denoiser(self, folder: Path) -> None:
        with standin.webui("sd3", folder) as host:
            result = host.txt2img(**{**SMALL, "width": 72, "sampler_name": "Euler"})
            assert result.latents.shape == (1, 16, 8, 8)
            assert float(recorded(host, "denoiser")[0].sigma[0]) == 1.0
            assert host.img2img(**SMALL, init_images=[standin.picture(64, 64)]).status == 200

    def test_a_checkpoint_of_any_name(self, host: standin.Host) -> None:
        info = host.checkpoints.add("fast/sdxl_lightning_4step", like="sdxl")
        assert (info.name_for_extra, info.model_name) == ("sdxl_lightning_4step", "fast_sdxl_lightning_4step")
        assert host.load_model("sdxl_lightning_4step").sd_checkpoint_info is info
        assert "Model: sdxl_lightning_4step" in host.txt2img(**SMALL).infotexts[0]


SELECTABLE = """
import copy
import gradio as gr
from modules import processing, scripts, shared

seen = []


class Twice(scripts.Script):
    def title(self):
        return "Twice"

    def ui(self, is_img2img):
        count = gr.Slider(1, 9, value=2, step=1, label="Twice count", elem_id=self.elem_id("count"))
        mode = gr.Textbox(value="work", label="Twice mode")
        return [count, mode]

    def run(self, p, *args):
        seen.append((args, type(p.script_args), shared.state.job))
        count, mode = args[:2]
        if mode == "nothing":
            return None
        done = []
        for number in range(1, count + 1):
            job = copy.copy(p)
            job.width = number * p.width
            done.append(processing.process_images(job))
        images = [image for processed in done for image in processed.images]
        infotexts = [text for processed in done for text in processed.infotexts]
        return processing.Processed(p, images, p.seed, infotexts[0], infotexts=infotexts)


class Later(Twice):
    def title(self):
        return "Later"

    def show(self, is_img2img):
        return not is_img2img
"""


class TestSelectableScripts:
    @pytest.fixture
    def host(self, folder: Path) -> Iterator[standin.Host]:
        (folder / "selectable.py").write_text(SELECTABLE)
        with standin.webui("sd1", folder) as running:
            yield running

    @staticmethod
    def seen() -> list[Any]:
        """What the script's `run` was given."""
        data = sys.modules["modules.scripts"].scripts_data
        found: list[Any] = next(d.module for d in data if d.path.endswith("selectable.py")).seen
        return found

    def test_they_stand_behind_the_always_on_ones(self, host: standin.Host) -> None:
        runner = host.tabs["txt2img"].runner
        assert runner.titles == ["X/Y/Z plot", "Twice", "Later"]
        assert host.tabs["img2img"].runner.titles == ["X/Y/Z plot", "Twice"]
        assert runner.script("Twice").args_from >= max(script.args_to for script in runner.alwayson_scripts)
        assert (runner.script("twice").alwayson, runner.script("Recorder").alwayson) == (False, True)
        assert (runner.script("Recorder").group.visible, runner.script("Twice").group.visible) == (True, False)

    def test_the_dropdown_shows_the_groups_of_the_selected_one(self, host: standin.Host) -> None:
        tab = host.tabs["txt2img"]
        dropdown = tab.components_by_elem_id["script_list"]
        assert dropdown.choices == ["None", "X/Y/Z plot", "Twice", "Later"]
        changed = tab.trigger("script_list", "change", "Twice")
        shown = [changed[tab.runner.script(title).group]["visible"] for title in tab.runner.titles]
        assert shown == [False, True, False]
        assert len(host.txt2img(**SMALL).jobs) == 2

    def test_an_infotext_selects_a_script(self, host: standin.Host) -> None:
        text = "a cat\nSteps: 4, Seed: 1, Size: 64x64"
        assert host.paste("txt2img", text)["Script"] == "None"
        assert host.paste("txt2img", f"{text}, Script: Twice")["Script"] == "Twice"

    def test_from_the_page(self, host: standin.Host) -> None:
        result = host.txt2img(script="Twice", ui={"Twice count": 3}, **SMALL)
        assert self.seen() == [((3, "work"), tuple, "task(txt2img)")]
        assert [image.width for image in result.images] == [64, 128, 192]
        assert result.latents.shape == (1, 4, 8, 24)
        assert [job.latents[0].shape[-1] for job in result.jobs] == [8, 16, 24]
        assert [len(job.calls) for job in host.probe.jobs] == [4, 4, 4]
        assert [job.launches for job in host.probe.jobs] == 3 * [[("Euler", 4)]]
        assert host.probe.hooks.count("setup") == 1
        assert [job.hooks[0] for job in host.probe.jobs] == 3 * ["before_process"]
        with pytest.raises(LookupError, match="Thrice"):
            host.txt2img(script="Thrice", **SMALL)

    def test_none_leaves_the_job_to_the_page_and_breaks_the_api(self, host: standin.Host) -> None:
        result = host.txt2img(script="Twice", ui={"Twice mode": "nothing"}, **SMALL)
        assert (result.status, len(result.images)) == (200, 1)
        answer = host.api.txt2img({**SMALL, "script_name": "twice", "script_args": [1, "nothing"]})
        assert (answer.status, answer.error) == (500, "AttributeError")

    def test_from_the_api(self, host: standin.Host) -> None:
        result = host.api.txt2img({**SMALL, "script_name": "tWiCe", "script_args": [2, "work"]})
        assert self.seen() == [((2, "work"), list, "scripts_txt2img")]
        assert result.images is result.processed.images
        assert json.loads(result.info)["infotexts"] == result.infotexts
        assert (
            host.api.txt2img({**SMALL, "script_name": "Twice", "script_args": [1, ""], "send_images": False}).images
            == []
        )
        refused = host.api.txt2img({**SMALL, "script_name": "Recorder"})
        assert (refused.status, refused.message) == (422, "there is no script 'Recorder' to select")
        assert host.api.txt2img({**SMALL, "alwayson_scripts": {"Twice": {"args": []}}}).status == 422

    def test_a_list_of_another_length_moves_the_arguments_behind_it(self, host: standin.Host) -> None:
        recorder = {"alwayson_scripts": {"Recorder": {"args": [True, "b"]}}}
        result = host.api.txt2img({**SMALL, **recorder, "script_name": "Twice", "script_args": [1, "work", "more"]})
        assert result.p.script_args[-5:] == [1, "work", "more", 2, "work"]
        assert recorded(host, "process")[0]["args"] == (True, "b", 0.5, 3)
        assert host.api.txt2img({**SMALL, "script_name": "Later", "script_args": [1]}).error == "ValueError"
        host.api.txt2img({**SMALL, "script_name": "Twice", "script_args": [1]})
        assert self.seen()[-1][0] == (1, 2)  # a list that is too short, and the next script's first argument

    def test_a_job_of_its_own_is_set_up_when_it_has_scripts_and_arguments(self, host: standin.Host) -> None:
        p = host.job("txt2img", **SMALL)
        other = sys.modules["modules.processing"].StableDiffusionProcessingTxt2Img(**SMALL)
        other.scripts = p.scripts
        assert recorded(host, "setup") == []
        other.script_args = p.script_args
        other.script_args = p.script_args
        assert len(recorded(host, "setup")) == 1


class TestProcessed:
    def test_it_has_the_jobs_fields(self, host: standin.Host) -> None:
        processed = host.txt2img(**{**SMALL, "prompt": "a cat", "negative_prompt": "a dog"}, batch_size=2).processed
        assert (processed.prompt, processed.negative_prompt) == ("a cat", "a dog")
        assert (processed.width, processed.height, processed.steps, processed.sampler_name) == (64, 64, 4, "Euler")
        assert (processed.seed, processed.all_seeds, processed.all_prompts) == (1, [1, 2], 2 * ["a cat"])
        assert (processed.index_of_first_image, processed.clip_skip, processed.sd_vae_name) == (0, 1, None)
        with pytest.raises(AttributeError, match="nothing"):
            _ = processed.nothing

    def test_it_can_be_made_without_a_run(self, host: standin.Host) -> None:
        p = host.job("txt2img", **SMALL)
        p.comment("said")
        processed = sys.modules["modules.processing"].Processed(p, ["image"], seed=[7], info="text")
        assert (processed.seed, processed.subseed, processed.infotexts) == (7, -1, ["text"])
        assert (processed.all_prompts, processed.all_seeds, processed.comments) == (["a cat"], [7], "said\n")
        told = json.loads(processed.js())
        assert {"seed", "job_timestamp", "face_restoration_model", "styles", "version"} <= told.keys()
        assert not {"info", "images", "comments", "eta"} & told.keys()

    def test_a_seed_by_chance_is_not_the_jobs(self, host: standin.Host) -> None:
        result = host.txt2img(**{**SMALL, "seed": -1})
        assert (result.p.seed, result.processed.seed >= 0) == (-1, True)
        fixed = host.job("txt2img", **{**SMALL, "seed": -1})
        sys.modules["modules.processing"].fix_seed(fixed)
        assert min(fixed.seed, fixed.subseed) >= 0
        assert sys.modules["modules.processing"].get_fixed_seed("12") == 12

    def test_a_grid_stands_in_front_where_the_page_wants_one(self, host: standin.Host) -> None:
        result = host.txt2img(**SMALL, batch_size=2, do_not_save_grid=False)
        assert [image.size for image in result.images] == [(128, 64), (64, 64), (64, 64)]
        assert (result.processed.index_of_first_image, len(result.infotexts)) == (1, 3)
        assert len(list((host.data_path / "outputs" / "txt2img-grids").rglob("grid-0000.png"))) == 1
        assert len(host.api.txt2img({**SMALL, "batch_size": 2}).images) == 2

    def test_nothing_came_of_an_interrupted_job(self, host: standin.Host) -> None:
        recorder = host.tabs["txt2img"].runner.script("recorder")
        recorder.process = lambda p, *args: host.shared.state.stop_generating()
        result = host.api.txt2img(SMALL)
        assert (result.status, result.images, result.latents, len(result.infotexts)) == (200, [], None, 1)


def watched(host: standin.Host, read: Any, **fields: Any) -> list[Any]:
    """What `read()` gives at each step of a job."""
    seen: list[Any] = []
    sys.modules["modules.script_callbacks"].on_cfg_denoiser(lambda params: seen.append(read()))
    host.txt2img(**{**SMALL, **fields})
    return seen


class TestState:
    def test_jobs_are_counted(self, host: standin.Host) -> None:
        state = host.shared.state
        seen = watched(host, lambda: (state.job, state.job_no, state.job_count), n_iter=2, steps=1)
        assert seen == [("Batch 1 out of 2", 0, 2), ("Batch 2 out of 2", 1, 2)]
        assert (state.job, state.job_no, state.job_count) == ("", 2, 0)
        assert state.dict()["job_timestamp"] != "0"

    def test_a_second_pass_doubles_the_count_once(self, host: standin.Host) -> None:
        state, hires = host.shared.state, {"enable_hr": True, "denoising_strength": 0.5}
        assert watched(host, lambda: state.job_count, n_iter=3, steps=1, **hires) == 6 * [6]
        assert state.processing_has_refined_job_count
        recorder = host.tabs["txt2img"].runner.script("recorder")
        recorder.process = lambda p, *args: setattr(state, "processing_has_refined_job_count", True)
        assert set(watched(host, lambda: state.job_count, n_iter=3, steps=1, **hires)) == {3}

    def test_the_bar_counts_the_steps(self, host: standin.Host) -> None:
        bar = host.shared.total_tqdm
        seen = watched(host, lambda: bar._tqdm and (bar._tqdm.n, bar._tqdm.total), n_iter=2)
        assert seen == [None, *((n, 8) for n in range(1, 8))]
        assert bar._tqdm is None
        host.shared.opts.multiple_tqdm = False
        bar.updateTotal(9)
        assert bar._tqdm is None

    def test_stopping_lets_the_batch_end(self, host: standin.Host) -> None:
        sys.modules["modules.script_callbacks"].on_cfg_denoiser(lambda params: host.shared.state.stop_generating())
        result = host.api.txt2img({**SMALL, "n_iter": 3})
        assert (len(result.images), len(host.probe.calls)) == (1, 4)
        assert host.shared.state.stopping_generation  # until the next request
        host.txt2img(**SMALL)
        assert not host.shared.state.stopping_generation

    def test_every_step_is_told_to_the_samplers_own_callback(self, host: standin.Host) -> None:
        recorder, heard = host.tabs["txt2img"].runner.script("recorder"), []

        def listen(p: Any, *args: Any, **kwargs: Any) -> None:
            original = p.sampler.callback_state
            p.sampler.callback_state = lambda d: (heard.append((d["i"], {*d}, d["x"].shape)), original(d))

        recorder.process_before_every_sampling = listen
        for sampler, steps in (("Euler", 4), ("Heun", 4), ("DDIM", 3), ("LCM", 4)):
            heard.clear()
            host.txt2img(**{**SMALL, "sampler_name": sampler})
            assert [step for step, _, _ in heard] == list(range(steps)), sampler
            assert all({"x", "i", "sigma", "denoised"} <= keys for _, keys, _ in heard)
            assert host.shared.state.sampling_steps == 4


SETTINGS = """
import gradio as gr
from modules import script_callbacks, shared
from modules.options import OptionInfo, options_section

calls = []


def on_ui_settings():
    section = ("mine", "Mine")
    info = OptionInfo(3, "Depth", gr.Slider, {"minimum": 1, "maximum": 9, "step": 1}, section=section)
    shared.opts.add_option("mine_depth", info.info("how deep").needs_reload_ui())
    shared.opts.add_option("mine_on", shared.OptionInfo(True, "On", section=section).html("<br>").link("a", "b"))
    shared.opts.onchange("mine_on", lambda: calls.append(shared.opts.mine_on), call=False)


script_callbacks.on_ui_settings(on_ui_settings)
"""


class TestSettings:
    def test_an_extension_adds_its_own(self, folder: Path) -> None:
        (folder / "settings.py").write_text(SETTINGS)
        with standin.webui("sd1", folder, config={"mine_on": False}) as host:
            opts = host.shared.opts
            assert (opts.mine_depth, opts.mine_on) == (3, False)
            assert (opts.data["mine_depth"], "grid_save" in opts.data, opts.grid_save) == (3, False, True)
            assert "how deep" in opts.data_labels["mine_depth"].comment_after
            assert (type(host.settings["mine_depth"]), host.settings["mine_on"].value) == (gradio.Slider, False)
            assert host.settings["mine_depth"].elem_id == "setting_mine_depth"
            assert [opts.set("mine_on", value) for value in (True, True, False)] == [True, False, True]
            assert len(host.callbacks.kinds["ui_settings"]) == 1
            assert (opts.get_default("mine_depth"), opts.get_default("nothing")) == (3, None)
            assert (opts.cast_value("mine_depth", "7"), opts.cast_value("mine_on", "False")) == (7, False)
            opts.save(host.shared.config_filename)
            assert json.loads((host.data_path / "config.json").read_text())["mine_depth"] == 3

    def test_a_setting_without_a_section_breaks_the_page(self, folder: Path) -> None:
        (folder / "settings.py").write_text(SETTINGS.replace(", section=section)", ")"))
        with pytest.raises(TypeError), standin.webui("sd1", folder):
            pass

    def test_what_onchange_raises_takes_the_change_back(self, host: standin.Host) -> None:
        opts = host.shared.opts
        with pytest.raises(ZeroDivisionError):
            opts.onchange("rho", lambda: 1 / 0)
        assert opts.set("rho", 3.0) is False
        assert (opts.rho, len(host.errors)) == (None, 1)  # what was stored before: nothing
        with pytest.raises(KeyError):
            opts.set("nothing", 1)

    def test_overrides_hold_for_one_job(self, host: standin.Host) -> None:
        opts = host.shared.opts
        opts.add_option("mine", sys.modules["modules.options"].OptionInfo(1, "Mine", section=("a", "A")))
        assert set(watched(host, lambda: opts.mine, override_settings={"mine": 2})) == {2}
        assert opts.mine == 1
        seen = watched(host, lambda: host.shared.sd_model.sd_checkpoint_info.name_for_extra)
        assert set(seen) == {"sd1"}
        names = {"sd_model_checkpoint": "sd1-other"}
        seen = watched(host, lambda: host.shared.sd_model.sd_checkpoint_info.name_for_extra, override_settings=names)
        assert set(seen) == {"sd1-other"}
        assert host.txt2img(**SMALL, override_settings={"sd_model_checkpoint": "nobody"}).p.override_settings == {}


class TestFiles:
    def test_an_image_is_written_with_its_text(self, host: standin.Host, tmp_path: Path) -> None:
        images = sys.modules["modules.images"]
        made = host.txt2img(**SMALL).images[0]
        path, beside = images.save_image(made, str(tmp_path), "plot", info="a\nSteps: 1", save_to_dirs=False)
        assert (Path(path).name, beside, made.already_saved_as) == ("plot-0000.png", None, path)
        assert images.read_info_from_image(images.read(path))[0] == "a\nSteps: 1"
        host.shared.opts.save_txt = True
        for extension in ("png", "jpg", "webp"):
            path, beside = images.save_image(made, str(tmp_path), "", 7, "a cat", extension, info="é: b", grid=True)
            assert Path(path).name == f"0000{('png', 'jpg', 'webp').index(extension)}-7.{extension}"
            assert Path(path).parent.parent == tmp_path  # in a folder with the date
            assert Path(beside).read_text() == "é: b\n"
            assert images.read_info_from_image(images.read(path))[0] == "é: b"
        forced = images.save_image(made, str(tmp_path), "", forced_filename="mine", save_to_dirs=False, suffix="-x")[0]
        assert Path(forced).name == "mine.png"

    def test_callbacks_may_say_where(self, host: standin.Host, tmp_path: Path) -> None:
        callbacks, saved = sys.modules["modules.script_callbacks"], []
        callbacks.on_before_image_saved(lambda params: setattr(params, "filename", str(tmp_path / "here.png")))
        callbacks.on_image_saved(lambda params: saved.append((params.filename, params.pnginfo["parameters"])))
        result = host.txt2img(**SMALL)
        assert saved == [(str(tmp_path / "here.png"), result.infotexts[0])]

    def test_jobs_save_their_images(self, host: standin.Host) -> None:
        outputs = Path(sys.modules["modules.paths_internal"].default_output_dir)
        assert outputs == Path(sys.modules["modules.paths"].data_path) / "outputs" == host.data_path / "outputs"
        result = host.txt2img(**SMALL)
        folder = Path(host.shared.opts.outdir_txt2img_samples)
        assert result.p.outpath_samples == str(folder) == str(outputs / "txt2img-images")
        assert [path.name for path in folder.rglob("*.png")] == ["00000-1.png"]
        host.api.txt2img(SMALL)
        host.txt2img(**SMALL, do_not_save_samples=True)
        host.fault(interrupt=2)
        host.txt2img(**SMALL)
        host.shared.opts.samples_save = False
        host.txt2img(**SMALL)
        assert len(list(folder.rglob("*.png"))) == 1
        host.shared.opts.samples_save = True
        assert host.api.txt2img({**SMALL, "save_images": True}).p.outpath_grids == str(outputs / "txt2img-grids")
        assert len(list(folder.rglob("*.png"))) == 2

    def test_latents_become_the_jobs_pictures(self, host: standin.Host) -> None:
        common = sys.modules["modules.sd_samplers_common"]
        result = host.txt2img(**SMALL, batch_size=2)
        for index, image in enumerate(result.images):
            assert common.sample_to_image(result.latents, index, approximation=0).tobytes() == image.tobytes()
        sizes = [common.single_sample_to_image(result.latents[0], how).size for how in (None, 0, 1, 2, 3)]
        assert sizes == [(16, 16), (64, 64), (16, 16), (8, 8), (64, 64)]  # by default a cheap preview
        host.shared.opts.show_progress_type = "Full"
        assert common.single_sample_to_image(result.latents[0]).size == (64, 64)
        assert common.samples_to_images_tensor(result.latents, 0).shape == (2, 3, 64, 64)
        assert sys.modules["modules.sd_samplers"].samples_to_image_grid(result.latents, 0).size == (128, 64)


def axes_of(host: standin.Host) -> Any:
    """The module of the X/Y/Z plot."""
    return next(d.module for d in sys.modules["modules.scripts"].scripts_data if d.path.endswith("xyz_grid.py"))


def add_axis(host: standin.Host, label: str = "Mine", kind: Any = str, **more: Any) -> list[Any]:
    """An axis of an extension; what it has applied."""
    module, applied = axes_of(host), []
    module.axis_options.append(module.AxisOption(label, kind, lambda p, x, xs: applied.append((x, xs)), **more))
    return applied


class TestPlots:
    @pytest.mark.parametrize(
        ("kind", "text", "values"),
        [
            (str, 'a, "b, c" ,d', ["a", "b, c", "d"]),
            (str, "a,,b", ["a", "", "b"]),
            (int, "1-5", [1, 2, 3, 4, 5]),
            (int, "1-5 (+2), 9", [1, 3, 5, 9]),
            (int, "10-5 (-3)", [10, 7]),
            (int, "1-10 [4]", [1, 4, 7, 10]),
            (int, "-1", [-1]),
            (int, "1, , 2", [1, 2]),
            (float, "0.5, 1-2", [0.5, 1.0, 2.0]),
            (float, "1-2 (+0.5)", [1.0, 1.5, 2.0]),
            (float, "0-1 [3]", [0.0, 0.5, 1.0]),
        ],
    )
    def test_values(self, host: standin.Host, kind: Any, text: str, values: list[Any]) -> None:
        applied = add_axis(host, kind=kind)
        host.xyz({"Mine": text}, **{**SMALL, "steps": 1})
        assert applied == [(value, values) for value in values]

    def test_a_text_goes_through_prepare(self, host: standin.Host) -> None:
        applied = add_axis(host, prepare=lambda text: text.split(";"))
        host.xyz({"Mine": "a, b; c"}, **{**SMALL, "steps": 1})
        assert [value for value, _ in applied] == ["a, b", " c"]

    def test_choices_come_as_a_list_or_as_text(self, host: standin.Host) -> None:
        applied = add_axis(host, choices=lambda: ["a, b", "c"], prepare=lambda text: [text.upper()])
        host.xyz({"Mine": ["c", "a, b"], "Steps": "1"}, **SMALL)
        host.xyz({"Mine": "c", "Steps": "1"}, **SMALL)
        assert [value for value, _ in applied] == ["c", "a, b", "C"]
        with pytest.raises(ValueError, match="no choices"):
            host.xyz({"Mine": ["d"]}, **SMALL)
        for axes in ({"Steps": ["1"]}, {"Mine": "c", "Schedule type": ["Karras"]}):
            with pytest.raises(TypeError, match="cannot have"):
                host.xyz(axes, **SMALL)

    def test_all_values_are_confirmed_first(self, host: standin.Host) -> None:
        def confirm(p: Any, xs: list[Any]) -> None:
            raise RuntimeError(f"{xs} of seed {p.seed}")

        applied = add_axis(host)
        add_axis(host, "Other", int, confirm=confirm)
        with pytest.raises(RuntimeError, match=r"\[1, 2\] of seed 1"):
            host.xyz({"Mine": "a", "Other": "1-2"}, **SMALL)
        assert (applied, host.probe.jobs, host.shared.state.job_count) == ([], [], 0)
        with pytest.raises(ValueError, match="invalid literal"):
            host.xyz({"Seed": "1, x"}, **SMALL)
        with pytest.raises(RuntimeError, match="no sampler"):
            host.xyz({"Sampler": "Nobody"}, **SMALL)

    def test_no_values_make_no_images(self, host: standin.Host) -> None:
        assert host.xyz({"Steps": " ", "Seed": "1, 2"}, **SMALL) == []
        assert host.probe.jobs == []

    def test_what_an_axis_raises_ends_the_plot(self, host: standin.Host) -> None:
        applied = add_axis(host)
        with pytest.raises(RuntimeError, match="in no prompt"):
            host.xyz({"Mine": "a, b", "Prompt S/R": "dog, cat"}, **SMALL)
        assert (len(applied), host.probe.jobs, host.errors) == (1, [], [])

    def test_the_order_of_the_host(self, host: standin.Host) -> None:
        state, order = host.shared.state, []
        axes_of(host).axis_options.append(
            axes_of(host).AxisOption("Mine", str, lambda p, x, xs: order.append((p.seed, p.steps, x, state.job)))
        )
        cells = host.xyz({"Seed": "1, 2", "Steps": "1, 2", "Mine": "a, b"}, **SMALL)
        places = [(seed, steps, mine) for mine in "ab" for steps in (1, 2) for seed in (1, 2)]
        assert order == [(*place, f"{number} out of 8") for number, place in enumerate(places, 1)]
        assert [(cell.p.seed, cell.p.steps, cell.labels[2]) for cell in cells] == [
            (seed, steps, f"Mine: {mine}") for seed in (1, 2) for steps in (1, 2) for mine in "ab"
        ]

    def test_a_costly_axis_is_outermost(self, host: standin.Host) -> None:
        applied = add_axis(host, cost=0.5)
        host.xyz({"Mine": "a, b", "Steps": "1, 2"}, **SMALL)
        assert [value for value, _ in applied] == ["a", "a", "b", "b"]
        cells = host.xyz({"Checkpoint name": "sd1, sd1-other", "Steps": "1, 2"}, **SMALL)
        assert ["Model: sd1-other" in cell.infotexts[0] for cell in cells] == [False, False, True, True]
        assert host.shared.sd_model.sd_checkpoint_info.name_for_extra == "sd1"

    def test_labels(self, host: standin.Host) -> None:
        add_axis(host, format_value=lambda p, opt, x: f"<{x}>")
        (cell,) = host.xyz({"Mine": "a", "CFG Scale": "1.123456789", "Sampler": "Heun"}, **SMALL)
        assert cell.labels == ["<a>", "CFG Scale: 1.12345679", "Heun"]

    def test_seeds_by_chance_are_the_same_in_all_cells(self, host: standin.Host) -> None:
        cells = host.xyz({"Steps": "1, 2"}, **{**SMALL, "seed": -1})
        assert cells[0].p.seed == cells[1].p.seed >= 0
        cells = host.xyz({"Seed": "-1, -1"}, **{**SMALL, "steps": 1})
        assert cells[0].p.seed != cells[1].p.seed

    def test_the_state_knows_the_axes(self, host: standin.Host) -> None:
        state, bar = host.shared.state, host.shared.total_tqdm
        with pytest.raises(AttributeError):
            _ = state.xyz_plot_x
        recorder, seen = host.tabs["txt2img"].runner.script("recorder"), []
        recorder.process = lambda p, *args: seen.append((state.job_count, bar._tqdm.total, state.xyz_plot_x.values))
        host.xyz({"Steps": "1, 2", "Seed": "1-3"}, **SMALL, n_iter=2)
        assert seen == 6 * [(12, 18, [1, 2])]
        assert (state.xyz_plot_y.axis.label, state.xyz_plot_y.values) == ("Seed", [1, 2, 3])
        assert (state.xyz_plot_z.axis.label, state.xyz_plot_z.values) == ("Nothing", [0])
        host.txt2img(**SMALL)
        assert state.xyz_plot_x.axis.label == "Steps"  # for good

    def test_cells_share_what_is_not_copied(self, host: standin.Host) -> None:
        module = axes_of(host)
        module.axis_options.append(
            module.AxisOption(
                "Mine", str, lambda p, x, xs: (p.styles.append(x), p.override_settings.update({"rho": x}))
            )
        )
        cells = host.xyz({"Mine": "a, b"}, **{**SMALL, "steps": 1})
        assert [cell.p.styles for cell in cells] == [["a"], ["b"]]
        assert cells[0].p.override_settings is cells[1].p.override_settings

    def test_an_interrupt_leaves_the_other_cells_empty(self, host: standin.Host) -> None:
        applied = add_axis(host)
        host.fault(interrupt=2)
        cells = host.xyz({"Mine": "a, b, c"}, **SMALL)
        assert [(cell.status, len(cell.images)) for cell in cells] == [(200, 1), (200, 0), (200, 0)]
        assert ([value for value, _ in applied], len(host.probe.jobs)) == (["a"], 1)

    def test_a_first_cell_that_fails_early_ends_the_plot(self, host: standin.Host) -> None:
        """The host writes its infotext all the same, and there are no prompts yet."""
        fields = {**SMALL, "refiner_checkpoint": "nobody", "refiner_switch_at": 0.5}
        with pytest.raises(TypeError):
            host.xyz({"Seed": "1, 2"}, **fields)
        assert len(host.errors) == 1

    def test_every_cell_has_its_own_record(self, host: standin.Host) -> None:
        cells = host.xyz({"Steps": "1, 3"}, **SMALL)
        assert [len(cell.jobs[0].calls) for cell in cells] == [1, 3]
        assert [job.launches for job in host.probe.jobs] == [[("Euler", 1)], [("Euler", 3)]]

    def test_axes_of_one_tab(self, host: standin.Host) -> None:
        for tab, there in (("txt2img", True), ("img2img", False)):
            offered = host.tabs[tab].runner.script("X/Y/Z plot").current_axis_options
            assert ("Hires steps" in [axis.label for axis in offered]) is there
            assert [axis.label for axis in offered].count("Sampler") == 1
        picture = standin.picture(64, 64)
        assert len(host.xyz({"Sampler": "Euler, Heun"}, tab="img2img", init_images=[picture], **SMALL)) == 2

    def test_a_host_without_it(self, folder: Path) -> None:
        with standin.webui("sd1", folder, xyz=False) as host:
            assert not [d for d in sys.modules["modules.scripts"].scripts_data if d.path.endswith("xyz_grid.py")]
            assert host.tabs["txt2img"].runner.titles == []
            assert host.txt2img(**SMALL).status == 200
            with pytest.raises(LookupError, match="no X/Y/Z plot"):
                host.xyz({"Steps": "1"}, **SMALL)
