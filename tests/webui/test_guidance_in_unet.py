"""The script "Guidance" inside of UNets of real layouts, through a strict stand-in of the WebUI."""

from __future__ import annotations

import itertools
import sys
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch

from lib_fewstep.guidance import AdaptiveProjection, rescaled, thresholded
from tests.neighbours import NEIGHBOURS
from tests.webui import standin
from tests.webui.exact import SCRIPTS, listening, off, same, settings_of, unchanged
from tests.webui.guided import BASE, EVERYTHING, HIRES, JOBS, MANY, MASK, NEUTRAL, answer, made, own_listeners, rows

pytestmark = pytest.mark.long

SKIPPING = [{"skip_early_cond": 1.0}, {"s_min_uncond": 100, "s_min_uncond_all": True}]
"""The WebUI's settings that leave out the negative prompt of every step."""


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def of_family(request):
    with standin.webui(request.param, SCRIPTS) as running:
        yield running


@pytest.fixture
def family(of_family):
    with unchanged(of_family):
        yield of_family
    assert not of_family.errors


class TestNeutral:
    def test_on_a_real_layout(self, family):
        assert same(made(family, NEUTRAL), made(family))

    @pytest.mark.parametrize("job", JOBS)
    def test_in_every_pass(self, family, job):
        assert same(made(family, NEUTRAL, **JOBS[job]), made(family, **JOBS[job]))


class TestOneRow:
    @pytest.mark.parametrize("job", [*JOBS, "batch"])
    def test_in_every_pass_and_batch(self, family, job):
        fields = JOBS.get(job, {"batch_size": 3})
        with settings_of(family, fewstep_one_row=False):
            both = made(family, cfg_scale=1, **fields)
        one = made(family, cfg_scale=1, **fields)
        assert set(rows(family)) == {fields.get("batch_size", 1)}
        assert off(one, both) < 1e-3

    @pytest.mark.parametrize("of_family", ["sd1-inpaint"], indirect=True)
    def test_an_inpainting_model(self, family):
        with settings_of(family, fewstep_one_row=False):
            both = made(family, cfg_scale=1, **MASK)
        one = made(family, cfg_scale=1, **MASK)
        assert set(rows(family)) == {1}
        assert off(one, both) < 1e-3

    def test_a_regional_prompter(self, family, log):
        with NEIGHBOURS["regional prompting"].patch(family.unet, (6, 8)):
            made(family, cfg_scale=1)
        assert set(rows(family)) == {2}
        assert "which replaces the forward of cross-attention" in " ".join(log())

    def test_who_replaces_the_unets_forward(self, family, log):
        own = type(family.unet).forward
        with patch.dict(vars(family.unet), forward=lambda *args, **kwargs: own(family.unet, *args, **kwargs)):
            made(family, cfg_scale=1)
        assert set(rows(family)) == {2}
        assert f"because {__name__} needs it" in " ".join(log())


class TestSteps:
    @pytest.mark.parametrize(("base", "plus_plus"), [("Euler", "Euler CFG++"), ("Euler a", "Euler a CFG++")])
    def test_as_a_schedule_cfgpp_is_the_sampler(self, family, base, plus_plus):
        fields = {"scheduler": "Karras", "cfg_scale": 5}
        scheduled = made(family, {"schedule": "CFG++"}, sampler_name=base, **fields)
        assert off(scheduled, made(family, sampler_name=plus_plus, **fields)) < 1e-3

    @pytest.mark.parametrize("sampler", ["Euler CFG++", "Euler a CFG++"])
    def test_a_cfgpp_sampler_is_its_base_outside(self, family, log, sampler):
        """And lambda is calibrated over the guided steps: the schedule over these is the same."""
        interval, fields = {"start": 0.25, "end": 0.75}, {"scheduler": "Karras", "cfg_scale": 5}
        scheduled = made(
            family, interval | {"schedule": "CFG++"}, sampler_name=sampler.removesuffix(" CFG++"), **fields
        )
        found = made(family, interval, sampler_name=sampler, **fields)
        assert rows(family) == [1, 2, 2, 1]
        assert off(found, scheduled) < 1e-3
        assert "2 of 4 steps guided; 6 instead of 8 rows" in " ".join(log())


class TestImages:
    @pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
    @pytest.mark.parametrize("settings", [{"rescale": 0.7}, {"apg_eta": 0.3}, {"threshold_mimic": 1.5}], ids=str)
    def test_the_families_agree_on_what_is_made_of_the_images(self, family, sampler, settings):
        """The one's output is an image, the other's is noise."""
        x, level, cond, uncond, _ = evaluation(family, sampler, {})
        found = evaluation(family, sampler, settings)[-1]
        if "rescale" in settings:
            wanted = rescaled(uncond + 3 * (cond - uncond), cond, x, level, 0.7)
            assert off(found, wanted) < 1e-3
        elif "apg_eta" in settings:
            assert off(found, AdaptiveProjection(0.3, 0, 0)(cond, uncond, 3.0)) < 1e-3
        else:
            guided, mimicked = (uncond + cfg * (cond - uncond) for cfg in (3, 1.5))
            assert off(found, thresholded(guided, mimicked, 1.0)) < 1e-3

    def test_the_order_of_a_whole_pass(self, family):
        """One more of each changes the image."""
        parts = [dict(list(EVERYTHING.items())[: count + 1]) for count in range(len(EVERYTHING))]
        images = [made(family, part, steps=3) for part in parts]
        assert not any(same(one, other) for one, other in itertools.pairwise(images))


class TestNag:
    NAG = {"nag_scale": 3.0}

    def test_it_costs_no_row_and_changes_the_image(self, family):
        plain = made(family, cfg_scale=1)
        found = made(family, self.NAG, cfg_scale=1)
        assert rows(family) == [1] * 4
        assert off(found, plain) > 1e-3

    @pytest.mark.parametrize("settings", [{"nag_scale": 0.0}, {"nag_scale": 3.0, "nag_alpha": 0.0}], ids=str)
    def test_neutral(self, family, settings):
        assert same(made(family, settings, cfg_scale=1), made(family, cfg_scale=1))

    def test_against_the_prompt_itself_nothing_changes(self, family):
        fields = {"cfg_scale": 1, "negative_prompt": BASE["prompt"]}
        assert off(made(family, self.NAG, **fields), made(family, **fields)) < 1e-3

    @pytest.mark.parametrize("long", ["prompt", "negative_prompt"])
    @pytest.mark.parametrize("cfg", [1, 3])
    def test_prompts_of_different_length(self, family, long, cfg):
        fields = {"cfg_scale": cfg, long: MANY}
        assert not same(made(family, self.NAG, **fields), made(family, **fields))

    @pytest.mark.parametrize("cfg", [1, 3])
    def test_a_batch_is_its_single_images(self, family, cfg):
        batch = made(family, self.NAG, cfg_scale=cfg, batch_size=3)
        singles = [made(family, self.NAG, cfg_scale=cfg, seed=seed).latents for seed in (1, 2, 3)]
        assert off(batch, torch.cat(singles)) < 1e-3

    @pytest.mark.parametrize(
        "fields",
        [{}, {"prompt": "a cat AND a fox"}, {"batch_size": 2}, {"prompt": MANY}],
        ids=["one", "AND", "batch", "long"],
    )
    def test_split_calls_are_one_call(self, family, fields):
        settings = self.NAG | {"pag_scale": 2, "sag_scale": 0.75}
        whole = made(family, settings, **fields)
        with settings_of(family, batch_cond_uncond=False):
            assert off(made(family, settings, **fields), whole) < 1e-3

    def test_a_scheduled_negative_prompt(self, family):
        scheduled = made(family, self.NAG, cfg_scale=1, negative_prompt="[a dog:a bird:0.5]")
        assert not same(scheduled, made(family, self.NAG, cfg_scale=1))
        assert not same(scheduled, made(family, self.NAG, cfg_scale=1, negative_prompt="a bird"))

    def test_it_yields_to_a_regional_prompter(self, family):
        with NEIGHBOURS["regional prompting"].patch(family.unet, (6, 8)):
            found = made(family, self.NAG)
            assert same(found, made(family))
        assert "Guidance: NAG yields to" in found.comments


class TestStructure:
    @pytest.mark.parametrize(
        ("settings", "blocks"),
        [
            *[({"pag_scale": 3}, blocks) for blocks in ("Middle", "Down", "Up", "All")],
            ({"seg_scale": 3}, "Middle"),
            ({"seg_scale": 3, "seg_sigma": 1.0}, "All"),
        ],
        ids=str,
    )
    def test_one_row_more_inside_of_the_interval(self, family, settings, blocks):
        fields = {"width": 128, "height": 96}  # the middle block's map has more than one place
        found = made(family, settings | {"end": 0.5, "attention_blocks": blocks}, **fields)
        assert rows(family) == [3, 3, 1, 1]
        assert not same(found, made(family, {"end": 0.5}, **fields))

    def test_sag_evaluates_the_negative_prompt_again(self, family):
        found = made(family, {"sag_scale": 0.75, "end": 0.5})
        assert rows(family) == [2, 1, 2, 1, 1, 1]
        assert not same(found, made(family, {"end": 0.5}))
        made(family, {"sag_scale": 0.75}, cfg_scale=1)
        assert rows(family) == [2, 1] * 4

    def test_at_cfg_1_it_needs_no_negative_prompt(self, family):
        made(family, {"pag_scale": 3}, cfg_scale=1)
        assert rows(family) == [2] * 4

    def test_the_first_pass_alone_unless_all_are_wanted(self, family):
        made(family, {"pag_scale": 3}, **HIRES)
        assert rows(family) == [3] * 4 + [2] * (len(rows(family)) - 4)
        made(family, {"pag_scale": 3, "attention_passes": "All"}, **HIRES)
        assert set(rows(family)) == {3}

    @pytest.mark.parametrize("fields", [{}, {"cfg_scale": 1}, {"sampler_name": "Euler CFG++"}], ids=str)
    def test_a_batch_is_its_single_images(self, family, fields):
        settings = {"pag_scale": 2, "seg_scale": 1, "sag_scale": 0.75}
        batch = made(family, settings, batch_size=3, **fields)
        singles = [made(family, settings, seed=seed, **fields).latents for seed in (1, 2, 3)]
        assert off(batch, torch.cat(singles)) < 1e-3

    @pytest.mark.parametrize(
        ("large", "blocks"),
        [({"preset": "Paper"}, "All"), ({"method": "Deep Shrink", "preset": "Paper"}, "Middle")],
        ids=str,
    )
    def test_beside_a_method_whose_maps_are_smaller(self, family, large, blocks):
        settings = {"pag_scale": 2, "seg_scale": 1, "seg_sigma": 1.5, "sag_scale": 0.75, "attention_blocks": blocks}
        fields = {"width": 128, "height": 96}
        both, alone = made(family, settings, large=large, **fields), made(family, settings, **fields)
        assert not same(both, alone)
        assert not same(both, made(family, large=large, **fields))
        batch = made(family, settings, large=large, batch_size=2, **fields)
        assert off(batch.latents[:1], both) < 1e-3

    def test_they_yield_to_who_counts_rows(self, family):
        settings = {"pag_scale": 2, "seg_scale": 1, "sag_scale": 0.5}
        with NEIGHBOURS["regional prompting"].patch(family.unet, (6, 8)):
            found = made(family, settings)
            assert same(found, made(family))
        assert "Guidance: PAG, SEG and SAG yield to" in found.comments

    def test_who_cuts_the_image_into_tiles_gets_none(self, family):
        model = sys.modules["modules.shared"].sd_model.model
        own = type(model).forward

        def in_halves(x, t, c_concat, c_crossattn):
            halves = zip(
                x.chunk(2, dim=3),
                c_concat[0].expand(len(x), -1, -1, -1).chunk(2, dim=3) if c_concat[0].shape[3] > 1 else c_concat * 2,
                strict=True,
            )
            return torch.cat([own(model, half, t, [concat], c_crossattn) for half, concat in halves], dim=3)

        with patch.dict(vars(model), forward=in_halves):
            found = made(family, {"nag_scale": 3.0, "pag_scale": 2})
            plain = made(family)
        assert off(found, plain) < 1e-4
        assert "cuts into pieces" in found.comments

    def test_token_merging_has_another_map(self, family):
        with settings_of(family, token_merging_ratio=0.5):
            found = made(family, {"seg_scale": 3})
        assert "SEG and SAG yield to token merging" in found.comments

    @pytest.mark.parametrize("of_family", ["bk-sdm"], indirect=True)
    def test_a_small_unet_without_a_middle_block(self, family):
        lost = {"pag_scale": 2, "seg_scale": 1, "sag_scale": 0.75}
        found = made(family, lost)
        assert same(found, made(family))
        for scale in lost:
            assert f"Guidance: {scale} is left out: the loaded UNet has no self-attention" in found.comments
        elsewhere = made(family, lost | {"attention_blocks": "Down"})
        assert not same(elsewhere, found)
        assert "sag_scale is left out: the loaded UNet has no self-attention in its part Middle" in elsewhere.comments
        assert "pag_scale" not in elsewhere.comments


class TestListeners:
    def test_added_rows_are_not_seen_before_an_evaluation(self, family):
        seen = []
        with listening(family) as add:
            add(lambda params: seen.append(len(params.x)))
            made(family, {"pag_scale": 2})
        assert seen == [2] * 4
        assert rows(family) == [3] * 4

    def test_who_is_called_after_it_by_the_user_s_order(self, family, log):
        with listening(family) as add, patch.object(family.callbacks, "first", own_listeners(family)):
            add(lambda params: None)
            made(family, {"pag_scale": 2})
        assert rows(family) == [2] * 4
        assert "PAG, SEG and SAG yield to tests.webui.exact" in " ".join(log())


class TestSkipped:
    @pytest.mark.parametrize("cfg", [1, 4])
    @pytest.mark.parametrize("setting", SKIPPING, ids=str)
    def test_a_step_that_the_user_has_unguided_adds_no_rows(self, family, setting, cfg):
        settings = {"pag_scale": 3, "seg_scale": 3, "attention_blocks": "All"}
        with settings_of(family, **setting):
            skipped = made(family, settings, cfg_scale=cfg)
            assert rows(family) == [1] * 4
            assert same(skipped, made(family, cfg_scale=cfg))


class TestEverything:
    @pytest.mark.parametrize("sampler", ["DPM++ SDE", "DDIM", "Euler a CFG++", "DPM++ 2M SDE CFG++", "TCD"])
    def test_with_samplers_of_every_kind(self, family, sampler):
        assert bool(torch.isfinite(made(family, EVERYTHING, sampler_name=sampler).latents).all())

    @pytest.mark.parametrize("large", [{"preset": "Paper"}, {"method": "Deep Shrink", "preset": "Paper"}], ids=str)
    @pytest.mark.parametrize("job", [*JOBS, "AND"])
    def test_with_both_methods_in_every_pass(self, family, large, job):
        fields = JOBS.get(job, {"prompt": "a cat AND a fox"})
        assert bool(torch.isfinite(made(family, EVERYTHING, large=large, **fields).latents).all())

    @pytest.mark.parametrize("refiner", ["sd1-other", "sdxl-refiner"])
    def test_a_refiner(self, of_family, refiner):
        own = of_family.shared.sd_model.sd_checkpoint_info.name
        with unchanged(of_family):
            fields = {"refiner_checkpoint": refiner, "refiner_switch_at": 0.5}
            assert bool(torch.isfinite(made(of_family, EVERYTHING, **fields).latents).all())
            assert rows(of_family) == [1, 4, 1, 4, 1, 4, 1]
            of_family.load_model(own)

    @pytest.mark.parametrize("fault", ["interrupt", "error"])
    @pytest.mark.parametrize("sampler", ["Euler", "Euler CFG++", "DDIM"])
    def test_nothing_is_left_when_it_is_stopped_or_fails(self, family, fault, sampler):
        before = made(family)
        with unchanged(family), failing(family, fault, at=2):
            answer(family, EVERYTHING, sampler_name=sampler)
        family.errors.clear()
        assert same(made(family), before)


def evaluation(host, sampler, settings):
    """Of a pass's first evaluation, in k-diffusion's form: what the model is given, and the images that come of it."""
    seen = {}
    with listening(host) as add:
        add(
            lambda params: seen.setdefault("given", (params.x[-1:].clone(), params.sigma[-1:].clone(), params.denoiser))
        )
        add(lambda params: seen.setdefault("rows", params.x.clone()), kind="cfg_denoised")
        add(lambda params: seen.setdefault("guided", params.x.clone()), kind="cfg_after_cfg")
        made(host, settings, sampler_name=sampler)
    x, sigma, denoiser = seen["given"]
    cond, uncond, guided = (
        denoiser.get_pred_x0(x, each, sigma) for each in (seen["rows"][:1], seen["rows"][-1:], seen["guided"])
    )
    if hasattr(denoiser, "alphas"):
        kept = denoiser.alphas[sigma.long()]
        x, sigma = x / kept.sqrt(), ((1 - kept) / kept).sqrt()
    return x, sigma, cond, uncond, guided


@contextmanager
def failing(host, kind, *, at):
    """The UNet raises, or the user stops, at its evaluation `at`."""
    calls = []

    def hook(*_):
        calls.append(kind)
        if len(calls) == at:
            if kind == "error":
                raise RuntimeError("planted")
            host.shared.state.interrupted = True

    handle = host.unet.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
        host.shared.state.interrupted = False
    assert len(calls) >= at
