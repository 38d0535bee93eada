"""On a running WebUI: combinations that users of this kind of extension report."""

from __future__ import annotations

import pytest

from tests.live.client import encoded, generate, infotexts, pictures, plot, post, same

PAPER = {"enabled": True, "preset": "Paper"}
LAMBDA = {"guidance": "lambda"}
CFGPP = {"sampler_name": "Euler CFG++"}
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}
OURS = ["Euler CFG++", "Euler a CFG++", "DPM++ 2M CFG++", "DPM++ 2S a CFG++", "DPM++ 2M SDE CFG++"]
OURS += ["TCD", "LCM (reference grid)", "SA-Solver"]
DISCARD = {"override_settings": {"always_discard_next_to_last_sigma": True}}


@pytest.fixture(scope="module")
def plain():
    """As ever, with the settings that the tests override: the WebUI puts back only what is in its settings file."""
    options = {"eta_noise_seed_delta": 0, "always_discard_next_to_last_sigma": False}
    assert post("options", options).status_code == 200
    return generate()[0]


def few_step(settings=None, **fields):
    return generate(settings, script="Few-Step", **fields)


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize("order", ["HiDiffusion, None", "HiDiffusion, None, Deep Shrink, None"])
def test_cells_of_a_plot_have_their_own_keys(order, on):
    settings = PAPER if on else {"enabled": False}
    texts = infotexts(plot({"[HiDiffusion] Method": order, "[HiDiffusion] Preset": "Paper"}, settings))
    cells = texts[-len(order.split(", ")) :]
    for method, text in zip(order.split(", "), cells, strict=True):
        assert ("HiDiffusion" in text) is (method != "None")
        assert f"HiDiffusion method: {method}," in text or method == "None"


@pytest.mark.parametrize("sampler", OURS)
def test_noise_that_follows_a_seed_of_its_own_is_named(sampler):
    plain, text = generate(sampler_name=sampler)
    assert "ENSD" not in text
    image, text = generate(sampler_name=sampler, override_settings={"eta_noise_seed_delta": 31337})
    assert ("ENSD: 31337" in text) is not same(plain, image)


def test_noise_of_a_hires_pass_that_follows_it_is_named():
    _, text = generate(hr_sampler_name="TCD", override_settings={"eta_noise_seed_delta": 31337}, **HIRES)
    assert "ENSD: 31337" in text


@pytest.mark.parametrize("schedule", ["Trailing", "LCM grid"])
@pytest.mark.parametrize("sampler", ["Euler", "TCD", "Euler CFG++"])
def test_exact_grids_keep_all_their_sigmas(schedule, sampler):
    fields = {"sampler_name": sampler, "scheduler": schedule}
    image, text = generate(**fields, **DISCARD)
    assert same(image, generate(**fields)[0])
    assert "Discard" not in text


def test_other_schedules_follow_the_setting():
    image, text = generate(scheduler="Karras", **DISCARD)
    assert not same(image, generate(scheduler="Karras")[0])
    assert "Discard penultimate sigma: True" in text


@pytest.mark.parametrize("sampler", OURS)
def test_a_hires_pass_at_denoising_strength_0(sampler):
    images, _ = generate(sampler_name=sampler, **HIRES | {"denoising_strength": 0})
    assert images[0].shape == (384, 384, 3)


def test_an_alias_of_the_hires_sampler():
    wanted, text = few_step(LAMBDA, hr_sampler_name="Euler CFG++", **HIRES | {"cfg_scale": 1.2})
    assert "Few-Step guidance: lambda" in text
    image, text = few_step(LAMBDA, hr_sampler_name="euler_cfg_pp", **HIRES | {"cfg_scale": 1.2})
    assert "Few-Step guidance: lambda" in text
    assert same(image, wanted)


def test_lambda_in_a_field_of_its_own():
    wanted, _ = few_step(LAMBDA, **CFGPP, cfg_scale=0.6)
    image, text = few_step(LAMBDA | {"cfgpp_lambda": 0.6}, **CFGPP)
    assert same(image, wanted)
    assert "Few-Step lambda: 0.6" in text


def test_a_hires_pass_with_a_cfg_of_its_own():
    """Where both are equal nothing changes, else only the second pass does."""
    plain, _ = generate(**HIRES)
    same_cfg, _ = few_step({"hires_cfg": 5}, **HIRES)
    image, text = few_step({"hires_cfg": 2}, **HIRES)
    assert same(same_cfg, plain)
    assert not same(image, plain)
    assert "CFG scale: 5.0" in text
    assert "Few-Step hires CFG: 2" in text


def test_each_image_of_a_batch_is_inverted_with_its_own_prompt():
    fields = {"denoising_strength": 0.6, "batch_size": 2, **CFGPP}
    size = {"seed": 3, "steps": 3, "width": 256, "height": 256}
    negatives = {"a": "bad", "b": ", ".join(["bad"] * 60)}  # in one piece of 75 tokens, and in two
    made = [post("txt2img", {"prompt": a, "negative_prompt": b, **size}) for a, b in negatives.items()]
    images = [answer.json()["images"][0] for answer in made]
    answer = post(
        "img2img",
        {"prompt": "c", "seed": 7, "steps": 4, "width": 256, "height": 256, "cfg_scale": 3, "init_images": images}
        | fields
        | {"alwayson_scripts": {"Few-Step": {"args": [{"invert": True}]}}},
    )
    texts = infotexts(answer)[-2:]
    assert ["Few-Step invert: a" in texts[0], "Few-Step invert: b" in texts[1]] == [True, True]
    assert len(pictures(answer)) >= 2


def test_different_steps_in_a_batch_are_refused():
    made = [
        post("txt2img", {"prompt": "a", "seed": 3, "steps": steps, "width": 256, "height": 256}) for steps in (2, 3)
    ]
    answer = post(
        "img2img",
        {
            "prompt": "c",
            "steps": 4,
            "width": 256,
            "height": 256,
            "denoising_strength": 0.6,
            "batch_size": 2,
            "init_images": [answer.json()["images"][0] for answer in made],
            "alwayson_scripts": {"Few-Step": {"args": [{"invert": True}]}},
            **CFGPP,
        },
    )
    assert answer.status_code == 422
    assert "need 2 and 3 steps of inversion" in answer.text


def test_an_inverted_picture_without_an_infotext_has_no_prompt():
    picture = encoded(generate()[0][0])
    answer = generate({"invert": True}, path="img2img", script="Few-Step", init_images=[picture], **CFGPP)
    assert "Few-Step invert:" not in answer[1]
