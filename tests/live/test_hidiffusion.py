"""HiDiffusion against a running WebUI (started with --api) that has this extension, on whatever checkpoint is loaded.

`make live WEBUI_URL=http://127.0.0.1:7860`
"""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from tests.live.client import BASE, encoded, generate, get, pictures, post, same

PAPER = {"preset": "Paper"}
SHRINK = {"method": "Deep Shrink", "preset": "Paper"}
HIRES = {
    "enable_hr": True,
    "hr_scale": 1.5,
    "hr_upscaler": "Latent",
    "denoising_strength": 0.7,
    "hr_second_pass_steps": 4,
}
REFINERS_TO_TRY = 3


def test_the_script_is_there():
    scripts = get("scripts")
    assert "hidiffusion" in scripts["txt2img"]
    assert "hidiffusion" in scripts["img2img"]


@pytest.mark.parametrize(
    "settings",
    [
        {"enabled": False, "preset": "Paper"},
        {"trained_size": 8192},
        {"preset": "Paper", "passes": "Hires"},
        {"preset": "Manual", "t1": 0, "t2": 0, "aggressive": False, "window_attention": False},
    ],
)
def test_inert(plain, settings):
    images, infotext = generate(settings)
    assert same(images, plain)
    assert "HiDiffusion" not in infotext


@pytest.mark.parametrize("settings", [PAPER, SHRINK, PAPER | {"window_attention": False}, PAPER | {"raunet": False}])
def test_effect_and_determinism(plain, settings):
    first, infotext = generate(settings)
    assert not same(first, plain)
    preset = "Paper" if settings in (PAPER, SHRINK) else "Manual"  # under which alone the page reads values
    assert f"HiDiffusion method: {settings.get('method', 'HiDiffusion')}, HiDiffusion preset: {preset}" in infotext
    assert same(generate(settings)[0], first)


def test_a_batch_has_the_method_in_every_image(plain):
    batch = generate(PAPER, batch_size=2, n_iter=2)[0][-4:]
    for number, image in enumerate(batch):
        single = generate(PAPER, seed=7 + number)[0][0]
        assert np.abs(image.astype(int) - single).max() <= 3


@pytest.mark.parametrize("size", [(264, 200), (200, 264), (328, 136), (64, 512), (512, 64), (96, 104)])
@pytest.mark.parametrize("settings", [PAPER, SHRINK])
def test_odd_sizes(size, settings):
    fields = {"width": size[0], "height": size[1], "steps": 4}
    images, _ = generate(settings, **fields)
    assert images[0].shape[:2] == size[::-1]
    assert not same(images, generate(**fields)[0])


@pytest.mark.parametrize(
    "sampler", ["Euler a", "Heun", "DPM++ 2M", "DPM++ SDE", "DPM adaptive", "DDIM", "DDIM CFG++", "UniPC"]
)
def test_samplers(sampler):
    images, _ = generate(PAPER, sampler_name=sampler)
    assert not same(images, generate(sampler_name=sampler)[0])
    assert same(images, generate(PAPER, sampler_name=sampler)[0])


@pytest.mark.parametrize("passes", ["All", "First", "Hires"])
def test_hires_fix(passes):
    images, infotext = generate(PAPER | {"passes": passes}, **HIRES)
    assert "HiDiffusion passes" in infotext
    assert not same(images, generate(**HIRES)[0])


def test_img2img_and_inpainting(plain):
    mask = np.zeros((256, 256), np.uint8)
    mask[64:192, 64:192] = 255
    for extra in ({}, {"mask": encoded(mask)}):
        fields = {"path": "img2img", "init_images": [encoded(plain[0])], "denoising_strength": 0.8, **extra}
        assert not same(generate(PAPER, **fields)[0], generate(**fields)[0])
        weak = fields | {"denoising_strength": 0.3}
        assert same(generate(PAPER, **weak)[0], generate(**weak)[0])


def refiner(title):
    return {"refiner_checkpoint": title, "refiner_switch_at": 0.5}


def works(answer):
    """Whether it is an image with something on it; one of NaN is black."""
    return answer.status_code == 200 and np.ptp(pictures(answer)[0]) > 0


def test_a_refiner(plain):
    """Of the same layout its weights are loaded in place; of another one the method moves or stops."""
    loaded = get("options")["sd_model_checkpoint"].split(" ")[0]
    others = [model["title"] for model in get("sd-models") if not model["title"].startswith(loaded)]
    usable = [other for other in others[:REFINERS_TO_TRY] if works(post("txt2img", BASE | refiner(other)))]
    if not usable:
        pytest.skip("the WebUI has no second checkpoint that works as a refiner without the extension")
    for other in usable:
        fields = refiner(other)
        alone = generate(**fields)[0]
        assert same(generate()[0], plain), "the host's own run with a refiner left the model changed"
        refined = generate(PAPER, **fields)[0]
        assert not same(refined, alone)
        assert same(generate()[0], plain)
        assert same(generate(**fields)[0], alone)


BAD = [
    ({"t1": -1}, "t1 = -1 is not allowed: it must be 0 to 1"),
    ({"method": "Magic"}, "method = 'Magic' is not allowed"),
    ({"metod": "HiDiffusion"}, "Did you mean method?"),
    (["HiDiffusion"], "must be a dict of settings"),
    (SHRINK | {"d1": 12, "d2": 13}, "d2 = 13 is not allowed"),
]


@pytest.mark.parametrize(("settings", "sentence"), BAD)
def test_bad_arguments_fail_visibly(settings, sentence):
    answer = post("txt2img", BASE | {"alwayson_scripts": {"HiDiffusion": {"args": [settings]}}})
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


def test_the_smallest_size_is_refused():
    settings = {"alwayson_scripts": {"HiDiffusion": {"args": [PAPER]}}}
    answer = post("txt2img", BASE | settings | {"width": 8, "height": 8})
    assert answer.status_code == 422
    assert "size = 8x8 is not allowed" in answer.json()["detail"]


@pytest.mark.parametrize("stop", ["interrupt", "skip"])
@pytest.mark.parametrize("settings", [PAPER, SHRINK | {"s1": 1.0}])
def test_recovery_after_a_stop_in_the_middle(stop, settings):
    done = []
    run = threading.Thread(target=lambda: done.append(generate(settings, steps=60)))
    run.start()
    while get("progress?skip_current_image=true")["state"]["sampling_step"] < 2 and run.is_alive():
        time.sleep(0.05)
    post(stop, {})
    run.join()
    assert done


def test_recovery_after_errors_in_a_row():
    for _ in range(3):
        test_bad_arguments_fail_visibly(*BAD[0])
        generate(PAPER)


ATTENTIONS = [
    "sdp-no-mem - scaled dot product without memory efficient attention",
    "sub-quadratic",
    "Doggettx",
    "InvokeAI",
]


def test_every_attention_gives_the_same_image():
    before = get("options")["cross_attention_optimization"]
    pictures = []
    try:
        for name in ATTENTIONS:
            assert post("options", {"cross_attention_optimization": name}).status_code == 200
            pictures.append(generate(PAPER, width=264, height=200)[0][0].astype(int))
    finally:
        post("options", {"cross_attention_optimization": before})
    for picture in pictures[1:]:
        assert np.abs(picture - pictures[0]).max() <= 8
        assert np.abs(picture - pictures[0]).mean() < 0.2
