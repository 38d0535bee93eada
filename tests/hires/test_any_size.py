"""Every size that the WebUI accepts, odd and extreme: no error, and no skip resized by the host."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib_fewstep.hires import HiResSession, HiResSettings
from tests.models import call, contexts, latents, sd1_unet, sd2_unet, sdxl_unet, webui_cat

LARGEST_AREA = 700
FAMILIES = {"SD1": (sd1_unet, 12), "SD2": (sd2_unet, 12), "SDXL": (sdxl_unet, 9)}

SIZES = [(h, w) for h in range(2, 401) for w in range(2, 401) if h * w <= LARGEST_AREA]

sizes = st.sampled_from(SIZES)


@st.composite
def methods(draw, depths):
    """Settings of either method with both parts of it active on the first step."""
    if draw(st.booleans()):
        return {"t1": 1.0, "t2": 1.0, "aggressive": draw(st.booleans())}
    depth = draw(st.integers(1, depths))
    return {
        "method": "Deep Shrink",
        "d1": depth,
        "s1": 1.0,
        "downscale": draw(st.sampled_from([0.1, 0.35, 0.5, 0.75, 0.95])),
        "upscale": draw(st.sampled_from([1.0, 2.0, 2.9])),
        "early_out": draw(st.booleans()),
        "scaler": draw(st.sampled_from(["bicubic", "bilinear", "area", "nearest", "nearest-exact"])),
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_any_size(family):
    make, depths = FAMILIES[family]
    unet = make(model_channels=64)
    seen = set()

    def try_size(size, chosen):
        seen.add(size)
        x, context = latents(size, batch=1), contexts(1)
        with webui_cat() as cat, HiResSession(unet, HiResSettings(preset="Manual", **chosen), size, 1) as session:
            session.at_step(0)
            out = call(unet, x, context)
        assert out.shape == x.shape
        assert torch.isfinite(out).all()
        assert session.report.active_steps == (0,)
        assert cat.resized == 0

    @settings(max_examples=14, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(sizes, methods(depths)), min_size=32, max_size=32, unique_by=lambda pair: pair[0]))
    def try_sizes(pairs):
        for size, chosen in pairs:
            try_size(size, chosen)

    try_sizes()
    assert len(seen) >= 300


@pytest.mark.parametrize("size", [(2, 2), (2, 400), (400, 2), (3, 3), (13, 104), (25, 33), (67, 60)])
@pytest.mark.parametrize("family", FAMILIES)
def test_named_sizes(family, size):
    """Also what users of other implementations reported: 264x200, 832x104."""
    unet = FAMILIES[family][0](model_channels=64)
    x, context = latents(size, batch=1), contexts(1)
    with webui_cat() as cat, HiResSession(unet, HiResSettings(preset="Paper"), size, 10) as session:
        for step in (0, 1, 3):
            session.at_step(step)
            assert call(unet, x, context).shape == x.shape
    assert cat.resized == 0
