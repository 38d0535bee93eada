"""The guided images of a pass."""

from __future__ import annotations

import pytest
import torch

from lib_fewstep.guidance import AdaptiveProjection, GuidanceSession, GuidanceSettings, rescaled, thresholded
from tests.unets import sd1_unet

LEVELS = [10.0, 5.0, 2.0, 1.0, 0.0]
CFG = 7.0
SHAPE = (2, 4, 8, 8)


def evaluation(level, seed=0):
    """Noisy latents, their levels, and the conditional and the unconditional image."""
    generator = torch.Generator().manual_seed(seed)
    x, cond, uncond = torch.randn(3, *SHAPE, dtype=torch.float64, generator=generator)
    return level * x, torch.full((SHAPE[0],), level, dtype=torch.float64), cond, uncond


def guided(cond, uncond, cfg=CFG):
    return uncond + cfg * (cond - uncond)


def session(**settings):
    return GuidanceSession(GuidanceSettings(**settings), LEVELS)


NEUTRAL = {"rescale": 0.0, "apg_eta": 1.0, "apg_threshold": 0.0, "apg_momentum": 0.0, "threshold_mimic": 0.0}


@pytest.mark.parametrize("names", [[], *[[name] for name in NEUTRAL], list(NEUTRAL)], ids=str)
def test_neutral_values_are_ordinary_guidance_bit_by_bit(names):
    of_pass = session(**{name: NEUTRAL[name] for name in names})
    for index, level in enumerate(LEVELS[:-1]):
        x, sigma, cond, uncond = evaluation(level, index)
        assert torch.equal(of_pass.image(index, x, sigma, cond, uncond, CFG), guided(cond, uncond))


def test_outside_of_the_interval_the_image_is_the_conditional_one():
    of_pass = session(start=0.5, rescale=0.7, apg_eta=0, threshold_mimic=3)
    x, sigma, cond, uncond = evaluation(10.0)
    assert of_pass.image(0, x, sigma, cond, uncond, CFG) is cond
    assert of_pass.strength(0, CFG) == 1
    assert of_pass.strength(2, CFG) == CFG


def test_everything_in_its_order():
    of_pass = session(apg_eta=0.0, apg_threshold=40, threshold_mimic=3, threshold_percentile=0.9, rescale=0.6)
    x, sigma, cond, uncond = evaluation(5.0)
    projected = AdaptiveProjection(0.0, 40, 0)(cond, uncond, CFG)
    limited = thresholded(projected, guided(cond, uncond, 3), 0.9)
    wanted = rescaled(limited, cond, x, sigma, 0.6)
    assert torch.equal(of_pass.image(1, x, sigma, cond, uncond, CFG), wanted)


def test_thresholding_never_strengthens():
    """Where the slider is at or below what it mimics."""
    of_pass = session(threshold_mimic=7, threshold_percentile=0.9)
    x, sigma, cond, uncond = evaluation(5.0)
    assert torch.equal(of_pass.image(1, x, sigma, cond, uncond, 5.0), guided(cond, uncond, 5.0))
    assert not torch.equal(of_pass.image(1, x, sigma, cond, uncond, 8.0), guided(cond, uncond, 8.0))


def test_momentum_counts_a_step_once():
    """A second evaluation within a step sees the same steps before it, and leaves nothing to the next."""
    plain, halved = session(apg_momentum=0.5), session(apg_momentum=0.5)
    for index, level in enumerate(LEVELS[:-1]):
        first, second = evaluation(level, index), evaluation(level * 0.8, 10 + index)
        wanted = plain.image(index, *first, CFG)
        assert torch.equal(halved.image(index, *first, CFG), wanted)
        halved.image(index, *second, CFG)


def test_momentum_begins_anew_where_the_noise_rises():
    of_pass = session(apg_momentum=0.5)
    for index in (1, 2):
        of_pass.image(index, *evaluation(LEVELS[index], index), CFG)
    x, sigma, cond, uncond = evaluation(10.0, 5)
    assert torch.equal(of_pass.image(0, x, sigma, cond, uncond, CFG), cond + (CFG - 1) * (cond - uncond))


def test_the_half_steps_of_an_ancestral_sampler_are_no_rise():
    """DPM++ 2S a looks ahead to the next step's level, which is then a little higher again by rounding."""
    plain, halved = session(apg_momentum=0.5), session(apg_momentum=0.5)
    for index, level in enumerate(LEVELS[:-1]):
        first = evaluation(level, index)
        wanted = plain.image(index, *first, CFG)
        assert torch.equal(halved.image(index, *first, CFG), wanted)
        halved.image(index, *evaluation(LEVELS[index + 1] * (1 - 1e-7), 10 + index), CFG)


def test_churn_is_no_rise():
    """Each step starts a little above its own level, the next one below that."""
    churned = session(apg_momentum=0.5)
    for index, level in enumerate(LEVELS[:-1]):
        x, sigma, cond, uncond = evaluation(level * 1.3, index)
        found = churned.image(index, x, sigma, cond, uncond, CFG)
        if index:
            assert not torch.allclose(found, cond + (CFG - 1) * (cond - uncond))
        churned.image(index, *evaluation(level * 0.9, 10 + index), CFG)


@pytest.mark.parametrize("strength", [0.5, 1.0, 3.0])
def test_projection_weakens_at_every_strength_of_cfgpp(strength):
    """Also below 1: of the part along the conditional image nothing is left, and a limit limits."""
    x, sigma, cond, uncond = evaluation(5.0)
    along = cond / torch.linalg.vector_norm(cond, dim=(1, 2, 3), keepdim=True)
    settings = {"levels": LEVELS, "reads_uncond": True}
    kept = GuidanceSession(GuidanceSettings(apg_eta=0), **settings).image(1, x, sigma, cond, uncond, strength)
    parts = ((kept - uncond) * along).sum((1, 2, 3))
    torch.testing.assert_close(parts, torch.zeros(2).double(), rtol=0, atol=1e-10)
    limited = GuidanceSession(GuidanceSettings(apg_threshold=0.001), **settings)
    torch.testing.assert_close(limited.image(1, x, sigma, cond, uncond, strength), uncond, rtol=0, atol=0.01)


def test_thresholding_counts_in_the_slider_s_terms():
    of_pass = session(threshold_mimic=3, threshold_percentile=0.9)
    x, sigma, cond, uncond = evaluation(5.0)
    wanted = thresholded(guided(cond, uncond, 1.4), guided(cond, uncond, 0.6), 0.9)
    torch.testing.assert_close(of_pass.image(1, x, sigma, cond, uncond, 1.4, unit=0.2), wanted)


def test_settings_that_are_off_count_for_nothing():
    of_pass = session(enabled=False, start=0.5, rescale=0.7, nag_scale=2, pag_scale=3)
    assert of_pass.plan == session().plan
    assert not of_pass.makes_images
    assert not of_pass.adds_rows


@pytest.mark.parametrize(
    ("settings", "negative", "sentence"),
    [
        ({"pag_scale": 2}, None, "PAG, SEG and SAG must be given the UNet"),
        ({"nag_scale": 2}, None, "NAG must be given the UNet"),
    ],
)
def test_what_needs_a_unet_says_so(settings, negative, sentence):
    x, sigma, _, _ = evaluation(5.0)
    with pytest.raises(ValueError, match=sentence):
        session(**settings).denoised(x, sigma, CFG, lambda x, kinds: x.repeat(len(kinds), 1, 1, 1), negative)


@pytest.mark.parametrize("rows", [None, 1])
def test_nag_needs_a_negative_prompt_for_each_image(rows):
    of_pass = GuidanceSession(GuidanceSettings(nag_scale=2), LEVELS, unet=sd1_unet())
    x, sigma, _, _ = evaluation(5.0)
    negative = None if rows is None else torch.zeros(rows, 7, 64)
    with of_pass, pytest.raises(ValueError, match=r"a negative prompt for each of 2 images, not (none|1)\."):
        of_pass.denoised(x, sigma, CFG, lambda x, kinds: x.repeat(len(kinds), 1, 1, 1), negative)
    with pytest.raises(ValueError, match="the session must be open"):
        of_pass.denoised(x, sigma, CFG, lambda x, kinds: x, torch.zeros(2, 7, 64))
