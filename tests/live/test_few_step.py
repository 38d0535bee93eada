"""Samplers, schedules and presets against a running WebUI (started with --api), on whatever checkpoint is loaded.

`make live WEBUI_URL=http://127.0.0.1:7860`
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from lib_fewstep.sampling.presets import PRESETS
from tests.live.client import BASE, encoded, get, post, same
from tests.live.client import generate as generate_with

CFGPP = ["Euler CFG++", "Euler a CFG++", "DPM++ 2M CFG++", "DPM++ 2S a CFG++", "DPM++ 2M SDE CFG++"]
SAMPLERS = [*CFGPP, "TCD", "LCM (reference grid)", "SA-Solver"]
SMALL = {"width": 128, "height": 128}
CLOSE = 3  # of 255: a batch computes in another order

generate = partial(generate_with, script="Few-Step")


def difference(a, b):
    return np.abs(a.astype(int) - b.astype(int))


def test_the_script_samplers_and_schedules_are_there_once():
    assert all("few-step" in get("scripts")[tab] for tab in ("txt2img", "img2img"))
    names = [entry["name"] for entry in get("samplers")]
    assert all(names.count(name) == 1 for name in SAMPLERS)
    labels = [entry["label"] for entry in get("schedulers")]
    assert all(labels.count(label) == 1 for label in ("Trailing", "LCM grid"))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler(sampler):
    """Its name survives, it is deterministic, and a batch equals single images."""
    batch, infotext = generate(sampler_name=sampler, batch_size=2, n_iter=2, **SMALL)
    assert f"Sampler: {sampler}," in infotext
    for number, image in enumerate(batch[-4:]):
        single = generate(sampler_name=sampler, seed=7 + number, **SMALL)[0][0]
        assert difference(image, single).max() <= CLOSE
    assert not same(batch[-4:-3], generate(**SMALL)[0])


@pytest.mark.parametrize("schedule", ["Trailing", "LCM grid"])
@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "DPM2", "LCM", "Euler CFG++", "TCD"])
def test_schedules_with_samplers_of_both(sampler, schedule):
    fields = {"sampler_name": sampler, "steps": 4, **SMALL}  # at 5 steps the two schedules are the same
    images, infotext = generate(scheduler=schedule, **fields)
    default = sampler == "TCD" and schedule == "LCM grid"
    assert f"Schedule type: {schedule}" in infotext
    assert same(images, generate(**fields)[0]) == default


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_any_number_of_steps(sampler, steps):
    assert generate(sampler_name=sampler, steps=steps, **SMALL)[0]


def test_cfgpp_at_one_step_is_cfg():
    """There is nothing to renoise, so the calibrated guidance is the slider's, up to rounding."""
    one = {"steps": 1, "scheduler": "Trailing", **SMALL}
    ours, plain = (generate(sampler_name=name, **one)[0][0] for name in ("Euler CFG++", "Euler"))
    assert difference(ours, plain).max() <= CLOSE


@pytest.mark.parametrize("guidance", ["cfg/12.5", "lambda"])
def test_guidance(guidance):
    fields = {"sampler_name": "Euler CFG++", **SMALL}
    images, infotext = generate({"guidance": guidance}, **fields)
    assert f"Few-Step guidance: {guidance}" in infotext
    assert not same(images, generate(**fields)[0])
    as_slider = 5 * 12.5 if guidance == "cfg/12.5" else 5 / 12.5
    other = {"cfg/12.5": "lambda", "lambda": "cfg/12.5"}[guidance]
    assert same(images, generate({"guidance": other}, **(fields | {"cfg_scale": 25 / as_slider}))[0])


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset(name):
    preset = PRESETS[name]
    images, infotext = generate({"preset": name}, **SMALL)
    for said in (f"Steps: {preset.steps},", f"Sampler: {preset.sampler},", f"CFG scale: {preset.cfg:.1f},"):
        assert said in infotext
    assert f"Few-Step preset: {name}" in infotext.replace('"', "")
    by_hand = {"sampler_name": preset.sampler, "scheduler": preset.schedule}
    by_hand |= {"steps": preset.steps, "cfg_scale": preset.cfg}
    more = {"timesteps": preset.timesteps} if preset.timesteps else {}
    assert same(images, generate(more, **by_hand, **SMALL)[0])


def test_what_a_preset_keeps():
    infotext = generate({"preset": "TCD", "keep": ["steps", "cfg"]}, **SMALL)[1]
    assert "Steps: 5, Sampler: TCD, Schedule type: LCM grid, CFG scale: 5.0," in infotext


def test_custom_timesteps():
    trailing = {"timesteps": [999, 749, 499, 249]}
    images, infotext = generate(trailing, **SMALL)
    assert "Steps: 4," in infotext
    assert "Few-Step timesteps: 999 749 499 249" in infotext
    assert same(images, generate(steps=4, scheduler="Trailing", **SMALL)[0])
    assert not same(images, generate({"timesteps": [999, 749, 499, 99]}, **SMALL)[0])


def test_hires_fix_with_other_samplers_and_timesteps(plain):
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6, **SMALL}
    for name in SAMPLERS:
        images, infotext = generate(sampler_name="Euler", hr_sampler_name=name, hr_second_pass_steps=4, **hires)
        assert images[0].shape[:2] == (192, 192)
        assert f"Hires sampler: {name}" in infotext
    assert generate({"timesteps": [999, 749, 499, 249]}, **hires)[0][0].shape[:2] == (192, 192)


@pytest.mark.parametrize("sampler", [*CFGPP, "TCD", "SA-Solver"])
def test_inpainting_keeps_what_it_keeps(plain, sampler):
    mask = np.zeros((256, 256), np.uint8)
    mask[:, 128:] = 255
    fields = {"init_images": [encoded(plain[0])], "mask": encoded(mask), "mask_blur": 0, "denoising_strength": 0.9}
    image = generate(path="img2img", sampler_name=sampler, **fields)[0][0]
    assert difference(image[:, :120], plain[0][:, :120]).max() <= CLOSE
    assert difference(image[:, 136:], plain[0][:, 136:]).mean() > 1


def test_inversion(plain):
    fields = {"path": "img2img", "init_images": [encoded(plain[0])], "denoising_strength": 1, "sampler_name": CFGPP[0]}
    images, infotext = generate({"invert": {"prompt": "a cat on a table", "steps": 4}}, **fields)
    assert "Few-Step invert: a cat on a table, Few-Step invert steps: 4" in infotext
    assert not same(images, generate(**fields)[0])
    assert same(images, generate({"invert": {"prompt": "a cat on a table", "steps": 4}}, **(fields | {"seed": 8}))[0])


def test_a_prior_from_images_and_from_its_file(plain):
    fields = {"sampler_name": "LCM (reference grid)", "steps": 1, "cfg_scale": 1.5, **SMALL}
    images, _ = generate({"prior": {"images": [encoded(plain[0])], "save": "live-test"}}, **fields)
    again, infotext = generate({"prior": {"statistics": "live-test"}}, **fields)
    assert same(images, again)
    assert "Few-Step prior: live-test.safetensors" in infotext
    assert not same(images, generate(**fields)[0])


def test_a_subject_with_a_share_of_the_noise(plain):
    """A mean of pixels, from its file at its size and at another one: the less noise, the nearer to the picture."""
    prior = {"images": [encoded(plain[0])], "mean": "Pixels", "save": "live-subject"}
    generate({"prior": prior}, **SMALL)
    off = []
    for share in (1, 0.5, 0.2):
        images, infotext = generate({"prior": {"statistics": "live-subject", "share": share}}, seed=99, prompt="a tree")
        assert ("Few-Step prior share" in infotext) == (share < 1)
        off.append(difference(images[0], plain[0]).mean())
    assert off == sorted(off, reverse=True)
    wide, _ = generate({"prior": {"statistics": "live-subject", "share": 0.5}}, width=320, height=192)
    assert wide[0].shape == (192, 320, 3)


def test_a_brightness_moves_the_start(plain):
    """With little noise the image is as dark or bright as the prior."""
    dark, infotext = generate({"prior": {"brightness": -1, "share": 0.3}})
    bright, _ = generate({"prior": {"brightness": 1, "share": 0.3}})
    assert "Few-Step prior brightness: -1" in infotext
    assert dark[0].mean() < bright[0].mean()


def test_skipped_unconditional_passes_do_not_change_cfgpp():
    fields = {"sampler_name": "Euler CFG++", **SMALL}
    alone = generate(**fields)[0]
    assert same(generate(s_min_uncond=14, **fields)[0], alone)
    try:
        post("options", {"skip_early_cond": 0.5})
        assert same(generate(**fields)[0], alone)
        assert get("options")["skip_early_cond"] == 0.5
    finally:
        post("options", {"skip_early_cond": 0})


@pytest.mark.parametrize(
    ("settings", "fields", "sentence"),
    [
        ({"gamma": 1.5}, {}, "gamma = 1.5 is not allowed: it must be 0 to 1"),
        ({"timesteps": [249, 499]}, {}, "each smaller than the one before"),
        ({"timesteps": [999, 499]}, {"sampler_name": "DDIM"}, "not allowed with the sampling method DDIM"),
        ({"preset": "Magic"}, {}, "preset = 'Magic' is not allowed"),
        ({"prior": {"statistics": "none-such"}}, {"steps": 1}, "there is no such file"),
        ({"invert": True}, {}, "invert is not allowed in txt2img"),
        ({"gama": 0.5}, {}, "Did you mean gamma?"),
        (["TCD"], {}, "must be a dict of settings"),
        ({}, {"sampler_name": "TCD", "steps": 51}, '"LCM grid" is not allowed for a grid of 51 steps'),
    ],
)
def test_bad_arguments_end_in_a_sentence(settings, fields, sentence):
    request = BASE | fields | {"alwayson_scripts": {"Few-Step": {"args": [settings]}}}
    answer = post("txt2img", request)
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_hidiffusion_is_active_with_every_sampler(sampler):
    images, infotext = generate_with({"preset": "Paper"}, sampler_name=sampler)
    assert "HiDiffusion method: HiDiffusion" in infotext
    assert not same(images, generate(sampler_name=sampler)[0])
