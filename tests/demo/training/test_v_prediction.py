"""What the v-prediction UNet learns, by exact mathematics and as the extension's library samples it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from demo.training.encoded import Encoded
from demo.training.unet import prediction_loss
from demo.training.v_prediction import V, v
from lib_fewstep.models import KINDS, ModelDenoiser, sigmas_of

LATENTS, NOISE = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.0, 1.57])
def test_the_target_is_the_direction_of_the_path(angle):
    """arXiv 2202.00512, appendix D: the derivative of cos(angle) latents + sin(angle) noise by the angle."""
    at = torch.tensor(angle, dtype=torch.float64)
    _, direction = torch.func.jvp(lambda a: a.cos() * LATENTS + a.sin() * NOISE, (at,), (torch.ones_like(at),))
    torch.testing.assert_close(v(at.cos() ** 2, LATENTS, NOISE), direction)


def test_of_noise_alone_it_is_the_latents_with_the_other_sign():
    assert torch.equal(v(torch.zeros(()), LATENTS, NOISE), -LATENTS)


def test_the_last_timestep_is_noise_alone():
    """But for what the WebUI's schedule keeps there, 2.2e-4 of the latents; without zero terminal SNR it is 6.8e-2."""
    assert float(V.kept[-1].sqrt()) == pytest.approx(1 / 4518.76, rel=1e-4)
    assert float((v(V.kept[-1].double(), LATENTS, NOISE) + LATENTS).abs().max()) < 3e-4 * float(NOISE.abs().max())


def test_the_library_sees_the_latents_in_what_is_learnt():
    """At every timestep, for a UNet that has learnt its target."""
    shares = V.kept.double()
    for time, sigma in enumerate(sigmas_of(shares)):
        denoiser = ModelDenoiser(lambda x, t, time=time: v(shares[time], LATENTS, NOISE), KINDS["v"], sigmas_of(shares))
        torch.testing.assert_close(denoiser(LATENTS + sigma * NOISE, sigma[None]), LATENTS)


class Learnt(torch.nn.Module):
    """Knows that there is nothing but one picture's latents, and so which noise it is shown."""

    def forward(self, x, times, **_):
        share, latents = V.kept[times][:, None, None, None], LATENTS.float()
        return v(share, latents, (x - share.sqrt() * latents) / (1 - share).sqrt())


def test_nothing_is_left_to_learn_for_a_unet_that_knows_its_target():
    """Its loss is zero, but not where the noise is asked for."""
    zeros = torch.zeros_like(LATENTS.float())
    group = Encoded(["a red house"], torch.zeros(1, 6), LATENTS.float(), zeros, torch.tensor([False]))
    model = SimpleNamespace(unet=Learnt(), conditioning=lambda prompts, sizes: {})

    def loss(*given, **options):
        return float(prediction_loss(model, [group], *given, **options)(0, np.random.default_rng(0))[0])

    assert loss(prediction=V) < 1e-9
    assert loss() > 0.1
