"""What else a network is given: a guidance scale, sizes, latents of other statistics."""

from __future__ import annotations

import math

import pytest
import torch

from lib_fewstep.models import guidance_embedding, size_conditioning
from lib_fewstep.models.latents import PLAYGROUND, SDXL_FACTOR
from tests.unets import sd1_unet


def test_a_guidance_scale_of_1_is_timestep_0():
    assert guidance_embedding.embedded(1.0, 256).tolist() == [0.0] * 128 + [1.0] * 128


def test_a_guidance_scale_s_angles():
    found = guidance_embedding.embedded(8.5, 6)
    angles = [7500.0, 7500.0 / 100, 7500.0 / 10_000]
    expected = torch.tensor([*map(math.sin, angles), *map(math.cos, angles)], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_the_unet_is_given_the_scale_and_is_itself_again():
    unet = sd1_unet()
    width = unet.time_embed[0].in_features
    x, context = torch.randn(1, 4, 8, 8), torch.randn(1, 7, 64)
    projection = torch.randn(width, 256) / 16

    def seen():
        with torch.no_grad():
            return unet(x, torch.tensor([500.0]), context=context)

    before = seen()
    with guidance_embedding.guided_by_number(unet, projection, 8.0):
        inside = seen()
    assert not torch.equal(inside, before)
    assert torch.equal(seen(), before)
    with pytest.raises(RuntimeError), guidance_embedding.guided_by_number(unet, projection, 8.0):
        raise RuntimeError
    assert torch.equal(seen(), before)
    assert not unet.time_embed._forward_pre_hooks


def test_sizes_stand_at_the_vector_s_end():
    vector = torch.randn(2, 64 + 6 * 256)
    sizes = size_conditioning.Sizes(original=(1024, 768), crop=(0, 8), target=(512, 640))
    found = size_conditioning.with_sizes(vector, sizes)
    assert torch.equal(found[:, :64], vector[:, :64])
    assert torch.equal(found[0, 64:], found[1, 64:])
    for index, number in enumerate([1024, 768, 0, 8, 512, 640]):
        part = found[0, 64 + 256 * index : 64 + 256 * (index + 1)]
        rates = [10_000 ** (-each / 128) for each in range(128)]
        expected = [math.cos(number * rate) for rate in rates] + [math.sin(number * rate) for rate in rates]
        torch.testing.assert_close(part, torch.tensor(expected).float(), rtol=0, atol=2e-4)


def test_playground_s_latents_lead_back():
    latents = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    model = PLAYGROUND.of_model(latents)
    torch.testing.assert_close(PLAYGROUND.of_host(model), latents, rtol=1e-12, atol=1e-12)
    raw = latents / SDXL_FACTOR
    torch.testing.assert_close(model[:, 2], (raw[:, 2] + 1.383) * 0.5 / 6.5498)
