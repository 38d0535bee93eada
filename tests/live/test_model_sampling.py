"""How a model is sampled, against a running WebUI (started with --api), on whatever checkpoint is loaded.

`make live WEBUI_URL=http://127.0.0.1:7860`
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lib_fewstep.models import KINDS, NAMED, ModelSettings
from lib_fewstep.models.kinds import EDM, FLOW, NOISE, V
from lib_fewstep.options import options_of
from tests.live.client import BASE, cells, encoded, get, options, plot, post, same, settle_noise
from tests.live.client import generate as generate_with
from tools.marked_checkpoints import MARKS

SMALL = {"width": 128, "height": 128, "steps": 4}
NEUTRAL = {name: getattr(ModelSettings(), name) for name in options_of(ModelSettings) if name != "enabled"}
HIRES = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.7, "hr_upscaler": "Latent"}
EVERYTHING = {"kind": V, "noise_schedule": "Kolors", "zero_snr": "On", "shift": 1.5, "size": "As trained"}
NOISY = ("Euler a", "DPM2 a", "DPM++ 2S a", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 3M SDE", "LCM", "Restart", "TCD")

generate = partial(generate_with, script="Model sampling")


def samplers():
    return [entry["name"] for entry in get("samplers")]


def answer(settings, **fields):
    scripts = {"alwayson_scripts": {"Model sampling": {"args": [settings]}}}
    return post("txt2img", BASE | {"scheduler": "Automatic"} | SMALL | scripts | fields)


def refused(settings, **fields):
    reply = answer(settings, **fields)
    assert reply.status_code == 422, reply.text
    return reply.text


def picture():
    shades = np.linspace(0, 255, 128, dtype=np.uint8)
    return np.stack([np.tile(shades, (128, 1))] * 3, axis=-1)


def test_neutral_values_change_nothing_with_any_sampler():
    for sampler in samplers():
        fields = {"sampler_name": sampler, "scheduler": "Automatic", **SMALL}
        image, infotext = generate(NEUTRAL, **fields)
        assert same(image, generate(**fields)[0]), sampler
        assert "Model kind" not in infotext


@pytest.mark.parametrize("kind", [name for name in KINDS if name not in (NOISE, FLOW)])
def test_every_kind_with_every_sampler(kind):
    """What comes of a model of another kind is nothing to see, but it is finite, and the same twice."""
    for sampler in samplers():
        if sampler == "LCM":
            assert "knows noise alone" in refused({"kind": kind}, sampler_name=sampler)
            continue
        if sampler == "Rectified flow":
            assert "is for models of the kind" in refused({"kind": kind}, sampler_name=sampler)
            continue
        fields = {"sampler_name": sampler, "scheduler": "Automatic", **SMALL}
        settle_noise()
        first, infotext = generate({"kind": kind}, **fields)
        settle_noise()
        assert same(first, generate({"kind": kind}, **fields)[0]), sampler
        assert f"Model kind: {kind}" in infotext
        assert not same(first, generate(**fields)[0]), sampler


def test_a_flow_with_samplers_that_draw_no_noise():
    for sampler in ("Euler", "Heun", "LMS", "DPM2", "DPM++ 2M", "Euler CFG++", "Rectified flow"):
        assert not same(generate({"kind": FLOW}, sampler_name=sampler, **SMALL)[0], generate(**SMALL)[0])
    for sampler in NOISY:
        assert "is not allowed with the sampling method" in refused({"kind": FLOW}, sampler_name=sampler)
    for sampler in ("DDIM", "PLMS", "UniPC", "DDIM CFG++"):
        assert "has its own timesteps" in refused({"kind": FLOW}, sampler_name=sampler)


@pytest.mark.parametrize("name", NAMED)
def test_every_noise_schedule_with_every_sampler(name):
    many = len(NAMED[name].alphas_cumprod()) != 1000
    for sampler in samplers():
        if sampler == "Rectified flow":
            assert "is not allowed with a model of the kind" in refused({"noise_schedule": name}, sampler_name=sampler)
            continue
        if many and sampler in ("LCM", "UniPC"):
            assert "is not allowed with the sampling method" in refused({"noise_schedule": name}, sampler_name=sampler)
            continue
        image, _ = generate({"noise_schedule": name}, sampler_name=sampler, scheduler="Automatic", **SMALL)
        assert image[0].std() > 0


def test_timesteps_beyond_1000():
    """Of Kolors' 1100; a model with 1000 has none of them."""
    few = {"args": [{"timesteps": "1099 600 100"}]}
    kolors = {"args": [{"noise_schedule": "Kolors"}]}
    fields = BASE | SMALL | {"sampler_name": "Euler", "scheduler": "Automatic"}
    reply = post("txt2img", fields | {"alwayson_scripts": {"Few-Step": few, "Model sampling": kolors}})
    assert reply.status_code == 200, reply.text
    reply = post("txt2img", fields | {"alwayson_scripts": {"Few-Step": few}})
    assert reply.status_code == 422
    assert "the model has 1000 timesteps" in reply.text


def test_zero_terminal_snr_is_the_host_s_own():
    for sampler in ("Euler", "DPM++ 2M", "DDIM", "Euler CFG++", "TCD"):
        fields = {"sampler_name": sampler, "scheduler": "Automatic", **SMALL}
        found, _ = generate({"zero_snr": "On"}, **fields)
        with options({"sd_noise_schedule": "Zero Terminal SNR"}):
            wanted, _ = generate(**fields)
        assert same(found, wanted), sampler


@pytest.mark.parametrize("settings", [{"kind": V}, {"kind": EDM}, EVERYTHING], ids=str)
def test_in_every_pass(settings):
    for fields in (HIRES, {"batch_size": 2, "n_iter": 2}, {"prompt": "a cat AND a dog"}):
        generate(settings, **SMALL, **fields)
    image = {"init_images": [encoded(picture())], "denoising_strength": 0.6}
    generate(settings, path="img2img", **SMALL, **image)
    mask = np.zeros((128, 128, 3), dtype=np.uint8)
    mask[32:96, 32:96] = 255
    generate(settings, path="img2img", **SMALL, **image, mask=encoded(mask))


@pytest.mark.parametrize("schedule", ["AYS (exact)", "Beta (timesteps)"])
def test_the_exact_schedules_with_every_sampler(schedule):
    for sampler in samplers():
        fields = {"sampler_name": sampler, "scheduler": schedule, **SMALL}
        assert generate(**fields)[0][0].std() > 0
    generate(scheduler=schedule, **SMALL, **HIRES)


def test_sizes_are_told_to_sdxl_alone():
    """The image's own sizes change nothing; others change the image, where the model takes them."""
    shown = {"size": "Custom", "original": "128x128", "target": "128x128", "crop": "0x0"}
    plain, _ = generate(**SMALL)
    assert same(generate(shown, **SMALL)[0], plain)
    others = [generate({"size": "Custom", name: "512x64"}, **SMALL)[0] for name in ("original", "target", "crop")]
    negative, _ = generate({"size": "Custom", "negative_original": "512x64"}, **SMALL)
    told = [not same(image, plain) for image in (*others, negative)]
    assert len(set(told)) == 1


def test_a_plot_s_cells_are_the_single_images():
    found = cells(plot({"[Model] Kind of model": "noise, v, EDM"}, **SMALL))
    wanted = [generate({"kind": kind}, **SMALL)[0][0] for kind in (NOISE, V, EDM)]
    assert same(found, wanted)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "EDM 2"}, "kind = 'EDM 2' is not allowed"),
        ({"beta_start": 0.5, "beta_end": 0.1}, "it must be at least beta_start"),
        ({"kind": EDM, "shift": 2}, "shift = 2 is not allowed"),
        ({"original": "0x0"}, "original = '0x0' is not allowed"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(settings, words):
    assert words in refused(settings)


def marked():
    """The checkpoints of `tools.marked_checkpoints` that are made of the loaded one, by their marks."""
    loaded = get("options")["sd_model_checkpoint"].split("/")[-1].split(".")[0]
    found = {entry["title"]: Path(entry["filename"]).stem for entry in get("sd-models")}
    return {stem.removeprefix(f"{loaded}-"): title for title, stem in found.items() if stem.startswith(f"{loaded}-")}


def test_what_a_file_says_is_what_the_setting_does():
    """Over the same weights; a tool makes the files, and without them there is nothing to compare."""
    if "fewstep-kinds" not in str(get("sd-models")):
        pytest.skip("no checkpoints of tools.marked_checkpoints are installed")
    titles = marked()
    assert set(titles) == set(MARKS)
    for sampler in ("Euler", "DPM++ 2M", "DDIM", "Euler CFG++", "SA-Solver"):
        fields = {"sampler_name": sampler, "scheduler": "Automatic", "negative_prompt": "", **SMALL}
        for name, marks in MARKS.items():
            with options({"sd_model_checkpoint": titles[name]}):
                settle_noise()
                found, infotext = generate(**fields)
                settle_noise()
                assert same(found, generate(**fields)[0]), (sampler, name)
                if name == "lcm" and "CFG++" not in sampler:  # they renoise with the negative prompt's image
                    assert same(found, generate(**fields | {"negative_prompt": "something else"})[0])
                    assert not same(found, generate(**fields | {"cfg_scale": 2})[0])
            assert "Model kind" not in infotext
            if marks.settings:
                settle_noise()
                assert same(found, generate(marks.settings, **fields)[0]), (sampler, name)
            else:
                assert not same(found, generate(**fields)[0]), (sampler, name)


def test_hires_and_refiner_checkpoints_of_another_kind():
    if "fewstep-kinds" not in str(get("sd-models")):
        pytest.skip("no checkpoints of tools.marked_checkpoints are installed")
    titles = marked()
    plain = generate(**SMALL)[0]
    hires, _ = generate(**SMALL, **HIRES, hr_checkpoint_name=titles["v-zero-snr"])
    refined, _ = generate(**SMALL, refiner_checkpoint=titles["v"], refiner_switch_at=0.5)
    assert not same(refined, plain)
    assert hires[0].shape[0] == 2 * plain[0].shape[0]
    assert same(generate(**SMALL)[0], plain)
