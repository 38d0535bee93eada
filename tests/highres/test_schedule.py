"""When what runs: the published table, written out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from lib_fewstep.highres import HighResSettings, ModelHints
from lib_fewstep.highres.methods.deep_shrink import Shrink
from lib_fewstep.highres.methods.hidiffusion import Pool, StridedDownsampler, WindowAttention
from lib_fewstep.highres.schedule import make_schedule
from lib_fewstep.options import SettingError
from lib_fewstep.unet import inspect_unet
from tests.unets import refiner_unet, sd1_unet, sd2_unet, sdxl_unet

SD1, SD2, SDXL = (inspect_unet(make()) for make in (sd1_unet, sd2_unet, sdxl_unet))
SDXL_INPAINTING = inspect_unet(sdxl_unet(in_channels=9))
REFINER = inspect_unet(refiner_unet())

# topology, latent size, hints, settings, steps of RAD, steps of the pool; of 50 steps
PAPER = [
    (SD1, (128, 128), {}, {}, range(20), range(0)),
    (SD1, (255, 300), {}, {}, range(20), range(0)),
    (SD1, (256, 256), {}, {}, range(35), range(15)),
    (SD2, (128, 128), {}, {}, range(20), range(0)),
    (SD2, (300, 256), {}, {}, range(35), range(15)),
    (SDXL, (256, 256), {}, {}, range(8), range(8, 20)),
    (SDXL, (256, 256), {}, {"aggressive": False}, range(0), range(20)),
    (SDXL, (256, 256), {"playground": True}, {}, range(0), range(20)),
    (SDXL, (256, 256), {"controlnet": True}, {}, range(8), range(8, 25)),
    (SDXL, (256, 256), {"controlnet": True, "pass_": "hires"}, {}, range(8), range(8, 20)),
    (SDXL_INPAINTING, (256, 256), {}, {}, range(0), range(20)),
    (SDXL, (511, 900), {}, {}, range(8), range(8, 20)),
    (SDXL, (512, 512), {}, {}, range(15), range(35)),
    (SDXL, (512, 512), {}, {"aggressive": True}, range(15), range(35)),
    (SDXL, (128, 128), {"turbo": True}, {}, range(0), range(25)),
    (SDXL, (512, 512), {"turbo": True}, {}, range(0), range(25)),
    (SDXL, (128, 128), {"turbo": True}, {"aggressive": True}, range(0), range(25)),
    (SD1, (128, 128), {}, {"t1": 0.5, "t2": 0.1}, range(25), range(5)),
    (SDXL, (256, 256), {}, {"aggressive": False, "t1": 0.5, "t2": 0.1}, range(5), range(25)),
    (SDXL, (256, 256), {}, {"t1": 0.5, "t2": 0.9}, range(8), range(8, 25)),
    (SD1, (128, 128), {}, {"raunet": False}, range(0), range(0)),
]


@pytest.mark.parametrize(("topology", "size", "hints", "settings", "rad", "pool"), PAPER)
def test_bands(topology, size, hints, settings, rad, pool):
    schedule = make_schedule(HighResSettings(preset="Paper", **settings), topology, size, 50, ModelHints(**hints))
    assert schedule.when(StridedDownsampler) == tuple(rad)
    assert schedule.when(Pool) == tuple(pool)
    assert schedule.when(WindowAttention) == tuple(range(50))


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 50, 77])
def test_thresholds_are_truncated_shares_of_the_steps(steps):
    schedule = make_schedule(HighResSettings(preset="Paper"), SDXL, (256, 256), steps, ModelHints())
    assert len(schedule.when(StridedDownsampler)) == int(8 / 50 * steps)
    assert schedule.when(Pool) == tuple(range(int(8 / 50 * steps), int(0.4 * steps)))


AUTO = [
    (SD1, (64, 64), {}, None, False),
    (SD1, (96, 64), {}, None, False),  # 512x768
    (SD1, (96, 96), {}, None, True),
    (SD1, (96, 96), {}, 768, False),
    (SD2, (96, 96), {"trained_size": 768}, None, False),
    (SD2, (128, 128), {"trained_size": 768}, None, True),
    (SDXL, (128, 192), {}, None, False),  # 1536x1024
    (SDXL, (256, 256), {}, None, True),
    (SDXL, (64, 64), {"turbo": True}, None, False),
    (SDXL, (128, 128), {"turbo": True}, None, True),
    (SDXL, (128, 128), {}, 512, True),
]


@pytest.mark.parametrize(("topology", "size", "hints", "trained", "acts"), AUTO)
@pytest.mark.parametrize("method", ["HiDiffusion", "Deep Shrink"])
def test_auto_acts_above_the_trained_size_only_and_says_so(topology, size, hints, trained, acts, method):
    settings = HighResSettings(method=method, trained_size=trained)
    schedule = make_schedule(settings, topology, size, 20, ModelHints(**hints))
    assert any(schedule.steps) == acts
    assert (schedule.reason is None) == acts
    if not acts:
        limit = trained or hints.get("trained_size") or (512 if hints.get("turbo") else topology.trained_size)
        assert schedule.reason == (
            f"{8 * size[1]}x{8 * size[0]} is not above 1.6 times the area that the model was trained for "
            f'({limit}x{limit}); preset "Paper" acts at any size'
        )


PASSES = [
    ("Auto", "first", 1.0, True),
    ("Auto", "first", 0.3, True),
    ("Auto", "hires", 0.49, False),
    ("Auto", "hires", 0.5, True),
    ("Auto", "img2img", 0.49, False),
    ("Auto", "img2img", 0.75, True),
    ("Auto", "inpaint", 0.3, False),
    ("All", "hires", 0.1, True),
    ("All", "inpaint", 0.1, True),
    ("All", "inpaint", 0.0, True),
    ("First", "first", 1.0, True),
    ("First", "img2img", 0.2, True),
    ("First", "hires", 0.9, False),
    ("Hires", "first", 1.0, False),
    ("Hires", "img2img", 0.9, False),
    ("Hires", "hires", 0.2, True),
]


@pytest.mark.parametrize(("passes", "pass_", "denoise", "acts"), PASSES)
def test_passes(passes, pass_, denoise, acts):
    hints = ModelHints(pass_=pass_, denoise=denoise)
    schedule = make_schedule(HighResSettings(passes=passes), SD1, (128, 128), 20, hints)
    reasons = {
        "Auto": f"at denoising strength {denoise} the composition is already fixed; "
        'passes "Auto" acts at 0.5 or more, "All" at any strength',
        "First": 'this is the hires pass, but passes is "First"',
        "Hires": 'this is not the hires pass, but passes is "Hires"',
    }
    assert schedule.reason == (None if acts else reasons[passes])


@pytest.mark.parametrize(
    ("settings", "topology", "reason"),
    [
        ({"enabled": False}, SD1, "the method is switched off"),
        ({}, REFINER, "the SDXL refiner"),
        ({"raunet": False, "window_attention": False}, SD1, "acts on none of the 20 steps"),
        ({"t1": 0.01, "window_attention": False}, SD1, "acts on none of the 20 steps"),
        ({"method": "Deep Shrink", "s1": 0.0, "s2": 0.0}, SD1, "acts on none of the 20 steps"),
        ({"method": "Deep Shrink", "downscale": 1.0}, SD1, "acts on none of the 20 steps"),
    ],
)
def test_nothing_is_done_for_a_reason(settings, topology, reason):
    schedule = make_schedule(HighResSettings(preset="Paper", **settings), topology, (128, 128), 20, ModelHints())
    assert not any(schedule.steps)
    assert reason in schedule.reason


NONE = "RAU-Net runs on none of the 20 steps: t1 and t2 are too small"
STILL_RUNS = "t1 has no effect in aggressive mode unless it is above 8/50: until then the strided downsampler runs"


@pytest.mark.parametrize(
    ("settings", "size", "note"),
    [
        (
            {"t2": 0.3},
            (256, 256),
            "t2 has no effect in aggressive mode: there the strided downsampler always stops after 8/50 of the steps",
        ),
        (
            {"aggressive": True},
            (512, 512),
            "aggressive has no effect here: it needs SDXL (not Turbo) with a side below 4096 pixels",
        ),
        ({"raunet": False, "t1": 0.3}, (256, 256), "not used while raunet is off: t1"),
        ({"method": "Deep Shrink", "s1": 0.4, "s2": 0.3}, (256, 256), "s2 has no effect unless it is above s1"),
        ({"method": "Deep Shrink", "s1": 0.35}, (256, 256), "s2 has no effect unless it is above s1"),
        ({"t1": 0.1}, (256, 256), STILL_RUNS),
        ({"d1": 4, "early_out": True}, (256, 256), "not used by HiDiffusion: d1, early_out"),
        ({"method": "Deep Shrink", "t1": 0.3}, (256, 256), "not used by Deep Shrink: t1"),
        ({"t1": 0.01, "aggressive": False}, (256, 256), NONE),
        ({"t1": 0.01, "aggressive": False, "window_attention": False}, (256, 256), NONE),
    ],
)
def test_idle_settings_are_named(settings, size, note):
    schedule = make_schedule(HighResSettings(preset="Paper", **settings), SDXL, size, 20, ModelHints())
    assert note in schedule.notes


@pytest.mark.parametrize(
    ("settings", "yields"),
    [
        ({}, True),
        ({"window_attention": True, "t2": 0.1}, True),
        ({"raunet": False}, True),
        ({"t1": 0.01}, True),
        ({"window_attention": False}, False),
        ({"enabled": False}, False),
        ({"preset": "Auto", "trained_size": 1024}, False),
        ({"method": "Deep Shrink"}, False),
    ],
)
def test_windows_yield_to_who_rearranges_the_same_tokens(settings, yields):
    """What is left is what is done without window attention, and a note says to whom it yields."""
    settings = HighResSettings(**{"preset": "Paper"} | settings)
    schedule, alone, without = (
        make_schedule(given, SD1, (128, 128), 20, ModelHints(rival=rival))
        for given, rival in (
            (settings, "HyperTile"),
            (settings, None),
            (dataclasses.replace(settings, window_attention=False), None),
        )
    )
    assert schedule == alone if not yields else schedule.steps == without.steps
    assert schedule.reason == (without if yields else alone).reason
    if yields:
        assert schedule.settings == without.settings
        note = "window attention is off, because HyperTile works on the same blocks"
        assert schedule.notes == (*without.notes, note)


def test_deep_shrink_stages_and_factors():
    """By hand: of 20 steps depth 3 until 3, depth 4 until 6; the factor rises linearly from 0.5 to 1."""
    schedule = make_schedule(HighResSettings(method="Deep Shrink", preset="Paper"), SD1, (128, 128), 20, ModelHints())
    shrinks = [shrink for (shrink,) in schedule.steps[:6]]
    assert [shrink.depth for shrink in shrinks] == [3] * 3 + [4] * 3
    assert schedule.steps[6:] == ((),) * 14
    downs = [0.5, 0.5 + 0.5 / 3, 0.5 + 1 / 3, 0.75, 0.5 + 1 / 3, 0.5 + 2.5 / 6]
    assert [shrink.down for shrink in shrinks] == pytest.approx(downs)
    assert all(shrink.down * shrink.up == pytest.approx(1.0) for shrink in shrinks)


def test_deep_shrink_without_smooth_scaling_keeps_its_factor():
    settings = HighResSettings(method="Deep Shrink", preset="Paper", smooth_scaling=False, downscale=0.6, upscale=1.5)
    schedule = make_schedule(settings, SD1, (128, 128), 20, ModelHints())
    assert {(shrink.down, shrink.up) for shrink in schedule.parts(Shrink)} == {(0.6, 1.5)}


def test_deep_shrink_with_a_first_stop_after_the_second():
    settings = HighResSettings(method="Deep Shrink", preset="Paper", s1=0.5, s2=0.2)
    schedule = make_schedule(settings, SD1, (128, 128), 20, ModelHints())
    assert [shrink.depth for shrink in schedule.parts(Shrink)] == [3] * 10


@pytest.mark.parametrize(
    ("settings", "topology", "size", "steps", "sentence"),
    [
        ({}, SD1, (1, 1), 20, "size = 8x8 is not allowed: both sides must be at least 16 pixels."),
        ({}, SD1, (64, 64), 0, "steps = 0 is not allowed: it must be at least 1."),
        ({}, SD1, (64, 64), 2.0, "steps = 2.0 is not allowed: it must be a whole number."),
        ({}, SD1, (64, 16.5), 2, "width = 16.5 is not allowed: it must be a whole number."),
        (
            {"method": "Deep Shrink", "d1": 10},
            SDXL,
            (256, 256),
            20,
            "d1 = 10 is not allowed: it must be 1 to 9 with SDXL.",
        ),
        (
            {"method": "Deep Shrink", "d2": 12},
            SDXL,
            (256, 256),
            20,
            "d2 = 12 is not allowed: it must be 1 to 9 with SDXL.",
        ),
    ],
)
def test_what_cannot_be_sampled_is_refused(settings, topology, size, steps, sentence):
    with pytest.raises(SettingError) as refusal:
        make_schedule(HighResSettings(preset="Paper", **settings), topology, size, steps, ModelHints())
    assert str(refusal.value) == sentence
