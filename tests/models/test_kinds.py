"""Kinds of models beside their definitions: an exact network of each kind must give the image back."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from bench.kdiffusion import external
from lib_fewstep.models import KINDS, STABLE_DIFFUSION, ModelDenoiser, TimestepDenoiser, levels_of, noisy, sigmas_of
from lib_fewstep.models.kinds import EDM, EDM_DATA, EDM_V, FLOW, NOISE, V
from tests.models.networks import output

SHAPE = (3, 4, 6, 5)


def parts():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, *SHAPE, generator=generator, dtype=torch.float64)


def table(name):
    return levels_of(KINDS[name]) if KINDS[name].levels else sigmas_of(STABLE_DIFFUSION.alphas_cumprod())


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("place", [0, 250, 999])
def test_an_exact_network_gives_the_image_back(name, place):
    image, noise = parts()
    sigma = float(table(name)[place])
    x = noisy(KINDS[name], image, noise, sigma)
    denoiser = ModelDenoiser(lambda x, t: output(name, image, noise, sigma), KINDS[name], table(name))
    found = denoiser(x, torch.full((3,), sigma, dtype=torch.float64))
    torch.testing.assert_close(found, image, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", KINDS)
def test_what_the_network_is_given(name):
    """Latents of unit variance (of EDM: of images with its deviation), and the time of its kind."""
    seen = {}

    def network(x, time):
        seen.update(x=x, time=time)
        return torch.zeros_like(x)

    denoiser = ModelDenoiser(network, KINDS[name], table(name))
    sigma = denoiser.sigmas[[100, 500, 900]]
    data = EDM_DATA if name == EDM else 1.0
    x = torch.ones(3, 4, 2, 2, dtype=torch.float64) * (sigma**2 + data**2).sqrt().reshape(3, 1, 1, 1)
    denoiser(x, sigma)
    if name == FLOW:
        assert torch.equal(seen["x"], x)
        torch.testing.assert_close(seen["time"], 1000 * sigma)
        return
    torch.testing.assert_close(seen["x"], torch.ones_like(x))
    expected = sigma.log() / 4 if name in (EDM, EDM_V) else torch.tensor([100.0, 500.0, 900.0]).double()
    torch.testing.assert_close(seen["time"], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_timesteps_and_noise_levels_lead_back(name, dtype):
    denoiser = ModelDenoiser(lambda x, t: x, KINDS[name], table(name).to(dtype))
    timesteps = torch.tensor([0.0, 0.25, 17.5, 500.0, 998.75, 999.0]).to(dtype)
    found = denoiser.sigma_to_t(denoiser.t_to_sigma(timesteps))
    torch.testing.assert_close(found, timesteps, rtol=0, atol=2e-2 if dtype == torch.float32 else 1e-9)
    beyond = denoiser.sigma_to_t(torch.tensor([denoiser.sigma_min / 2, denoiser.sigma_max * 2]))
    assert beyond.tolist() == [0, 999]


def test_the_timesteps_are_those_of_k_diffusion():
    levels = table(NOISE).float()
    theirs = external.DiscreteSchedule(levels, quantize=False)
    ours = ModelDenoiser(lambda x, t: x, KINDS[NOISE], levels)
    sigmas = torch.linspace(0.0001, 20, 333)
    torch.testing.assert_close(ours.sigma_to_t(sigmas), theirs.sigma_to_t(sigmas), rtol=1e-5, atol=1e-4)
    timesteps = torch.linspace(0, 999, 777)
    torch.testing.assert_close(ours.t_to_sigma(timesteps), theirs.t_to_sigma(timesteps), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.get_sigmas(7), theirs.get_sigmas(7), rtol=1e-5, atol=1e-6)


def test_edm_has_karras_grid():
    denoiser = ModelDenoiser(lambda x, t: x, KINDS[EDM], table(EDM))
    share = torch.arange(8, dtype=torch.float64) / 7
    expected = (80 ** (1 / 7) + share * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    torch.testing.assert_close(denoiser.get_sigmas(8), torch.cat([expected, torch.zeros(1).double()]))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_flow_follows_its_velocity_evenly(steps):
    """Euler over its own grid is x += v(x, 1000 (1 - i / n)) / n, with a velocity that depends on both."""

    def velocity(x, time):
        return torch.sin(3 * x) + (time / 1000).reshape(-1, 1, 1, 1)

    denoiser = ModelDenoiser(velocity, KINDS[FLOW], table(FLOW))
    _, x = parts()
    expected, levels = x.clone(), denoiser.get_sigmas(steps).tolist()
    for index in range(steps):
        expected = expected + velocity(expected, torch.full((3,), 1000 * (1 - index / steps)).double()) / steps
    for high, low in pairwise(levels):
        seen = denoiser(x, torch.full((3,), high, dtype=torch.float64))
        x = x + (low - high) * (x - seen) / high
    torch.testing.assert_close(x, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", [NOISE, V, EDM, EDM_V])
def test_noise_at_timesteps(name):
    """What DDIM and its like ask for: the noise in latents of unit variance."""
    image, noise = parts()
    sigma = float(table(name)[600])
    denoiser = ModelDenoiser(lambda x, t: output(name, image, noise, sigma), KINDS[name], table(name))
    x = noisy(KINDS[name], image, noise, sigma) / math.sqrt(1 + sigma**2)
    found = TimestepDenoiser(denoiser)(x, torch.full((3,), 600, dtype=torch.float64))
    torch.testing.assert_close(found, noise, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", KINDS)
def test_the_latents_keep_their_type(name, dtype):
    image, noise = parts()
    denoiser = ModelDenoiser(lambda x, t: x, KINDS[name], table(name).float())
    sigma = denoiser.sigmas[[200, 500, 800]]
    found = denoiser((image + noise).to(dtype), sigma)
    assert found.dtype == dtype
    assert found.isfinite().all()
