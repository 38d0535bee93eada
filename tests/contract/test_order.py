"""In which order the host calls, how it counts steps, and what happens when something goes wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fastapi import HTTPException

from tests.contract.helpers import (
    HIRES,
    HOOKS_AFTER,
    HOOKS_BEFORE,
    SMALL,
    act,
    listening,
    log_of,
    module,
    on,
    recorded,
    watched,
)
from tests.webui import standin


def steps_seen(host: Any, **fields: Any) -> list[tuple[int, int, int, int]]:
    """(lagging step, its total, denoiser's step, its total), as they are during each callback."""
    seen = []

    def watch(params: Any) -> None:
        denoiser = params.denoiser
        seen.append((params.sampling_step, params.total_sampling_steps, denoiser.step, denoiser.total_steps))

    with listening("cfg_denoiser", watch):
        host.txt2img(**{**SMALL, **fields})
    return seen


class TestOrder:
    def test_hooks_of_two_batches_with_a_second_pass(self, host: Any) -> None:
        host.txt2img(**SMALL, n_iter=2, **HIRES)
        second = ["after_extra_networks_activate", "before_hr", "process_before_every_sampling"]
        hires = ["process_before_every_sampling", *second]
        batch = [*HOOKS_BEFORE, *hires, *HOOKS_AFTER]
        expected = ["setup", "before_process", "process", *batch, *batch, "postprocess"]
        assert host.probe.hooks == expected
        names = [kind for kind, _ in log_of() if kind in (*expected, "setup")]
        assert names == expected

    def test_what_each_hook_is_given(self, host: Any) -> None:
        host.txt2img(**SMALL, **HIRES)
        given: dict[str, tuple[set[str], int]] = {}
        for kind, call in log_of():
            if isinstance(call, dict):
                names = call.keys() - {"args", "sampler", "is_hr_pass"}
                given[kind] = names, len(call["args"]) - len(recorded("process")[0]["args"])
        batch, with_a_thing = {"batch_number", "prompts", "seeds", "subseeds"}, (set(), 1)
        assert given == {
            **dict.fromkeys(("setup", "before_process", "process", "before_hr"), (set(), 0)),
            **dict.fromkeys(("before_process_batch", "process_batch"), (batch, 0)),
            "after_extra_networks_activate": (batch | {"extra_network_data"}, 0),
            "process_before_every_sampling": ({"x", "noise", "c", "uc"}, 0),
            "postprocess_batch": ({"images", "batch_number"}, 0),
            "postprocess_batch_list": ({"batch_number"}, 1),
            **dict.fromkeys(("post_sample", "postprocess_image", "postprocess_maskoverlay"), with_a_thing),
            **dict.fromkeys(("postprocess_image_after_composite", "postprocess"), with_a_thing),
        }

    def test_every_pass_has_a_new_sampler_before_its_hook(self, host: Any) -> None:
        host.txt2img(**SMALL, **HIRES)
        first, second = recorded("process_before_every_sampling")
        assert first["sampler"] is not None
        assert second["sampler"] not in (None, first["sampler"])
        assert (first["is_hr_pass"], second["is_hr_pass"]) == (False, True)
        assert first["x"].shape == (1, 4, 8, 8)
        assert second["x"].shape == second["noise"].shape == (1, 4, 16, 16)

    def test_the_callback_comes_before_its_evaluation(self, host: Any) -> None:
        assert watched(host, lambda: len(host.probe.calls)) == [0, 1, 2, 3]

    def test_callbacks_iterate_the_live_list(self, host: Any) -> None:
        callbacks, heard = module("script_callbacks"), []

        def once(params: Any) -> None:
            heard.append("once")
            callbacks.remove_callbacks_for_function(once)

        callbacks.on_cfg_denoiser(once)
        callbacks.on_cfg_denoiser(lambda params: heard.append("next"))
        host.txt2img(**{**SMALL, "steps": 2})
        assert heard == ["once", "next"]  # the first removal makes the list skip the next one

    def test_the_second_pass_gives_pictures_to_post_sample(self, host: Any) -> None:
        seen: list[Any] = []
        act(post_sample=lambda p, ps, *args: seen.append(ps.samples))
        host.txt2img(**SMALL)
        host.txt2img(**SMALL, **HIRES, batch_size=2)
        latents, pictures = seen
        assert (latents.shape, hasattr(latents, "already_decoded")) == ((1, 4, 8, 8), False)
        assert (type(pictures).__mro__[1], pictures.already_decoded) == (list, True)
        assert [picture.shape for picture in pictures] == 2 * [(3, 128, 128)]

    def test_the_last_callbacks_come_first_where_something_begins_or_ends(self, host: Any) -> None:
        heard: list[str] = []
        for kind in ("script_unloaded", "cfg_denoiser"):
            for name in ("first", "second"):
                on(kind, lambda *args, kind=kind, name=name: heard.append(f"{kind} {name}"))
        host.txt2img(**{**SMALL, "steps": 1})
        host.reload_ui()
        assert heard[:2] == ["cfg_denoiser first", "cfg_denoiser second"]
        assert heard[2:] == ["script_unloaded second", "script_unloaded first"]

    def test_methods_that_a_class_does_not_have_are_not_looked_for_on_its_object(self, host: Any) -> None:
        presets, heard = host.tabs["txt2img"].runner.script("Presets"), []
        presets.process = lambda p, *args: heard.append("process")
        try:
            host.txt2img(**{**SMALL, "steps": 1})
        finally:
            del presets.process
        assert heard == []

    def test_what_a_pass_begins_with_may_be_changed_in_place(self, host: Any) -> None:
        clean = host.txt2img(**SMALL)
        act(process_before_every_sampling=lambda p, *args, x, noise, c, uc: x.mul_(0.5))
        halved = host.txt2img(**SMALL)
        passed = recorded("process_before_every_sampling")[0]
        assert {*passed} == {"args", "sampler", "is_hr_pass", "x", "noise", "c", "uc"}
        assert passed["x"] is passed["noise"]
        assert (passed["c"].shape, len(passed["c"].batch), len(passed["uc"])) == ((1,), 1, 1)
        assert not torch.equal(halved.latents, clean.latents)

    def test_one_sampler_serves_all_batches_of_img2img(self, host: Any) -> None:
        host.img2img(**SMALL, n_iter=2, init_images=[standin.picture(64, 64)])
        first, second = (passed["sampler"] for passed in recorded("process_before_every_sampling"))
        assert first is second
        host.txt2img(**SMALL, n_iter=2)
        first, second = (passed["sampler"] for passed in recorded("process_before_every_sampling")[2:])
        assert first is not second


class TestSteps:
    def test_sampling_step_lags(self, host: Any) -> None:
        seen = steps_seen(host)
        assert seen == [(0, 4, 0, 4), (0, 4, 1, 4), (1, 4, 2, 4), (2, 4, 3, 4)]

    def test_second_order_samplers_double_the_total(self, host: Any) -> None:
        seen = steps_seen(host, sampler_name="Heun")
        assert [(step, total) for *_, step, total in seen] == [(index, 8) for index in range(7)]

    @pytest.mark.parametrize(("steps", "calls"), [(1, 0), (4, 3), (20, 19), (60, 62)])
    def test_ddim_makes_other_numbers_of_calls(self, host: Any, steps: int, calls: int) -> None:
        seen = steps_seen(host, sampler_name="DDIM", steps=steps, width=16, height=16)
        assert [(step, total) for *_, step, total in seen] == [(index, steps) for index in range(calls)]

    def test_sigma_is_a_timestep_for_ddim_and_a_sigma_for_euler(self, host: Any) -> None:
        for sampler, sigma in (("DDIM", 751.0), ("Euler", pytest.approx(14.61, abs=0.01))):
            log_of().clear()
            host.txt2img(**{**SMALL, "sampler_name": sampler})
            assert float(recorded("denoiser")[0].sigma[0]) == sigma

    def test_img2img_runs_a_share_of_the_steps_and_one_more(self, host: Any) -> None:
        fields = {**SMALL, "steps": 8, "init_images": [standin.picture(64, 64)]}
        host.img2img(**fields, denoising_strength=0.5)
        assert (host.probe.launches, len(host.probe.calls)) == ([("Euler", 5)], 5)
        host.shared.opts.img2img_fix_steps = True
        host.img2img(**fields, denoising_strength=0.5)
        assert (host.probe.launches, len(host.probe.calls)) == ([("Euler", 8)], 8)

    def test_hires_steps_are_run_in_full(self, host: Any) -> None:
        """At any denoising strength: the second pass is always given its number of steps."""
        fields = {**SMALL, **HIRES}
        host.txt2img(**fields)
        assert host.probe.launches == [("Euler", 4), ("Euler", 4)]
        host.txt2img(**fields, hr_second_pass_steps=6)
        assert host.probe.launches == [("Euler", 4), ("Euler", 6)]
        assert [call.size for call in host.probe.calls] == 4 * [(8, 8)] + 6 * [(16, 16)]

    def test_an_adaptive_sampler_makes_as_many_calls_as_it_likes(self, host: Any) -> None:
        host.txt2img(**{**SMALL, "sampler_name": "DPM adaptive"})
        sigmas = [float(params.sigma[0]) for params in recorded("denoiser")]
        assert len(sigmas) > 4
        assert sigmas[0] > 14
        assert min(sigmas) < 0.1


class TestTrouble:
    def test_what_a_script_raises_is_logged_and_swallowed(self, host: Any) -> None:
        clean = host.txt2img(**SMALL)
        for name in ("process", "process_before_every_sampling", "post_sample", "postprocess"):
            host.errors.clear()
            result = host.api.txt2img({**SMALL, "alwayson_scripts": {"Recorder": {"args": [True, name]}}})
            assert (result.status, [str(error.exception) for error in host.errors]) == (
                200,
                [f"planted in {name}"],
            )
            assert torch.equal(result.latents, clean.latents)

    def test_what_a_callback_raises_is_logged_and_swallowed(self, host: Any) -> None:
        on("cfg_denoiser", lambda params: 1 / 0)
        assert host.api.txt2img(SMALL).status == 200
        assert [type(error.exception) for error in host.errors] == 4 * [ZeroDivisionError]

    @pytest.mark.parametrize("launch", [0, 1])
    def test_what_a_block_raises_ends_the_job(self, host: Any, launch: int) -> None:
        fields = {**SMALL, **HIRES}
        clean = host.txt2img(**fields)
        fault = host.fault(block=14, step=1, launch=launch, error=RuntimeError("boom"))
        result = host.api.txt2img(fields)
        assert (result.status, result.error, result.message) == (500, "RuntimeError", "boom")
        assert fault.fired
        assert host.probe.hooks[-1] == "process_before_every_sampling"
        assert torch.equal(host.txt2img(**fields).latents, clean.latents)

    def test_the_page_raises(self, host: Any) -> None:
        host.fault(block="input_blocks.3.0", step=3)
        with pytest.raises(RuntimeError, match="planted in a block at step 3"):
            host.txt2img(**SMALL)

    def test_an_error_with_a_status_is_answered_with_it(self, host: Any) -> None:
        host.fault(block=0, step=0, error=HTTPException(status_code=422, detail="no such depth"))
        result = host.api.txt2img(SMALL)
        assert (result.status, result.message) == (422, "no such depth")

    def test_nan_ends_the_job_after_its_steps(self, host: Any) -> None:
        host.fault(nan=2)
        result = host.api.txt2img(SMALL)
        assert (result.status, result.error, len(host.probe.calls)) == (500, "NansException", 4)
        assert host.probe.hooks[-1] == "post_sample"

    def test_an_interrupt_ends_all_batches_but_not_the_methods(self, host: Any) -> None:
        host.fault(interrupt=2)
        result = host.api.txt2img({**SMALL, "n_iter": 3})
        assert (result.status, len(result.images), len(host.probe.calls)) == (200, 1, 2)
        assert host.probe.hooks[-len(HOOKS_AFTER) - 1 :] == [*HOOKS_AFTER, "postprocess"]

    def test_a_skip_ends_one_batch(self, host: Any) -> None:
        clean = host.txt2img(**SMALL, n_iter=2)
        host.fault(skip=2)
        result = host.api.txt2img({**SMALL, "n_iter": 2})
        assert (len(result.images), len(host.probe.calls)) == (2, 6)
        assert not torch.equal(result.latents[0], clean.latents[0])
        assert torch.equal(result.latents[1], clean.latents[1])

    def test_interrupts_are_no_exceptions(self, host: Any) -> None:
        interrupted = module("sd_samplers_common").InterruptedException
        assert not issubclass(interrupted, Exception)

    def test_nan_in_the_second_pass_ends_the_job_before_post_sample(self, host: Any) -> None:
        host.fault(nan=3, launch=1)
        result = host.api.txt2img({**SMALL, **HIRES})
        assert (result.status, result.error, len(host.probe.calls)) == (500, "NansException", 8)
        assert host.probe.hooks[-1] == "process_before_every_sampling"

    def test_an_interrupt_of_the_first_pass_leaves_the_second_out(self, host: Any) -> None:
        host.fault(interrupt=2)
        result = host.txt2img(**SMALL, **HIRES)
        assert (host.probe.launches, [image.size for image in result.images]) == ([("Euler", 4)], [(64, 64)])
        assert host.probe.hooks[-1] == "postprocess"

    def test_a_status_that_is_raised_where_a_pass_is_launched_is_answered(self, host: Any) -> None:
        def refuse(p: Any, *args: Any, **kwargs: Any) -> None:
            def launch(steps: int, func: Any) -> Any:
                raise HTTPException(422, f"no {steps} steps")

            p.sampler.launch_sampling = launch

        act(process_before_every_sampling=refuse)
        result = host.api.txt2img(SMALL)
        assert (result.status, result.message) == (422, "no 4 steps")
