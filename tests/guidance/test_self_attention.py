"""Self-attention guidance, beside attention and a blur that are written out in numpy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage

from lib_fewstep.guidance.self_attention import attention_watched, degraded, moved, noisy_again
from tests.guidance.conftest import HEADS, WIDTH

MAP = (4, 6)
TOKENS = 24
IMAGE = (3, 4, 32, 48)
NOTHING, EVERYTHING = torch.zeros(3, TOKENS), torch.full((3, TOKENS), 2.0)


@pytest.fixture
def x():
    return 3 * torch.randn(5, TOKENS, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def image():
    return torch.randn(IMAGE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def all_but_first(count):
    return torch.arange(count) > 0


def everybody(count):
    return torch.ones(count, dtype=torch.bool)


def nobody(count):
    return torch.zeros(count, dtype=torch.bool)


def watch(attention, *inputs, rows=everybody):
    with attention_watched(attention, rows) as watched:
        for x in inputs:
            attention(x)
        return watched.map()


def in_numpy(attention, x):
    """The map of each row, by the definition of attention."""
    queries, keys = (layer.weight.detach().numpy() for layer in (attention.to_q, attention.to_k))
    width = WIDTH // HEADS
    found = []
    for row in x.numpy():
        received = np.zeros(len(row))
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            powers = np.exp((row @ queries[part].T) @ (row @ keys[part].T).T / width**0.5)
            received += (powers / powers.sum(1, keepdims=True)).sum(0)
        found.append(received / HEADS)
    return np.stack(found)


def blurred(image):
    """Nine places a side, mirrored at the edges."""
    for axis in (2, 3):
        image = ndimage.gaussian_filter1d(image, 1.0, axis=axis, radius=4, mode="mirror")
    return image


@pytest.mark.parametrize("tokens", [TOKENS, 6, 1])
def test_the_map_is_that_of_the_chosen_rows(attention, x, tokens):
    """Also where another method has made it smaller."""
    x = x[:, :tokens]
    found = watch(attention, x, rows=all_but_first)
    np.testing.assert_allclose(found, in_numpy(attention, x)[1:], rtol=1e-12)
    torch.testing.assert_close(found.mean(1), torch.ones(4, dtype=torch.float64))


def test_split_calls_are_one_call(attention, x):
    torch.testing.assert_close(watch(attention, x[:2], x[2:3], x[3:]), watch(attention, x), rtol=1e-12, atol=0)


def test_a_map_is_given_once(attention, x):
    with attention_watched(attention, everybody) as watched:
        assert watched.map() is None
        attention(x[:2])
        assert len(watched.map()) == 2
        assert watched.map() is None
        attention(x[:, :6])
        assert watched.map().shape == (5, 6)
    assert watch(attention, x, rows=nobody) is None


def test_the_attentions_own_scale_counts(attention, x):
    """The WebUI's other class of attention has none."""
    usual = watch(attention, x)
    attention.scale *= 2
    assert not torch.allclose(watch(attention, x), usual)
    del attention.scale
    with attention_watched(attention, everybody) as watched:
        attention.to_k(x)
        attention.to_q(x)
        assert torch.equal(watched.map(), usual)


def test_the_output_stays_and_no_hook_does(attention, x):
    plain, before = attention(x), dict(vars(attention))
    with pytest.raises(KeyError), attention_watched(attention, all_but_first):
        assert torch.equal(attention(x), plain)
        raise KeyError
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in attention.modules())
    assert vars(attention).keys() == before.keys()


def test_a_map_in_half_precision_is_computed_in_full(attention, x):
    """As of the same queries and keys; autocast changes nothing."""
    queries, keys = (layer(x).detach() for layer in (attention.to_q, attention.to_k))

    def given(precision):
        project = SimpleNamespace(heads=HEADS, to_q=torch.nn.Identity(), to_k=torch.nn.Identity())
        with attention_watched(project, everybody) as watched:
            project.to_q(queries.half().to(precision))
            project.to_k(keys.half().to(precision))
            return watched.map()

    half, single = given(torch.float16), given(torch.float32)
    assert half.dtype == torch.float32
    assert torch.equal(half, single)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(given(torch.float32), single)


def test_nothing_attended_to_changes_nothing(image):
    assert torch.equal(degraded(image, NOTHING, MAP), image)
    assert torch.equal(degraded(image, torch.ones(3, TOKENS), MAP), image)


def test_everything_attended_to_is_blurred(image):
    found = degraded(image, EVERYTHING, MAP)
    np.testing.assert_allclose(found, blurred(image.numpy()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [MAP, (2, 3), (1, 1), (32, 48), (5, 7)])
def test_what_is_attended_to_is_blurred(image, size):
    """Each place of the map stands for its part of the image, in every channel of its own row."""
    attended = 2 * torch.rand(3, size[0] * size[1], generator=torch.Generator().manual_seed(3))
    down, across = (np.arange(length) * small // length for length, small in zip(IMAGE[2:], size, strict=True))
    mask = attended.reshape(3, 1, *size).numpy()[:, :, down][:, :, :, across] > 1
    wanted = np.where(mask, blurred(image.numpy()), image.numpy())
    np.testing.assert_allclose(degraded(image, attended, size), wanted, rtol=1e-12, atol=1e-12)


def test_images_smaller_than_the_blur():
    image = torch.arange(12.0).reshape(1, 1, 4, 3)
    assert torch.isfinite(degraded(image, torch.full((1, 1), 2.0), (1, 1))).all()
    dot = torch.ones(1, 1, 1, 1)
    assert torch.equal(degraded(dot, torch.full((1, 1), 2.0), (1, 1)), dot)


def test_half_precision_is_rounded_once(image):
    half = image.half()
    worse = degraded(half, EVERYTHING, MAP)
    assert worse.dtype == torch.float16
    torch.testing.assert_close(worse.double(), degraded(half.double(), EVERYTHING, MAP), rtol=2**-11, atol=1e-6)
    assert moved(half, worse, noisy_again(half, half, worse)).dtype == torch.float16


def test_the_guided_image_is_that_of_moved_noise(image):
    """The paper's equation 16, for predictions of noise at one level."""
    sigma, scale = 3.0, 0.6
    x, uncond, worse, again = image + 5, 0.5 * image, image.roll(1, 2), image.roll(2, 3)
    noises = [(x - uncond) / sigma, (noisy_again(x, uncond, worse) - again) / sigma]
    guided = x - sigma * (noises[0] + scale * (noises[0] - noises[1]))
    torch.testing.assert_close(moved(uncond, worse, again, scale), guided)
    assert torch.equal(moved(image, worse, worse), image)
    assert torch.equal(noisy_again(x, x, worse), worse)
