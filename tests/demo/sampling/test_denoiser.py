"""The denoiser that samplers call: its noise levels, its unconditional image, and the steps it tells a session."""

from __future__ import annotations

import pytest
import torch

from demo.sampling.denoiser import GuidedDenoiser, NoiseDenoiser, NoiseLevels, training_sigmas
from demo.sampling.generate import conditioning, generate
from demo.sampling.named import schedule
from demo.ways import NATIVE
from lib_fewstep.models import KINDS, ModelDenoiser
from lib_fewstep.sampling import sample_dpmpp_2s_ancestral_cfgpp


class Session:
    """Notes the steps that it is told."""

    def __init__(self):
        self.steps = []

    def at_step(self, index):
        self.steps.append(index)


def test_timesteps_and_noise_levels_are_each_others_inverse():
    levels, times = NoiseLevels(), torch.tensor([0.0, 0.25, 499.5, 998.75, 999.0], dtype=torch.float64)
    assert levels.sigma_to_t(levels.t_to_sigma(times)).tolist() == pytest.approx(times.tolist(), abs=1e-3)
    assert torch.equal(levels.t_to_sigma(torch.arange(1000)), training_sigmas().float())


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_a_run_is_at_the_trailing_timesteps(steps):
    grid = [1000 * left // steps - 1 for left in range(steps, 0, -1)]
    torch.testing.assert_close(schedule("Trailing", steps)[:-1], training_sigmas()[grid].float(), rtol=0, atol=0)


@torch.inference_mode()
def test_the_unconditional_image_is_what_no_guidance_gives(model):
    sigmas = schedule("Trailing", 4)
    x, sigma = torch.randn(1, 4, 16, 16) * float(sigmas[1]), sigmas[1:2].float()
    given = conditioning(model, ["a red house"], NATIVE)
    guided = GuidedDenoiser(NoiseDenoiser(model.unet), given, 8.0, sigmas)
    guided(x, sigma)
    assert guided.last_noise_uncond is None
    guided.need_last_noise_uncond = True
    guided(x, sigma)
    alone = GuidedDenoiser(NoiseDenoiser(model.unet), given, 0.0, sigmas)(x, sigma)
    torch.testing.assert_close(guided.last_noise_uncond, alone)


def test_the_librarys_denoiser_makes_the_same_pictures(model):
    """That of models that predict noise, whose formula and levels are not written here."""
    asked = ["a red house", "a blue fish on a yellow background"], [3, 4]
    library = ModelDenoiser(model.unet, KINDS["noise"], training_sigmas().float())
    theirs, mine = (generate(model, *asked, steps=4, denoiser=one).latents for one in (library, None))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-3)


@torch.inference_mode()
def test_a_session_is_told_the_step_of_every_evaluation(model):
    """Also of those between two levels."""
    sigmas, session = schedule("Trailing", 3), Session()
    guided = GuidedDenoiser(
        NoiseDenoiser(model.unet), conditioning(model, ["a red house"], NATIVE), 1.0, sigmas, session
    )
    x = torch.randn(1, 4, 16, 16) * float(sigmas[0])
    sample_dpmpp_2s_ancestral_cfgpp(guided, x, sigmas, disable=True, eta=0.0)
    assert session.steps == [0, 0, 1, 1, 2]
    assert guided.evaluations == 5


def test_a_seed_and_a_prompt_each(model):
    with pytest.raises(ValueError, match="one seed per prompt"):
        generate(model, ["a red house"], [1, 2])
