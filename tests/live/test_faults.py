"""What can go wrong over HTTP in a running WebUI, on whatever checkpoint is loaded: the next image is a clean one.

`make live WEBUI_URL=http://127.0.0.1:7860`
"""

from __future__ import annotations

import itertools
import threading

import httpx
import pytest

from tests.live.client import BASE as LARGER
from tests.live.client import URL, get, infotexts, pictures, post, same

BASE = LARGER | {"width": 128, "height": 128, "steps": 4}
STEPS, STOPS = 10, 6
TASKS = itertools.count()
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}


def request(hires, few_step, **fields):
    scripts = {"HiDiffusion": {"args": [hires]}, "Few-Step": {"args": [few_step]}}
    return BASE | {"alwayson_scripts": scripts, "override_settings": {"fewstep_record": True}} | fields


REQUESTS = {
    "plain": BASE,
    "HiDiffusion": request({"preset": "Paper"}, {"guidance": "lambda"}, sampler_name="Euler CFG++", cfg_scale=0.6),
    "Deep Shrink": request({"method": "Deep Shrink", "preset": "Paper"}, {"gamma": 0.5}, sampler_name="TCD"),
    "hires fix": request({"preset": "Paper", "passes": "All"}, {}, sampler_name="DPM++ 2S a CFG++", **HIRES),
}
METHODS = [name for name in REQUESTS if name != "plain"]
WRONG = [
    {"alwayson_scripts": {"HiDiffusion": {"args": [{"t1": 7}]}}},
    {"alwayson_scripts": {"Few-Step": {"args": [{"timesteps": [5, 900]}]}}},
    {"enable_hr": True, "hr_upscaler": "no such upscaler"},
    {"enable_hr": True, "hr_checkpoint_name": "no such checkpoint"},
    {"refiner_checkpoint": "no such checkpoint", "refiner_switch_at": 0.5},
]


def made(name):
    answer = post("txt2img", REQUESTS[name])
    assert answer.status_code == 200, answer.text
    assert ("Few-Step cost" in infotexts(answer)[0]) == (name != "plain"), "somebody else has stopped it"
    return pictures(answer)


@pytest.fixture(scope="module")
def clean():
    """Every request's image before anything has gone wrong."""
    return {name: made(name) for name in REQUESTS}


def during(name, step, act, **fields):
    """The answer to a request in whose sampling, from a step on, something happens."""
    answers, task = [], f"task(faults-{next(TASKS)})"
    wanted = REQUESTS[name] | {"force_task_id": task} | fields
    run = threading.Thread(target=lambda: answers.append(post("txt2img", wanted)))
    run.start()
    while run.is_alive():
        if is_active(task) and get("progress?skip_current_image=true")["state"]["sampling_step"] >= step:
            act()
            break
    run.join()
    return answers[0]


def is_active(task):
    """Whether this request is the one that is being worked on."""
    return httpx.post(f"{URL}/internal/progress", json={"id_task": task, "live_preview": False}).json()["active"]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["interrupt", "skip"])
def test_a_stop_at_every_step(clean, kind, name):
    """An image that was stopped has no record."""
    for step in range(STOPS):
        answer = during(name, step, lambda: post(kind, {}), steps=STEPS, enable_hr=False)
        assert "Few-Step cost" not in infotexts(answer)[0]
        assert same(made(name), clean[name])


@pytest.mark.parametrize("name", METHODS)
def test_the_model_is_unloaded_at_every_step(clean, name):
    """The WebUI moves its weights away from the UNet's device; whatever comes of the image, the model comes back."""
    unloaded = []
    for step in range(0, STOPS, 2):
        during(name, step, lambda: unloaded.append(post("unload-checkpoint", {}).status_code), steps=STEPS)
        assert post("reload-checkpoint", {}).status_code == 200
        assert same(made(name), clean[name])
    assert set(unloaded) == {200}


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(REQUESTS, 2)))
def test_two_requests_in_a_row(clean, first, second):
    assert same(made(first), clean[first])
    assert same(made(second), clean[second])


@pytest.mark.parametrize("name", METHODS)
def test_another_checkpoint_between(clean, name):
    """Of the same layout or another, whether it can make images or not."""
    loaded = get("options")["sd_model_checkpoint"]
    others = [model["title"] for model in get("sd-models") if not loaded.startswith(model["title"].split(" ")[0])]
    assert others, "the WebUI needs a second checkpoint"
    try:
        for other in others:
            post("options", {"sd_model_checkpoint": other})
            post("txt2img", REQUESTS[name])
            assert post("options", {"sd_model_checkpoint": loaded}).status_code == 200
            assert same(made(name), clean[name])
            for swap in (
                {"refiner_checkpoint": other, "refiner_switch_at": 0.4},
                HIRES | {"hr_checkpoint_name": other},
            ):
                post("txt2img", REQUESTS[name] | swap)
                assert same(made(name), clean[name])
    finally:
        post("options", {"sd_model_checkpoint": loaded})


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_an_error_and_then_the_extension_off(clean, wrong):
    assert post("txt2img", REQUESTS["HiDiffusion"] | wrong).status_code >= 400
    off = {"HiDiffusion": {"args": [{"enabled": False}]}, "Few-Step": {"args": [{"enabled": False}]}}
    answer = post("txt2img", BASE | {"alwayson_scripts": off})
    assert same(pictures(answer), clean["plain"])
    assert infotexts(answer) == infotexts(post("txt2img", BASE))
