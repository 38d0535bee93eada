"""The guided images of a pass."""

from __future__ import annotations

import pytest
import torch

from lib_fewstep.guidance import AdaptiveProjection, GuidanceSession, GuidanceSettings, rescaled, thresholded

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
