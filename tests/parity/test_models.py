"""Kinds of models, noise schedules and grids beside diffusers' schedulers and embeddings."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    LatentConsistencyModelPipeline,
)
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from diffusers.schedulers.scheduling_utils import AysSchedules

from lib_fewstep.models import (
    KINDS,
    NAMED,
    STABLE_DIFFUSION,
    ModelDenoiser,
    NoiseSchedule,
    levels_of,
    sigmas_of,
    with_zero_terminal_snr,
)
from lib_fewstep.models.guidance_embedding import embedded, guided_by_number
from lib_fewstep.models.kinds import EDM, EDM_V, NOISE, V
from lib_fewstep.models.size_conditioning import Sizes
from lib_fewstep.models.size_conditioning import embedded as embedded_sizes
from lib_fewstep.sampling.schedules import ays_sigmas
from tests.parity.nearness import check_near
from tests.unets import sd1_unet

STEPS = 8
SCHEDULERS = {NOISE: "epsilon", V: "v_prediction", EDM: "epsilon", EDM_V: "v_prediction"}
EDMS = (EDM, EDM_V)


def network(x, time):
    """A stub that depends on both of its arguments."""
    return torch.sin(2 * x) + 0.1 * torch.cos(time).reshape(-1, 1, 1, 1)


def start():
    return torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))


def edm(scheduler, name):
    """diffusers' scheduler of a kind, with noise levels in double precision."""
    low, high = KINDS[name].levels
    found = scheduler(
        sigma_min=low, sigma_max=high, sigma_data=0.5 if name == EDM else 1.0, prediction_type=SCHEDULERS[name]
    )
    found.set_timesteps(STEPS)
    levels = ModelDenoiser(network, KINDS[name], levels_of(KINDS[name])).get_sigmas(STEPS)
    torch.testing.assert_close(found.sigmas.double(), levels, rtol=1e-6, atol=0)
    found.sigmas, found.timesteps = levels, found.precondition_noise(levels[:-1])
    return found, levels


def by_diffusers(scheduler, x):
    for time in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, time)
        x = scheduler.step(network(scaled, time.expand(len(x))), time, x).prev_sample
    return x


@pytest.mark.parametrize("name", EDMS)
def test_whole_runs_of_euler(name):
    """diffusers' steps are float32."""
    scheduler, levels = edm(EDMEulerScheduler, name)
    denoiser = ModelDenoiser(network, KINDS[name], levels_of(KINDS[name]))
    x = ours = start() * float(levels[0])
    for high, low in pairwise(levels.tolist()):
        ours = ours + (low - high) * (ours - denoiser(ours, torch.full((2,), high))) / high
    torch.testing.assert_close(ours, by_diffusers(scheduler, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", EDMS)
def test_the_images_of_euler(name):
    scheduler, levels = edm(EDMEulerScheduler, name)
    denoiser = ModelDenoiser(network, KINDS[name], levels_of(KINDS[name]))
    for sigma, time in zip(levels, scheduler.timesteps, strict=False):
        x = start() * float(sigma)
        output = network(scheduler.precondition_inputs(x, sigma), time.expand(2))
        check_near(denoiser(x, sigma.expand(2)), scheduler.precondition_outputs(x, output, sigma))


@pytest.mark.parametrize("name", EDMS)
def test_the_images_of_the_multistep_solver(name):
    scheduler, levels = edm(EDMDPMSolverMultistepScheduler, name)
    denoiser = ModelDenoiser(network, KINDS[name], levels_of(KINDS[name]))
    for index, time in enumerate(scheduler.timesteps):
        x = start() * float(levels[index])
        scheduler._step_index = index
        scheduler.is_scale_input_called = False
        output = network(scheduler.scale_model_input(x, time), time.expand(2))
        theirs = scheduler.convert_model_output(output, sample=x)
        check_near(denoiser(x, levels[index].expand(2)), theirs)


@pytest.mark.parametrize("name", [NOISE, V])
@pytest.mark.parametrize("timestep", [0, 500, 999])
def test_kinds_with_a_noise_schedule(name, timestep):
    """diffusers' latents have unit variance."""
    scheduler = DDIMScheduler(prediction_type=SCHEDULERS[name], clip_sample=False)
    scheduler.alphas_cumprod = STABLE_DIFFUSION.alphas_cumprod()
    scheduler.set_timesteps(1000)
    table = sigmas_of(scheduler.alphas_cumprod)
    sigma = table[timestep]
    x = start() * float(sigma)
    scaled = x / (1 + sigma**2).sqrt()
    output = network(scaled, torch.full((2,), float(timestep)))
    theirs = scheduler.step(output, timestep, scaled).pred_original_sample
    check_near(ModelDenoiser(network, KINDS[name], table)(x, sigma.expand(2)), theirs)


@pytest.mark.parametrize(
    ("schedule", "config"),
    [
        (STABLE_DIFFUSION, {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}),
        (
            NAMED["Kolors"],
            {
                "beta_schedule": "scaled_linear",
                "beta_start": 0.00085,
                "beta_end": 0.014,
                "num_train_timesteps": 1100,
            },
        ),
        (NAMED["Paints-UNDO"], {"beta_schedule": "linear", "beta_start": 0.00085, "beta_end": 0.020}),
        (NAMED["Linear"], {}),
        (NAMED["Cosine"], {"beta_schedule": "squaredcos_cap_v2"}),
        (
            NoiseSchedule("Linear", 0.001, 0.03, 250),
            {"beta_schedule": "linear", "beta_start": 0.001, "beta_end": 0.03, "num_train_timesteps": 250},
        ),
    ],
    ids=["Stable Diffusion", "Kolors", "Paints-UNDO", "Linear", "Cosine", "own"],
)
def test_noise_schedules(schedule, config):
    """diffusers' betas are float32, and are multiplied in double precision here."""
    betas = DDPMScheduler(**config).betas
    theirs = torch.cumprod(1 - betas.double(), 0)
    ours = schedule.alphas_cumprod()
    assert len(ours) == len(theirs)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-9)


def test_zero_terminal_snr():
    """diffusers' last timestep keeps nothing at all; the WebUI's keeps what makes sigma 4518.8."""
    shares = STABLE_DIFFUSION.alphas_cumprod()
    betas = 1 - shares / torch.cat([torch.ones(1), shares[:-1]])
    theirs = torch.cumprod(1 - rescale_zero_terminal_snr(betas), 0)
    assert theirs[-1] == 0
    check_near(with_zero_terminal_snr(shares)[:-1], theirs[:-1])


@pytest.mark.parametrize(("sdxl", "name"), [(False, "StableDiffusionTimesteps"), (True, "StableDiffusionXLTimesteps")])
def test_align_your_steps(sdxl, name):
    """diffusers has the timesteps of the 10 steps, rounded: the next timesteps' noise levels are around ours."""
    table = sigmas_of(STABLE_DIFFUSION.alphas_cumprod())
    denoiser = ModelDenoiser(network, KINDS[NOISE], table)
    found = denoiser.sigma_to_t(ays_sigmas(10, sdxl=sdxl)[:-1].double())
    torch.testing.assert_close(found, torch.tensor(AysSchedules[name]).double(), rtol=0, atol=1.0)


def test_align_your_steps_of_sdxl_has_published_noise_levels():
    theirs = AysSchedules["StableDiffusionXLSigmas"]
    torch.testing.assert_close(ays_sigmas(10, sdxl=True), torch.tensor(theirs).float(), rtol=0, atol=0)


@pytest.mark.parametrize("scale", [1.0, 4.0, 8.5])
def test_the_embedding_of_a_guidance_scale(scale):
    theirs = LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, torch.tensor([scale - 1]), 256)
    torch.testing.assert_close(embedded(scale, 256).float(), theirs[0], rtol=0, atol=5e-3)


def test_where_the_guidance_scale_goes():
    unet = sd1_unet().double()
    first, last = unet.time_embed[0], unet.time_embed[2]
    theirs = TimestepEmbedding(first.in_features, first.out_features, cond_proj_dim=256)
    theirs.linear_1.load_state_dict(first.state_dict())
    theirs.linear_2.load_state_dict(last.state_dict())
    time = torch.randn(3, first.in_features)
    condition = embedded(7.5, 256).expand(3, -1)
    with torch.no_grad(), guided_by_number(unet, theirs.cond_proj.weight, 7.5):
        check_near(unet.time_embed(time), theirs(time, condition))


def test_sizes():
    sizes = Sizes(original=(1024, 768), crop=(0, 64), target=(512, 1344))
    numbers = torch.tensor([1024, 768, 0, 64, 512, 1344])
    theirs = Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)(numbers).flatten()
    torch.testing.assert_close(embedded_sizes(sizes).float(), theirs.float(), rtol=0, atol=3e-4)
