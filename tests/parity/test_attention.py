"""One attention of the WebUI's class, and diffusers' own with the same weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.hooks import smoothed_energy_guidance_utils as smoothed
from diffusers.models.attention_processor import (
    Attention,
    PAGCFGIdentitySelfAttnProcessor2_0,
    PAGIdentitySelfAttnProcessor2_0,
)
from diffusers.pipelines.stable_diffusion_sag.pipeline_stable_diffusion_sag import (
    CrossAttnStoreProcessor,
    StableDiffusionSAGPipeline,
)
from ldm.modules.attention import CrossAttention

from lib_fewstep.guidance.attention import blurred_queries, values_alone
from lib_fewstep.guidance.self_attention import attention_watched, degraded, noisy_again
from tests.parity.nearness import check_near

SIDE, WIDTH, HEADS = 8, 32, 4
ROWS = 6


@pytest.fixture
def pair():
    """The WebUI's class and diffusers'."""
    torch.manual_seed(0)
    ours = CrossAttention(WIDTH, heads=HEADS, dim_head=WIDTH // HEADS).eval().requires_grad_(False)
    theirs = Attention(WIDTH, heads=HEADS, dim_head=WIDTH // HEADS).eval().requires_grad_(False)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.fixture
def x():
    return 3 * torch.randn(ROWS, SIDE**2, WIDTH, generator=torch.Generator().manual_seed(1))


def last(of_rows):
    """Of all rows the last so many."""
    return lambda count: torch.arange(count) >= count - of_rows


def test_without_guidance(pair, x):
    ours, theirs = pair
    check_near(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("processor", "perturbed"), [(PAGIdentitySelfAttnProcessor2_0, 3), (PAGCFGIdentitySelfAttnProcessor2_0, 2)]
)
def test_perturbed_attention(pair, x, processor, perturbed):
    """diffusers perturbs the last half of the rows, or with CFG the last third."""
    ours, theirs = pair
    theirs.set_processor(processor())
    with values_alone(ours, last(perturbed)):
        check_near(ours(x), theirs(x))


@pytest.mark.parametrize("sigma", [0.3, 1.0, 1.25])
def test_smoothed_energy(pair, x, sigma):
    """Its two branches have changed places, so a threshold of 0 gives the one that blurs.

    For these deviations both blurs are as wide; for others, and beyond half of the map, ours reaches further.
    """
    ours, theirs = pair
    width = 2 * (torch.tensor(6 * sigma).ceil().int().item() // 2) + 1
    theirs.to_q.register_forward_hook(lambda _, __, q: smoothed._gaussian_blur_2d(q, width, sigma, 0))
    with blurred_queries(ours, last(ROWS), sigma, lambda tokens: (SIDE, SIDE)):
        check_near(ours(x), theirs(x))


def test_smoothed_energy_of_an_infinite_blur(pair, x):
    ours, theirs = pair
    theirs.to_q.register_forward_hook(lambda _, __, q: smoothed._gaussian_blur_2d(q, 1, 1.0, 2.0))
    with blurred_queries(ours, last(ROWS), torch.inf, lambda tokens: (SIDE, SIDE)):
        check_near(ours(x), theirs(x))


def test_what_is_attended_to(pair, x):
    ours, theirs = pair
    store = CrossAttnStoreProcessor()
    theirs.set_processor(store)
    theirs(x)
    with attention_watched(ours, last(2)) as watched:
        ours(x)
    check_near(watched.map(), store.attention_probs.unflatten(0, (ROWS, HEADS)).mean(1).sum(1)[-2:])


@pytest.mark.parametrize("size", [(SIDE, SIDE), (4 * SIDE, 4 * SIDE), (37, 21)])
def test_what_is_degraded(size):
    """The map is as large as the image, divides it, or does neither; the noise is that of the unconditional image."""
    shares = torch.randn(2 * HEADS, SIDE**2, SIDE**2, generator=torch.Generator().manual_seed(2)).softmax(-1)
    image, noise = torch.randn(2, 2, 4, *size, generator=torch.Generator().manual_seed(3))
    scheduler = DDIMScheduler()
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    pipeline = SimpleNamespace(
        scheduler=scheduler, unet=SimpleNamespace(config=SimpleNamespace(attention_head_dim=[2, HEADS]))
    )
    theirs = StableDiffusionSAGPipeline.sag_masking(pipeline, image, shares, (SIDE, SIDE), torch.tensor(600), noise)
    signal = scheduler.alphas_cumprod[600].sqrt()
    noisy = image + noise * (1 - signal**2).sqrt() / signal
    worse = degraded(image, shares.unflatten(0, (2, HEADS)).mean(1).sum(1), (SIDE, SIDE))
    check_near(signal * noisy_again(noisy, image, worse), theirs)
