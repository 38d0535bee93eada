"""Whatever goes wrong during a session, wherever and when: the model is as it was, and so is the next image."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache, partial
from itertools import count
from typing import NamedTuple
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ldm.modules.attention import CrossAttention
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from lib_fewstep.highres import HighResSession, HighResSettings, skips
from lib_fewstep.unet import Scaling, blocks_of, swapper
from tests.unets import call, contexts, describe, latents, sd1_unet, sdxl_unet, values, webui_cat

MAKES = {
    "SD1": partial(sd1_unet, channel_mult=[1, 2, 2, 2]),
    "SDXL": partial(sdxl_unet, channel_mult=[1, 2, 2], depth=1),
}
SIZES = [(8, 8), (9, 7), (6, 12), (11, 10)]
STEPS = 5
METHODS = [
    HighResSettings(preset="Paper", t1=0.6, t2=0.4, aggressive=False),
    HighResSettings(preset="Paper", t1=1.0, aggressive=True),
    HighResSettings(preset="Paper", t1=1.0, window_attention=False),
    HighResSettings(preset="Paper", raunet=False),
    HighResSettings(preset="Paper", method="Deep Shrink", s1=0.4, s2=0.8),
    HighResSettings(preset="Paper", method="Deep Shrink", s1=1.0, early_out=True, upscale=2.5),
]


class Stopped(BaseException):
    """The WebUI's interrupt is no Exception either."""


ERRORS = [RuntimeError, torch.cuda.OutOfMemoryError, Stopped]


class Fault(NamedTuple):
    """What goes wrong (NaN where there is no error), on which step, and at which share of a place's calls."""

    error: type[BaseException] | None
    step: int
    place: str
    share: float


@contextmanager
def at_a_call(touch, *, of=torch.nn.Module, after=False):
    """Every call of a module of that kind, before or after its forward."""

    def hook(module, *seen):
        return touch(seen[-1]) if isinstance(module, of) else None

    handle = (register_module_forward_hook if after else register_module_forward_pre_hook)(hook)
    try:
        yield
    finally:
        handle.remove()


class AtAnOperation(TorchFunctionMode):
    """Every operation of torch, or those of the given names."""

    def __init__(self, touch, names=()):
        super().__init__()
        self.touch, self.names = touch, names

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if not self.names or function.__name__ in self.names:
            self.touch(None)
        return function(*args, **(kwargs or {}))


def at_a_function(touch, module, name):
    """Every call of one of the library's own functions, before it does anything."""
    own = getattr(module, name)
    return patch.object(module, name, lambda *args: touch(None) or own(*args))


PLACES = {
    "before a module": at_a_call,
    "after a module": partial(at_a_call, after=True),
    "before attention": partial(at_a_call, of=CrossAttention),
    "after attention": partial(at_a_call, of=CrossAttention, after=True),
    "operation": AtAnOperation,
    "resizing": partial(AtAnOperation, names=("interpolate", "avg_pool2d")),
    "windowing": partial(AtAnOperation, names=("roll",)),
    "planning": partial(at_a_function, module=skips, name="scalings"),
    "installing": partial(at_a_function, module=swapper, name="_set_block"),
}
IN_EVERY_EVALUATION = list(PLACES)[:5]


@cache
def pristine(family):
    return MAKES[family]()


@cache
def calls_of(family, place):
    """How often a plain evaluation comes to a place; blocks are installed where a session is."""
    seen = []
    with PLACES[place](seen.append), webui_cat():
        call(pristine(family), latents(SIZES[0], 1), contexts(1))
    return len(seen) or {"planning": 1, "installing": len(blocks_of(pristine(family)))}.get(place, 4)


@contextmanager
def planted(family, fault):
    """The fault, once; gives a list of what has gone wrong."""
    calls, number, happened = count(), int(fault.share * calls_of(family, fault.place)), []

    def touch(output):
        if next(calls) != number:
            return None
        happened.append(fault.error and fault.error("planted"))
        if fault.error:
            raise happened[0]
        return torch.full_like(output, torch.nan)

    with PLACES[fault.place](touch):
        yield happened


def faulted(unet, family, method, size, fault):
    """A session into which the fault comes; what it raises comes out, and its stand-ins do nothing any more."""
    raised, kept = [], []
    try:
        with HighResSession(unet, method, size, STEPS) as session:
            for step in range(fault.step):
                session.at_step(step)
            kept += blocks_of(unet).values()
            with planted(family, fault) as happened:
                session.at_step(fault.step)
                kept += blocks_of(unet).values()
                call(unet, latents(size, 1), contexts(1))
    except (RuntimeError, Stopped) as error:
        raised.append(error)
    assert [error for error in happened if error] == raised
    assert happened or fault.place not in IN_EVERY_EVALUATION
    assert all(getattr(block, "fewstep_scaling", Scaling()) == Scaling() for block in kept)


def image(unet, method, size):
    """What the first evaluation of a session makes; without a method, the model's own."""
    if method is None:
        return call(unet, latents(size, 1), contexts(1))
    with HighResSession(unet, method, size, STEPS) as session:
        session.at_step(0)
        return call(unet, latents(size, 1), contexts(1))


@cache
def clean(family, method, size):
    return image(pristine(family), method, size)


@contextmanager
def unharmed(family, size, method):
    """A model for faults, and a check that it is the same; in the end its next image is, too.

    The next plan gets the model that has gone through all before, unless one has harmed it.
    """
    unet, before, weights = MODELS.pop(family, None) or described(MAKES[family]())
    with webui_cat():
        yield unet, lambda: describe(unet) == before
        assert values(unet) == weights
        assert torch.equal(image(unet, method, size), clean(family, method, size))
    assert describe(unet) == before
    MODELS[family] = unet, before, weights


def described(unet):
    return unet, describe(unet), values(unet)


MODELS = {}

sizes, methods, steps = st.sampled_from(SIZES), st.sampled_from(METHODS), st.integers(0, STEPS - 1)
errors = st.builds(Fault, st.sampled_from(ERRORS), steps, st.sampled_from(list(PLACES)), st.floats(0, 0.999))
nans = st.builds(Fault, st.none(), steps, st.sampled_from(["after a module", "after attention"]), st.floats(0, 0.999))
sessions = st.lists(st.tuples(methods, errors | nans), min_size=1, max_size=2)


@pytest.mark.long
@settings(max_examples=100)
@given(st.sampled_from(list(MAKES)), sizes, sessions, st.none() | methods)
def test_random_plans(family, size, sessions, following):
    """Sessions one after the other, each with a fault of its own."""
    with unharmed(family, size, following) as (unet, is_as_before):
        for method, fault in sessions:
            faulted(unet, family, method, size, fault)
            assert is_as_before()


@pytest.mark.parametrize("place", ["before attention", "after attention"])
@pytest.mark.parametrize("family", MAKES)
def test_every_attention(family, place):
    calls, size = calls_of(family, place), SIZES[0]
    with unharmed(family, size, None) as (unet, is_as_before):
        for number in range(calls):
            fault = Fault(ERRORS[number % 3], number % STEPS, place, (number + 0.5) / calls)
            faulted(unet, family, METHODS[number % len(METHODS)], size, fault)
            assert is_as_before()
