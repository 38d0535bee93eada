"""Whatever goes wrong in a job of the WebUI, wherever and when: nothing is left, and the next image is a clean one."""

from __future__ import annotations

import itertools
import re
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from unittest.mock import Mock, patch

import pytest
import torch
from ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch.nn.modules.module import register_module_forward_pre_hook

from tests import unets
from tests.unets import describe, values
from tests.webui import standin
from tests.webui.exact import OURS, SCHEDULES, SCRIPTS, listening, passes_of, registered, settings_of, unchanged
from tests.webui.standin.checkpoints import Recipe
from tests.webui.test_few_step import check_denoiser

pytestmark = pytest.mark.long

SD1, SDXL = {"channel_mult": [1, 1, 2, 2]}, {"channel_mult": [1, 1, 2], "depth": 1}
CHECKPOINTS = {
    "tiny": Recipe(partial(unets.sd1_unet, **SD1), "tiny", "sd1"),
    "same layout": Recipe(partial(unets.sd1_unet, 5, **SD1), "tiny", "sd1"),
    "another layout": Recipe(partial(unets.sdxl_unet, **SDXL), "tiny-xl", "sdxl"),
}
IMAGE = {"init_images": [standin.picture(64, 64)], "mask": standin.mask_picture(64, 64), "denoising_strength": 1}
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6}
SHRINK = {"method": "Deep Shrink", "preset": "Paper", "s1": 0.5, "s2": 1.0}


def request(hires=None, few_step=None, **fields):
    """A small job, recorded, with the settings of both scripts."""
    scripts = {"HiDiffusion": {"args": [hires or {"enabled": False}]}, "Few-Step": {"args": [few_step or {}]}}
    base = {"prompt": "a cat", "negative_prompt": "bad", "width": 64, "height": 64, "steps": 2, "seed": 1}
    return base | {"override_settings": {"fewstep_record": True}, "alwayson_scripts": scripts} | fields


OFF = {"sampler_name": "Euler", "alwayson_scripts": {}, "override_settings": {}}
REQUESTS = {
    "plain": request(steps=1) | OFF,
    "HiDiffusion": request({"preset": "Paper"}, {"guidance": "lambda"}, sampler_name="Euler CFG++", steps=3),
    "Deep Shrink": request(SHRINK, {"timesteps": [900, 400]}, sampler_name="DPM++ 2S a CFG++"),
    "hires fix": request({"preset": "Paper", "passes": "All"}, sampler_name="TCD", **HIRES),
    "inversion": request(SHRINK, {"invert": {"steps": 1}}, sampler_name="DPM++ 2M CFG++", **IMAGE),
}
METHODS = [name for name in REQUESTS if name != "plain"]
ON_SAMPLERS = {"launch_sampling", "get_sigmas", "callback_state"}
COST = re.compile(r', Few-Step cost: "[^"]*"')


@dataclass
class Clean:
    """What a host makes of every request before anything has gone wrong, and the evaluations of it: (pass, step)."""

    images: dict
    places: dict
    weights: dict


@pytest.fixture(scope="module")
def running():
    """A host with small checkpoints."""
    with patch.dict(standin.RECIPES, CHECKPOINTS), standin.webui("tiny", SCRIPTS) as host:
        clean = Clean({}, {}, values(host.unet))
        with unchanged(host):
            for name in REQUESTS:
                clean.images[name] = made(host, name)
                clean.places[name] = list(dict.fromkeys((call.launch, call.step) for call in host.probe.calls))
        yield host, clean


@pytest.fixture
def host(running):
    host = running[0]
    yield host
    host.load_model("tiny")
    host.errors.clear()


@pytest.fixture
def clean(running):
    return running[1]


@pytest.fixture
def stopped():
    """What the host raises where the user has stopped, which is no Exception."""
    return sys.modules["modules.sd_samplers_common"].InterruptedException()


def answer(host, name, **fields):
    wanted = REQUESTS[name] | fields
    return (host.api.img2img if "init_images" in wanted else host.api.txt2img)(wanted)


def made(host, name):
    """The latents and infotexts of a request that must succeed; what it costs is not the same twice."""
    result = answer(host, name)
    assert result.status == 200, result.message
    assert not host.errors
    return result.latents.tolist(), [COST.sub("", text) for text in result.infotexts]


@contextmanager
def nothing_left(host, clean, *following):
    """Afterwards the model, its hooks, the settings and the callbacks are as before, and so are the next images."""
    with unchanged(host):
        yield
        host.load_model("tiny")
    assert {str(report.exception) for report in host.errors} <= {"planted", str(out_of_memory())}
    host.errors.clear()
    assert values(host.unet) == clean.weights
    for name in following or ("plain",):
        assert made(host, name) == clean.images[name], name


def out_of_memory():
    return torch.cuda.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["interrupt", "skip", "nan", "block"])
def test_at_every_step(host, clean, name, kind):
    for number, (launch, step) in enumerate(clean.places[name]):
        with nothing_left(host, clean), listening(host) as listen:
            denoisers = listen(lambda params: params.denoiser)
            error = {"block": number, "step": step, "error": out_of_memory()}
            fault = host.fault(launch=launch, **(error if kind == "block" else {kind: step}))
            result = answer(host, name)
        assert fault.fired
        for denoiser in denoisers:
            check_denoiser(denoiser)
            assert not ON_SAMPLERS & set(vars(denoiser.sampler))
            assert not passes_of(denoiser.p)
        assert result.status == (500 if kind == "block" or result.error == "NansException" else 200)


def test_in_every_block_and_self_attention(host, clean, stopped):
    """A wrong size in the first step, which would be sampled once more, has tests of its own."""
    blocks = range(2 * len(host.unet.input_blocks) + 1)
    attentions = [name for name, _ in host.unet.named_modules() if name.endswith("attn1")]
    for number, block in enumerate([*blocks, *attentions]):
        error = (KeyError("planted"), out_of_memory(), stopped)[number % 3]
        with nothing_left(host, clean):
            fault = host.fault(block=block, step=number % 2, error=error)
            result = answer(host, "HiDiffusion")
        assert fault.fired
        assert (result.status, result.exception) == ((200, None) if error is stopped else (500, error))


@pytest.mark.parametrize(("first", "second"), list(itertools.product(METHODS, METHODS)))
def test_two_requests_in_a_row(host, clean, first, second):
    with nothing_left(host, clean, second):
        host.fault(block="middle_block", step=1, error=out_of_memory())
        assert answer(host, first).status == 500


def failing(own, error, *, first):
    """A function that raises before or after it does what it should."""

    def fails(*args, **kwargs):
        if not first:
            own(*args, **kwargs)
        raise error

    return fails


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("hook", ["process", "process_batch", "process_before_every_sampling", "postprocess_batch"])
def test_in_the_scripts_own_methods(host, clean, monkeypatch, hook, first):
    """The host logs what they raise and goes on; what they have done before stays right."""
    scripts = host.tabs["txt2img"].runner.alwayson_scripts
    ours = [script for script in scripts if script.filename.startswith(str(SCRIPTS))]
    assert len(ours) == 5
    with nothing_left(host, clean, "hires fix"), monkeypatch.context() as patched:
        for script in ours:
            patched.setattr(script, hook, failing(getattr(script, hook), RuntimeError("planted"), first=first))
        result = answer(host, "hires fix")
        assert result.status == 200
        assert {str(report.exception) for report in host.errors} == {"planted"}
    if not first:
        assert result.latents.tolist() == clean.images["hires fix"][0]


@pytest.mark.parametrize(
    ("room", "name", "times", "status"),
    [
        ("highres.session", "HighResSession.__enter__", 1, 500),
        ("highres.session", "HighResSession.at_step", 3, 200),
        ("webui.record.sampling_pass", "RecordedPass.evaluated", 3, 200),
        ("compare.meter", "Meter._before", 3, 500),
        ("compare.meter", "Meter._after", 3, 500),
        ("compare.meter", "Meter._mark", 8, 500),
        ("webui.fewstep.cfgpp_denoiser", "HostDenoiser.__call__", 3, 500),
        ("webui.fewstep.cfgpp_denoiser", "HostDenoiser._check_meaning", 1, 500),
    ],
)
def test_in_our_own_callbacks(host, clean, monkeypatch, room, name, times, status):
    """At each of its calls; what is raised in the host's callbacks is logged, anything else ends the job."""
    kind, method = name.split(".")
    owner = getattr(sys.modules[f"lib_fewstep.{room}"], kind)
    own = getattr(owner, method)
    for number in range(times):
        calls = itertools.count()

        def fails(*args, calls=calls, number=number, **kwargs):
            if next(calls) == number:
                raise out_of_memory()
            return own(*args, **kwargs)

        with nothing_left(host, clean), monkeypatch.context() as patched:
            patched.setattr(owner, method, fails)
            assert answer(host, "HiDiffusion").status == status
            assert next(calls) > number
            assert len(host.errors) == (status == 200)


def test_after_an_error_at_a_step_the_rest_of_the_pass_is_the_plain_models(host, clean, monkeypatch):
    session, calls, seen = sys.modules["lib_fewstep.highres.session"].HighResSession, itertools.count(), []
    own = session.at_step

    def fails(*args):
        if next(calls) == 1:
            raise out_of_memory()
        return own(*args)

    with nothing_left(host, clean), monkeypatch.context() as patched:
        patched.setattr(session, "at_step", fails)
        blocks = host.unet.input_blocks
        watch = host.unet.register_forward_pre_hook(lambda *_: seen.append(hasattr(blocks[0], "fewstep_block")))
        assert answer(host, "HiDiffusion").status == 200
        watch.remove()
    assert seen == [True, False, False]


@pytest.mark.parametrize("kind", ["cfg_denoiser", "cfg_denoised", "cfg_after_cfg"])
def test_in_somebody_elses_callback(host, clean, stopped, kind):
    """The host swallows an Exception, and the image is as ever; anything else ends the pass."""
    entries, name = host.callbacks.kinds[kind], "HiDiffusion"
    for at, error in ((0, RuntimeError("planted")), (len(entries), stopped), (0, KeyboardInterrupt())):
        with nothing_left(host, clean, name):
            register = getattr(sys.modules["modules.script_callbacks"], f"on_{kind}")
            register(failing(None, error, first=True))
            entry = entries.pop()
            entries.insert(at, entry)
            with pytest.raises(KeyboardInterrupt) if isinstance(error, KeyboardInterrupt) else nullcontext():
                result = answer(host, name)
                assert result.status == 200
                assert bool(host.errors) == isinstance(error, RuntimeError)
                assert (result.latents.tolist() == clean.images[name][0]) == isinstance(error, RuntimeError)
            entries.remove(entry)


@contextmanager
def during(host, number, act, *, inside):
    """In the next job something happens before an evaluation, or while a UNet is in the middle of it."""
    calls, middle, before = itertools.count(), [], host.probe.before_evaluation

    def between(step):
        before(step)
        if not inside and next(calls) == number:
            act()

    def within(module, _):
        if isinstance(module, UNetModel):
            middle[:] = [module.middle_block]
        elif inside and middle == [module] and next(calls) == number:
            act()

    handle = register_module_forward_pre_hook(within)
    with patch.object(host.probe, "before_evaluation", between):
        try:
            yield
        finally:
            handle.remove()
    assert next(calls) > number


@pytest.mark.parametrize(
    ("change", "inside"),
    [("same layout", True), ("another layout", True), ("another layout", False), ("tiny", True), (None, False)],
)
def test_another_model_at_every_step(host, clean, log, change, inside):
    """It is loaded in place or as another object, is the same again, or there is none any more."""
    for number in range(len(clean.places["HiDiffusion"])):
        unet, loaded = host.unet, []

        def act(unet=unet, loaded=loaded):
            if change in ("tiny", None):
                host.shared.sd_model = None
            if change is not None:
                host.load_model(change)
                loaded += [(new, describe(new)) for new in [host.unet] if new is not unet]

        last = number == len(clean.places["HiDiffusion"]) - 1
        following = "HiDiffusion" if last else "plain"
        with nothing_left(host, clean, following), during(host, number, act, inside=inside):
            assert answer(host, "HiDiffusion").status == 200
            assert not host.errors
        assert all(describe(unet) == before for unet, before in loaded)
    assert change is not None or "HiDiffusion stops at the new model: No model is loaded." in log()


@pytest.mark.parametrize("other", ["same layout", "another layout"])
def test_a_refiner_and_a_hires_checkpoint_at_every_step(host, clean, stopped, other):
    """In the evaluation after the swap the new model fails, or the user stops."""
    everywhere = {"refiner_switch_by_sample_steps": True, "hires_fix_refiner_pass": "both passes"}
    for name in ("HiDiffusion", "hires fix"):
        for number, (launch, step) in enumerate(clean.places[name]):
            fails = number % 2 == 0
            act = Mock(side_effect=out_of_memory() if fails else stopped)
            refiner = {"refiner_checkpoint": other, "refiner_switch_at": step / REQUESTS[name]["steps"]}
            swap = {"hr_checkpoint_name": other} if launch and not step else refiner
            with nothing_left(host, clean), settings_of(host, **everywhere):
                with during(host, number, act, inside=True):
                    assert answer(host, name, **swap).status == (500 if fails else 200)
                assert host.shared.sd_model.sd_checkpoint_info.name_for_extra == other


@pytest.mark.parametrize(("inside", "reimport"), [(False, True), (True, False)])
def test_a_reload_of_the_page_at_every_step(host, clean, reimport, inside):
    lists = host.api.samplers(), host.api.schedulers(), axes(host)
    for number in range(len(clean.places["HiDiffusion"])):
        with nothing_left(host, clean):
            with during(host, number, partial(host.reload_ui, reimport=reimport), inside=inside):
                result = answer(host, "HiDiffusion")
            assert result.status == 200
            assert not host.errors
            assert inside or result.latents.tolist() == clean.images["HiDiffusion"][0]
        assert (host.api.samplers(), host.api.schedulers(), axes(host)) == lists


def axes(host):
    (module,) = (
        data.module for data in sys.modules["modules.scripts"].scripts_data if data.path.endswith("xyz_grid.py")
    )
    return [axis.label for axis in module.axis_options]


@pytest.mark.parametrize("name", ["HiDiffusion", "inversion"])
def test_disabled_after_a_fault(host, clean, name, tmp_path):
    """In the request, and as an extension: the page is made again without its scripts."""
    off = {"HiDiffusion": {"args": [{"enabled": False}]}, "Few-Step": {"args": [{"enabled": False}]}}
    with nothing_left(host, clean, name):
        host.fault(block="output_blocks.5", step=1, error=out_of_memory())
        assert answer(host, name).status == 500
        disabled = answer(host, "plain", alwayson_scripts=off)
        assert (disabled.latents.tolist(), disabled.infotexts) == clean.images["plain"]
        with patch.object(host, "scripts_dir", tmp_path):
            host.reload_ui()
            assert made(host, "plain") == clean.images["plain"]
            assert not any("lib_fewstep" in name for names in registered(host).values() for name in names)
            assert not {entry["name"] for entry in host.api.samplers()} & set(OURS)
            assert not {entry["label"] for entry in host.api.schedulers()} & set(SCHEDULES)
        host.reload_ui()


def test_in_a_plot_and_in_a_comparison(host, clean):
    """Their other cells are as ever, and so is what follows."""
    fields = {
        key: value for key, value in REQUESTS["plain"].items() if key not in ("alwayson_scripts", "override_settings")
    }
    chosen = {"[HiDiffusion] Method": "None, HiDiffusion, Deep Shrink", "[HiDiffusion] Preset": "Paper"}
    expected = [cell.latents.tolist() for cell in host.xyz(chosen, **fields)]
    settings = {"steps": [1], "cfg": [3], "samplers": ["Euler", "Euler CFG++"], "reference_steps": 2}
    comparison = {"script_name": "Few-step comparison", "script_args": [settings]}
    for fault in ({"interrupt": 0}, {"block": 20, "error": out_of_memory()}):
        with nothing_left(host, clean):
            host.fault(launch=1, **fault)
            first, _, third = host.xyz(chosen, **fields)
            assert first.latents.tolist() == expected[0]
            assert "interrupt" in fault or third.latents.tolist() == expected[2]
        with nothing_left(host, clean, "HiDiffusion"):
            host.fault(launch=1, **fault)
            assert answer(host, "plain", **comparison).status == 200
            assert host.shared.state.textinfo is None
