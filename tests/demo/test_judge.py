"""The judge sees what was drawn, and refuses what was not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from demo.judge import is_exact, judge
from demo.pictures.judge import wilson
from demo.scenes import Scene, all_kinds, draw, random_scene, random_shifts


@pytest.mark.parametrize("size", [(16, 16), (32, 32), (24, 40), (40, 24)])
@pytest.mark.parametrize(("noise", "blur"), [(0.0, 0.0), (0.15, 0.0), (0.0, 0.6), (0.15, 0.6)])
def test_drawn_scenes_are_recognised(size, noise, blur):
    """Also with noise, blur and shifted channels: at least 98.5% of 200 (99% is the judge's calibration)."""
    rng = np.random.default_rng(1)
    exact = 0
    for _ in range(200):
        scene = random_scene(rng)
        latent = ndimage.gaussian_filter(draw(scene, *size), (0, blur, blur)) + random_shifts(rng, 1)[0]
        latent = latent + noise * rng.standard_normal(latent.shape)
        exact += is_exact(judge(latent), scene.shape, scene.colour)
    assert exact >= 197


def test_two_objects_are_refused():
    rng = np.random.default_rng(2)
    for _ in range(100):
        kind = all_kinds()[int(rng.integers(18))]
        pair = np.concatenate([draw(random_scene(rng, kind)), draw(random_scene(rng, kind))], axis=2)
        assert not is_exact(judge(pair), *kind)


def test_two_touching_objects_are_refused():
    rng = np.random.default_rng(3)
    for _ in range(100):
        shape, colour = all_kinds()[int(rng.integers(18))]
        width = float(rng.uniform(0.2, 0.3))
        left, right = (draw(Scene(shape, colour, width, side * width / 2, 0.0), 32, 32) for side in (-1, 1))
        assert not is_exact(judge(np.where(left[3:] > right[3:], left, right)), shape, colour)


def test_another_shape_or_colour_is_refused():
    seen = judge(draw(Scene("circle", "red", 0.5)))
    assert is_exact(seen, "circle", "red")
    assert not is_exact(seen, "square", "red")
    assert not is_exact(seen, "circle", "blue")


def test_nothing_is_no_object():
    assert judge(np.zeros((4, 16, 16))) == []


def test_wilsons_interval():
    """The textbook's example: 1 in 10 is 1.8% to 40.4%."""
    assert wilson(1, 10) == pytest.approx((0.0179, 0.4042), abs=1e-4)
