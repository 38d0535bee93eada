"""What is made of a guided image, beside diffusers' guiders and schedulers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance
from diffusers.guiders.guider_utils import rescale_noise_cfg

from lib_fewstep.guidance import AdaptiveProjection, rescaled
from tests.parity.nearness import check_near

CFG = 7.0


def images(*shape):
    """Noisy latents of a variance-preserving model, and the two images that it sees in them."""
    generator = torch.Generator().manual_seed(0)
    x, cond, apart = torch.randn(3, *shape, generator=generator)
    return x, cond + 0.3, cond + 0.3 + 0.4 * apart


@pytest.mark.parametrize("timestep", [0, 20, 500, 998, 999])
@pytest.mark.parametrize("phi", [0.3, 0.7, 1.0])
def test_rescaling(timestep, phi):
    """Velocities are diffusers' own, and so is the way back to images; at 999 almost all is noise."""
    scheduler = DDIMScheduler(prediction_type="v_prediction", clip_sample=False, rescale_betas_zero_snr=True)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double().clamp(min=1e-8)
    scheduler.set_timesteps(1000)
    x, cond, uncond = images(3, 4, 16, 12)
    guided = uncond + CFG * (cond - uncond)
    share = scheduler.alphas_cumprod[timestep]

    def velocity(image):
        noise = (x - share.sqrt() * image) / (1 - share).sqrt()
        return scheduler.get_velocity(image, noise, torch.tensor([timestep]))

    v = rescale_noise_cfg(velocity(guided), velocity(cond), guidance_rescale=phi)
    theirs = scheduler.step(v, timestep, x).pred_original_sample
    check_near(rescaled(guided, cond, x / share.sqrt(), ((1 - share) / share).sqrt(), phi), theirs)


@pytest.mark.parametrize(
    ("eta", "threshold", "momentum"), [(1, 0, 0), (0, 0, 0), (0.3, 15, 0), (1, 15, 0.3), (0, 15, -0.5), (0.2, 0, -0.75)]
)
def test_projection(eta, threshold, momentum):
    """At SDXL's size, where its threshold is the paper's; guidance counts from CFG 1 in diffusers' paper form."""
    ours, buffer = AdaptiveProjection(eta, threshold, momentum), MomentumBuffer(momentum)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        cond, apart = torch.randn(2, 2, 4, 128, 128, generator=generator)
        uncond = cond + 0.1 * (seed + 1) * apart
        theirs = normalized_guidance(cond, uncond, CFG - 1, buffer, eta, threshold, use_original_formulation=True)
        check_near(ours(cond, uncond, CFG), theirs)
