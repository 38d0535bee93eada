"""Every size that the WebUI accepts, odd and extreme: no error, and no skip resized by the host."""

from __future__ import annotations

import random

import pytest
import torch

from lib_fewstep.highres import HighResSession, HighResSettings
from tests.unets import (
    bk_sdm_unet,
    call,
    contexts,
    latents,
    sd1_unet,
    sd2_unet,
    sdxl_unet,
    sdxs_09_unet,
    webui_cat,
)

LARGEST_AREA = 400
FAMILIES = {
    "SD1": (sd1_unet, 12),
    "SD2": (sd2_unet, 12),
    "SDXL": (sdxl_unet, 9),
    "BK-SDM": (bk_sdm_unet, 8),
    "SDXS 0.9": (sdxs_09_unet, 6),
}

SIZES = [(h, w) for h in range(2, 201) for w in range(2, 201) if h * w <= LARGEST_AREA]


def any_method(draw, depths):
    """Settings of either method with both parts of it active on the first step."""
    if draw.random() < 0.5:
        return {"t1": 1.0, "t2": 1.0, "aggressive": draw.random() < 0.5}
    return {
        "method": "Deep Shrink",
        "d1": draw.randint(1, depths),
        "s1": 1.0,
        "downscale": draw.choice([0.1, 0.35, 0.5, 0.75, 0.95]),
        "upscale": draw.choice([1.0, 2.0, 2.9]),
        "early_out": draw.random() < 0.5,
        "scaler": draw.choice(["bicubic", "bilinear", "area", "nearest", "nearest-exact"]),
    }


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_any_size(family):
    make, depths = FAMILIES[family]
    unet, draw = make(model_channels=64), random.Random(family)
    for size in draw.sample(SIZES, 40):
        chosen = any_method(draw, depths)
        x, context = latents(size, batch=1), contexts(1)
        with webui_cat() as cat, HighResSession(unet, HighResSettings(preset="Manual", **chosen), size, 1) as session:
            session.at_step(0)
            out = call(unet, x, context)
        assert out.shape == x.shape, (size, chosen)
        assert torch.isfinite(out).all(), (size, chosen)
        assert session.report.active_steps == (0,), (size, chosen)
        assert cat.resized == 0, (size, chosen)


@pytest.mark.parametrize("size", [(2, 2), (2, 400), (400, 2), (3, 3), (13, 104), (25, 33), (67, 60)])
@pytest.mark.parametrize("family", FAMILIES)
def test_named_sizes(family, size):
    """Also what users of other implementations reported: 264x200, 832x104."""
    unet = FAMILIES[family][0](model_channels=64)
    x, context = latents(size, batch=1), contexts(1)
    with webui_cat() as cat, HighResSession(unet, HighResSettings(preset="Paper"), size, 10) as session:
        for step in (0, 1, 3):
            session.at_step(step)
            assert call(unet, x, context).shape == x.shape
    assert cat.resized == 0
