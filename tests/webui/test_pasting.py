"""The infotext of an image, pasted into a page that is otherwise as it first was, gives the same image again."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lib_fewstep.highres import HighResSettings
from lib_fewstep.options import options_of, page_fields
from tests.webui import standin
from tests.webui.exact import OURS, SCHEDULES, pasted

pytestmark = pytest.mark.long

JOBS = int(os.environ.get("JOBS", "25"))
"""`JOBS=200 make test TESTS=tests/webui/test_pasting.py` tries more."""

LEAST = {"downscale": 0.3}
"""Below it feature maps of one pixel are left, of which the norms of 32 channels make noise of rounding."""

SIZES = ((96, 80), (64, 112), (72, 88))
HOSTS = ["Euler", "Euler a", "Heun", "DPM++ 2M", "DPM++ SDE", "LCM", "DDIM", "DDIM CFG++"]
PICTURE = standin.picture(96, 80)
FROM = {"txt2img": {}, "img2img": {"init_images": [PICTURE]}}
"""What an infotext does not say."""


def values(name: str) -> st.SearchStrategy[Any]:
    """What a setting of HiDiffusion may be, as the page's own components give it."""
    option, shown = options_of(HighResSettings)[name], page_fields(HighResSettings)[name].shown
    if option.choices:
        return st.sampled_from(option.choices)
    if isinstance(shown, bool):
        return st.booleans()
    low, high, step = max(option.low or 0, LEAST.get(name, 0)), option.high or 1, option.step or 1
    steps = st.integers(0, round((high - low) / step))
    return steps.map(lambda n: type(shown)(round(low + n * step, 6)))


def highres() -> st.SearchStrategy[dict[str, Any] | None]:
    """Settings of HiDiffusion as the API takes them, with few or all values given; None without.

    Of the two trained sizes one is so small that every pass is large, the other one lies between two passes.
    """
    own = [name for name in options_of(HighResSettings) if name not in ("enabled", "trained_size", "method", "preset")]
    drawn = st.fixed_dictionaries(
        {
            "preset": st.sampled_from(["Auto", "Auto", "Paper", "Manual"]),
            "trained_size": st.sampled_from([64, 96]),
        },
        optional={"method": values("method"), **{name: values(name) for name in own}},
    )
    return st.none() | drawn


def few_step() -> st.SearchStrategy[dict[str, Any] | None]:
    """Settings of Few-Step as the API takes them; None without."""
    guidance = st.sampled_from([{}, {"guidance": "cfg/12.5"}, {"guidance": "lambda", "cfgpp_lambda": 0.6}])
    timesteps = st.sampled_from([{}, {}, {"timesteps": [999, 600, 200]}, {"timesteps": [999, 300, 20]}])
    more = st.sampled_from([{}, {"gamma": 0.6}, {"hires_cfg": 2.0}, {"preset": "TCD"}, {"preset": "DMD2"}])
    return st.none() | st.builds(lambda a, b, c: {**a, **b, **c}, guidance, timesteps, more)


@st.composite
def jobs(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """The tab and the request of a job."""
    width, height = draw(st.sampled_from(SIZES))
    request: dict[str, Any] = {
        "prompt": draw(st.sampled_from(["a cat", "a (big:1.2) dog, 4k"])),
        "negative_prompt": draw(st.sampled_from(["", "bad, worse"])),
        "width": width,
        "height": height,
        "steps": draw(st.integers(1, 4)),
        "seed": draw(st.integers(1, 99)),
        "cfg_scale": draw(st.sampled_from([1.0, 3.5, 7.0])),
        "sampler_name": draw(st.sampled_from([*HOSTS, *OURS])),
        "scheduler": draw(st.sampled_from(["Automatic", "Karras", *SCHEDULES])),
        **draw(st.sampled_from([{}, {}, {"n_iter": 2}, {"batch_size": 2}])),
        "do_not_save_grid": True,
    }
    scripts = {"HiDiffusion": draw(highres()), "Few-Step": draw(few_step())}
    request["alwayson_scripts"] = {name: {"args": [given]} for name, given in scripts.items() if given is not None}
    kind = draw(st.sampled_from(["first", "hires", "img2img"]))
    if kind == "first":
        return "txt2img", request
    request["denoising_strength"] = draw(st.sampled_from([0.4, 0.7, 0.9]))
    if kind == "img2img":
        return "img2img", request | {"init_images": [PICTURE]}
    second = {"enable_hr": True, "hr_upscaler": "Latent"}
    second |= draw(st.sampled_from([{"hr_scale": 1.5}, {"hr_scale": 1.5}, {"hr_resize_x": 64, "hr_resize_y": 64}]))
    other = draw(st.sampled_from([None, "Euler", "Euler CFG++"]))
    if other is not None:  # with its own schedule: the WebUI loses one that is the first sampler's own
        second |= {"hr_sampler_name": other, "hr_scheduler": "SGM Uniform"}
    return "txt2img", request | second | {"hr_second_pass_steps": draw(st.integers(0, 3))}


PLOTTED = {
    "[HiDiffusion] Method": ["None", "HiDiffusion", "Deep Shrink"],
    "[HiDiffusion] Preset": ["Auto", "Paper", "Manual"],
    "[HiDiffusion] Passes": ["Auto", "All", "First", "Hires"],
    "[HiDiffusion] Window attention": ["False", "True"],
    "[HiDiffusion] T1": ["0", "0.3", "1"],
    "[HiDiffusion] Stop 1": ["0.2", "0.9"],
    "[Few-Step] Preset": ["None", "TCD", "DMD2"],
    "[Few-Step] Guidance": ["calibrated", "lambda", "cfg/12.5"],
    "[Few-Step] Gamma": ["0", "0.7"],
    "[Few-Step] Timesteps": ["999 600 200", "999 300 20"],
    "Sampler": ["Euler", "Euler a CFG++", "TCD", "SA-Solver"],
    "Steps": ["2", "3"],
    "CFG Scale": ["1.0", "4.5"],
}


def plots() -> st.SearchStrategy[dict[str, str]]:
    """The axes of a plot, each with two of its values."""
    labels = st.lists(st.sampled_from(list(PLOTTED)), min_size=1, max_size=2, unique=True)
    values = {label: st.permutations(values).map(lambda all_: ", ".join(all_[:2])) for label, values in PLOTTED.items()}
    return labels.flatmap(lambda labels: st.fixed_dictionaries({label: values[label] for label in labels}))


def off_by(request: dict[str, Any], again: Any, image: Any) -> int:
    """How many levels two pictures differ at most, of 255; two images at once are rounded otherwise than one."""
    most = int(np.abs(np.asarray(again).astype(int) - np.asarray(image).astype(int)).max())
    return max(0, most - 1) if request.get("batch_size") == 2 else most


@pytest.fixture(scope="module")
def host():
    """Its upper band begins between two passes of some jobs, so that the preset has another T1 and T2 for each."""
    with standin.webui("sd1") as made, pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules["lib_fewstep.highres.methods.hidiffusion"]._LARGE_SIDE, "SD1", 13)
        yield made


@settings(max_examples=JOBS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(job=jobs())
def test_the_same_image(host, job):
    tab, request = job
    result = getattr(host.api, tab)(request)
    assert result.status in (200, 422), result.message
    assume(result.status == 200)
    for image, text in zip(result.images, result.infotexts, strict=True):
        assert off_by(request, pasted(host, tab, text, **FROM[tab]).images[0], image) == 0, text
    assert not host.errors


@settings(max_examples=max(1, JOBS // 4), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(job=jobs(), axes=plots())
def test_the_same_image_from_each_cell_of_a_plot(host, job, axes):
    tab, request = job
    scripts = {name: given["args"][0] for name, given in request.pop("alwayson_scripts").items()}
    cells = host.xyz(axes, tab, ui=scripts, **request)
    refused = [report.exception for report in host.errors]
    host.errors.clear()
    assert [error.status_code for error in refused] == [422 for cell in cells if cell.status != 200]
    assume(len(refused) < len(cells))
    for cell in cells:
        for image, text in zip(cell.images, cell.infotexts, strict=True):
            assert off_by(request, pasted(host, tab, text, **FROM[tab]).images[0], image) == 0, text


def check_two_passes(host, found, given, **fields):
    """A job with these settings and a hires pass has `found` in its infotext, which gives the same image again."""
    request = {
        "prompt": "a cat",
        "steps": 4,
        "seed": 1,
        "sampler_name": "Euler",
        "enable_hr": True,
        "hr_upscaler": "Latent",
        "denoising_strength": 0.9,
        **fields,
        "alwayson_scripts": {"HiDiffusion": {"args": [given]}},
    }
    result = host.api.txt2img(request)
    assert found in result.infotexts[0]
    assert pasted(host, "txt2img", result.infotexts[0]).images[0].tobytes() == result.images[0].tobytes()
    return result.infotexts[0]


@pytest.mark.parametrize("given", [{"window_attention": False}, {"t1": 0.6}, {"t2": 0.3}, {"by_size": "T2", "t1": 0.5}])
def test_thresholds_that_the_preset_sets_by_the_size_of_each_pass(host, given):
    width, height = SIZES[0]
    own = {"preset": "Paper", **given}
    text = check_two_passes(host, "HiDiffusion by size: ", own, width=width, height=height, hr_scale=1.5)
    assert not re.search(r"HiDiffusion T[12]: ", text) or given.keys() & {"t1", "t2"}


@pytest.mark.parametrize("given", [{"preset": "Paper", "window_attention": False}, {"preset": "Auto", "t1": 0.6}])
def test_a_hires_pass_in_which_the_method_did_nothing(host, given):
    """It has no step left of the preset's T1, or is no larger than the model was trained for."""
    sizes = {"width": 112, "height": 112, "hr_resize_x": 80, "hr_resize_y": 80, "hr_second_pass_steps": 2}
    check_two_passes(host, "HiDiffusion passes: First", {"trained_size": 64, **given}, **sizes)
