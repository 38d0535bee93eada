"""The script "Guidance" from the API, driven through a strict stand-in of the WebUI whose model is known exactly."""

from __future__ import annotations

import math
import sys
from unittest.mock import patch

import pytest
import torch

from lib_fewstep.guidance import GuidanceSettings, make_plan
from lib_fewstep.options import page_fields
from tests.webui.exact import CFGPP, OURS, listening, off, page_values, same, settings_of
from tests.webui.guided import BASE, EVERYTHING, HIRES, HOSTS, IMAGE, NEUTRAL, made, own_listeners, refused, rows

SECOND_ORDER = ("Heun", "DPM2", "DPM++ SDE")


class TestNeutral:
    @pytest.mark.parametrize("sampler", [*HOSTS, *OURS])
    def test_with_every_sampler_nothing_changes_bit_by_bit(self, unit, sampler):
        fields = {"sampler_name": sampler, "scheduler": "Automatic"}
        assert same(made(unit, NEUTRAL, **fields), made(unit, **fields))

    @pytest.mark.parametrize("sampler", ["Euler", "Euler CFG++", "DDIM"])
    @pytest.mark.parametrize("name", NEUTRAL)
    def test_each_alone(self, unit, name, sampler):
        assert same(made(unit, {name: NEUTRAL[name]}, sampler_name=sampler), made(unit, sampler_name=sampler))

    @pytest.mark.parametrize("cfg", [1, 3])
    def test_switched_off_nothing_is_read(self, unit, cfg):
        off_with_values = EVERYTHING | {"enabled": False}
        result = made(unit, off_with_values, cfg_scale=cfg)
        called = rows(unit)
        plain = made(unit, cfg_scale=cfg)
        assert same(result, plain)
        assert called == rows(unit)
        assert result.infotexts == plain.infotexts


class TestOneRow:
    def test_at_cfg_1_the_image_is_the_same_and_costs_half(self, unit):
        with settings_of(unit, fewstep_one_row=False):
            both = made(unit, cfg_scale=1)
            assert rows(unit) == [2] * 4
        one = made(unit, cfg_scale=1)
        assert rows(unit) == [1] * 4
        assert off(one, both) < 1e-4
        assert one.infotexts == both.infotexts

    @pytest.mark.parametrize("sampler", [*HOSTS, "TCD", "LCM (reference grid)", "SA-Solver"])
    def test_with_every_sampler_that_does_not_read_the_other(self, unit, sampler):
        with settings_of(unit, fewstep_one_row=False):
            both = made(unit, cfg_scale=1, sampler_name=sampler)
        one = made(unit, cfg_scale=1, sampler_name=sampler)
        assert set(rows(unit)) == ({2} if "CFG++" in sampler else {1})
        assert off(one, both) < 1e-4

    @pytest.mark.parametrize("sampler", CFGPP)
    def test_a_cfgpp_sampler_reads_both(self, unit, sampler):
        made(unit, cfg_scale=1, sampler_name=sampler)
        assert set(rows(unit)) == {2}

    def test_the_users_own_skipping_stays(self, unit):
        with settings_of(unit, skip_early_cond=0.3):
            result = made(unit)
            assert rows(unit) == [1, 1, 2, 2]
            assert "Skip Early CFG: 0.3" in result.infotexts[0]
            made(unit, {"end": 0.75})
            assert rows(unit) == [1, 1, 2, 1]
            assert unit.shared.opts.data["skip_early_cond"] == 0.3

    @pytest.mark.parametrize("prompt", ["a cat AND a fox", "a cat AND a fox :0.5", "a cat :0.5 AND a fox :0.5"])
    def test_and_needs_both(self, unit, log, prompt):
        with settings_of(unit, fewstep_one_row=False):
            both = made(unit, cfg_scale=1, prompt=prompt)
        assert same(made(unit, cfg_scale=1, prompt=prompt), both)
        assert "is evaluated on every step, because AND" in " ".join(log())

    def test_who_listens_to_all_rows_gets_all(self, unit, listen, log):
        seen = listen(lambda params: len(params.x), kind="cfg_denoised")
        made(unit, cfg_scale=1)
        assert rows(unit) == seen == [2] * 4
        assert "because tests.webui.exact needs it" in " ".join(log())

    def test_who_listens_before_an_evaluation_sees_it_as_ever(self, unit, listen):
        """One that was registered after ours, too: what it changes is in the image, and no row is missing."""
        seen = listen(half_the_prompt, kind="cfg_denoiser")
        one = made(unit, cfg_scale=1)
        assert rows(unit) == [1] * 4
        assert seen == [(2, 1, 1)] * 4
        with settings_of(unit, fewstep_one_row=False):
            both = made(unit, cfg_scale=1)
        assert off(one, both) < 1e-4

    def test_who_is_called_after_it_by_the_user_s_order_gets_all(self, unit, listen, log):
        seen = listen(lambda params: len(params.x), kind="cfg_denoiser")
        with patch.object(unit.callbacks, "first", own_listeners(unit)):
            made(unit, cfg_scale=1)
        assert rows(unit) == seen == [2] * 4
        assert "because tests.webui.exact needs it" in " ".join(log())

    def test_the_live_preview_of_the_negative_prompt(self, unit, log):
        with settings_of(unit, live_preview_content="Negative prompt"):
            made(unit, cfg_scale=1)
        assert set(rows(unit)) == {2}
        assert "the live preview of the negative prompt needs it" in " ".join(log())

    def test_no_setting_of_the_host_is_touched_meanwhile(self, unit, listen):
        """Another job, or whoever saves the settings, would meet it."""
        before = dict(unit.shared.opts.data)
        seen = listen(lambda params: dict(unit.shared.opts.data), kind="cfg_after_cfg")
        made(unit, cfg_scale=1)
        assert rows(unit) == [1] * 4
        assert seen == [before] * 4

    def test_who_has_put_a_guidance_of_its_own_on_the_denoiser(self, unit, listen):
        """An instance's attribute, from another extension's callback before the pass."""
        kdiffusion = sys.modules["modules.sd_samplers_kdiffusion"].CFGDenoiserKDiffusion
        begin = kdiffusion.__init__

        def with_own(self, *args):
            begin(self, *args)
            vars(self)["combine_denoised"] = lambda *given: type(self).combine_denoised(self, *given)

        with patch.object(kdiffusion, "__init__", with_own):
            made(unit, cfg_scale=1)
        assert set(rows(unit)) == {2}

    def test_a_sampler_of_another_extension_that_hides_its_steps(self, unit, log):
        samplers = sys.modules["modules.sd_samplers"]
        kdiffusion = sys.modules["modules.sd_samplers_kdiffusion"].KDiffusionSampler
        data = sys.modules["modules.sd_samplers_common"].SamplerData

        def sample_hidden(model, x, extra_args=None, callback=None, disable=None, n=None):
            return model(x, x.new_ones(len(x)), **extra_args)

        entry = data("Hidden", lambda model: kdiffusion(sample_hidden, model), [], {})
        with (
            patch.dict(samplers.all_samplers_map, {"Hidden": entry}),
            patch.object(samplers, "all_samplers", [*samplers.all_samplers, entry]),
        ):
            samplers.set_samplers()
            made(unit, cfg_scale=1, sampler_name="Hidden")
            made(unit, sampler_name="Hidden")
            result = made(unit, {"start": 0.5}, sampler_name="Hidden")
        samplers.set_samplers()
        assert "the sampling method does not tell its noise levels" in result.comments
        assert "Guidance start" not in result.infotexts[0]

    def test_another_denoiser(self, unit, log):
        denoiser = sys.modules["modules.sd_samplers_cfg_denoiser"].CFGDenoiser
        family = sys.modules["modules.sd_samplers_kdiffusion"].CFGDenoiserKDiffusion

        def combine_denoised(self, *args):
            return denoiser.combine_denoised(self, *args)

        with patch.object(family, "combine_denoised", combine_denoised, create=True):
            made(unit, cfg_scale=1)
        assert set(rows(unit)) == {2}
        assert f"because {__name__} needs it" in " ".join(log())


class TestSteps:
    def test_start_and_end(self, unit, log):
        made(unit, {"start": 0.25, "end": 0.75}, steps=8)
        assert rows(unit) == [1, 1, 2, 2, 2, 2, 1, 1]
        assert "Guidance: 4 of 8 steps guided; 12 instead of 16 rows." in log()

    def test_noise_levels(self, unit):
        made(unit, {"sigma_low": 0.28, "sigma_high": 5.42}, steps=10, scheduler="Karras")
        levels = levels_of(unit, steps=10, scheduler="Karras")[:-1]
        assert rows(unit) == [2] * 10  # the second run, without guidance
        made(unit, {"sigma_low": 0.28, "sigma_high": 5.42}, steps=10, scheduler="Karras")
        assert rows(unit) == [2 if 0.28 < level <= 5.42 else 1 for level in levels]

    @pytest.mark.parametrize(("interval", "guided"), [((0.3, 0.45), 1), ((0.0, 0.1), 0), ((0.9, 1.0), 3)])
    def test_a_share_narrower_than_a_step_has_one(self, unit, interval, guided):
        made(unit, dict(zip(("start", "end"), interval, strict=True)))
        assert rows(unit) == [2 if step == guided else 1 for step in range(4)]

    def test_a_later_pass_may_have_no_guided_step(self, unit, log):
        made(unit, {"sigma_low": 2.0}, **HIRES | {"denoising_strength": 0.3}, steps=10)
        assert "0 of 10 steps guided" in log()[-1]

    @pytest.mark.parametrize("sampler", ["Euler", *SECOND_ORDER[:2]])
    def test_churn_goes_above_a_steps_level_and_stays_in_it(self, unit, sampler):
        made(unit, {"start": 0.5}, sampler_name=sampler, scheduler="Karras", s_churn=10, steps=8)
        calls = len(rows(unit))
        ordinary = [1] * (calls - calls // 2) + [2] * (calls // 2) if calls == 8 else [1] * 8 + [2] * 7
        assert rows(unit) == ordinary

    @pytest.mark.parametrize("sampler", ["Euler CFG++", "DPM++ 2M CFG++"])
    def test_a_cfgpp_sampler_is_its_base_outside_with_both_rows_too(self, unit, sampler):
        one = made(unit, {"start": 0.5}, sampler_name=sampler)
        with settings_of(unit, fewstep_one_row=False):
            both = made(unit, {"start": 0.5}, sampler_name=sampler)
        assert rows(unit) == [2] * 4
        assert off(both, one) < 1e-4

    @pytest.mark.parametrize("sampler", SECOND_ORDER)
    def test_both_evaluations_of_a_step_belong_to_it(self, unit, sampler):
        made(unit, {"start": 0.25, "end": 0.75}, steps=4, sampler_name=sampler, scheduler="Automatic")
        assert rows(unit)[:6] == [1, 1, 2, 2, 2, 2]
        assert set(rows(unit)[6:]) == {1}

    def test_outside_the_image_is_the_conditional_one(self, unit):
        levels = levels_of(unit)
        plan = make_plan(GuidanceSettings(start=0.5), levels)
        found = made(unit, {"start": 0.5})
        wanted = run_by_hand(unit, [strength.at(3.0) for strength in plan.strengths], levels)
        assert off(found, wanted) < 1e-4

    @pytest.mark.parametrize(
        "schedule", [{"schedule": "Linear", "ramp_from": 0.5}, {"schedule": "Cosine"}, {"schedule": "CFG++"}]
    )
    def test_schedules(self, unit, schedule):
        levels = levels_of(unit)
        plan = make_plan(GuidanceSettings(**schedule), levels)
        wanted = run_by_hand(unit, [strength.at(3.0) for strength in plan.strengths], levels)
        assert off(made(unit, schedule), wanted) < 1e-4

    @pytest.mark.parametrize("sampler", ["Euler CFG++", "DDIM CFG++", "DPM++ 2M CFG++"])
    def test_a_cfgpp_sampler_has_its_own_schedule(self, unit, sampler):
        result = made(unit, {"schedule": "Linear"}, sampler_name=sampler)
        assert same(result, made(unit, sampler_name=sampler))
        assert "the schedule Linear is left out" in result.comments

    @pytest.mark.parametrize("sampler", HOSTS)
    def test_every_sampler_has_the_schedule_of_cfgpp(self, unit, sampler):
        if "CFG++" in sampler or sampler == "LCM":  # LCM keeps nothing, so its schedule is constant
            return
        ordinary = made(unit, sampler_name=sampler, scheduler="Automatic", steps=6)
        assert not same(
            made(unit, {"schedule": "CFG++"}, sampler_name=sampler, scheduler="Automatic", steps=6), ordinary
        )

    def test_an_inversion_is_guided_as_ever(self, unit):
        fields = IMAGE | {"denoising_strength": 1, "sampler_name": "Euler CFG++"}
        inverting = {"invert": {"prompt": "a cat", "negative_prompt": "", "steps": 3}}
        calls = len(made(unit, few_step=inverting, **fields) and rows(unit))
        result = made(unit, {"start": 0.5}, few_step=inverting, **fields)
        assert len(rows(unit)) == calls
        assert rows(unit).count(1) == 2
        assert result.status == 200


class TestRequests:
    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"start": 0.5, "end": 0.5}, "end = 0.5 is not allowed: it must be above start"),
            ({"sigma_low": 2.0, "sigma_high": 1.0}, "sigma_high = 1 is not allowed"),
            ({"sigma_high": 0.001}, "sigma_high = 0.001 is not allowed: at least one of the pass's 4 steps"),
            ({"pag_scale": -1}, "pag_scale = -1 is not allowed: it must be 0 to 20"),
            ({"threshold_percentile": 0}, "threshold_percentile = 0 is not allowed: it must be 0.5 to 1"),
            ({"nag_tau": 0.5}, "nag_tau = 0.5 is not allowed"),
            ({"preset": "Burn"}, "preset = 'Burn' is not allowed"),
            ({"preset": ["Distilled"]}, "preset = ['Distilled'] is not allowed"),
            ({"nag": 2}, "'nag' is not a setting"),
            ({"rescale": math.nan}, "rescale = nan is not allowed"),
            ("PAG", "args[0] = 'PAG' is not allowed"),
        ],
        ids=str,
    )
    def test_a_sentence_before_sampling(self, unit, settings, words):
        message = refused(unit, settings)
        assert message.startswith("Guidance: ")
        assert words in message

    def test_presets_give_way_to_what_is_given(self, unit):
        result = made(unit, {"preset": "Anti-burn", "apg_eta": 0.5})
        assert "Guidance preset: Anti-burn" in result.infotexts[0]
        assert "APG eta: 0.5" in result.infotexts[0]
        assert "APG threshold: 15.0" in result.infotexts[0]

    def test_the_values_of_the_page_in_their_order(self, unit):
        fields = page_fields(GuidanceSettings)
        values = dict(zip(fields, page_values(GuidanceSettings), strict=True)) | {"enabled": True, "end": 0.5}
        ordered = {"Guidance": {"args": list(values.values())}}
        result = unit.api.txt2img(BASE | {"alwayson_scripts": ordered})
        assert same(result, made(unit, {"end": 0.5}))
        assert "Guidance end: 0.5" in result.infotexts[0]


class TestAdvice:
    @pytest.mark.parametrize(
        ("settings", "fields", "words"),
        [
            (None, {"cfg_scale": 0}, "CFG 0 paints what the negative prompt says."),
            (None, {"cfg_scale": 1}, "At CFG 1 the negative prompt has no effect. NAG brings it back"),
            ({}, {}, "with these settings it does nothing"),
            ({"ramp_from": 0.2, "ramp_to": 1.5}, {}, "with these settings it does nothing"),
            ({"ramp_from": 0.2, "rescale": 0.5}, {}, "The ramp needs the schedule Linear or Cosine"),
            ({"threshold_mimic": 7}, {"cfg_scale": 7, "sampler_name": "Euler CFG++"}, "does nothing at CFG 7"),
            ({"threshold_mimic": 7}, {"cfg_scale": 5}, "Thresholding to CFG 7 does nothing at CFG 5"),
            ({"apg_eta": 0, "end": 0.5}, {"cfg_scale": 1}, "At CFG 1 these have no effect: the interval, APG."),
        ],
        ids=str,
    )
    def test_it_is_given(self, unit, settings, fields, words):
        assert words in made(unit, settings, **fields).comments

    @pytest.mark.parametrize(
        ("settings", "fields"),
        [
            (None, {}),
            (None, {"cfg_scale": 1, "negative_prompt": ""}),
            (None, {"cfg_scale": 1, "sampler_name": "Euler CFG++"}),
            (None, {"cfg_scale": 0, "sampler_name": "Euler CFG++"}),
            ({"schedule": "CFG++"}, {"cfg_scale": 1}),
            ({"rescale": 0.5}, {}),
            (None, {"cfg_scale": 1, "prompt": "a cat AND a fox"}),
            (None, {"cfg_scale": 1, "prompt": "a cat :0.5"}),
            ({"threshold_mimic": 7, "schedule": "Linear", "ramp_to": 3}, {"cfg_scale": 5}),
            ({"threshold_mimic": 4}, {"cfg_scale": 7, "sampler_name": "Euler CFG++"}),
        ],
        ids=str,
    )
    def test_it_is_not(self, unit, settings, fields):
        assert "Guidance: " not in made(unit, settings, **fields).comments


def half_the_prompt(params):
    """What an extension may do with the texts of an evaluation; gives the rows that it sees."""
    seen = len(params.x), len(params.text_cond), len(params.text_uncond)
    params.text_cond = params.text_cond * 0.5
    params.text_uncond = params.text_uncond * 0.3
    return seen


def levels_of(host, **fields):
    """The noise levels of a pass of Euler."""
    seen = []
    with listening(host) as add:
        seen = add(lambda params: float(params.sigma[0]))
        made(host, **fields)
    return [*seen, 0.0]


def run_by_hand(host, strengths, levels):
    """Euler's method on `UnitData`, with a strength for each step."""
    x = levels[0] * torch.randn(1, 4, 6, 8, generator=torch.Generator().manual_seed(1))
    cond, uncond = (mean(host, BASE[name]) for name in ("prompt", "negative_prompt"))
    for strength, level, following in zip(strengths, levels[:-1], levels[1:], strict=True):
        share = 1 / (1 + level**2)
        guided = share * x + (1 - share) * (uncond + strength * (cond - uncond))
        x = guided + following / level * (x - guided)
    return x


def mean(host, text):
    return float(host.shared.sd_model.get_learned_conditioning([text])[0, 0, 0])
