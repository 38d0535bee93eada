"""Other extensions in the same job: before it or from its first step on, taken off before or after the job's end."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager

import pytest

from tests.neighbours import NEIGHBOURS
from tests.unets import describe
from tests.webui.exact import off, same

STEPS = 3
BASE = {"prompt": "a cat", "width": 96, "height": 80, "steps": STEPS, "seed": 1, "sampler_name": "Euler"}
LATENT = (10, 12)
METHODS = {
    "HiDiffusion": {"preset": "Paper"},
    "Deep Shrink": {"method": "Deep Shrink", "preset": "Manual", "s1": 1.0},
}


def generate(host, settings=None):
    scripts = {} if settings is None else {"alwayson_scripts": {"HiDiffusion": {"args": [settings]}}}
    result = host.api.txt2img(BASE | scripts)
    assert result.status == 200, result.message
    assert not host.errors
    return result


@contextmanager
def at_each_step(host, do, *, first):
    """Another extension's callback of the host's denoiser, before or behind ours; `do` gets the step."""
    callbacks, registered = sys.modules["modules.script_callbacks"], host.callbacks.kinds["cfg_denoiser"]

    def callback(params):
        do(params.denoiser.step)

    callbacks.on_cfg_denoiser(callback)
    if first:
        registered.insert(0, registered.pop())
    try:
        yield
    finally:
        callbacks.remove_callbacks_for_function(callback)


def beside(host, method, name, *, arrives, leaves, first):
    """A job, and a neighbour that comes before step `arrives` and goes before step `leaves`; outside of it if None."""
    with ExitStack() as patched:

        def come_and_go(step):
            if step == arrives:
                patched.enter_context(NEIGHBOURS[name].patch(host.unet, LATENT))
            if step == leaves:
                patched.close()

        if arrives is None:
            patched.enter_context(NEIGHBOURS[name].patch(host.unet, LATENT))
        with at_each_step(host, come_and_go, first=first):
            return generate(host, METHODS[method])


@pytest.fixture(scope="module")
def plain(sd1):
    return generate(sd1)


@pytest.mark.parametrize(
    ("name", "method", "leaves", "first"),
    [
        *[(name, "HiDiffusion", None, True) for name in NEIGHBOURS],
        *[(name, "Deep Shrink", STEPS - 1, False) for name in ("token merging", "regional prompting", "low VRAM")],
    ],
)
def test_a_job_with_both(sd1, plain, log, name, method, leaves, first):
    """Whether the neighbour is there earlier or comes in the first step, the image is the same, and the next plain."""
    before = describe(sd1.unet)
    earlier, in_the_job = (
        beside(sd1, method, name, arrives=arrives, leaves=leaves, first=first) for arrives in (None, 0)
    )
    assert off(in_the_job, earlier) < 1e-4
    assert not same(earlier, plain)
    _, note = NEIGHBOURS[name].yields.get(method, ({}, None))
    yielding = [line for line in log() if " is off, because " in line or "left a block alone" in line]
    assert len(yielding) == (2 if note else 0)
    assert all(note in line for line in yielding)
    assert describe(sd1.unet) == before
    assert same(generate(sd1), plain)
