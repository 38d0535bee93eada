"""Both methods and a CFG++ sampler beside real neighbours, in a WebUI in which all of these are installed.

Each neighbour alone changes the image. Beside a method both act, or the image is the neighbour's (a line in the log,
which a client cannot read, names it), or the request is refused with a sentence that names it. The infotext alone
brings our settings back. Afterwards the plain image is the first one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.live.client import BASE, infotexts, options, pictures, post, same, settle_noise
from tests.live_neighbours.neighbours import BOTH, NEIGHBOURS, NO_CACHE, REFUSED, THEIRS, half, picture, silenced

STEPS = 4
HIDIFFUSION = {"preset": "Paper", "passes": "All"}
DEEP_SHRINK = HIDIFFUSION | {"method": "Deep Shrink", "s1": 0.5, "s2": 0.75}
ODD = {"odd": True}
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}
MASKED = {"init_images": [picture()], "mask": half(), "inpaint_full_res": True, "denoising_strength": 0.75}
SITUATIONS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any] | None]] = {
    "HiDiffusion": ({}, HIDIFFUSION),
    "Deep Shrink": ({}, DEEP_SHRINK),
    "HiDiffusion, odd size": (ODD, HIDIFFUSION),
    "Deep Shrink, odd size": (ODD, DEEP_SHRINK),
    "hires fix": (HIRES, HIDIFFUSION),
    "only masked": (MASKED, HIDIFFUSION),
    "Euler CFG++": ({"sampler_name": "Euler CFG++"}, None),
}


@pytest.fixture(scope="module", params=list(NEIGHBOURS))
def neighbour(request):
    """One of them, with its checkpoint."""
    found = NEIGHBOURS[request.param]
    missing = found.missing()
    assert missing is None, missing
    with options({"sd_model_checkpoint": found.checkpoint}):
        yield found


def asked(neighbour, fields, *, theirs, ours=None, **more):
    """The answer to a request with the neighbour on or off, and with our method or without."""
    scripts = silenced() | (neighbour.scripts() if theirs else {})
    scripts |= {} if ours is None else {"HiDiffusion": {"args": [ours]}}
    fields = dict(fields)
    width, height = neighbour.odd if fields.pop("odd", False) else neighbour.size
    body = BASE | {"width": width, "height": height, "steps": STEPS} | fields | neighbour.fields
    path = "img2img" if "init_images" in fields else "txt2img"
    if path == "img2img":
        settle_noise()
    settings = NO_CACHE | (neighbour.settings if theirs else {})
    return post(path, body | {"alwayson_scripts": scripts, "override_settings": settings} | more)


def image(answer):
    """The first image; ControlNet adds what it has made of the hint."""
    assert answer.status_code == 200, answer.text
    return pictures(answer)[:1]


WEBUIS = ("Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Denoising strength")


def ours_in(text):
    """An infotext with the keys of the WebUI and of this extension: some others cannot read their own."""
    *lines, parameters = text.splitlines()
    kept = [
        f"{key.strip()}: {value}"
        for key, value in re.findall(r'([^:,]+): ("[^"]*"|[^,]*)', parameters)
        if key.strip().startswith(("HiDiffusion", "Few-Step", *WEBUIS))
    ]
    return "\n".join([*lines, ", ".join(kept)])


FIRST: dict[tuple[object, ...], list[Any]] = {}
"""The first image without a neighbour, by all that it depends on."""


def without(neighbour, situation, ours=None):
    fields, _ = SITUATIONS[situation]
    key = neighbour.checkpoint, str(neighbour.fields), neighbour.size, neighbour.odd, situation, ours is None
    if key not in FIRST:
        FIRST[key] = image(asked(neighbour, fields, theirs=False, ours=ours))
    return FIRST[key]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_both(neighbour, situation):
    fields, ours = SITUATIONS[situation]
    before = without(neighbour, situation)
    if "init_images" in fields:  # ControlNet uses up noise when it loads its network
        asked(neighbour, fields, theirs=True)
    alone = image(asked(neighbour, fields, theirs=True))
    assert not same(alone, before), "the neighbour has changed nothing"
    if ours is None:
        euler = image(asked(neighbour, fields | {"sampler_name": "Euler"}, theirs=True))
        assert not same(alone, euler)
    else:
        answer = asked(neighbour, fields, theirs=True, ours=ours)
        if neighbour.outcome(situation) == REFUSED:
            assert answer.status_code == 422
            assert "of another extension cannot work on the feature maps" in answer.text
            assert f"{neighbour.repository.split('/')[1]}/" in answer.text
        elif neighbour.outcome(situation) == THEIRS:
            assert same(image(answer), alone)
            assert "HiDiffusion method" not in infotexts(answer)[0]
        else:
            assert neighbour.outcome(situation) == BOTH
            both, text = image(answer), infotexts(answer)[0]
            assert f"HiDiffusion method: {ours.get('method', 'HiDiffusion')}" in text
            assert not same(both, alone)
            assert not same(both, without(neighbour, situation, ours))
            if "enable_hr" not in fields:  # the API's field refuses infotexts with a hires pass
                again = asked(neighbour, fields, theirs=True, infotext=ours_in(text))
                assert same(image(again), both)
    assert same(image(asked(neighbour, fields, theirs=False)), before)
