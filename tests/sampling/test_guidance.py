"""The calibrated lambda: exact for unit Gaussians, and close to ordinary guidance near them."""

from __future__ import annotations

import pytest
import torch

from bench.mixtures import SCHEDULES, Model, near_unit, one, skewed, start
from lib_fewstep.sampling import calibrated, sample_euler_cfgpp
from tests.sampling.runs import BASES, each_cfgpp, each_setting, run

OMEGA = 3.0
SHAPE = (500, 1, 1, 1)
DATA = {"near_unit": near_unit(), "skewed": skewed(), "narrowed": (one(), one(0.2, 0.95))}
each_data = pytest.mark.parametrize("mixtures", DATA.values(), ids=DATA)
BOUNDS = {4: 0.10, 8: 0.05, 20: 0.05, 50: 0.05, 100: 0.05}


def ordinary(sampler, eta, sigmas, mixtures, omega):
    """What ordinary guidance makes with the base sampler."""
    return run(BASES[sampler], Model(*mixtures), start(sigmas, SHAPE), sigmas, omega, eta)


def plus_plus(sampler, eta, sigmas, mixtures, omega):
    """What the CFG++ sampler makes with the calibrated lambda, from the same noise."""
    strength = calibrated(sampler, sigmas, omega, 1.0 if eta is None else eta)
    return run(sampler, Model(*mixtures), start(sigmas, SHAPE), sigmas, strength, eta)


@each_setting
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", BOUNDS)
def test_exact_between_unit_gaussians(sampler, eta, schedule, steps):
    arguments = sampler, eta, SCHEDULES[schedule](steps), (one(), one(0.2)), OMEGA
    torch.testing.assert_close(plus_plus(*arguments), ordinary(*arguments), rtol=0, atol=1e-12)


@pytest.mark.long
@each_setting
@each_data
def test_as_strong_as_ordinary_guidance(sampler, eta, mixtures):
    """Relative to the mean and the standard deviation of what ordinary guidance makes."""
    for steps, bound in BOUNDS.items():
        for name, schedule in SCHEDULES.items():
            expected = ordinary(sampler, eta, schedule(steps), mixtures, OMEGA)
            found = plus_plus(sampler, eta, schedule(steps), mixtures, OMEGA)
            off = [float(measure(found) / measure(expected) - 1) for measure in (torch.mean, torch.std)]
            print(f"{name}, {steps} steps: mean {off[0]:+.3f}, spread {off[1]:+.3f}")
            assert max(map(abs, off)) < bound, (name, steps)


@each_data
def test_the_mixtures_tell_strengths_apart(mixtures):
    """What the tests above are worth: with little more than half the guidance the mean is another."""
    weak, strong = (ordinary(sample_euler_cfgpp, None, SCHEDULES["Karras"](20), mixtures, omega) for omega in (1.67, 3))
    assert weak.mean() < 0.85 * strong.mean()


@each_cfgpp
def test_one_step_needs_no_calibration(sampler):
    assert calibrated(sampler, torch.tensor([14.6, 0.0]), 7.0) == pytest.approx(7.0, rel=1e-12)


@each_cfgpp
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_linear_in_the_guidance_and_independent_of_the_dtype(sampler, schedule):
    sigmas = SCHEDULES[schedule](20).float()
    strength = calibrated(sampler, sigmas, 1.0)
    assert calibrated(sampler, sigmas, 7.5) == pytest.approx(7.5 * strength, rel=1e-12)
    assert calibrated(sampler, sigmas.double(), 1.0) == strength


@each_cfgpp
def test_exact_on_a_part_of_a_schedule(sampler):
    """An img2img pass over the last of 20 steps: still as strong as ordinary guidance, here from the mean."""
    sigmas = SCHEDULES["Karras"](20)[12:]
    strength = calibrated(sampler, sigmas, OMEGA)
    x, model = torch.zeros(64, 1, 1, 1, dtype=torch.float64), Model(one(), one(0.2))
    expected = run(BASES[sampler], model, x, sigmas, OMEGA)
    torch.testing.assert_close(run(sampler, model, x, sigmas, strength), expected, rtol=0, atol=1e-12)
