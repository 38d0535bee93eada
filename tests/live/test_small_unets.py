"""Small UNets that were converted from folders of diffusers, in a running WebUI (started with --api).

`python -m tools.small_unets WEBUI` installs them, then `make live WEBUI_URL=http://127.0.0.1:7860`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.client import generate, get, options, same
from tools.small_unets import LAYOUTS, NAME

SMALL = {"width": 128, "height": 128, "steps": 4}
LARGE = {"width": 256, "height": 256, "steps": 6}


def titles():
    """The installed ones by their layouts."""
    found = {Path(entry["filename"]): entry["title"] for entry in get("sd-models")}
    return {path.stem: title for path, title in found.items() if path.parent.name == NAME}


@pytest.fixture(params=LAYOUTS)
def small(request):
    """One of them is loaded."""
    if NAME not in str(get("sd-models")):
        pytest.skip("no checkpoints of tools.small_unets are installed")
    with options({"sd_model_checkpoint": titles()[request.param]}):
        yield request.param


def test_every_sampler(small):
    for sampler in (entry["name"] for entry in get("samplers")):
        if sampler == "Rectified flow":
            continue
        image, _ = generate(**SMALL, sampler_name=sampler, scheduler="Automatic")
        assert image[0].std() > 0, sampler


@pytest.mark.parametrize("method", ["HiDiffusion", "Deep Shrink"])
def test_the_methods(small, method):
    plain, _ = generate(**LARGE)
    found, infotext = generate({"method": method, "preset": "Paper"}, **LARGE)
    assert f"HiDiffusion method: {method}" in infotext or "HiDiffusion preset: Paper" in infotext
    assert not same(found, plain)
    assert same(generate(**LARGE)[0], plain)


def test_guidance(small):
    """SAG needs a middle block."""
    plain, _ = generate(**SMALL)
    sag, _ = generate({"sag_scale": 1.0}, script="Guidance", **SMALL)
    assert same(sag, plain) == (small != "bk-sdm-base")
    both, _ = generate({"pag_scale": 2.0, "nag_scale": 3.0, "attention_blocks": "Down"}, script="Guidance", **SMALL)
    assert not same(both, plain)
