"""Inversion: back to the noise that makes an image, and forth again."""

from __future__ import annotations

import pytest
import torch

from bench.kdiffusion import sampling as theirs
from bench.mixtures import SCHEDULE, SCHEDULES, Mixture, Model, near_unit, one, separated
from lib_fewstep.sampling import calibrated, invert_cfgpp, sample_euler_cfgpp
from tests.sampling.runs import run

OMEGA = 3.0
DATA = {
    "near_unit": near_unit(),
    "separated": separated(),
    "overlapping": (Mixture(((0.5, -0.8, 0.6), (0.5, 0.8, 0.6))), one(0.8, 0.6)),
    "narrowed": (one(), one(0.5, 0.7)),
}


def inverted_cfg(model, x, sigmas, refinements):
    """Ordinary guidance backwards by explicit Euler steps, each refined by a fixed-point iteration."""
    options, floor = {"cond_scale": OMEGA}, float(SCHEDULE.sigmas[0])
    for sigma_next, sigma in sigmas.flip(0).unfold(0, 2, 1).tolist():
        image, level = x, max(sigma_next, floor)
        for _ in range(1 + refinements):
            slope = (x - model(x, x.new_full((len(x),), level), **options)) / level
            x, level = image + (sigma - sigma_next) * slope, sigma
    return x


def errors(mixtures, sigmas, refinements, theirs_refined):
    """Relative errors of the round trip: CFG++ with the calibrated lambda, and ordinary guidance of that strength."""
    image, model = mixtures[1].draw((400, 1, 1, 1)), Model(*mixtures)
    strength = calibrated(sample_euler_cfgpp, sigmas, OMEGA)
    noise = invert_cfgpp(model, image, sigmas, {"cond_scale": strength}, disable=True, refinements=refinements)
    there = run(sample_euler_cfgpp, model, noise, sigmas, strength)
    noise = inverted_cfg(model, image, sigmas, theirs_refined)
    other = run(theirs.sample_euler, model, noise, sigmas, OMEGA)
    return [float((end - image).norm() / image.norm()) for end in (there, other)]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_round_trip_beats_ordinary_guidance(data, schedule):
    """Ten steps, as refined as it is by default, against explicit Euler backwards."""
    plus_plus, ordinary = errors(DATA[data], SCHEDULES[schedule](10), 2, 0)
    print(f"{plus_plus:.3f} against {ordinary:.3f}")
    assert plus_plus < 0.75 * ordinary


@pytest.mark.parametrize("data", ["separated", "overlapping", "narrowed"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("refinements", [1, 2, 3])
def test_the_round_trip_beats_ordinary_guidance_that_is_refined_as_often(data, schedule, refinements):
    """Where guidance moves samples unequally; near unit Gaussians both are as good."""
    plus_plus, ordinary = errors(DATA[data], SCHEDULES[schedule](10), refinements, refinements)
    print(f"{plus_plus:.3f} against {ordinary:.3f}")
    assert plus_plus < 0.95 * ordinary


@pytest.mark.parametrize("data", ["near_unit", "narrowed"])
def test_many_refinements_make_the_round_trip_exact(data):
    assert errors(DATA[data], SCHEDULES["SGM uniform"](20), 60, 0)[0] < 1e-9


def test_one_step_back_solves_the_step_forth():
    sigmas = torch.tensor([2.0, 1.0], dtype=torch.float64)
    model, image = Model(*near_unit()), near_unit()[1].draw((64, 1, 1, 1))
    noise = invert_cfgpp(model, image, sigmas, {"cond_scale": 0.6}, disable=True, refinements=100)
    torch.testing.assert_close(run(sample_euler_cfgpp, model, noise, sigmas, 0.6), image, rtol=0, atol=1e-9)


@pytest.mark.parametrize("refinements", [0, 1, 2, 5])
@pytest.mark.parametrize("steps", [1, 3, 20])
def test_calls(steps, refinements):
    model = Model(*near_unit())
    invert_cfgpp(
        model, model.cond.draw((4, 1, 1, 1)), SCHEDULES["Karras"](steps), refinements=refinements, disable=True
    )
    assert model.calls == (1 + refinements) * steps
