"""Which steps are guided, and how strongly."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.kdiffusion import sampling as theirs
from bench.mixtures import SCHEDULES, Model, near_unit, one, separated, skewed, start
from lib_fewstep.guidance import GuidanceSettings, Plan, make_plan
from lib_fewstep.options import SettingError
from lib_fewstep.sampling import calibrated, sample_euler_ancestral_cfgpp, sample_euler_cfgpp
from tests.sampling.runs import run

CFG = 4.0
LEVELS = [10.0, 5.0, 2.5, 1.0, 0.5, 0.0]


def plan_of(levels=LEVELS, **settings):
    return make_plan(GuidanceSettings(**settings), levels)


def strengths(cfg=CFG, levels=LEVELS, **settings):
    return [strength.at(cfg) for strength in plan_of(levels, **settings).strengths]


def test_by_default_every_step_is_guided_as_the_slider_says():
    assert strengths() == [CFG] * 5


@pytest.mark.parametrize(
    ("settings", "guided"),
    [
        ({}, (0, 1, 2, 3, 4)),
        ({"start": 0.2}, (1, 2, 3, 4)),
        ({"end": 0.6}, (0, 1, 2)),
        ({"start": 0.3, "end": 0.5}, (2,)),
        ({"start": 0.01}, (1, 2, 3, 4)),
        ({"sigma_low": 1.0}, (0, 1, 2)),
        ({"sigma_high": 5.0}, (1, 2, 3, 4)),
        ({"sigma_low": 0.9, "sigma_high": 2.5}, (2, 3)),
        ({"start": 0.4, "sigma_high": 1.0}, (3, 4)),
        ({"sigma_high": 0.1}, ()),
        ({"start": 0.95}, (4,)),
        ({"start": 0.3, "end": 0.35}, (1,)),
        ({"end": 0.01}, (0,)),
    ],
)
def test_the_guided_steps(settings, guided):
    plan = plan_of(**settings)
    assert plan.guided == guided
    assert [strength.at(CFG) for strength in plan.strengths] == [CFG if step in guided else 1 for step in range(5)]


@given(steps=st.integers(1, 150), cut=st.floats(0.01, 0.99))
def test_two_shares_of_the_steps_are_all_of_them(steps, cut):
    levels = torch.linspace(14, 0, steps + 1).tolist()
    first, second = plan_of(levels, end=cut).guided, plan_of(levels, start=cut).guided
    if 1 <= math.ceil(cut * steps) < steps:
        assert (*first, *second) == tuple(range(steps))
    else:  # a share that is narrower than a step has one nevertheless
        assert {*first, *second} == set(range(steps))
        assert min(len(first), len(second)) == 1


def test_ramps():
    assert strengths(schedule="Linear") == pytest.approx([1, 1.75, 2.5, 3.25, 4])
    assert strengths(schedule="Linear", ramp_from=2, ramp_to=0) == pytest.approx([7, 5.5, 4, 2.5, 1])
    middle = [1 + 3 * (1 - math.cos(math.pi * way)) / 2 for way in (0, 0.25, 0.5, 0.75, 1)]
    assert strengths(schedule="Cosine") == pytest.approx(middle)
    assert strengths(schedule="Linear", start=0.4) == pytest.approx([1, 1, 1, 2.5, 4])
    assert strengths(schedule="Linear", levels=[10.0, 0.0]) == [CFG]


@pytest.mark.parametrize("schedule", ["Constant", "Linear", "Cosine"])
def test_at_cfg_1_no_schedule_guides(schedule):
    assert strengths(cfg=1.0, schedule=schedule) == pytest.approx([1] * 5)


def test_the_step_of_an_evaluation():
    """Half steps belong to the step that they are in, and what is above all levels to the first."""
    plan = plan_of()
    assert [plan.index_at(sigma) for sigma in (11.0, 10.0, 7.0, 5.0, 4.999, 0.6, 0.5, 0.1)] == [0, 0, 0, 1, 1, 3, 4, 4]
    assert plan.index_at(float(torch.tensor(2.5))) == 2


class Guided(Model):
    """A model whose guidance is a plan's, found by the noise level of the evaluation."""

    plan: Plan

    def __call__(self, x, sigma, cond_scale=1.0):
        strength = self.plan.strengths[self.plan.index_at(float(sigma[0]))]
        return super().__call__(x, sigma, strength.at(cond_scale))


def guided_by(plan, mixtures):
    model = Guided(*mixtures)
    model.plan = plan
    return model


DATA = {"near unit": near_unit(), "separated": separated(), "skewed": skewed()}
each_data = pytest.mark.parametrize("mixtures", DATA.values(), ids=DATA)
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES)
each_number = pytest.mark.parametrize("steps", [1, 2, 4, 20])


@each_data
@each_schedule
@each_number
def test_eulers_schedule_is_euler_cfgpp(mixtures, schedule, steps):
    """With the lambda that is calibrated for it, by running both on unit data."""
    sigmas = SCHEDULES[schedule](steps)
    plan = plan_of(sigmas.tolist(), schedule="CFG++")
    wanted = run(
        sample_euler_cfgpp, Model(*mixtures), start(sigmas), sigmas, calibrated(sample_euler_cfgpp, sigmas, CFG)
    )
    found = run(theirs.sample_euler, guided_by(plan, mixtures), start(sigmas), sigmas, CFG)
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


@each_data
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_the_ancestral_schedule_is_euler_a_cfgpp(mixtures, eta):
    """What a step keeps is less than sigma' / sigma then."""
    sigmas = SCHEDULES["Karras"](8)
    kept = [theirs.get_ancestral_step(before, after, eta)[0] / before for before, after in pairwise(sigmas.tolist())]
    plan = make_plan(GuidanceSettings(schedule="CFG++"), sigmas.tolist(), kept)
    strength = calibrated(sample_euler_ancestral_cfgpp, sigmas, CFG, eta)
    wanted = run(sample_euler_ancestral_cfgpp, Model(*mixtures), start(sigmas), sigmas, strength, eta)
    found = run(theirs.sample_euler_ancestral, guided_by(plan, mixtures), start(sigmas), sigmas, CFG, eta)
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


@each_schedule
@pytest.mark.parametrize("interval", [{}, {"end": 0.4}, {"start": 0.3, "end": 0.8}, {"sigma_low": 0.28}])
def test_on_unit_data_the_schedule_guides_as_far_as_the_slider(schedule, interval):
    """Over the guided steps alone."""
    sigmas, unit = SCHEDULES[schedule](10), (one(), one(0.2))
    ends = [
        run(
            theirs.sample_euler,
            guided_by(plan_of(sigmas.tolist(), **interval, **more), unit),
            start(sigmas),
            sigmas,
            CFG,
        )
        for more in ({}, {"schedule": "CFG++"})
    ]
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-12)


def test_every_step_of_the_schedule_adds_the_same_lambda():
    found = strengths(schedule="CFG++")
    lambdas = [
        strength * (1 - after / before) for strength, (before, after) in zip(found, pairwise(LEVELS), strict=True)
    ]
    assert lambdas == pytest.approx([found[-1]] * 5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"start": 0.5, "end": 0.5}, "end = 0.5 is not allowed: it must be above start, which is 0.5."),
        ({"sigma_low": 5, "sigma_high": 2}, "sigma_high = 2 is not allowed: it must be above sigma_low, which is 5."),
        ({"sigma_high": 0}, "sigma_high = 0 is not allowed: it must be above sigma_low, which is 0."),
        ({"rescale": -0.1}, "rescale = -0.1 is not allowed: it must be 0 to 1."),
        ({"ramp_from": -1}, "ramp_from = -1 is not allowed: it must be 0 to 4."),
        ({"threshold_percentile": 0}, "threshold_percentile = 0 is not allowed: it must be 0.5 to 1."),
        ({"schedule": "Square"}, "schedule = 'Square' is not allowed"),
        ({"apg_threshold": float("nan")}, "apg_threshold = nan is not allowed"),
        ({"shedule": "Linear"}, "Did you mean schedule?"),
        ([0.2], "must be a dict"),
    ],
)
def test_bad_values_are_one_sentence(values, said):
    with pytest.raises(SettingError) as error:
        GuidanceSettings.from_dict(values)
    assert said in str(error.value)


def test_the_defaults_do_nothing():
    settings = GuidanceSettings.from_dict({})
    assert settings == GuidanceSettings()
    assert not settings.projects
