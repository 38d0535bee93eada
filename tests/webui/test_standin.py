"""The stand-in itself: it behaves as the host is known to."""

from __future__ import annotations

import inspect
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


def log_of(host: standin.Host) -> list[tuple[str, Any]]:
    """What the script has recorded."""
    log: list[tuple[str, Any]] = sys.modules["modules.scripts"].scripts_data[-1].module.log
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
        hires = ["process_before_every_sampling", "before_hr", "process_before_every_sampling"]
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

    def test_nan_ends_the_job(self, host: standin.Host) -> None:
        host.fault(nan=2)
        result = host.api.txt2img(SMALL)
        assert (result.status, result.error, len(host.probe.calls)) == (500, "NansException", 3)

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
        recorder = sys.modules["modules.scripts"].scripts_data[-1].script_class
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
            "Nobody": ("Euler a", "Automatic"),
            "Euler Karras": ("Euler", "Karras"),
            "DDIM": ("DDIM", "Automatic"),
        }
        for name, expected in names.items():
            p = host.api.txt2img({**SMALL, "sampler_name": name}).p
            assert (p.sampler_name, p.scheduler) == expected

    def test_a_registered_sampler_is_found(self, host: standin.Host) -> None:
        module = sys.modules["modules.sd_samplers"]
        families, common = (sys.modules[f"modules.sd_samplers_{end}"] for end in ("kdiffusion", "common"))
        assert module.get_sampler_and_scheduler("Mine", None)[0] == "Euler a"

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
