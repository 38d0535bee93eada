"""Guidance against a running WebUI (started with --api), on whatever checkpoint is loaded.

`make live WEBUI_URL=http://127.0.0.1:7860`
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.options import options_of
from tests.live.client import BASE, cells, encoded, get, options, plot, post, same, settle_noise
from tests.live.client import generate as generate_with

SMALL = {"width": 128, "height": 128}
NEUTRAL = {name: getattr(GuidanceSettings(), name) for name in options_of(GuidanceSettings) if name != "enabled"}
EVERYTHING = {
    "start": 0.2,
    "schedule": "CFG++",
    "rescale": 0.5,
    "apg_eta": 0.2,
    "apg_threshold": 3,
    "apg_momentum": -0.3,
}
EVERYTHING |= {"threshold_mimic": 1.5, "nag_scale": 2, "pag_scale": 2, "seg_scale": 1, "sag_scale": 0.5}
HIRES = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.7, "hr_upscaler": "Latent"}
CLOSE = 3  # of 255: a batch computes in another order

generate = partial(generate_with, script="Guidance")


def samplers():
    return [entry["name"] for entry in get("samplers")]


def off(images, others):
    return max(int(np.abs(a.astype(int) - b.astype(int)).max()) for a, b in zip(images, others, strict=True))


def picture():
    shades = np.linspace(0, 255, 128, dtype=np.uint8)
    return np.stack([np.tile(shades, (128, 1))] * 3, axis=-1)


def mask():
    area = np.zeros((128, 128, 3), dtype=np.uint8)
    area[32:96, 32:96] = 255
    return area


def test_neutral_values_change_nothing_with_any_sampler():
    for sampler in samplers():
        fields = {"sampler_name": sampler, "scheduler": "Automatic", "steps": 4, **SMALL}
        assert same(generate(NEUTRAL, **fields)[0], generate(**fields)[0]), sampler


def test_everything_at_once_with_every_sampler():
    for sampler in samplers():
        fields = {"sampler_name": sampler, "scheduler": "Automatic", "steps": 4, **SMALL}
        images, infotext = generate(EVERYTHING, **fields)
        assert "PAG scale: 2" in infotext, sampler
        assert not same(images, generate(**fields)[0]), sampler


def test_one_row_at_cfg_1_makes_the_same_image_without_a_trace():
    for sampler in ("Euler", "DPM++ 2M", "Heun", "DDIM", "LCM", "TCD"):
        fields = {"sampler_name": sampler, "cfg_scale": 1, **SMALL}
        with options({"fewstep_one_row": False}):
            both, infotext = generate(**fields)
        one, other = generate(**fields)
        assert off(one, both) <= CLOSE, sampler
        assert infotext == other


@pytest.mark.parametrize(
    "fields", [HIRES, {"prompt": "a cat AND a dog"}, {"prompt": 80 * "cat "}], ids=["hires", "AND", "long"]
)
def test_kinds_of_jobs(fields):
    assert not same(generate(EVERYTHING, **SMALL, **fields)[0], generate(**SMALL, **fields)[0])


def test_img2img_and_inpainting():
    for more in ({}, {"mask": encoded(mask())}):
        fields = {"path": "img2img", "init_images": [encoded(picture())], "denoising_strength": 0.75, **SMALL, **more}
        settle_noise()
        plain = generate(**fields)[0]
        settle_noise()
        assert not same(generate(EVERYTHING, **fields)[0], plain)
        settle_noise()
        assert same(generate(NEUTRAL, **fields)[0], plain)


@pytest.mark.parametrize("sampler", ["Euler", "Euler CFG++", "DDIM"])
def test_a_batch_is_its_single_images(sampler):
    batch, _ = generate(EVERYTHING, sampler_name=sampler, batch_size=2, **SMALL)
    singles = [
        generate(EVERYTHING, sampler_name=sampler, seed=BASE["seed"] + number, **SMALL)[0][0] for number in (0, 1)
    ]
    assert off(batch[-2:], singles) <= CLOSE


def test_beside_a_high_resolution_method():
    large = {"HiDiffusion": {"args": [{"preset": "Paper"}]}}
    both = post("txt2img", BASE | {"alwayson_scripts": large | {"Guidance": {"args": [EVERYTHING]}}})
    assert both.status_code == 200, both.text
    assert "HiDiffusion method: HiDiffusion" in both.json()["info"]
    assert "PAG scale: 2" in both.json()["info"]


def test_a_sentence_refuses_what_is_not_allowed():
    answer = post("txt2img", BASE | {"alwayson_scripts": {"Guidance": {"args": [{"start": 0.5, "end": 0.4}]}}})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("Guidance: end = 0.4 is not allowed")


def test_an_axis_does_what_its_setting_does():
    values = {"0": {}, "2": {"pag_scale": 2}}
    found = cells(plot({"[Guidance] PAG scale": ", ".join(values)}, **SMALL))
    assert same(found, [generate(settings, **SMALL)[0][0] for settings in values.values()])
