"""Noise schedules and what is made of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib_fewstep.models import (
    NAMED,
    STABLE_DIFFUSION,
    NoiseSchedule,
    shares_at,
    shifted,
    sigmas_of,
    with_zero_terminal_snr,
)

EVERY = {"Stable Diffusion": STABLE_DIFFUSION, **NAMED}


@pytest.mark.parametrize(
    ("name", "steps", "highest"),
    [("Stable Diffusion", 1000, 14.61), ("Kolors", 1100, 29.06), ("Paints-UNDO", 1000, 190.1)],
)
def test_published_noise_levels(name, steps, highest):
    sigmas = sigmas_of(EVERY[name].alphas_cumprod())
    assert len(sigmas) == steps
    assert float(sigmas[-1]) == pytest.approx(highest, abs=0.06)


@pytest.mark.parametrize("name", EVERY)
def test_the_image_fades_at_each_timestep(name):
    shares = EVERY[name].alphas_cumprod()
    assert shares.dtype == torch.float64
    assert 0 < shares[-1] < shares[0] < 1
    assert shares.diff().max() < 0


def test_the_cosine_follows_its_formula():
    """Up to the betas that are limited at the end (arXiv 2102.09672, equation 17)."""
    shares = NAMED["Cosine"].alphas_cumprod()
    for index in (0, 1, 500, 990):
        at = [math.cos(((step / 1000) + 0.008) / 1.008 * math.pi / 2) ** 2 for step in (0, index + 1)]
        assert float(shares[index]) == pytest.approx(at[1] / at[0], rel=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_zero_terminal_snr(name):
    """The first timestep stays, the roots are an even stretch of what they were, the last is as in the WebUI."""
    before = EVERY[name].alphas_cumprod()
    after = with_zero_terminal_snr(before)
    assert float(after[0]) == pytest.approx(float(before[0]), rel=1e-12)
    assert float(sigmas_of(after)[-1]) == pytest.approx(4518.8, abs=0.1)
    stretch = after[:-1].sqrt() / (before[:-1].sqrt() - before[-1].sqrt())
    torch.testing.assert_close(stretch, stretch[:1].expand(len(stretch)), rtol=1e-9, atol=0)


@given(st.floats(0.25, 8), st.sampled_from(list(EVERY)))
def test_a_shift_multiplies_the_noise(factor, name):
    before = EVERY[name].alphas_cumprod()
    after = shifted(before, factor)
    torch.testing.assert_close(sigmas_of(after), factor * sigmas_of(before), rtol=1e-9, atol=0)


def test_no_shift_is_the_schedule_itself():
    shares = STABLE_DIFFUSION.alphas_cumprod()
    assert shifted(shares, 1) is shares


def test_noise_levels_lead_back():
    shares = STABLE_DIFFUSION.alphas_cumprod()
    torch.testing.assert_close(shares_at(sigmas_of(shares)), shares, rtol=1e-12, atol=0)


def test_own_betas():
    shares = NoiseSchedule("Linear", 0.1, 0.3, 3).alphas_cumprod()
    torch.testing.assert_close(shares, torch.tensor([0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.7]).double())
    shares = NoiseSchedule("Scaled linear", 0.04, 0.16, 3).alphas_cumprod()
    torch.testing.assert_close(shares, torch.tensor([0.96, 0.96 * 0.91, 0.96 * 0.91 * 0.84]).double())
