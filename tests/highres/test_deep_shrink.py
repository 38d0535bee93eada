"""Deep Shrink against the UNet's forward written out by hand, with the published algorithm in its place."""

from __future__ import annotations

import pytest
import torch
from ldm.modules.diffusionmodules.util import timestep_embedding
from torch.nn.functional import interpolate

from lib_fewstep.highres import HighResSession, HighResSettings
from lib_fewstep.highres.methods.deep_shrink import Shrink, Shrinker
from tests.unets import bk_sdm_unet, call, contexts, latents, sd1_unet, sdxl_unet, webui_cat

STEPS = 10


def by_hand(unet, x, context, *, depth, down, up, mode, early_out=False):
    """The input of block `depth - 1` times `down`, that of its counterpart times `up`; the host's cat does the rest."""
    context = [context] * 2
    emb = unet.time_embed(timestep_embedding(torch.full((x.shape[0],), 500), unet.model_channels))
    outward = depth - 1 if early_out else len(unet.output_blocks) - depth
    skips, h = [], x
    for index, block in enumerate(unet.input_blocks):
        if index == depth - 1:
            h = interpolate(h, scale_factor=down, mode=mode)
        h = block(h, emb, context)
        skips.append(h)
    h = unet.middle_block(h, emb, context)
    for index, block in enumerate(unet.output_blocks):
        skip = skips.pop()
        if h.shape[-2:] != skip.shape[-2:]:
            h = interpolate(h, size=skip.shape[-2:], mode="nearest")
        h = torch.cat([h, skip], dim=1)
        if index == outward:
            h = interpolate(h, scale_factor=up, mode=mode)
        h = block(h, emb, context)
    return unet.out(h)


CASES = [
    (sd1_unet, 3, {}),
    (sd1_unet, 4, {}),
    (sdxl_unet, 3, {}),
    (sdxl_unet, 4, {}),
    (sdxl_unet, 6, {}),
    (sd1_unet, 1, {}),
    (sd1_unet, 3, {"mode": "bilinear"}),
    (sd1_unet, 3, {"mode": "nearest"}),
    (sd1_unet, 3, {"mode": "area"}),
    (sd1_unet, 5, {"mode": "nearest", "up": 3.0}),
    (sd1_unet, 2, {"mode": "nearest", "early_out": True}),
    (sdxl_unet, 5, {"mode": "nearest", "early_out": True}),
    (bk_sdm_unet, 3, {}),
]


@pytest.mark.parametrize(("make", "depth", "changes"), CASES)
def test_by_hand(make, depth, changes):
    unet, x, context = make(), latents((32, 64), batch=1), contexts(1)
    how = {"mode": "bicubic", "up": 2.0, "early_out": False} | changes
    settings = HighResSettings(
        method="Deep Shrink",
        preset="Paper",
        d1=depth,
        s1=0.5,
        s2=0.0,
        smooth_scaling=False,
        scaler=how["mode"],
        upscale=how["up"],
        early_out=how["early_out"],
    )
    with torch.no_grad():
        expected = by_hand(unet, x, context, depth=depth, down=0.5, **how)
    with webui_cat() as cat, HighResSession(unet, settings, (32, 64), STEPS) as session:
        session.at_step(0)
        assert torch.allclose(call(unet, x, context), expected, rtol=0, atol=1e-6)
    assert cat.resized == 0


def test_both_stages_act_one_after_the_other():
    unet, x, context = sd1_unet(), latents((32, 32), batch=1), contexts(1)
    settings = HighResSettings(method="Deep Shrink", preset="Paper", d1=3, d2=5, s1=0.2, s2=0.5, smooth_scaling=False)
    with torch.no_grad():
        first, second = (by_hand(unet, x, context, depth=d, down=0.5, up=2.0, mode="bicubic") for d in (3, 5))
    plain = call(unet, x, context)
    with HighResSession(unet, settings, (32, 32), STEPS) as session:
        for step in range(STEPS):
            session.at_step(step)
            expected = first if step < 2 else second if step < 5 else plain
            assert torch.allclose(call(unet, x, context), expected, rtol=0, atol=1e-6)
    assert session.report.active_steps == (0, 1, 2, 3, 4)


def test_an_early_out_of_the_first_block_still_ends_at_the_latents_size():
    """There the published algorithm never scales back, and the host gets an image of another size."""
    unet, x, context = sdxl_unet(), latents((32, 32), batch=1), contexts(1)
    settings = HighResSettings(method="Deep Shrink", preset="Paper", d1=1, s1=0.5, early_out=True)
    with HighResSession(unet, settings, (32, 32), STEPS) as session:
        session.at_step(0)
        assert call(unet, x, context).shape == x.shape


@pytest.mark.parametrize("downsamples", [False, True])
@pytest.mark.parametrize("size", [(17, 13), (5, 9), (1, 1)])
def test_odd_sizes_come_back_exactly(size, downsamples):
    shrink = Shrink(3, fade=0.0, downscale=0.5, upscale=2.0, scaler="bicubic", early_out=False)
    shrinker = Shrinker(lambda _: shrink, downsamples=downsamples)
    h = torch.randn(1, 2, *size)
    small = shrinker.down(h)
    assert small.shape[-2:] == tuple(max(1, side // 2) for side in size)
    halved = small[..., ::2, ::2] if downsamples else small
    assert shrinker.up(halved).shape[-2:] == h[..., :: 1 + downsamples, :: 1 + downsamples].shape[-2:]


def test_the_deepest_block_is_allowed():
    for make, depth in ((sd1_unet, 12), (sdxl_unet, 9)):
        report = HighResSession(
            make(), HighResSettings(method="Deep Shrink", preset="Manual", d1=depth), (32, 32), STEPS
        ).report
        assert report.blocks["shrinking"][0] == f"input_blocks[{depth - 1}]"
