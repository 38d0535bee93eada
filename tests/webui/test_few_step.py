"""The script "Few-Step" from the API, driven through a strict stand-in of the WebUI."""

from __future__ import annotations

import base64
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from lib_fewstep import sampling
from lib_fewstep.options import SettingError, page_fields
from lib_fewstep.sampling import FewStepSettings, calibrated
from lib_fewstep.webui.fewstep.arguments import few_step_settings
from tests.webui import standin
from tests.webui.exact import (
    CFGPP,
    OURS,
    SCRIPTS,
    SIGMAS,
    answer,
    made,
    mean_of,
    off,
    page_values,
    refused,
    same,
    settings_of,
    timesteps,
)
from tests.webui.exact import request as request_of

BASES = {"Euler CFG++": "Euler", "Euler a CFG++": "Euler a", "DPM++ 2M CFG++": "DPM++ 2M"}
BASES |= {"DPM++ 2M SDE CFG++": "DPM++ 2M SDE"}
FUNCTIONS = {
    "Euler CFG++": sampling.sample_euler_cfgpp,
    "Euler a CFG++": sampling.sample_euler_ancestral_cfgpp,
    "DPM++ 2M CFG++": sampling.sample_dpmpp_2m_cfgpp,
    "DPM++ 2S a CFG++": sampling.sample_dpmpp_2s_ancestral_cfgpp,
    "DPM++ 2M SDE CFG++": sampling.sample_dpmpp_2m_sde_cfgpp,
}
BY_SIGMAS = [*OURS, "Euler", "Euler a", "DPM++ 2M", "DPM++ 2M SDE", "DPM++ 2M SDE Heun"]
HIRES = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.6, "hr_upscaler": "Latent"}
PICTURE = standin.picture(32, 24)
IMAGE = {"init_images": [PICTURE]}
CUSTOM = [999, 741, 502, 260]
EULER = {"sampler_name": "Euler CFG++"}
MANY = " ".join(["word"] * 80)


def lambdas(log):
    return [float(re.search(r"is lambda ([\d.e+-]+)", line)[1]) for line in log() if "is lambda" in line]


class TestGuidance:
    @pytest.mark.parametrize("sampler", BASES)
    def test_calibrated_guides_as_the_base_does_with_and_without_the_script(self, unit, sampler):
        """On data of unit variance the calibration is exact, so both samplers make the same image.

        One step of each base is Euler's; k-diffusion's DPM++ 2M SDE fails at one.
        """
        for steps, cfg in ((1, 5), (2, 5), (6, 3), (20, 8)):
            fields = {"steps": steps, "cfg_scale": cfg, "scheduler": "Trailing"}
            base = made(unit, sampler_name=BASES[sampler] if steps > 1 else "Euler", **fields)
            for settings in (None, {}, {"enabled": False}, {"enabled": False, "guidance": "lambda"}):
                assert off(made(unit, settings, sampler_name=sampler, **fields), base) < 1e-4

    @pytest.mark.parametrize("sampler", BASES)
    def test_in_img2img_and_hires_passes_it_is_calibrated_over_the_steps_that_run(self, unit, sampler):
        for fields in (IMAGE | {"denoising_strength": 0.5, "steps": 10}, HIRES, HIRES | {"hr_second_pass_steps": 7}):
            ours, base = (
                made(unit, sampler_name=name, scheduler="Trailing", **fields) for name in (sampler, BASES[sampler])
            )
            assert off(ours, base) < 1e-4

    @pytest.mark.parametrize("eta", [0.0, 0.5])
    @pytest.mark.parametrize("sampler", ["Euler a CFG++", "DPM++ 2M SDE CFG++"])
    def test_less_noise_is_accounted_for(self, unit, sampler, eta):
        with settings_of(unit, eta_ancestral=eta):
            ours, base = (made(unit, sampler_name=name, scheduler="Trailing") for name in (sampler, BASES[sampler]))
        assert off(ours, base) < 1e-4

    @pytest.mark.parametrize("sampler", CFGPP)
    def test_the_log_says_lambda(self, unit, log, sampler):
        made(unit, sampler_name=sampler, scheduler="Trailing", **HIRES | {"denoising_strength": 0.5})
        first, second = (
            [*SIGMAS[torch.tensor(grid)].tolist(), 0.0] for grid in ([999, 749, 499, 249], [499, 374, 249, 124])
        )
        wanted = [calibrated(FUNCTIONS[sampler], torch.tensor(sigmas), 3) for sigmas in (first, second)]
        assert lambdas(log) == pytest.approx(wanted, rel=6e-3)
        assert wanted[0] != pytest.approx(wanted[1], rel=2e-2)

    @pytest.mark.parametrize("sampler", CFGPP)
    def test_the_other_two(self, unit, log, sampler):
        raw = made(unit, {"guidance": "lambda"}, sampler_name=sampler, cfg_scale=2)
        divided = made(unit, {"guidance": "cfg/12.5"}, sampler_name=sampler, cfg_scale=25)
        assert off(raw, divided) < 1e-5
        assert lambdas(log) == [2, 2]
        assert not same(raw, made(unit, sampler_name=sampler, cfg_scale=2))
        assert "Few-Step guidance: lambda" in raw.infotexts[0]
        assert "Few-Step guidance: cfg/12.5" in divided.infotexts[0]

    def test_raw_lambda_is_the_published_step(self, unit):
        result = made(unit, {"guidance": "lambda"}, **EULER, scheduler="Trailing", cfg_scale=0.7)
        sigmas = [*SIGMAS[[999, 749, 499, 249]].tolist(), 0.0]
        x = unit.unet.seen[0][0][:1].double() * (1 + sigmas[0] ** 2) ** 0.5
        x = euler_cfgpp(x, sigmas, [0.7 * (mean_of(unit, "a cat") - mean_of(unit, ""))] * 4, [mean_of(unit, "")] * 4)
        assert off(result.latents.double(), x) < 1e-4

    @pytest.mark.parametrize("sampler", CFGPP)
    @pytest.mark.parametrize("prompts", [("a cat AND a dog :0.5", "bad"), (MANY, "bad"), ("a cat", MANY)])
    def test_and_prompts_and_prompts_of_different_lengths(self, unit, sampler, prompts):
        texts = {"prompt": prompts[0], "negative_prompt": prompts[1], "scheduler": "Trailing", "batch_size": 2}
        result = made(unit, sampler_name=sampler, **texts)
        if sampler in BASES:
            assert off(result, made(unit, sampler_name=BASES[sampler], **texts)) < 1e-4
        singles = [made(unit, sampler_name=sampler, **{**texts, "batch_size": 1, "seed": seed}) for seed in (1, 2)]
        assert off(torch.cat([single.latents for single in singles]), result) < 1e-4
        with settings_of(unit, batch_cond_uncond=False):
            assert off(made(unit, sampler_name=sampler, **texts), result) < 1e-5
        with settings_of(unit, pad_cond_uncond=True):
            assert off(made(unit, sampler_name=sampler, **texts), result) < 1e-5


def euler_cfgpp(x, sigmas, guided, uncond):
    """The published steps on data of unit variance: `guided` is lambda (m_c - m_u), `uncond` m_u of each step."""
    for sigma, sigma_next, more, mean in zip(sigmas[:-1], sigmas[1:], guided, uncond, strict=True):
        image = (x + sigma**2 * mean) / (1 + sigma**2)
        x = image + more * sigma**2 / (1 + sigma**2) + sigma_next / sigma * (x - image)
    return x


class TestNothingIsLeft:
    @pytest.mark.parametrize("fault", [{}, {"interrupt": 2}, {"skip": 1}, {"nan": 1}, {"nan": 0}])
    @pytest.mark.parametrize("sampler", CFGPP)
    def test_on_the_denoiser_in_the_settings_and_in_the_arguments(self, unit, listen, sampler, fault):
        plain, denoisers = made(unit), listen(lambda params: params.denoiser)
        if fault:
            unit.fault(**fault)
        unit.api.txt2img(request_of({"guidance": "lambda"}, sampler_name=sampler, s_min_uncond=3))
        check_denoiser(denoisers[0], s_min_uncond=3)
        assert "skip_early_cond" not in unit.shared.opts.data
        with settings_of(unit, skip_early_cond=0.4):
            unit.api.txt2img(request_of(sampler_name=sampler))
            assert unit.shared.opts.data["skip_early_cond"] == 0.4
        assert same(plain, made(unit))

    @pytest.mark.parametrize("step", [0, 2])
    def test_after_an_error_in_a_block(self, step):
        denoisers = []
        with standin.webui("sd1", SCRIPTS, config={"skip_early_cond": 0.3}) as host:
            module = sys.modules["modules.script_callbacks"]
            module.on_cfg_denoiser(lambda params: denoisers.append(params.denoiser))
            for tab, more in (("txt2img", {}), ("img2img", IMAGE | {"denoising_strength": 1})):
                fault = host.fault(block=3, step=step, error=RuntimeError("out of memory"))
                request = request_of({"guidance": "cfg/12.5"}, **EULER, s_min_uncond=2, **more)
                assert getattr(host.api, tab)(request).status == 500
                assert fault.fired
                check_denoiser(denoisers[-1], s_min_uncond=2)
                assert host.shared.opts.data["skip_early_cond"] == 0.3


def check_denoiser(denoiser, s_min_uncond=0):
    assert denoiser.cond_scale_miltiplier == 1.0
    assert denoiser.need_last_noise_uncond is False
    assert denoiser.last_noise_uncond is None
    assert denoiser.sampler.sampler_extra_args["s_min_uncond"] == s_min_uncond


@pytest.mark.parametrize("sampler", CFGPP)
def test_skipped_unconditional_passes_do_not_change_cfgpp(unit, log, sampler):
    plain = made(unit, sampler_name=sampler, steps=6)
    assert not [line for line in log() if "off for this pass" in line]
    assert same(plain, made(unit, sampler_name=sampler, steps=6, s_min_uncond=14))
    with settings_of(unit, skip_early_cond=0.5, s_min_uncond_all=True):
        result = made(unit, sampler_name=sampler, steps=6, s_min_uncond=14)
        assert "NGMS" in made(unit, steps=8, s_min_uncond=14).infotexts[0], "it does do something to Euler"
    assert same(plain, result)
    assert plain.infotexts == result.infotexts
    one, both = [line for line in log() if "off for this pass" in line]
    said = f"{sampler} needs the unconditional image of every step. Switched off for this pass:"
    assert one == f"{said} s_min_uncond."
    assert both == f"{said} skip_early_cond, s_min_uncond."


@pytest.mark.parametrize("by_steps", [False, True])
def test_a_refiner_takes_over_in_the_middle_of_cfgpp(unit, listen, by_steps):
    """After the swap the refiner's mean counts, and the prompt that was encoded at the swap."""
    fields = EULER | {"scheduler": "Trailing", "cfg_scale": 0.7, "negative_prompt": "bad"}
    made(unit, {"guidance": "lambda"}, **fields)
    sigmas = [*SIGMAS[[999, 749, 499, 249]].tolist(), 0.0]
    start = unit.unet.seen[0][0][:1].double() * (1 + sigmas[0] ** 2) ** 0.5
    listen(lambda params: setattr(params.denoiser.p, "prompts", ["a dog"]))
    with settings_of(unit, refiner_switch_by_sample_steps=by_steps):
        swapped = {"refiner_checkpoint": "unit-other", "refiner_switch_at": 0.5}
        result = made(unit, {"guidance": "lambda"}, **fields, **swapped)
    assert "Refiner: unit-other" in result.infotexts[0]
    cat, dog, bad = (mean_of(unit, text) for text in ("a cat", "a dog", "bad"))
    means = 2 * [(cat, bad)] + 2 * [(2 * dog, 2 * bad)]
    wanted = euler_cfgpp(start, sigmas, [0.7 * (c - u) for c, u in means], [u for _, u in means])
    assert off(result.latents.double(), wanted) < 1e-4


class TestInpainting:
    @pytest.mark.parametrize("sampler", CFGPP)
    @pytest.mark.parametrize("steps", [10, 20])
    def test_what_is_kept_is_there_before_the_hosts_last_blend(self, unit, sampler, steps, monkeypatch):
        before_blend = []
        scripts = unit.tabs["img2img"].runner.__class__
        original = scripts.on_mask_blend

        def blend(runner, p, args):
            if args.is_final_blend:
                before_blend.append(args.current_latent.clone())
            original(runner, p, args)

        monkeypatch.setattr(scripts, "on_mask_blend", blend)
        fields = IMAGE | {"mask": standin.mask_picture(32, 24), "denoising_strength": 1}
        result = made(unit, sampler_name=sampler, steps=steps, **fields)
        init = result.p.init_latent[..., :2]
        assert float((before_blend[0][..., :2] - init).abs().max() / init.std()) < 0.02
        assert float((before_blend[0][..., 2:] - result.p.init_latent[..., 2:]).abs().mean()) > 0.1

    @pytest.mark.parametrize("sampler", ["Euler CFG++", "DPM++ 2M CFG++"])
    def test_on_the_way_it_is_the_image_with_its_first_noise(self, unit, sampler):
        """The unconditional image is blended with the mask, too, so nothing else gets into that part."""
        fields = IMAGE | {"mask": standin.mask_picture(32, 24), "denoising_strength": 1, "scheduler": "Trailing"}
        result = made(unit, sampler_name=sampler, **fields)
        init = result.p.init_latent[0, ..., :2]
        noises = []
        for x, at, _ in unit.unet.seen:
            sigma = SIGMAS[at[0].round().long()]
            noises.append((x[0, ..., :2] * (1 + sigma**2) ** 0.5 - init) / sigma)
        assert len(noises) == 4
        assert all(off(noise, noises[0]) < 1e-3 for noise in noises)

    @pytest.mark.parametrize("sampler", CFGPP)
    def test_soft_inpainting_blends_the_unconditional_image_too(self, unit, sampler, monkeypatch):
        """With a blend that returns a constant, both images are that constant, and the result is too."""
        calls = []
        scripts = unit.tabs["img2img"].runner.__class__

        def blend(runner, p, args):
            if not args.is_final_blend:
                assert args.denoiser.p is p
                assert args.sigma.shape == (1,)
                calls.append(float(args.sigma[0]))
                args.blended_latent = torch.full_like(args.blended_latent, 0.25)

        monkeypatch.setattr(scripts, "on_mask_blend", blend)
        fields = IMAGE | {"mask": standin.mask_picture(32, 24), "denoising_strength": 1}
        made(unit, sampler_name=sampler, **fields)
        assert len(calls) == 2 * len(unit.probe.calls)
        assert calls[::2] == calls[1::2]


class TestTimesteps:
    @pytest.mark.parametrize("sampler", BY_SIGMAS)
    def test_they_are_those_at_the_unet_and_set_the_steps(self, unit, sampler):
        result = made(unit, {"timesteps": CUSTOM}, sampler_name=sampler, steps=9, scheduler="Karras")
        assert timesteps(unit)[:: 2 if "2S" in sampler else 1] == pytest.approx(CUSTOM, abs=0.02)
        assert "Steps: 4," in result.infotexts[0]
        assert "Few-Step timesteps: 999 741 502 260" in result.infotexts[0]
        assert unit.probe.launches == [(sampler, 4)]

    @pytest.mark.parametrize("sampler", ["Heun", "DPM2"])
    def test_of_samplers_with_two_evaluations(self, unit, sampler):
        made(unit, {"timesteps": CUSTOM}, sampler_name=sampler)
        assert timesteps(unit)[::2] == pytest.approx(CUSTOM, abs=0.02)
        assert len(timesteps(unit)) == 7

    def test_of_the_hosts_lcm_are_the_nearest_of_its_50(self, unit):
        made(unit, {"timesteps": [999, 739, 499, 259]}, sampler_name="LCM")
        assert timesteps(unit) == [999, 739, 499, 259]
        made(unit, {"timesteps": CUSTOM}, sampler_name="LCM")
        assert timesteps(unit) == pytest.approx(CUSTOM, abs=10)

    @pytest.mark.parametrize("sampler", ["Euler", "DPM2", "Euler CFG++", "DPM++ 2S a CFG++", "TCD", "SA-Solver"])
    @pytest.mark.parametrize("fixed", [False, True])
    @pytest.mark.parametrize(
        ("denoise", "wanted"), [(1.0, CUSTOM), (0.75, [741, 502, 260]), (0.742, [741, 502, 260]), (0.741, [502, 260])]
    )
    def test_img2img_and_hires_passes_use_those_at_or_below_their_start(self, unit, sampler, fixed, denoise, wanted):
        each = 2 if sampler in ("DPM2", "DPM++ 2S a CFG++") else 1
        with settings_of(unit, img2img_fix_steps=fixed):
            made(unit, {"timesteps": CUSTOM}, sampler_name=sampler, denoising_strength=denoise, steps=20, **IMAGE)
            assert timesteps(unit)[::each] == pytest.approx(wanted, abs=0.02)
            assert len(timesteps(unit)) == each * len(wanted) - (each - 1)
            hires = HIRES | {"denoising_strength": denoise, "hr_second_pass_steps": 13}
            result = made(unit, {"timesteps": CUSTOM}, sampler_name=sampler, steps=20, **hires)
        launches = [[c.timestep for c in unit.probe.calls if c.launch == number][::each] for number in (0, 1)]
        assert launches[0] == pytest.approx(CUSTOM, abs=0.02)
        assert launches[1] == pytest.approx(wanted, abs=0.02)
        assert "Steps: 4," in result.infotexts[0]

    def test_they_are_the_schedule_of_that_name(self, unit):
        by_hand = made(unit, {"timesteps": [999, 749, 499, 249]}, sampler_name="DPM++ 2M")
        assert same(by_hand, made(unit, sampler_name="DPM++ 2M", scheduler="Trailing"))

    def test_the_sampler_is_as_it_was_for_the_next_batch(self, unit, listen):
        samplers = listen(lambda params: params.denoiser.sampler)
        fields = IMAGE | {"denoising_strength": 0.75, "batch_size": 1}
        twice = made(unit, {"timesteps": CUSTOM}, n_iter=2, **fields)
        assert timesteps(unit) == pytest.approx([741, 502, 260] * 2, abs=0.02)
        assert "get_sigmas" not in vars(samplers[0])
        assert "func" in vars(samplers[0])
        assert off(twice.latents[1:], made(unit, {"timesteps": CUSTOM}, seed=2, **fields)) < 1e-5


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "fields", "sentence"),
        [
            ({"sa_tau": 3}, {}, "sa_tau = 3 is not allowed: it must be 0 to 2"),
            ({"sa_predictor": 0}, {}, "sa_predictor = 0 is not allowed: it must be 1 to 4"),
            ({"sa_corrector": 2.5}, {}, "sa_corrector = 2.5 is not allowed: it must be 0 to 4"),
            ({"gamma": 1.5}, {}, "gamma = 1.5 is not allowed: it must be 0 to 1"),
            ({"gamma": -0.1}, {}, "gamma = -0.1 is not allowed"),
            ({"gamma": True}, {}, "gamma = True is not allowed"),
            ({"timesteps": [249, 499]}, {}, "each smaller than the one before"),
            ({"timesteps": [999, 999]}, {}, "each smaller than the one before"),
            (
                {"timesteps": [1000, 999]},
                {},
                "the model has 1000 timesteps, so they must be whole numbers from 999 to 0",
            ),
            ({"timesteps": [499.5]}, {}, "whole numbers of at least 0"),
            ({"timesteps": [True]}, {}, "whole numbers of at least 0"),
            ({"timesteps": "9" * 5000}, {}, "whole numbers of at least 0"),
            ({"timesteps": "999 -1"}, {}, "whole numbers of at least 0"),
            ({"timesteps": 999}, {}, "must be a list"),
            ({"timesteps": [999, 499]}, {"sampler_name": "DDIM"}, "not allowed with the sampling method DDIM"),
            ({"timesteps": [999]}, {"sampler_name": "DDIM CFG++"}, "not allowed with the sampling method DDIM CFG++"),
            ({"timesteps": [999]}, {"sampler_name": "DPM adaptive"}, "with the sampling method DPM adaptive"),
            ({"timesteps": [999]}, {"sampler_name": "DPM fast"}, "with the sampling method DPM fast"),
            ({"timesteps": [999, 499]}, IMAGE | {"denoising_strength": 0.4}, "must be at or below 399"),
            ({"timesteps": [999, 499]}, IMAGE | {"denoising_strength": 0}, "must be at or below -1"),
            ({"preset": "Magic"}, {}, "preset = 'Magic' is not allowed"),
            ({"preset": None}, {}, "preset = None is not allowed"),
            ({"guidance": "strong"}, {}, "guidance = 'strong' is not allowed"),
            ({"keep": ["colour"]}, {}, "keep = 'colour' is not allowed"),
            ({"keep": "steps"}, {}, "keep = 'steps' is not allowed: it must be a list"),
            ({"gama": 0.5}, {}, "Did you mean gamma?"),
            ({"enabled": 1}, {}, "enabled = 1 is not allowed"),
            (["TCD"], {}, "must be a dict of settings"),
            (None, {"alwayson_scripts": {"Few-Step": {"args": [1]}}}, "must be a dict of settings"),
            (None, {"alwayson_scripts": {"Few-Step": {"args": [True, "TCD", "calibrated", "high"]}}}, "gamma = 'high'"),
            ({"prior": {"statistics": "none-such"}}, {"steps": 1}, "there is no such file in the folder FewStep"),
            ({"prior": {"statistics": "a", "images": ["b"]}}, {"steps": 1}, "either statistics"),
            ({"prior": {}}, {"steps": 1}, "either statistics"),
            ({"prior": {"share": 0.5}}, {"steps": 1}, "or a brightness that is not 0."),
            ({"prior": {"images": ["x"], "share": 0}}, {}, "share = 0 is not allowed: it must be 0.05 to 1"),
            (
                {"prior": {"brightness": 1, "share": 0.5}, "timesteps": [999]},
                {},
                "prior.share = 0.5 is not allowed with",
            ),
            ({"prior": {"brightness": 1.5}}, {}, "brightness = 1.5 is not allowed: it must be -1 to 1"),
            ({"prior": {"images": ["x"], "mean": "pixels"}}, {}, 'it must be "Channels" or "Pixels"'),
            ({"prior": {"statistics": "a", "mean": "Pixels"}}, {}, "because a file says itself what it has."),
            ({"prior": {"save": "a"}}, {"steps": 1}, "prior has no pictures and no file: it must have"),
            ({"prior": {"statistics": "../a"}}, {"steps": 1}, "plain file name"),
            ({"prior": {"statistics": "/etc/passwd"}}, {"steps": 1}, "plain file name"),
            ({"prior": {"statistics": "a\\b"}}, {"steps": 1}, "plain file name"),
            ({"prior": {"images": ["x"], "save": ".."}}, {"steps": 1}, "plain file name"),
            ({"prior": {"statistics": 3}}, {"steps": 1}, "is not allowed"),
            ({"prior": {"images": "abc"}}, {"steps": 1}, "prior.images = 'abc' is not allowed: it must be a list"),
            ({"prior": {"images": ["abc"]}}, {"steps": 1}, "prior.images has "),
            ({"prior": {"images": [None]}}, {"steps": 1}, "prior.images has "),
            ({"prior": {"images": [{"name": "/etc/passwd"}]}}, {"steps": 1}, "prior.images has "),
            ({"prior": {"file": "a"}}, {"steps": 1}, "is not a setting"),
            ({"prior": True}, {"steps": 1}, "must be a dict"),
            ({"invert": True}, EULER, "invert is not allowed in txt2img"),
            ({"invert": True}, IMAGE, "invert is not allowed with the sampling method Euler"),
            ({"invert": True}, IMAGE | {"sampler_name": "Euler a CFG++"}, "which add no noise"),
            ({"invert": True}, IMAGE | {"sampler_name": "DPM++ 2M SDE CFG++"}, "which add no noise"),
            ({"invert": {"steps": 21}}, IMAGE | EULER, "steps = 21 is not allowed: it must be 1 to 20"),
            ({"invert": {"steps": 0}}, IMAGE | EULER, "steps = 0 is not allowed"),
            ({"invert": {"steps": 2.5}}, IMAGE | EULER, "steps = 2.5 is not allowed"),
            ({"invert": {"prompt": 3}}, IMAGE | EULER, "invert.prompt = 3 is not allowed"),
            ({"invert": "yes"}, IMAGE | EULER, "must be a dict"),
        ],
    )
    def test_a_sentence_before_any_evaluation(self, unit, settings, fields, sentence):
        plain = made(unit)
        message = refused(unit, settings, **fields)
        assert sentence in message
        assert message.count("\n") == 0
        assert message.endswith((".", "?"))
        assert same(plain, made(unit))

    @pytest.mark.parametrize("empty", ["", None, [], False, 0])
    @pytest.mark.parametrize(
        "name", ["prior_statistics", "prior_images", "prior_save", "invert_prompt", "invert_steps"]
    )
    def test_what_is_empty_on_the_page_is_not_given(self, name, empty):
        page = dict(zip(page_fields(FewStepSettings), page_values(FewStepSettings), strict=True))
        wanted = few_step_settings([*(page | {"enabled": True}).values()])
        assert few_step_settings([*(page | {"enabled": True, name: empty}).values()]) == wanted

    def test_more_arguments_than_the_page_has(self):
        with pytest.raises(SettingError, match="args has 22 values, but there are only 21 settings"):
            few_step_settings([True, *page_values(FewStepSettings)[1:], 0])

    def test_what_the_second_pass_would_refuse_ends_before_the_first(self, unit):
        result = unit.api.txt2img(request_of({"timesteps": [999, 499]}, **HIRES | {"denoising_strength": 0.3}))
        assert (result.status, unit.probe.calls) == (422, [])
        assert "at least one entry must be at or below 299" in result.message

    def test_a_link_out_of_the_folder_is_not_followed(self, unit, tmp_path):
        folder = Path(sys.modules["modules.paths"].models_path) / "FewStep"
        folder.mkdir(exist_ok=True)
        save_file({"mean": torch.zeros(4), "std": torch.ones(4)}, tmp_path / "outside.safetensors")
        (folder / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")
        try:
            assert "not a link" in refused(unit, {"prior": {"statistics": "link"}}, steps=1, sampler_name="Euler")
        finally:
            (folder / "link.safetensors").unlink()

    JSON = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )
    NAMES = st.sampled_from(["enabled", "preset", "keep", "guidance", "gamma", "timesteps", "prior", "invert"])
    NESTED = st.dictionaries(
        st.sampled_from(["statistics", "images", "save", "prompt", "negative_prompt", "steps"]), JSON, max_size=3
    )
    NEAR = st.sampled_from(
        [True, 0.5, 1, "TCD", "DMD2", "lambda", [999, 499], "999 499", ["steps"], [9.0], "YOSO 1 step"]
    )

    @hypothesis_settings(max_examples=400)
    @given(settings=st.dictionaries(NAMES, JSON | NESTED | NEAR, max_size=4) | JSON.filter(lambda v: v is not None))
    def test_any_json_makes_an_image_or_a_sentence(self, unit, settings):
        for fields in ({"sampler_name": "TCD", "steps": 2}, IMAGE | EULER | {"steps": 2}):
            result = answer(unit, settings, **fields)
            assert result.status in (200, 422), (settings, result.error, result.message)
            assert result.status == 200 or result.message.endswith((".", "?"))
            assert not unit.errors, settings


class TestInversion:
    ON = {"invert": {"prompt": "a dog", "negative_prompt": "bad", "steps": 5}}
    FIELDS = IMAGE | EULER | {"denoising_strength": 1, "scheduler": "Trailing"}

    @pytest.mark.parametrize("sampler", ["Euler CFG++", "DPM++ 2M CFG++"])
    @pytest.mark.parametrize("steps", [1, 2, 3, 7, 20])
    def test_three_evaluations_a_step_and_then_the_image(self, unit, sampler, steps):
        settings = {"invert": {"prompt": "a dog", "negative_prompt": "bad", "steps": steps}}
        made(unit, settings, **self.FIELDS | {"sampler_name": sampler})
        texts = [[round(float(mean), 4) for mean in means] for _, _, means in unit.unet.seen]
        cat, dog, bad, none = (round(mean_of(unit, text), 4) for text in ("a cat", "a dog", "bad", ""))
        assert texts == 3 * steps * [[dog, bad]] + 4 * [[cat, none]]

    def test_it_leads_back_to_the_image(self, unit):
        """With the same prompt; with another one, the image moves by the difference that guidance makes."""
        settings = {"guidance": "lambda", "invert": {"prompt": "a cat", "negative_prompt": "", "steps": 20}}
        fields = self.FIELDS | {"steps": 20, "cfg_scale": 0.3}
        result = made(unit, settings, **fields)
        assert off(result, result.p.init_latent) < 0.1
        other = made(unit, settings, **fields | {"prompt": "a dog"})
        moved = made(unit, {"guidance": "lambda"}, **fields | {"prompt": "a dog"}).latents
        moved = moved - made(unit, {"guidance": "lambda"}, **fields).latents
        assert torch.allclose(other.latents - result.latents, moved, atol=0.02)

    def test_an_infotext_that_cannot_be_read_is_none(self, unit, monkeypatch, log):
        def read(image):
            raise ZeroDivisionError("division by zero")

        plain = made(unit, {"invert": {"prompt": "", "negative_prompt": "", "steps": 4}}, **self.FIELDS)
        monkeypatch.setattr(sys.modules["modules.images"], "read_info_from_image", read)
        assert same(made(unit, {"invert": {}}, **self.FIELDS), plain)
        assert "The image's infotext cannot be read (division by zero)." in log()

    @pytest.mark.parametrize(("inverted", "steps"), [(10, 20), (20, 8), (8, 20)])
    def test_with_other_steps_than_the_pass_too(self, unit, inverted, steps):
        """The guidance, not lambda, is the same on both ways: little is left of the distance that it moves an image."""
        settings = {"invert": {"prompt": "a cat", "negative_prompt": "", "steps": inverted}}
        result = made(unit, settings, **self.FIELDS | {"steps": steps, "cfg_scale": 7})
        moved = 7 * abs(mean_of(unit, "a cat") - mean_of(unit, ""))
        assert float((result.latents - result.p.init_latent).abs().max()) < 0.15 * moved

    def test_it_does_not_depend_on_the_seed(self, unit):
        assert same(made(unit, self.ON, **self.FIELDS), made(unit, self.ON, **self.FIELDS | {"seed": 2}))
        batch = made(unit, self.ON, **self.FIELDS | {"batch_size": 2, "n_iter": 2})
        assert off(batch.latents[:1], batch.latents[3:]) < 1e-6

    def test_what_is_not_given_is_the_images_own(self, unit):
        original = made(unit, **EULER | {"prompt": "a dog, big", "negative_prompt": "bad: x", "steps": 6}).images[0]
        given = {"prompt": "a dog, big", "negative_prompt": "bad: x", "steps": 6}
        fields = self.FIELDS | {"init_images": [standin.as_base64(original)]}
        by_itself = made(unit, {"invert": True}, **fields)
        assert len(unit.unet.seen) == 3 * 6 + 4
        assert same(by_itself, made(unit, {"invert": given}, **fields))
        assert by_itself.infotexts == made(unit, {"invert": {}}, **fields).infotexts
        shorter = made(unit, {"invert": {"steps": 2}}, **fields)
        assert same(shorter, made(unit, {"invert": given | {"steps": 2}}, **fields))
        pasted = unit.paste("img2img", by_itself.infotexts[0])
        assert {
            name: pasted[name] for name in ("Invert with CFG++", "Original prompt", "Original negative prompt")
        } == {
            "Invert with CFG++": True,
            "Original prompt": "a dog, big",
            "Original negative prompt": "bad: x",
        }
        assert pasted["Inversion steps"] == 6

    def test_more_steps_than_it_makes_and_no_infotext_at_all(self, unit):
        long = standin.as_base64(made(unit, **EULER | {"steps": 30}).images[0])
        made(unit, {"invert": True}, **self.FIELDS | {"init_images": [long]})
        assert len(unit.unet.seen) == 3 * 20 + 4
        made(unit, {"invert": True}, **self.FIELDS)
        assert len(unit.unet.seen) == 3 * 4 + 4
        none = round(mean_of(unit, ""), 4)
        assert {round(float(mean), 4) for mean in unit.unet.seen[0][2]} == {none}

    @pytest.mark.parametrize("steps", ["many", "12.5", "0", "-3"])
    def test_an_infotext_that_others_have_written(self, unit, steps):
        picture = PICTURE.copy()
        picture.info["parameters"] = f"a dog\nSteps: {steps}, Sampler: Euler, CFG scale: 1, Seed: 3"
        result = unit.api.img2img(request_of({"invert": True}, **self.FIELDS | {"init_images": [picture]}))
        assert result.status in (200, 422), result.message

    def test_a_loras_name_is_no_part_of_the_inverted_prompt(self, unit):
        plain = made(unit, self.ON, **self.FIELDS)
        tagged = {"invert": self.ON["invert"] | {"prompt": "a dog<lora:fine:1>"}}
        assert same(plain, made(unit, tagged, **self.FIELDS))

    @pytest.mark.parametrize("by_steps", [False, True])
    def test_it_does_not_advance_prompts_refiner_or_progress(self, unit, listen, by_steps):
        more = {"prompt": "[a cat:a bird:0.25]", "refiner_checkpoint": "unit-other", "refiner_switch_at": 0.6}
        states = listen(lambda params: (params.sampling_step, params.denoiser.step, params.total_sampling_steps))
        with settings_of(unit, refiner_switch_by_sample_steps=by_steps):
            made(unit, **self.FIELDS | more)
            plain = [means.tolist() for _, _, means in unit.unet.seen]
            assert len({tuple(means) for means in plain}) > 2
            wanted = [*states]
            states.clear()
            unit.load_model("unit")
            made(unit, self.ON, **self.FIELDS | more)
        texts = [means.tolist() for _, _, means in unit.unet.seen]
        dog = [mean_of(unit, "a dog"), mean_of(unit, "bad")]
        assert texts == [pytest.approx(dog)] * 15 + plain
        assert states == [(0, 0, 4)] * 15 + wanted

    def test_the_mask_is_back(self, unit, listen):
        masks = listen(lambda params: params.denoiser.mask is None)
        fields = self.FIELDS | {"mask": standin.mask_picture(32, 24)}
        result = made(unit, self.ON, **fields)
        assert masks == [True] * 15 + [False] * 4
        assert off(result.latents[..., :2], result.p.init_latent[..., :2]) < 1e-6

    @pytest.mark.parametrize("at", [0, 4, 14, 16])
    def test_an_interrupt_leaves_nothing(self, unit, listen, at):
        plain = made(unit)
        denoisers = listen(lambda params: params.denoiser)
        listen(lambda params: unit.shared.state.interrupt() if len(denoisers) == at + 1 else None)
        swapped = {"refiner_checkpoint": "unit-other", "refiner_switch_at": 0.9}
        fields = self.FIELDS | {"mask": standin.mask_picture(32, 24)} | swapped
        request = request_of(self.ON, **fields)
        result = unit.api.img2img(request)
        assert len(denoisers) == at + 1
        check_denoiser(denoisers[0])
        assert denoisers[0].mask is not None
        assert denoisers[0].p.refiner_checkpoint_info is not None
        assert result.status == 200
        assert same(plain, made(unit))

    def test_hidiffusion_counts_the_images_own_steps(self, monkeypatch):
        from lib_fewstep.highres import HighResSession

        seen, original = [], HighResSession.at_step
        monkeypatch.setattr(HighResSession, "at_step", lambda self, i: seen.append(i) or original(self, i))
        with standin.webui("sd1", SCRIPTS) as host:
            request = request_of(self.ON, **self.FIELDS | {"width": 64, "height": 64})
            request["alwayson_scripts"]["HiDiffusion"] = {"args": [{"preset": "Paper"}]}
            result = host.api.img2img(request)
            assert result.status == 200
            assert not host.errors
            assert "HiDiffusion method" in result.infotexts[0]
        assert seen == [0] * 15 + [0, 1, 2, 3]


def latents_of(picture):
    """The stand-in's encoder, in numpy: mean colours of 8x8 pixels, and their mean."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float64) / 255
    height, width = (side // 8 for side in pixels.shape[:2])
    colours = pixels[: 8 * height, : 8 * width].reshape(height, 8, width, 8, 3).mean((1, 3)) * 2 - 1
    return np.concatenate([colours, colours.mean(-1, keepdims=True)], axis=-1).reshape(-1, 4)


class TestPrior:
    FIELDS = {"sampler_name": "LCM (reference grid)", "steps": 1, "cfg_scale": 1}
    PICTURES = [standin.picture(32, 24), standin.picture(64, 43)]
    IMAGES = [standin.as_base64(picture) for picture in PICTURES]

    @pytest.fixture
    def folder(self, unit):
        folder = Path(sys.modules["modules.paths"].models_path) / "FewStep"
        shutil.rmtree(folder, ignore_errors=True)  # of another test of the same host
        yield folder
        shutil.rmtree(folder, ignore_errors=True)

    @pytest.mark.parametrize("sgm", [False, True])
    @pytest.mark.parametrize("sampler", ["LCM (reference grid)", "TCD", "Euler", "Euler CFG++", "LCM", "DPM++ 2M SDE"])
    def test_where_a_run_starts(self, unit, sampler, sgm):
        """mu + s n1 + sigma n2 with the image's own first and second noise; both come from its seed."""
        fields = self.FIELDS | {"sampler_name": sampler, "batch_size": 2, "scheduler": "Trailing", "seed": 7}
        with settings_of(unit, sgm_noise_multiplier=sgm):  # in 2 steps: in 1 k-diffusion's DPM++ 2M SDE fails
            result = made(unit, {"prior": {"images": self.IMAGES}}, **fields | {"steps": 2})
        pixels = np.concatenate([latents_of(picture) for picture in self.PICTURES])
        mean, std = (torch.tensor(values).float()[:, None, None] for values in (pixels.mean(0), pixels.std(0)))
        sigma = float(SIGMAS[999])
        for number in range(2):
            generator = torch.Generator().manual_seed(7 + number)
            first, second = (torch.randn((4, 3, 4), generator=generator) for _ in range(2))
            wanted = mean + std * second + sigma * first
            start = unit.unet.seen[0][0][number] * (1 + sigma**2) ** 0.5
            assert off(start, wanted) < 1e-5
        assert "Few-Step prior: reference images" in result.infotexts[0]

    def start(self, unit, settings, sigma=float(SIGMAS[999]), **fields):
        """What a run of many steps starts from, and what its image's noise is; both come from its seed."""
        fields = {"sampler_name": "Euler", "steps": 9, "scheduler": "Karras", "seed": 7} | fields
        result = made(unit, {"prior": settings}, **fields)
        generator = torch.Generator().manual_seed(7)
        first, second = (torch.randn(result.latents.shape[1:], generator=generator) for _ in range(2))
        return unit.unet.seen[0][0][0] * (1 + sigma**2) ** 0.5, first, second, result

    @pytest.mark.parametrize("one", [False, True])
    def test_a_mean_of_pixels_and_a_share_at_any_number_of_steps(self, unit, one):
        """Of one picture: that picture, with no deviation; of two of its size their halfway."""
        pictures = [standin.picture(32, 24), standin.picture(32, 24).transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
        images = [standin.as_base64(picture) for picture in pictures[: 1 if one else 2]]
        settings = {"images": images, "mean": "Pixels", "deviation": "One number", "share": 0.4}
        sigma = float(SIGMAS[399])
        found, first, second, result = self.start(unit, settings, sigma)
        assert len(unit.unet.seen) == 9
        pixels = np.stack([latents_of(picture).T.reshape(4, 3, 4) for picture in pictures[: 1 if one else 2]])
        mean, std = torch.tensor(pixels.mean(0)), float(((pixels - pixels.mean(0)) ** 2).mean() ** 0.5)
        assert off(found, mean + std * second + sigma * first) < 1e-5
        said = "reference images, Few-Step prior share: 0.4, Few-Step prior mean: Pixels, Few-Step prior deviation: One"
        assert f"Few-Step prior: {said} number" in result.infotexts[0]

    @pytest.mark.parametrize("scheduler", ["Automatic", "Karras", "Exponential", "Uniform", "SGM Uniform", "Trailing"])
    @pytest.mark.parametrize("steps", [1, 2])
    def test_where_a_share_starts_in_few_steps(self, unit, log, scheduler, steps):
        settings, sigma = {"brightness": 1, "share": 0.7}, float(SIGMAS[699])
        found, first, *_ = self.start(unit, settings, sigma, scheduler=scheduler, steps=steps)
        assert off(found, 1 - (2 * 128 / 255 - 1) + sigma * first) < 1e-4
        assert len(unit.unet.seen) == steps
        assert f"The run with the prior starts at sigma {sigma:.3g}." in log()

    @pytest.mark.parametrize("scheduler", ["Automatic", "Karras", "Trailing"])
    def test_of_the_whole_noise_the_schedule_is_as_ever(self, unit, scheduler):
        self.start(unit, {"brightness": 0.5, "share": 1}, scheduler=scheduler)
        found = timesteps(unit)
        made(unit, sampler_name="Euler", steps=9, scheduler=scheduler)
        assert found == timesteps(unit)

    def test_no_share_where_a_schedule_starts_with_hardly_any_noise(self, unit):
        settings, fields = {"prior": {"brightness": 1, "share": 0.5}}, {"sampler_name": "Euler", "steps": 1}
        message = refused(unit, settings, **fields, scheduler="DDIM")
        assert "prior.share = 0.5 is not allowed with a schedule that starts at sigma 0.0" in message

    def test_a_brightness_alone(self, unit):
        """The mean of a plain picture, without deviation; to the stand-in a white one is 1 in each channel."""
        found, first, _, result = self.start(unit, {"brightness": 1})
        assert off(found, 1 - (2 * 128 / 255 - 1) + float(SIGMAS[999]) * first) < 1e-5
        assert "Few-Step prior brightness: 1," in result.infotexts[0]
        assert "Few-Step prior:" not in result.infotexts[0]
        pasted = unit.paste("txt2img", result.infotexts[0])
        assert (pasted["Few-Step"], pasted["Brightness"], pasted["Statistics file"]) == (True, 1, "None")

    def test_a_brightness_beside_statistics(self, unit, folder):
        settings = {"images": self.IMAGES, "save": "cats"}
        plain, *_ = self.start(unit, settings)
        bright, *_ = self.start(unit, settings | {"brightness": -1})
        darker = torch.full((4, 3, 4), -1 - (2 * 128 / 255 - 1))
        torch.testing.assert_close(bright - plain, darker, rtol=0, atol=1e-5)
        again, *_ = self.start(unit, {"statistics": "cats", "brightness": -1})
        assert torch.equal(again, bright)

    def test_a_saved_mean_of_pixels(self, unit, folder):
        settings = {"images": self.IMAGES, "save": "subject", "mean": "Pixels"}
        found, *_ = self.start(unit, settings)
        again, _, _, result = self.start(unit, {"statistics": "subject"})
        assert torch.equal(again, found)
        assert load_file(folder / "subject.safetensors")["mean"].shape == (4, 3, 4)
        assert unit.paste("txt2img", result.infotexts[0])["Statistics file"] == "subject.safetensors"

    def test_images_are_saved_and_used_again(self, unit, folder, log):
        head = ["data:image/png;base64," + image for image in self.IMAGES]
        first = made(unit, {"prior": {"images": head, "save": "cats 2"}}, **self.FIELDS)
        assert [path.name for path in folder.iterdir()] == ["cats 2.safetensors"]
        assert "The statistics of the images are saved as cats 2." in log()
        pixels = np.concatenate([latents_of(picture) for picture in self.PICTURES])
        saved = load_file(folder / "cats 2.safetensors")
        assert saved["mean"].numpy() == pytest.approx(pixels.mean(0), abs=1e-5)
        assert saved["std"].numpy() == pytest.approx(pixels.std(0), abs=1e-5)
        for name in ("cats 2", "cats 2.safetensors"):
            again = made(unit, {"prior": {"statistics": name}}, **self.FIELDS)
            assert same(first, again)
            assert "Few-Step prior: cats 2.safetensors" in again.infotexts[0]
            assert unit.paste("txt2img", again.infotexts[0])["Statistics file"] == "cats 2.safetensors"
        assert not same(first, made(unit, **self.FIELDS))

    def test_reference_images_cannot_be_pasted(self, unit, folder):
        """Nor does what stays of them run with less: with a part it is refused, and a brightness goes with them."""
        settings = {"images": self.IMAGES, "mean": "Pixels", "share": 0.5, "brightness": 0.5}
        text = made(unit, {"prior": settings}, **self.FIELDS).infotexts[0]
        pasted = unit.paste("txt2img", text)
        labels = "Few-Step", "Statistics file", "Brightness", "Average of the images", "Share of the noise"
        assert [pasted[label] for label in labels] == [True, "None", 0, "Pixels", 0.5]
        left = {"share": 0.5, "mean": "Pixels"}
        assert "prior has no pictures and no file: it must have" in refused(unit, {"prior": left}, **self.FIELDS)

    def test_a_batch_equals_single_images(self, unit, folder):
        settings = {"prior": {"images": self.IMAGES}}
        fields = self.FIELDS | {"steps": 2}
        batch = made(unit, settings, **fields | {"batch_size": 2, "n_iter": 2})
        singles = [made(unit, settings, **fields | {"seed": 1 + number}).latents for number in range(4)]
        assert off(batch.latents, torch.cat(singles)) < 1e-5

    def test_the_second_pass_starts_as_ever(self, unit):
        settings, fields = {"prior": {"images": self.IMAGES}}, self.FIELDS | HIRES | {"hr_second_pass_steps": 5}
        result = made(unit, settings, **fields, scheduler="Trailing")
        assert unit.probe.launches == [("LCM (reference grid)", 1), ("LCM (reference grid)", 5)]
        first = made(unit, settings, **self.FIELDS, scheduler="Trailing").latents
        larger = torch.nn.functional.interpolate(first, scale_factor=2, mode="bilinear", antialias=False)
        noise = torch.randn(larger.shape[1:], generator=torch.Generator().manual_seed(1))
        sigma = float(SIGMAS[624])  # the last 5 of 8 steps start there
        made(unit, settings, **fields, scheduler="Trailing")
        start = unit.unet.seen[1][0][:1] * (1 + sigma**2) ** 0.5
        assert off(start, larger + sigma * noise) < 1e-4
        assert "Few-Step prior" in result.infotexts[0]

    @pytest.mark.parametrize("settings", [{"statistics": "../../outside"}, {"statistics": "..", "save": ""}])
    def test_names_stay_in_the_folder(self, unit, settings):
        assert "it must be a plain file name" in refused(unit, {"prior": settings}, **self.FIELDS)

    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            (IMAGE, "prior is not allowed in img2img, which starts from an image: it must be txt2img."),
            ({"sampler_name": "DDIM"}, "prior = on is not allowed with the sampling method DDIM"),
            ({"sampler_name": "DPM fast"}, "which has its own schedule"),
        ],
    )
    def test_where_it_does_not_belong(self, unit, fields, sentence):
        settings = {"prior": {"images": self.IMAGES}}
        assert sentence in refused(unit, settings, **self.FIELDS | fields)

    @pytest.mark.parametrize("kind", ["pickle", "truncated", "empty", "folder", "keys", "shape", "nan", "std", "wide"])
    def test_files_that_are_no_statistics(self, unit, folder, kind):
        folder.mkdir()
        path = folder / "bad.safetensors"
        good = {"mean": torch.zeros(4), "std": torch.ones(4)}
        save_file(good, path)
        contents = {
            "keys": {"mu": torch.zeros(4)},
            "shape": {"mean": torch.zeros(4), "std": torch.ones(1)},
            "nan": {**good, "mean": torch.full((4,), torch.nan)},
            "std": {**good, "std": -torch.ones(4)},
            "wide": {"mean": torch.zeros(16), "std": torch.ones(16)},
        }
        if kind in contents:
            save_file(contents[kind], path)
        elif kind == "pickle":
            torch.save(good, path)
        elif kind == "truncated":
            path.write_bytes(path.read_bytes()[:-9])
        elif kind == "empty":
            path.write_bytes(b"")
        else:
            path.unlink()
            path.mkdir()
        assert "is not allowed" in refused(unit, {"prior": {"statistics": "bad"}}, **self.FIELDS)

    @pytest.mark.parametrize("kind", ["truncated", "not ascii", "tiny", "damaged", "no picture"])
    def test_pictures_that_are_none(self, unit, kind):
        whole = base64.b64decode(self.IMAGES[0])
        sent = {
            "truncated": base64.b64encode(whole[: len(whole) // 2]).decode(),
            "damaged": base64.b64encode(whole[:45] + b"\0\0\0\0" + whole[49:]).decode(),
            "not ascii": "é" * 8,
            "no picture": base64.b64encode(b"text").decode(),
            "tiny": standin.as_base64(Image.new("RGB", (7, 7))),
        }[kind]
        assert "is not allowed" in refused(unit, {"prior": {"images": [sent]}}, **self.FIELDS)

    @pytest.mark.parametrize("settings", [{"images": IMAGES, "save": "x" * 300}, {"statistics": "x" * 300}])
    def test_names_that_are_too_long(self, unit, settings):
        assert "is not allowed" in refused(unit, {"prior": settings}, **self.FIELDS)


def test_without_arguments_the_settings_guidance_counts(unit):
    empty = {"alwayson_scripts": {"Few-Step": {"args": []}}}
    with settings_of(unit, fewstep_guidance="lambda"):
        result = unit.api.txt2img(request_of(sampler_name="Euler CFG++", cfg_scale=0.6) | empty)
        assert same(result, made(unit, {}, sampler_name="Euler CFG++", cfg_scale=0.6))
    assert "Few-Step guidance: lambda" in result.infotexts[0]
