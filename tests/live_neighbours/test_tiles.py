"""Tiled Diffusion: the size of the tiles decides; Ultimate SD Upscale makes each tile an image of its own."""

from __future__ import annotations

import pytest

from tests.live.client import BASE, infotexts, pictures, post, same, settle_noise
from tests.live_neighbours.neighbours import NEIGHBOURS, SIDE, Neighbour, picture
from tests.live_neighbours.test_beside import STEPS, asked, image

METHODS = ["HiDiffusion", "Deep Shrink"]


@pytest.mark.parametrize("name", ["MultiDiffusion", "Mixture of Diffusers"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("trained", "acts"), [(128, False), (64, True)])
def test_tiles_of_128x128(name, method, trained, acts):
    """The image of 256x256 is above both trained sizes."""
    neighbour = NEIGHBOURS[name]
    assert neighbour.missing() is None, neighbour.missing()
    alone = image(asked(neighbour, {}, theirs=True))
    answer = asked(neighbour, {}, theirs=True, ours={"method": method, "trained_size": trained, "s1": 0.5})
    assert same(image(answer), alone) == (not acts)
    assert (f"HiDiffusion method: {method}" in infotexts(answer)[0]) == acts


UPSCALED = {"init_images": [picture()], "denoising_strength": 0.6, "steps": STEPS, "script_name": "ultimate sd upscale"}
TWICE = ["", 256, 0, 8, 32, 64, 0.35, 16, 1, False, 0, False, 4, 0, 2, 2048, 2048, 2]
SCRIPT = Neighbour("Coyote-A/ultimate-upscale-for-automatic1111", "ultimate sd upscale")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("trained", "acts"), [(256, False), (128, True)])
def test_an_upscaler_in_tiles_of_256x256(method, trained, acts):
    """The image of 384x384 is above both trained sizes."""
    assert SCRIPT.missing() is None, SCRIPT.missing()
    ours = {"method": method, "trained_size": trained, "s1": 0.5}
    answers = []
    for scripts in ({}, {"HiDiffusion": {"args": [ours]}}):
        settle_noise()
        answers.append(post("img2img", BASE | UPSCALED | {"script_args": TWICE, "alwayson_scripts": scripts}))
    assert [answer.status_code for answer in answers] == [200, 200]
    alone, both = map(pictures, answers)
    assert alone[0].shape[:2] == (2 * SIDE, 2 * SIDE)
    assert same(alone, both) == (not acts)
