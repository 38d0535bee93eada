"""Consistency samplers and SA-Solver against diffusers' schedulers, step by step, on the same noise."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, LCMScheduler, SASolverScheduler, TCDScheduler

from bench.mixtures import SCHEDULE, Mixture, Model, noise_sampler, start
from lib_fewstep import sampling as ours
from lib_fewstep.models import KINDS, NAMED, ModelDenoiser, sigmas_of
from lib_fewstep.sampling.sa_solver import tau_in_the_middle

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
DATA = Mixture(((0.3, -1.5, 0.4), (0.7, 0.8, 0.6)))
SHAPE = (16, 1, 1, 1)
NO_BOUNDARY = 1e9
EVERY = range(1, 51)


def theirs(scheduler, levels, x, **options):
    """A run of diffusers' from x of the first of `levels`, in variance-exploding terms; all of it in float64."""
    generator = torch.Generator().manual_seed(1)
    scheduler.alphas_cumprod, scheduler.sigmas = scheduler.alphas_cumprod.double(), levels
    x = x / (1 + levels[0] ** 2) ** 0.5
    for level, timestep in zip(levels, scheduler.timesteps, strict=False):
        image = DATA.denoised(x * (1 + level**2) ** 0.5, level.expand(len(x)))
        x = scheduler.step(image, timestep, x, generator=generator, return_dict=False, **options)[0]
    return x * (1 + levels[-1] ** 2) ** 0.5


def levels_of(scheduler, *, ends_at_zero=False):
    """The levels of a scheduler's timesteps, and what it ends at: timestep 0, or no noise."""
    alphas = scheduler.alphas_cumprod.double()
    levels = ((1 - alphas) / alphas) ** 0.5
    end = torch.zeros(1, dtype=torch.float64) if ends_at_zero else levels[:1]
    return torch.cat([levels[scheduler.timesteps], end])


def mine(sampler, levels, x, **options):
    return sampler(Model(DATA), x, levels, disable=True, noise_sampler=noise_sampler(SHAPE), **options)


def lcm(steps, scaling):
    """The largest difference, and the largest number."""
    scheduler = LCMScheduler(clip_sample=False, prediction_type="sample", timestep_scaling=scaling, **SD)
    scheduler.set_timesteps(steps)
    assert scheduler.timesteps.tolist() == ours.lcm_timesteps(steps)
    levels = levels_of(scheduler, ends_at_zero=True)
    x = start(levels, SHAPE)
    return float((mine(ours.sample_lcm, levels, x) - theirs(scheduler, levels, x)).abs().max())


def test_lcm():
    worst = max(lcm(steps, NO_BOUNDARY) for steps in EVERY)
    print(f"LCM: {worst:.1e}")
    assert worst < 1e-12


def test_what_lcm_is_without_the_boundary_scaling_of_diffusers():
    """It mixes x into the image; that is small, and at the last timesteps alone."""
    worst = max(lcm(steps, 10.0) for steps in EVERY)
    print(f"LCM, with the boundary scaling: {worst:.1e}")
    assert 1e-7 < worst < 2e-5


@pytest.mark.parametrize("gamma", [0, 0.3, 0.5, 1])
def test_tcd(gamma):
    """diffusers goes down to timestep 0 at gamma 1, and ends there."""
    worst = 0.0
    for steps in EVERY:
        scheduler = TCDScheduler(clip_sample=False, prediction_type="sample", **SD)
        scheduler.set_timesteps(steps)
        assert scheduler.timesteps.tolist() == ours.lcm_timesteps(steps)
        levels = levels_of(scheduler)
        x = start(levels, SHAPE)
        found = mine(ours.sample_tcd, levels, x, gamma=min(gamma, 1 - 1e-9))
        worst = max(worst, float((found - theirs(scheduler, levels, x, eta=gamma)).abs().max()))
    print(f"TCD, gamma {gamma}: {worst:.1e}")
    assert worst < 1e-5  # the levels of whole timesteps come from a schedule in float32


@pytest.mark.parametrize("steps", [1, 4, 50])
def test_tcd_without_determinism_is_lcm(steps):
    levels = ours.sigmas_at(ours.lcm_timesteps(steps), SCHEDULE).double()
    x = start(levels, SHAPE)
    assert torch.equal(mine(ours.sample_tcd, levels, x, gamma=1), mine(ours.sample_lcm, levels, x))


@pytest.mark.parametrize(("predictor", "corrector"), [(2, 2), (1, 1), (1, 2), (2, 1), (3, 1), (2, 3), (3, 3), (3, 4)])
def test_sa_solver(predictor, corrector):
    worst = 0.0
    for steps in (*range(1, 11), 20, 50):
        orders = {"predictor_order": predictor, "corrector_order": corrector}
        scheduler = SASolverScheduler(timestep_spacing="trailing", prediction_type="sample", **orders, **SD)
        scheduler.set_timesteps(steps)
        assert scheduler.timesteps.tolist() == ours.trailing_timesteps(steps)
        levels = levels_of(scheduler)
        x = start(levels, SHAPE)
        found = mine(ours.sample_sa_solver, levels, x, **orders)
        worst = max(worst, float((found - theirs(scheduler, levels, x)).abs().max()))
    print(f"SA-Solver, orders {predictor} and {corrector}: {worst:.1e}")
    assert worst < 1e-10


@pytest.mark.parametrize(("timestep", "expected"), [(199, 0), (200, 1), (500, 1), (800, 1), (801, 0), (999, 0)])
def test_where_sa_solver_is_stochastic(timestep, expected):
    assert tau_in_the_middle(timestep / 1000) == SASolverScheduler(**SD).tau_func(timestep) == expected


def test_sa_solver_counts_in_the_timesteps_that_the_model_has():
    """Of Kolors' 1100 it is stochastic from 220 to 880."""
    table, asked = sigmas_of(NAMED["Kolors"].alphas_cumprod()), []
    model = Model(DATA)
    model.inner_model = ModelDenoiser(None, KINDS["noise"], table)
    levels = ours.sigmas_at([1099, 881, 880, 220, 219], model.inner_model)
    mine_of = {"tau": lambda place: asked.append(place) or 0.0, "noise_sampler": noise_sampler(SHAPE)}
    ours.sample_sa_solver(model, start(levels, SHAPE), levels, disable=True, **mine_of)
    assert asked == pytest.approx([1099 / 1100, 881 / 1100, 0.8, 0.2], abs=1e-5)
    assert [tau_in_the_middle(place) for place in asked] == [0, 0, 1, 1]


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_tau_of_sa_solver(tau):
    scheduler = SASolverScheduler(timestep_spacing="trailing", prediction_type="sample", **SD)
    scheduler.set_timesteps(10)
    levels = levels_of(scheduler)
    x = start(levels, SHAPE)
    scheduler.tau_func = lambda timestep: tau
    found = mine(ours.sample_sa_solver, levels, x, tau=lambda timestep: tau)
    torch.testing.assert_close(found, theirs(scheduler, levels, x), rtol=0, atol=1e-11)


@pytest.mark.parametrize("scheduler", [EulerDiscreteScheduler, DDIMScheduler])
def test_trailing_timesteps(scheduler):
    """diffusers' has one timestep too many, -1, for some numbers of steps."""
    reference = scheduler(timestep_spacing="trailing", **SD)
    for steps in range(1, 1001):
        reference.set_timesteps(steps)
        expected = [int(timestep) for timestep in reference.timesteps]
        assert len(expected) == steps or expected[steps:] == [-1]
        assert ours.trailing_timesteps(steps) == expected[:steps]


class Exact(Model):
    """A consistency model of N(0.5, 0.8^2): the image at the end of the exact flow."""

    def __call__(self, x, sigma, cond_scale=1.0):
        level = sigma.view(-1, 1, 1, 1)
        return 0.5 + 0.8 / (0.8**2 + level**2) ** 0.5 * (x - 0.5)


ONE = Mixture(((1.0, 0.5, 0.8),))
MANY = (20000, 1, 1, 1)


@pytest.mark.parametrize(
    ("sampler", "model", "steps", "options"),
    [
        (ours.sample_lcm, Exact(ONE), 1, {}),
        (ours.sample_lcm, Exact(ONE), 4, {}),
        (ours.sample_lcm, Exact(ONE), 50, {}),
        (ours.sample_tcd, Exact(ONE), 8, {"gamma": 1}),
        (ours.sample_tcd, Model(ONE), 50, {"gamma": 0}),
        (ours.sample_euler_ancestral_cfgpp, Model(ONE), 200, {}),
        (ours.sample_dpmpp_2s_ancestral_cfgpp, Model(ONE), 100, {}),
        (ours.sample_dpmpp_2m_sde_cfgpp, Model(ONE), 50, {}),
        (ours.sample_sa_solver, Model(ONE), 50, {}),
        (ours.sample_sa_solver, Model(ONE), 50, {"tau": lambda timestep: 1.0}),
    ],
)
def test_noise_leads_to_the_data(sampler, model, steps, options):
    """Mean and standard deviation of what the samplers make of noise."""
    grid = ours.lcm_timesteps if sampler in (ours.sample_lcm, ours.sample_tcd) else ours.trailing_timesteps
    levels = ours.sigmas_at(grid(steps), SCHEDULE).double()
    x = start(levels, MANY)
    found = sampler(model, x, levels, disable=True, noise_sampler=noise_sampler(MANY), **options)
    print(f"{sampler.__name__}, {steps} steps: {found.mean():.3f} +- {found.std():.3f}")
    assert float(found.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(found.std()) == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize("gamma", [0.3, 0.5])
@pytest.mark.parametrize("error", [0.0, 1e-3, -1e-3])
def test_tcd_stops_at_whole_timesteps(gamma, error):
    """The levels that it goes down to are the model's own; what float32 does to timesteps changes none."""
    asked = []
    inner = SimpleNamespace(
        sigmas=SCHEDULE.sigmas,
        sigma_to_t=lambda sigma: SCHEDULE.sigma_to_t(sigma) + error,
        t_to_sigma=lambda timestep: asked.append(float(timestep)) or SCHEDULE.t_to_sigma(timestep),
    )
    model = Model(DATA)
    model.inner_model = inner
    timesteps = [999, 700, 500, 300, 199, 100]
    levels = ours.sigmas_at(timesteps, SCHEDULE)
    ours.sample_tcd(model, start(levels), levels, disable=True, gamma=gamma)
    assert asked == [int(timestep * (10 - int(10 * gamma)) // 10) for timestep in timesteps[1:]]
