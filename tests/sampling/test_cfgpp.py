"""CFG++ samplers against ordinary guidance, against k-diffusion, and against the exact flow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.kdiffusion import sampling as theirs
from bench.mixtures import SCHEDULES, Mixture, Model, one, separated, start
from lib_fewstep import sampling as ours
from tests.sampling.runs import BASES, NOISY, each_setting, run

UNCOND = Mixture(((0.3, -1.5, 0.4), (0.7, 0.8, 0.6)))
COND = Mixture(((0.2, -0.3, 0.3), (0.8, 0.9, 0.5)))


@given(st.floats(5, 15), st.floats(0, 0.99), st.floats(0, 3))
@settings(max_examples=60)
def test_a_step_of_euler_is_a_step_with_greater_guidance(sigma, kept, strength):
    """With lambda / (1 - sigma' / sigma) exactly."""
    sigmas = torch.tensor([sigma, kept * sigma], dtype=torch.float64)
    x, model = start(sigmas), Model(UNCOND, COND)
    ordinary = run(theirs.sample_euler, model, x, sigmas, strength / float(1 - sigmas[1] / sigmas[0]))
    assert run(ours.sample_euler_cfgpp, model, x, sigmas, strength) == pytest.approx(ordinary, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("sampler", "eta"),
    [
        (ours.sample_euler_cfgpp, None),
        *((ours.sample_euler_ancestral_cfgpp, eta) for eta in (0.0, 0.5, 1.0)),
    ],
)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 4, 20, 50])
def test_a_run_is_the_base_samplers_with_greater_guidance(sampler, eta, schedule, steps):
    """With lambda / (1 - k) at each step, which is true of the samplers without corrections and half steps."""
    sigmas = SCHEDULES[schedule](steps)
    strengths = [0.6 / (1 - kept(sampler, eta, *pair)) for pair in sigmas.unfold(0, 2, 1).tolist()]
    expected = run(BASES[sampler], Ramped(strengths), start(sigmas), sigmas, eta=eta)
    found = run(sampler, Model(UNCOND, COND), start(sigmas), sigmas, 0.6, eta)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


class Ramped(Model):
    """A model that guides each call with a strength of its own."""

    def __init__(self, strengths):
        super().__init__(UNCOND, COND)
        self._strengths = strengths

    def __call__(self, x, sigma, cond_scale=1.0):
        return super().__call__(x, sigma, cond_scale * self._strengths[self.calls])


def kept(sampler, eta, sigma, sigma_next):
    """The share of x - D_u that a step keeps."""
    if sampler is ours.sample_dpmpp_2m_sde_cfgpp:
        return (sigma_next / sigma) ** (1 + eta)
    fresh = (eta or 0.0) * sigma_next * (1 - (sigma_next / sigma) ** 2) ** 0.5
    return (sigma_next**2 - fresh**2) ** 0.5 / sigma


@each_setting
def test_a_step_adds_the_guidance_once(sampler, eta):
    """On images that are always 0 without the condition and 1 with it, corrections and half steps have no part."""
    sigmas = SCHEDULES["Karras"](8)[:-1]
    x = start(sigmas)
    expected = x
    for sigma, sigma_next in sigmas.unfold(0, 2, 1).tolist():
        expected = 0.6 + kept(sampler, eta, sigma, sigma_next) * expected
    more = {"noise_sampler": lambda sigma, sigma_next: torch.zeros_like(x)} if sampler in NOISY else {}
    found = run(sampler, Model(one(0.0, 0.0), one(1.0, 0.0)), x, sigmas, 0.6, eta, **more)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@each_setting
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [2, 4, 20])
@pytest.mark.parametrize("ends_above_zero", [False, True])
@pytest.mark.parametrize(("cond", "strength"), [(COND, 0.0), (UNCOND, 0.6), (UNCOND, 5.0)])
def test_the_base_sampler_without_guidance(sampler, eta, schedule, steps, ends_above_zero, cond, strength):
    """At lambda 0, and wherever both images are equal."""
    sigmas = SCHEDULES[schedule](steps + ends_above_zero)[: steps + 1]
    x = start(sigmas)
    expected = run(BASES[sampler], Model(UNCOND), x, sigmas, eta=eta)
    torch.testing.assert_close(
        run(sampler, Model(UNCOND, cond), x, sigmas, strength, eta), expected, rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("sampler", NOISY)
def test_s_noise_is_the_base_samplers(sampler):
    sigmas = SCHEDULES["Karras"](8)
    x = start(sigmas)
    expected = run(BASES[sampler], Model(UNCOND), x, sigmas, s_noise=0.7)
    torch.testing.assert_close(run(sampler, Model(UNCOND), x, sigmas, s_noise=0.7), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("sampler", "eta", "order"),
    [
        (ours.sample_euler_cfgpp, None, 1),
        (ours.sample_euler_ancestral_cfgpp, 0.0, 1),
        (ours.sample_dpmpp_2m_cfgpp, None, 2),
        (ours.sample_dpmpp_2m_sde_cfgpp, 0.0, 2),
        (ours.sample_dpmpp_2s_ancestral_cfgpp, 0.0, 2),
    ],
)
def test_order_of_convergence_to_the_exact_flow(sampler, eta, order):
    """On evenly spaced log(sigma), which ends above 0; the guidance is 0."""
    counts, errors = [40, 80, 160, 320], []
    for steps in counts:
        sigmas = torch.logspace(1, -1, steps + 1, dtype=torch.float64)
        x = start(sigmas)
        end = run(sampler, Model(UNCOND, COND), x, sigmas, 0.0, eta)
        errors.append(float((UNCOND.below(end, 0.1) - UNCOND.below(x, 10.0)).abs().mean()))
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    print(f"order {slope:.3f}, errors {errors}")
    assert slope == pytest.approx(order, abs=0.1 * order)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [10, 20, 50])
@pytest.mark.parametrize("sampler", BASES)
def test_an_inpainted_image_is_kept_if_both_images_are_blended(sampler, schedule, steps):
    """The kept region's noise, at the last level above 0, in terms of what belongs there."""
    deviation = noise_of_kept_region(sampler, SCHEDULES[schedule](steps), blend_uncond=True)
    assert deviation < 1e-12


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [10, 20, 50])
def test_an_inpainted_image_is_lost_if_only_the_guided_one_is_blended(schedule, steps):
    deviation = noise_of_kept_region(ours.sample_euler_cfgpp, SCHEDULES[schedule](steps), blend_uncond=False)
    print(f"{schedule}, {steps} steps: {deviation:.0%}")
    assert deviation > 0.9


def noise_of_kept_region(sampler, sigmas, *, blend_uncond):
    """Relative error of the noise that is left in the kept half before the last step; no fresh noise is drawn."""
    uncond, cond = separated()
    image = cond.draw((64, 1, 4, 4))
    noise = start(torch.ones(1), image.shape, seed=7)
    model = Inpainting(uncond, cond, image, blend_uncond=blend_uncond)
    more = {"eta": 0.0} if sampler in NOISY else {}
    seen = []
    strength = ours.calibrated(sampler, sigmas, 3.0, **more)
    end = run(sampler, model, image + sigmas[0] * noise, sigmas, strength, callback=seen.append, **more)
    torch.testing.assert_close(end[..., :2], image[..., :2])
    left = (seen[-1]["x"] - image) / seen[-1]["sigma"]
    return float(((left - noise)[..., :2]).norm() / noise[..., :2].norm())


class Inpainting(Model):
    """Keeps the left half of an image, as the WebUI does; it may forget to do so for the unconditional image."""

    def __init__(self, uncond, cond, image, *, blend_uncond):
        super().__init__(uncond, cond)
        self._image, self._blend_uncond = image, blend_uncond

    def __call__(self, x, sigma, cond_scale=1.0):
        guided = super().__call__(x, sigma, cond_scale)
        if self._blend_uncond:
            self.last_noise_uncond = self._blended(self.last_noise_uncond)
        return self._blended(guided)

    def _blended(self, image):
        return torch.cat([self._image[..., :2], image[..., 2:]], dim=-1)
