"""The judge sees what was drawn, and refuses what was not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from demo.pictures.judge import is_exact, judge, wilson
from demo.pictures.scenes import KINDS, PALETTE, Scene, all_kinds, draw, random_scene


def seen_as_drawn(scene, picture):
    return is_exact(judge(picture), scene.kind, scene.colour)


@pytest.mark.parametrize(("noise", "blur"), [(0.0, 0.0), (0.04, 0.0), (0.0, 1.5), (0.04, 1.0)])
@pytest.mark.parametrize("size", [(128, 128), (256, 256), (192, 320)])
def test_drawn_scenes_are_recognised(size, noise, blur):
    """Also with noise and blur: at least 49 of 50, so that the judge is wrong in 2% at most."""
    rng = np.random.default_rng(1)
    right = 0
    for _ in range(50):
        scene = random_scene(rng)
        picture = ndimage.gaussian_filter(draw(scene, *size), (blur, blur, 0))
        right += seen_as_drawn(scene, picture + noise * rng.standard_normal(picture.shape))
    assert right >= 49


def test_every_kind_in_every_colour_is_recognised_on_every_background():
    for kind, colour in all_kinds():
        for background in ("", *(set(PALETTE) - {colour})):
            scene = Scene(kind, colour, background=background)
            assert seen_as_drawn(scene, draw(scene))


def test_two_things_are_refused():
    rng = np.random.default_rng(2)
    for _ in range(60):
        kind = all_kinds()[int(rng.integers(36))]
        pair = np.concatenate([draw(random_scene(rng, kind)) for _ in range(2)], axis=1)
        assert not is_exact(judge(pair), *kind)


def test_two_things_that_touch_are_refused():
    rng = np.random.default_rng(3)
    for index in range(60):
        kind, colour = all_kinds()[index % 36]
        width = float(rng.uniform(0.24, 0.3))
        half = width / 2 * KINDS[kind].scale * 0.98
        left, right = (draw(Scene(kind, colour, width, side * half), 256, 256) for side in (-1, 1))
        apart = np.abs(left - draw(Scene(kind, colour, width, 9.0), 256, 256)).max(axis=2, keepdims=True) > 0.1
        assert not is_exact(judge(np.where(apart, left, right)), kind, colour)


def test_half_a_thing_is_refused():
    """Cut in the middle, as at the edge of a picture."""
    for kind, colour in all_kinds():
        scene = Scene(kind, colour, 0.6, offset_x=0.5)
        assert not seen_as_drawn(scene, draw(scene, 256, 256))


@pytest.mark.parametrize("kind", list(KINDS))
def test_another_kind_or_colour_is_refused(kind):
    seen = judge(draw(Scene(kind, "red")))
    assert is_exact(seen, kind, "red")
    assert not any(is_exact(seen, other, "red") for other in KINDS if other != kind)
    assert not any(is_exact(seen, kind, other) for other in PALETTE if other != "red")


def test_an_empty_background_shows_no_thing():
    assert judge(draw(Scene("star", "red", 0.5, offset_x=9.0))) == []


def test_noise_shows_no_thing_of_a_kind():
    rng = np.random.default_rng(4)
    cloud = ndimage.gaussian_filter(rng.standard_normal((128, 128, 3)), (6, 6, 0))
    picture = np.clip(0.5 + cloud / (4 * cloud.std()), 0, 1)
    assert not any(is_exact(judge(picture), *kind) for kind in all_kinds())


def test_wilsons_interval():
    """The textbook's example: 1 in 10 is 1.8% to 40.4%."""
    assert wilson(1, 10) == pytest.approx((0.0179, 0.4042), abs=1e-4)
