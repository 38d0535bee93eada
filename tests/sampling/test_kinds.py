"""Models of every kind over every noise schedule: the denoiser, the schedules and the samplers, beside exact ones."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch

from bench.kdiffusion import sampling as theirs
from bench.mixtures import Mixture, near_unit, one
from lib_fewstep import sampling as ours
from lib_fewstep.models.kinds import FLOW
from lib_fewstep.sampling import calibrated
from lib_fewstep.sampling.schedules import GRIDS
from tests.sampling.kinds import (
    SCHEDULES,
    TRAINED,
    Exact,
    ExactModel,
    Trained,
    each_model,
    each_schedule,
    seen,
    share_below,
)
from tests.sampling.runs import BASES, DETERMINISTIC, SETTINGS, run

TWO = Mixture(((0.3, -1.5, 0.4), (0.7, 0.8, 0.6)))
ONE = one(0.5, 0.8)
SHAPE = (64, 1, 1, 1)
QUIET = (*DETERMINISTIC, *(BASES[sampler] for sampler in DETERMINISTIC))
NETWORKS = {name: trained for name, trained in TRAINED.items() if not name.startswith("v ")}
"""Without those of v, which see the same as those of noise: samplers are tried on these."""
STEPS = {
    theirs.sample_euler: 100,
    theirs.sample_dpmpp_2m: 50,
    theirs.sample_euler_ancestral: 200,
    theirs.sample_dpmpp_2s_ancestral: 100,
    theirs.sample_dpmpp_2m_sde: 50,
    ours.sample_sa_solver: 50,
}
WIDE = 20_000
"""A range of noise levels, highest to lowest, above which samplers take twice the steps; Stable Diffusion's is 500."""

pytestmark = pytest.mark.long
each_network = pytest.mark.parametrize("trained", NETWORKS.values(), ids=NETWORKS)
each_noisy_network = pytest.mark.parametrize(
    "trained", [trained for name, trained in NETWORKS.items() if name != FLOW], ids=[*NETWORKS][:-1]
)


def on_each_network(samplers):
    """Samplers, or their settings, on the networks that they are for: a flow's noisy latents take no fresh noise."""
    return [
        pytest.param(trained, *given, id="-".join([name, given[0].__name__, *map(str, given[1:])]))
        for (name, trained), given in product(NETWORKS.items(), samplers)
        if name != FLOW or given[0] in QUIET
    ]


@each_model
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_exact_network_gives_the_exact_image(trained, dtype):
    """To the rounding of the numbers that it is the difference of: at sigma 4518 noise itself loses 3 digits."""
    typed, data, generator = Trained(trained.kind, trained.table.to(dtype)), near_unit()[0], torch.Generator()
    denoiser, images = Exact(typed, data), data.draw(SHAPE)
    for place in np.linspace(0, len(trained.table) - 1, 9).astype(int):
        sigma = typed.table[place]
        noise = torch.randn(SHAPE, generator=generator.manual_seed(0), dtype=torch.float64)
        x = (trained.kept(sigma) * images + sigma * noise).to(dtype)
        wanted = seen(data, x.double(), sigma.double(), trained.kept(sigma.double()))
        factors = denoiser.kind.factors(sigma.double())
        subtracted = (factors.skip * x).abs() + (wanted - factors.skip * x).abs()
        off = (denoiser(x, sigma.expand(len(x))).double() - wanted).abs()
        assert bool((off <= 16 * torch.finfo(dtype).eps * (1 + subtracted)).all()), (float(sigma), float(off.max()))


@each_model
@each_schedule
def test_a_schedule_falls_from_the_highest_level_to_0(trained, schedule):
    for steps in (1, 2, 7, 50):
        levels = schedule(steps, trained)
        assert len(levels) == steps + 1
        assert levels.isfinite().all()
        assert levels.diff().max() < 0
        assert levels[-1] == 0
        assert float(levels[0]) == pytest.approx(float(trained.table[-1]), rel=1e-6)


@each_model
def test_the_lcm_grid_falls_from_the_highest_level_to_0(trained):
    for steps in (1, 4, 50):
        levels = GRIDS["lcm_grid"].levels(steps, trained.denoiser, False)
        assert levels.diff().max() < 0
        assert float(levels[0]) == pytest.approx(float(trained.table[-1]), rel=1e-6)


@pytest.mark.parametrize(("trained", "sampler", "eta"), on_each_network(SETTINGS))
def test_without_guidance_each_cfgpp_sampler_is_its_base(trained, sampler, eta):
    for schedule in SCHEDULES.values():
        levels, x, model = schedule(8, trained), trained.start(SHAPE), ExactModel(trained, TWO)
        expected = run(BASES[sampler], model, x, levels, eta=eta)
        error = 1e-13 * max(1.0, float(levels[0]) / 15)
        torch.testing.assert_close(run(sampler, model, x, levels, eta=eta), expected, rtol=0, atol=error)


@pytest.mark.parametrize(("trained", "sampler", "eta"), on_each_network(SETTINGS))
def test_the_calibrated_lambda_is_exact_between_unit_gaussians(trained, sampler, eta):
    """As strong as the base with the same CFG, over a whole schedule and over a part of one from the mean."""
    model = ExactModel(trained, one(), one(0.2))
    for name, schedule in SCHEDULES.items():
        for levels in (schedule(8, trained), schedule(12, trained)[6:]):
            x = trained.start(SHAPE) if levels[0] == trained.table[-1] else torch.zeros(SHAPE, dtype=torch.float64)
            strength = calibrated(sampler, levels, 3.0, 1.0 if eta is None else eta, flow=trained.flow)
            expected = run(BASES[sampler], model, x, levels, 3.0, eta)
            error = 1e-12 * max(1.0, float(levels[0]) / 15)
            off = float((run(sampler, model, x, levels, strength, eta) - expected).abs().max())
            assert off < error, name


def mean_and_spread(sampler, model, levels, high):
    """Exact ones of what a sampler makes of noise, on a Gaussian, where it is linear.

    The first row has no noise at all, the second a start of one deviation, each further one a single draw of noise.
    """
    units = torch.eye(len(levels) + 1, dtype=torch.float64).view(len(levels) + 1, -1, 1, 1, 1)
    draws = iter(units[2:])
    more = {} if sampler in QUIET else {"noise_sampler": lambda *_: next(draws)}
    end = sampler(model, high * units[1], levels, disable=True, **more).flatten()
    return float(end[0]), float((end[1:] - end[0]).norm())


@pytest.mark.parametrize(("trained", "sampler"), on_each_network([(sampler,) for sampler in STEPS]))
def test_noise_leads_to_the_data(trained, sampler):
    """Mean and standard deviation over every schedule, as near as on Stable Diffusion's."""
    for name, schedule in SCHEDULES.items():
        wide = float(trained.table[-1] / trained.table[0]) > WIDE
        levels = schedule(STEPS[sampler] * (2 if wide else 1), trained)
        mean, std = mean_and_spread(sampler, ExactModel(trained, ONE), levels, float(levels[0]))
        print(f"{name}: {mean:.3f} +- {std:.3f}")
        assert mean == pytest.approx(0.5, abs=0.05), name
        assert std == pytest.approx(0.8, abs=0.04), name


def test_noise_leads_to_the_data_evenly_in_a_flow():
    trained = TRAINED[FLOW]
    levels = trained.denoiser.get_sigmas(50)
    mean, std = mean_and_spread(theirs.sample_euler, ExactModel(trained, ONE), levels, 1.0)
    x = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    found = ours.sample_rectified_flow(ExactModel(trained, ONE), x, levels, disable=True).flatten()
    assert (mean, std) == pytest.approx((float(found[0]), float(found[1] - found[0])), rel=1e-12)
    assert (mean, std) == (pytest.approx(0.5, abs=0.05), pytest.approx(0.8, abs=0.04))


class Consistency(ExactModel):
    """A perfect consistency model of a Gaussian: the image at the end of the exact flow."""

    def __call__(self, x, sigma, cond_scale=1.0):
        _, mean, std = self.uncond.parts[0]
        return mean + std / (std**2 + sigma.view(-1, 1, 1, 1) ** 2) ** 0.5 * (x - mean)


@each_noisy_network
@pytest.mark.parametrize("gamma", [None, 1])
def test_noise_leads_to_the_data_of_consistency_models(trained, gamma):
    """By LCM, and by TCD at gamma 1."""
    sampler = ours.sample_lcm if gamma is None else partial(ours.sample_tcd, gamma=gamma)
    for steps in (1, 4, 50):
        levels = GRIDS["lcm_grid"].levels(steps, trained.denoiser, False)
        mean, std = mean_and_spread(sampler, Consistency(trained, ONE), levels, float(levels[0]))
        assert mean == pytest.approx(0.5, abs=0.05)
        assert std == pytest.approx(0.8, abs=0.04)


@each_network
@each_schedule
def test_tcd_without_fresh_noise_is_euler(trained, schedule):
    """DDIM, in other words, whatever the timesteps are."""
    levels, x, model = schedule(20, trained), trained.start(SHAPE), ExactModel(trained, TWO)
    found = ours.sample_tcd(model, x, levels, disable=True, gamma=0)
    error = 1e-13 * max(1.0, float(levels[0]) / 15)
    torch.testing.assert_close(found, theirs.sample_euler(model, x, levels, disable=True), rtol=0, atol=error)


@each_network
@pytest.mark.parametrize(("sampler", "order"), [(ours.sample_euler_cfgpp, 1), (ours.sample_dpmpp_2m_cfgpp, 2)])
def test_order_of_convergence_to_the_exact_flow(trained, sampler, order):
    """Between levels of the model, evenly in log(sigma); without guidance."""
    high, low = (0.9, 0.1) if trained.flow else (10.0, 0.1)
    counts, errors = [40, 80, 160], []
    for steps in counts:
        levels = torch.logspace(np.log10(high), np.log10(low), steps + 1, dtype=torch.float64)
        x = high / trained.table[-1] * trained.start(SHAPE)
        end = run(sampler, ExactModel(trained, TWO), x, levels)
        moved = share_below(TWO, end, low, trained.kept(low)) - share_below(TWO, x, high, trained.kept(high))
        errors.append(float(moved.abs().mean()))
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    print(f"order {slope:.3f}, errors {errors}")
    assert slope == pytest.approx(order, abs=0.1 * order)
