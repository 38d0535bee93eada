"""What is made of a guided image, beside the reference's code or the formula in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from hypothesis import given
from hypothesis import strategies as st

from lib_fewstep.guidance import AdaptiveProjection, nag, rescaled, thresholded

SHAPE = (3, 4, 16, 12)
CFG = 7.0


@pytest.fixture
def images():
    """Noisy latents, and the conditional and the unconditional image that a model sees in them."""
    torch.manual_seed(0)
    cond = torch.randn(SHAPE, dtype=torch.float64) + 0.3
    return cond + 5 * torch.randn_like(cond), cond, cond + 0.4 * torch.randn_like(cond)


def guided(cond, uncond, cfg=CFG):
    return uncond + cfg * (cond - uncond)


@pytest.mark.parametrize("sigma", [0.03, 1.0, 14.6, 4518.0])
@pytest.mark.parametrize("phi", [0.3, 0.7, 1.0])
def test_rescaled_is_the_papers_for_a_model_that_predicts_v(images, sigma, phi):
    x, cond, uncond = images
    signal, level = 1 / (1 + sigma**2) ** 0.5, sigma / (1 + sigma**2) ** 0.5

    def velocity(image):
        """Of variance-preserving latents a x: alpha noise - sigma image (arXiv 2202.00512, appendix D)."""
        noise = (x - image) / sigma
        return signal * noise - level * image

    wanted = rescale_noise_cfg(velocity(guided(cond, uncond)), velocity(cond), guidance_rescale=phi)
    image = signal * (signal * x) - level * wanted
    each = torch.full((SHAPE[0],), sigma, dtype=torch.float64)
    for given_sigma in (sigma, each):
        found = rescaled(guided(cond, uncond), cond, x, given_sigma, phi)
        torch.testing.assert_close(found, image, rtol=1e-6, atol=1e-6)


def test_rescaling_by_nothing_changes_nothing(images):
    x, cond, uncond = images
    image = guided(cond, uncond)
    assert rescaled(image, cond, x, 3.0, 0) is image


def projected(cond, differences, eta, threshold, momentum):
    """The paper's algorithm 1, on numpy arrays, over the differences of all steps so far."""
    average = np.zeros_like(differences[0])
    for difference in differences:
        average = difference + momentum * average
    found = []
    for image, one in zip(cond, average, strict=True):
        norm = np.sqrt((one**2).sum())
        limited = one * min(1, threshold / norm) if threshold else one
        unit = image / np.sqrt((image**2).sum())
        parallel = (limited * unit).sum() * unit
        found.append(image + (CFG - 1) * (limited - parallel + eta * parallel))
    return np.stack(found)


@pytest.mark.parametrize(
    ("eta", "threshold", "momentum"), [(0, 0, 0), (0.5, 2, 0), (1, 2, 0.3), (0, 3, -0.5), (0.2, 0, -0.75)]
)
def test_projection_is_the_papers(eta, threshold, momentum):
    torch.manual_seed(1)
    projection, seen = AdaptiveProjection(eta, threshold, momentum), []
    here = threshold * (np.prod(SHAPE[1:]) / 65536) ** 0.5
    for _ in range(4):
        cond, uncond = torch.randn(2, *SHAPE, dtype=torch.float64)
        seen.append((cond - uncond).numpy())
        found = projection(cond, uncond, CFG)
        np.testing.assert_allclose(found, projected(cond.numpy(), seen, eta, here, momentum), rtol=1e-9, atol=1e-9)


def test_a_further_evaluation_of_a_step_has_the_same_steps_before_it():
    torch.manual_seed(2)
    projection, (cond, uncond) = AdaptiveProjection(momentum=0.5), torch.randn(2, *SHAPE, dtype=torch.float64)
    projection(uncond, cond, CFG)
    first = projection(cond, uncond, CFG)
    assert torch.equal(projection.again(cond, uncond, CFG), first)
    assert torch.equal(projection.again(cond, uncond, CFG), first)
    assert not torch.equal(projection(cond, uncond, CFG), first)


def test_a_restart_forgets_the_steps_before(images):
    _, cond, uncond = images
    projection = AdaptiveProjection(momentum=0.5)
    first = projection(cond, uncond, CFG)
    projection(cond, uncond, CFG)
    projection.restart()
    assert torch.equal(projection(cond, uncond, CFG), first)


def test_a_projection_with_neutral_values_is_ordinary_guidance(images):
    _, cond, uncond = images
    found = AdaptiveProjection(eta=1, threshold=0, momentum=0)(cond, uncond, CFG)
    torch.testing.assert_close(found, guided(cond, uncond))


def test_the_threshold_is_the_same_for_each_value_of_larger_images():
    difference = torch.ones(1, 4, 16, 16)
    near, far = (
        AdaptiveProjection(1, 15, 0)(torch.zeros_like(image), -image, 2.0)
        for image in (difference, difference.repeat(1, 1, 4, 4))
    )
    assert float(near.max()) == pytest.approx(15 / 256)
    assert float(far.max()) == pytest.approx(15 / 256)


def test_no_guidance_is_no_image_of_nan(images):
    _, cond, _ = images
    for image in (cond, torch.zeros_like(cond)):
        assert torch.equal(AdaptiveProjection()(image, image, CFG), image)
    assert torch.equal(thresholded(torch.zeros_like(cond), cond * 0, 0.9), torch.zeros_like(cond))


def thresholded_in_numpy(image, mimicked, percentile):
    found = np.empty_like(image)
    for row, channel in np.ndindex(image.shape[:2]):
        own, weak = image[row, channel], mimicked[row, channel]
        wanted = np.abs(weak - weak.mean()).max()
        away = own - own.mean()
        limit = max(np.quantile(np.abs(away), percentile), wanted)
        found[row, channel] = own.mean() + np.clip(away, -limit, limit) / limit * wanted
    return found


@pytest.mark.parametrize("percentile", [0.5, 0.9, 0.995, 1])
@pytest.mark.parametrize("mimic", [2, 7, 12])
def test_thresholding_is_the_formula(images, percentile, mimic):
    _, cond, uncond = images
    image, mimicked = guided(cond, uncond), guided(cond, uncond, mimic)
    found = thresholded(image, mimicked, percentile)
    np.testing.assert_allclose(found, thresholded_in_numpy(image.numpy(), mimicked.numpy(), percentile), atol=1e-9)


def test_thresholding_to_the_same_guidance_changes_nothing(images):
    _, cond, uncond = images
    image = guided(cond, uncond)
    torch.testing.assert_close(thresholded(image, image, 1.0), image, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_precision(images, dtype):
    x, cond, uncond = (image.to(dtype) for image in images)
    image = guided(cond, uncond)
    for found in (
        rescaled(image, cond, x, torch.full((len(x),), 3.0), 0.7),
        AdaptiveProjection()(cond, uncond, CFG),
        thresholded(image, cond, 0.99),
        nag(cond.flatten(2), uncond.flatten(2), 2, 2.5, 0.5),
    ):
        assert found.dtype == dtype
        assert bool(torch.isfinite(found).all())


@given(seed=st.integers(0, 99), scale=st.floats(0, 8), tau=st.floats(1, 5), alpha=st.floats(0, 1))
def test_nag_is_the_papers(seed, scale, tau, alpha):
    positive, negative = np.random.default_rng(seed).normal(size=(2, 2, 5, 8))
    moved = positive + scale * (positive - negative)
    ratio = np.abs(moved).sum(-1) / np.abs(positive).sum(-1)
    limited = moved * (np.minimum(ratio, tau) / ratio)[..., None]
    wanted = alpha * limited + (1 - alpha) * positive
    found = nag(torch.from_numpy(positive), torch.from_numpy(negative), scale, tau, alpha)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def test_nag_changes_nothing_where_there_is_nothing_to_do():
    positive, negative = torch.randn(2, 2, 5, 8)
    assert torch.equal(nag(positive, negative, 0, 2.5, 0.5), positive)
    assert torch.equal(nag(positive, negative, 2, 2.5, 0), positive)
    assert torch.equal(nag(positive, positive.clone(), 2, 2.5, 0.5), positive)
    assert torch.equal(nag(positive * 0, positive * 0, 2, 2.5, 0.5), positive * 0)


def test_large_norms_and_noise_levels_in_half_precision():
    """float16 ends at 65504: neither a sum over channels nor the square of zero terminal SNR's level fits."""
    generator = torch.Generator().manual_seed(0)
    positive, negative = 3 * torch.randn(2, 1, 4, 1280, generator=generator)
    exact = nag(positive, negative, 20, 2.5, 0.5)
    found = nag(positive.half(), negative.half(), 20, 2.5, 0.5)
    torch.testing.assert_close(found.float(), exact, rtol=2e-2, atol=2e-2)
    x, cond, guided = torch.randn(3, 1, 4, 8, 8, generator=generator)
    for sigma in (300.0, 4518.8):
        half = rescaled(guided.half(), cond.half(), (sigma * x).clamp(-60000, 60000).half(), sigma, 0.7)
        exact = rescaled(guided, cond, (sigma * x).clamp(-60000, 60000), sigma, 0.7)
        assert half.dtype == torch.float16
        assert half.isfinite().all()
    for sigma in (0.0, torch.zeros(1)):
        assert torch.equal(rescaled(guided, cond, x, sigma, 0.7), guided)
