"""Another extension cuts the image into tiles: what the UNet is given decides, not the whole image."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from lib_fewstep.highres import HighResSession, HighResSettings
from tests.unets import DEEPEST, call, contexts, describe, latents, sd1_unet, webui_cat

STEPS, TRAINED, TWICE, FOURFOLD = 10, (8, 8), (16, 16), (32, 32)
AUTO = {"trained_size": 64}
"""8x8 is the trained size, 16x16 and 32x32 are above it."""
METHODS = {"HiDiffusion": AUTO, "Deep Shrink": AUTO | {"method": "Deep Shrink"}}


@pytest.fixture(autouse=True)
def _as_in_the_webui():
    with webui_cat(), torch.no_grad():
        yield


def evaluated(unet, size):
    return call(unet, latents(size, batch=1), contexts(1), 899)


def alone(unet, settings, size):
    with HighResSession(unet, HighResSettings(**settings), size, STEPS) as session:
        session.at_step(1)
        return evaluated(unet, size)


@pytest.mark.parametrize("method", METHODS)
def test_tiles_of_the_trained_size_are_left_alone(method):
    unet = sd1_unet()
    before, plain = describe(unet), evaluated(unet, TRAINED)
    with HighResSession(unet, HighResSettings(**METHODS[method]), TWICE, STEPS) as session:
        for step in range(STEPS):
            session.at_step(step)
            assert all(torch.equal(evaluated(unet, TRAINED), plain) for _tile in range(4))
    whole, tile = session.reports
    assert (whole.latent_size, tile.latent_size) == (TWICE, TRAINED)
    assert (session.active_steps, session.used) == ((), None)
    assert "64x64 is not above 1.6 times the area" in tile.reason
    assert tile.notes == ["another extension runs the UNet at this size"]
    assert describe(unet) == before


@pytest.mark.parametrize("method", METHODS)
def test_the_method_works_at_the_size_of_larger_tiles(method):
    unet = sd1_unet()
    expected = alone(unet, METHODS[method], TWICE)
    with HighResSession(unet, HighResSettings(**METHODS[method]), FOURFOLD, STEPS) as session:
        session.at_step(0)
        evaluated(unet, TWICE)
        session.at_step(1)
        assert torch.equal(evaluated(unet, TWICE), expected)
    assert [report.active_steps for report in session.reports] == [(), (0, 1)]


def test_its_values_are_those_of_the_tiles_size():
    """In the upper band T1 and T2 are others."""
    unet, settings = sd1_unet(), HighResSettings(preset="Paper", window_attention=False)
    with HighResSession(unet, settings, (256, 256), STEPS) as session:
        session.at_step(0)
        evaluated(unet, TWICE)
    assert [(report.planned["strided downsampler"]) for report in session.reports] == [tuple(range(7)), tuple(range(4))]
    assert (session.used.t1, session.used.t2) == (0.4, 0.0)


@pytest.mark.parametrize("method", METHODS)
def test_the_whole_image_and_tiles_of_several_sizes_in_each_step(method):
    unet, settings = sd1_unet(), METHODS[method]
    sizes = [FOURFOLD, TRAINED, TWICE, (16, 24), TRAINED]
    expected = [alone(unet, settings, size) for size in sizes]
    with HighResSession(unet, HighResSettings(**settings), FOURFOLD, STEPS) as session:
        for step in (0, 1):
            session.at_step(step)
            seen = [evaluated(unet, size) for size in sizes]
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))
    assert session.active_steps == (0, 1)
    assert {report.latent_size: report.active_steps for report in session.reports}[TRAINED] == ()


def test_a_tile_that_follows_the_whole_image_takes_nothing_from_it():
    """The whole image has been evaluated on the step; asking for the step again changes nothing of that."""
    unet = sd1_unet()
    with HighResSession(unet, HighResSettings(**AUTO), TWICE, STEPS) as session:
        session.at_step(0)
        evaluated(unet, TWICE)
        session.at_step(0)
        evaluated(unet, TRAINED)
    assert session.active_steps == (0,)


@pytest.mark.parametrize("name", ["x", None])
def test_the_size_is_found_however_the_unet_is_called(name):
    unet = sd1_unet()
    plain, x = evaluated(unet, TRAINED), latents(TRAINED, batch=1)
    others = {"timesteps": torch.tensor([899]), "context": [contexts(1)] * DEEPEST}
    with HighResSession(unet, HighResSettings(**AUTO), TWICE, STEPS) as session:
        session.at_step(1)
        assert torch.equal(unet(**{name: x}, **others) if name else unet(x, **others), plain)
    assert session.active_steps == ()


def test_nobody_watches_a_unet_whose_session_is_over():
    """Also where it never ended, and where others have hooks of their own there."""
    unet, seen = sd1_unet(), []
    unet.register_forward_pre_hook(lambda *_: seen.append("theirs"))
    forgotten = HighResSession(unet, HighResSettings(**AUTO), TWICE, STEPS)
    forgotten.__enter__()
    assert len(unet._forward_pre_hooks) == 2
    with HighResSession(unet, HighResSettings(**AUTO), TWICE, STEPS) as session:
        assert len(unet._forward_pre_hooks) == 2
        session.at_step(0)
        evaluated(unet, TRAINED)
    assert len(forgotten.reports) == 1
    assert (len(unet._forward_pre_hooks), len(unet._forward_pre_hooks_with_kwargs)) == (1, 0)
    assert seen == ["theirs"]


def test_a_session_inside_a_step_leaves_the_outer_one_its_watch():
    """As a job that another extension runs in the middle of a pass."""
    unet = sd1_unet()
    plain = evaluated(unet, TRAINED)
    with HighResSession(unet, HighResSettings(**AUTO), TWICE, STEPS) as outer:
        outer.at_step(0)
        evaluated(unet, TWICE)
        with HighResSession(unet, HighResSettings(**AUTO), TWICE, STEPS) as inner:
            inner.at_step(0)
        outer.at_step(1)
        assert torch.equal(evaluated(unet, TRAINED), plain)
    assert outer.active_steps == (0,)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda unet: pickle.loads(pickle.dumps(unet))])
def test_a_copy_of_the_model_is_not_followed(copied):
    """Nor one that is saved in the middle of a pass."""
    unet = sd1_unet()
    with HighResSession(unet, HighResSettings(**AUTO), TWICE, STEPS) as session:
        session.at_step(0)
        twin = copied(unet)
        evaluated(twin, FOURFOLD)
        assert len(session.reports) == 1
    evaluated(twin, FOURFOLD)
    assert len(session.reports) == 1
