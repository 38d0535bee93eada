"""A session leaves no trace, changes only what it says, and gives the same image every time."""

from __future__ import annotations

import pytest
import torch

from lib_fewstep.highres import HighResSession, HighResSettings
from lib_fewstep.options import SettingError
from lib_fewstep.unet import UnsupportedModel
from tests.unets import (
    bk_sdm_tiny_unet,
    bk_sdm_unet,
    call,
    contexts,
    describe,
    in_precision,
    latents,
    refiner_unet,
    sd1_unet,
    sdxl_unet,
    sdxs_unet,
    webui_cat,
)

pytestmark = pytest.mark.long
SIZE, STEPS = (16, 24), 7
"""The least number of steps with which every part of SDXL's RAU-Net has one: the strided downsampler has 8 of 50."""
MAKES = {"SD1": sd1_unet, "SDXL": sdxl_unet}
BOTH = pytest.mark.parametrize("family", ["SD1", "SDXL"])
SETTINGS = {
    "everything": {"preset": "Paper", "t2": 0.2, "aggressive": False},
    "aggressive": {"preset": "Paper"},
    "RAU-Net": {"preset": "Paper", "window_attention": False},
    "windows": {"preset": "Paper", "raunet": False},
    "Deep Shrink": {"preset": "Paper", "method": "Deep Shrink"},
}
EVERY = pytest.mark.parametrize("kind", SETTINGS)


class Interrupted(BaseException):
    """The WebUI's interrupt is no Exception either."""


def run(unet, settings, x, context, *, evaluated=STEPS):
    """The outputs of the first steps of a pass, and the report."""
    outputs = []
    with HighResSession(unet, settings, tuple(x.shape[-2:]), STEPS) as session:
        for step in range(evaluated):
            session.at_step(step)
            outputs.append(call(unet, x, context, 900 - step))
    return outputs, session.report


def plain_run(unet, x, context):
    return [call(unet, x, context, 900 - step) for step in range(STEPS)]


def equal(ours, theirs):
    return [torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)]


@BOTH
@pytest.mark.parametrize(
    "settings",
    [
        {"enabled": False, "preset": "Paper"},
        {},
        {"method": "Deep Shrink"},
        {"preset": "Manual", "t1": 0.0, "t2": 0.0, "aggressive": False, "window_attention": False},
        {"preset": "Paper", "passes": "Hires"},
    ],
)
def test_inert(family, settings):
    unet = MAKES[family]()
    x, context = latents(SIZE), contexts()
    before, random_state = describe(unet), torch.get_rng_state()
    outputs, report = run(unet, HighResSettings(**settings), x, context)
    assert equal(outputs, plain_run(unet, x, context)) == [True] * STEPS
    assert torch.equal(torch.get_rng_state(), random_state)
    assert report.active_steps == ()
    assert report.reason
    assert describe(unet) == before


@BOTH
@pytest.mark.parametrize("kind", ["RAU-Net", "Deep Shrink"])
@pytest.mark.parametrize("size", [(16, 24), (17, 13)])
def test_out_of_window_the_output_is_the_plain_models(family, kind, size):
    unet = MAKES[family]()
    x, context = latents(size), contexts()
    with webui_cat():
        outputs, report = run(unet, HighResSettings(**SETTINGS[kind]), x, context)
        same = equal(outputs, plain_run(unet, x, context))
    assert same == [step not in report.active_steps for step in range(STEPS)]
    assert 0 < len(report.active_steps) < STEPS


@BOTH
@EVERY
def test_the_report_tells_what_ran(family, kind):
    unet = MAKES[family]()
    _, report = run(unet, HighResSettings(**SETTINGS[kind]), latents(SIZE), contexts())
    planned = {step for steps in report.planned.values() for step in steps}
    assert set(report.active_steps) == planned
    assert report.reason is None
    assert report.blocks.keys() == report.planned.keys()
    assert str(report).startswith(f"{report.method} on {family} at 192x128, {STEPS} steps (first pass): ")


NO_STEP = "RAU-Net runs on none of the 1 steps: t1 and t2 are too small"
WINDOWS = "window attention in {} transformer blocks on steps 1-10"
BOTH_PARTS = "strided downsampler at input_blocks[6] on steps 1-2; pool at input_blocks[4] on steps 1-4; "
SMALL_PARTS = "strided downsampler at input_blocks[2] on steps 1-4; pool at input_blocks[3] on steps 1-2; "
LINES = [
    (sd1_unet, {}, 10, "strided downsampler at input_blocks[3] on steps 1-4; " + WINDOWS.format(5)),
    (sdxl_unet, {"aggressive": False, "t2": 0.2}, 10, BOTH_PARTS + WINDOWS.format(10)),
    (sd1_unet, {"window_attention": False, "t1": 0.1}, 10, "strided downsampler at input_blocks[3] on step 1"),
    (sd1_unet, {}, 1, f"window attention in 5 transformer blocks on step 1; {NO_STEP}"),
    (sd1_unet, {"method": "Deep Shrink"}, 10, "shrinking in 4 blocks on steps 1-3"),
    (
        sd1_unet,
        {"method": "Deep Shrink", "d1": 4, "s1": 0.2, "s2": 0.0},
        10,
        "shrinking at input_blocks[3] and output_blocks[8] on steps 1-2; s2 has no effect unless it is above s1",
    ),
    (bk_sdm_unet, {}, 10, "strided downsampler at input_blocks[2] on steps 1-4; " + WINDOWS.format(3)),
    (sdxs_unet, {"t2": 0.2}, 10, SMALL_PARTS + WINDOWS.format(3)),
    (bk_sdm_tiny_unet, {"method": "Deep Shrink"}, 10, "shrinking in 4 blocks on steps 1-3"),
    (sd1_unet, {"enabled": False}, 10, "nothing is done: the method is switched off"),
]


@pytest.mark.parametrize(("make", "settings", "steps", "said"), LINES)
def test_the_reports_line(make, settings, steps, said):
    report = HighResSession(make(), HighResSettings(**{"preset": "Paper"} | settings), SIZE, steps).report
    family = "SDXL" if make is sdxl_unet else "SD1"
    assert str(report) == f"{report.method} on {family} at 192x128, {steps} steps (first pass): {said}."


@BOTH
@EVERY
def test_the_global_random_state_is_untouched(family, kind):
    unet = MAKES[family]()
    random_state = torch.get_rng_state()
    run(unet, HighResSettings(**SETTINGS[kind]), latents(SIZE), contexts())
    assert torch.equal(torch.get_rng_state(), random_state)


@BOTH
@EVERY
def test_restored_after_an_exception_at_every_block(family, kind):
    unet = MAKES[family]()
    x, context = latents((16, 16)), contexts()
    before, clean = describe(unet), call(unet, x, context)
    blocks = [*unet.input_blocks, unet.middle_block, *unet.output_blocks]
    for number, block in enumerate(blocks):
        fault = RuntimeError(f"block {number}") if number % 2 else Interrupted(number)

        def fail(*_, fault=fault):
            raise fault

        session = HighResSession(unet, HighResSettings(**SETTINGS[kind]), (16, 16), STEPS)
        for hook in (block.register_forward_pre_hook, list(block.modules())[-1].register_forward_hook):
            handle = hook(fail)
            with pytest.raises(type(fault)) as raised, session:
                session.at_step(number % 2)
                call(unet, x, context)
            handle.remove()
            assert raised.value is fault
            assert describe(unet) == before
    assert torch.equal(call(unet, x, context), clean)


@BOTH
@EVERY
@pytest.mark.parametrize("stop", [0, 3, STEPS - 1])
def test_restored_after_an_interrupt_at_a_step(family, kind, stop):
    unet = MAKES[family]()
    x, context = latents(SIZE), contexts()
    before = describe(unet)
    with pytest.raises(Interrupted), HighResSession(unet, HighResSettings(**SETTINGS[kind]), SIZE, STEPS) as session:
        for step in range(stop + 1):
            session.at_step(step)
            call(unet, x, context)
        raise Interrupted
    assert describe(unet) == before


@BOTH
@EVERY
def test_a_session_that_never_ended_is_cleaned_up_by_the_next(family, kind):
    unet = MAKES[family]()
    before, clean = describe(unet), call(unet, latents(SIZE), contexts())
    lost = HighResSession(unet, HighResSettings(**SETTINGS[kind]), SIZE, STEPS).__enter__()
    lost.at_step(0)
    with HighResSession(unet, HighResSettings(enabled=False), SIZE, STEPS) as session:
        session.at_step(0)
        assert torch.equal(call(unet, latents(SIZE), contexts()), clean)
    assert describe(unet) == before


@BOTH
@EVERY
def test_another_models_weights_in_the_middle(family, kind):
    """A refiner of the same layout: weights are loaded in place, and every one arrives."""
    unet, refiner = MAKES[family](seed=0), MAKES[family](seed=5)
    settings, x, context = HighResSettings(**SETTINGS[kind]), latents(SIZE), contexts()
    expected, _ = run(refiner, settings, x, context)
    with HighResSession(unet, settings, SIZE, STEPS) as session:
        session.at_step(0)
        call(unet, x, context)
        unet.load_state_dict(refiner.state_dict(), strict=False)
        for step in range(1, STEPS):
            session.at_step(step)
            assert torch.equal(call(unet, x, context, 900 - step), expected[step])
    assert torch.equal(call(unet, x, context), call(refiner, x, context))


@BOTH
@EVERY
def test_the_same_seed_twice(family, kind):
    unet = MAKES[family]()
    settings, x, context = HighResSettings(**SETTINGS[kind]), latents(SIZE), contexts()
    first, _ = run(unet, settings, x, context)
    torch.manual_seed(123)
    second, _ = run(unet, settings, x, context)
    assert all(equal(first, second))


@BOTH
@EVERY
@pytest.mark.parametrize("size", [(16, 24), (17, 13)])
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_a_batch_equals_its_rows(family, kind, size, precision, tolerance):
    """Four images at once against one by one; the rows of cond and uncond are split in the same way."""
    unet = in_precision(MAKES[family](), precision)
    settings = HighResSettings(**SETTINGS[kind])
    x, context = latents(size, batch=4).to(precision), contexts(4).to(precision)
    with webui_cat():
        together, report = run(unet, settings, x, context, evaluated=2)
        assert report.active_steps == (0, 1)
        for row in range(4):
            alone, _ = run(unet, settings, x[row : row + 1], context[row : row + 1], evaluated=2)
            for a, b in zip(together, alone, strict=True):
                assert float((a[row : row + 1] - b).abs().max()) < tolerance


@BOTH
def test_several_calls_in_one_step_are_alike(family):
    """Second-order samplers and split cond/uncond call the UNet more than once a step."""
    unet = MAKES[family]()
    x, context = latents(SIZE), contexts()
    with HighResSession(unet, HighResSettings(preset="Paper"), SIZE, STEPS) as session:
        session.at_step(1)
        first = call(unet, x, context)
        assert torch.equal(call(unet, x, context), first)
        session.at_step(1)
        assert torch.equal(call(unet, x, context), first)
    assert session.report.active_steps == (1,)


@BOTH
@EVERY
def test_it_has_an_effect(family, kind):
    unet = MAKES[family]()
    x, context = latents(SIZE), contexts()
    outputs, report = run(unet, HighResSettings(**SETTINGS[kind]), x, context)
    for step, same in enumerate(equal(outputs, plain_run(unet, x, context))):
        assert same == (step not in report.active_steps)


@pytest.mark.parametrize("step", [-1, STEPS, 1000])
def test_a_step_outside_of_the_pass_is_refused(step):
    with HighResSession(sd1_unet(), HighResSettings(), SIZE, STEPS) as session, pytest.raises(SettingError) as refusal:
        session.at_step(step)
    assert str(refusal.value) == f"step = {step} is not allowed: it must be 0 to {STEPS - 1}."


def test_the_sdxl_refiner_is_left_alone_with_a_reason():
    outputs, report = run(refiner_unet(), HighResSettings(preset="Paper"), latents((16, 16)), contexts())
    assert equal(outputs, plain_run(refiner_unet(), latents((16, 16)), contexts())) == [True] * STEPS
    assert "nothing is done: the SDXL refiner" in str(report)


def test_another_kind_of_model_is_refused():
    with pytest.raises(UnsupportedModel, match="has no input_blocks"):
        HighResSession(torch.nn.Linear(2, 2), HighResSettings(), SIZE, STEPS)


class Wrapper(torch.nn.Module):
    """What another extension puts around whatever stands in a block's place."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, *args, **kwargs):
        return self.block(*args, **kwargs)


@BOTH
@EVERY
@pytest.mark.parametrize("place", [2, 3, 6])
def test_a_wrapper_that_comes_during_the_session(family, kind, place):
    """It stays in its place, what it wraps is the block again, and no step is changed twice."""
    unet = MAKES[family]()
    settings, x, context = HighResSettings(**SETTINGS[kind]), latents(SIZE), contexts()
    (expected, _), clean = run(unet, settings, x, context, evaluated=4), call(unet, x, context)
    block = unet.input_blocks[place]
    with HighResSession(unet, settings, SIZE, STEPS) as session:
        for step, wanted in enumerate(expected):
            session.at_step(step)
            assert torch.equal(call(unet, x, context, 900 - step), wanted)
            if step == 0:
                wrapper = unet.input_blocks[place] = Wrapper(unet.input_blocks[place])
    assert unet.input_blocks[place] is wrapper
    assert wrapper.block is block
    assert torch.equal(call(unet, x, context), clean)


def test_an_installation_that_fails_leaves_nothing():
    class Unwrappable(type(torch.nn.Module)):
        def __new__(cls, name, bases, namespace):
            if any(isinstance(base, Unwrappable) for base in bases):
                raise TypeError("no subclasses")
            return super().__new__(cls, name, bases, namespace)

    class Block(torch.nn.Sequential, metaclass=Unwrappable):
        pass

    unet = sd1_unet()
    unet.output_blocks[3] = Block(*unet.output_blocks[3])
    before = describe(unet)
    with pytest.raises(TypeError), HighResSession(unet, HighResSettings(preset="Paper"), SIZE, STEPS) as session:
        session.at_step(0)
    assert describe(unet) == before


def test_at_step_needs_an_open_session():
    unet = sd1_unet()
    before = describe(unet)
    session = HighResSession(unet, HighResSettings(preset="Paper"), SIZE, STEPS)
    with pytest.raises(SettingError, match="needs an open session"):
        session.at_step(0)
    with session:
        session.at_step(0)
    with pytest.raises(SettingError, match="needs an open session"):
        session.at_step(0)
    assert describe(unet) == before


def test_a_session_inside_a_session():
    unet = sd1_unet()
    settings, x, context = HighResSettings(preset="Paper"), latents(SIZE), contexts()
    expected, before = run(unet, settings, x, context)[0], describe(unet)
    with HighResSession(unet, settings, SIZE, STEPS) as outer:
        outer.at_step(0)
        run(unet, settings, x, context)
        outer.at_step(1)
        assert torch.equal(call(unet, x, context, 899), expected[1])
    assert describe(unet) == before


def test_stand_ins_stay_over_steps_that_follow_on_each_other():
    unet = sd1_unet()
    with HighResSession(unet, HighResSettings(preset="Paper"), (16, 24), 10) as session:
        session.at_step(1)
        first = list(unet.input_blocks)
        session.at_step(2)
        assert all(now is before for now, before in zip(unet.input_blocks, first, strict=True))


def test_on_a_step_without_a_method_the_blocks_themselves_are_there():
    unet = sd1_unet()
    before = [*unet.input_blocks, *unet.output_blocks]
    with HighResSession(unet, HighResSettings(preset="Paper", window_attention=False), (16, 24), 10) as session:
        session.at_step(1)
        session.at_step(9)
        after = [*unet.input_blocks, *unet.output_blocks]
        assert all(now is own for now, own in zip(after, before, strict=True))
