"""The record and the comparison on a running WebUI."""

from __future__ import annotations

import io
import json
import re
import threading
import time

import numpy as np
import pandas as pd
import pytest

from tests.live.client import BASE, encoded, generate, get, infotexts, pictures, post, same

TITLE = "Few-step comparison"
ON = {"override_settings": {"fewstep_record": True}}
SMALL = {"steps": [1, 3], "cfg": [3], "samplers": ["Euler", "Euler CFG++"], "reference_steps": 6}
TWICE = {"Heun", "DPM2", "DPM2 a", "DPM++ 2S a", "DPM++ SDE", "DPM++ 2S a CFG++"}
"""Samplers with two evaluations for each step but the last."""

OWN = {"DPM fast", "DPM adaptive", "Restart", "DDIM", "DDIM CFG++", "PLMS", "UniPC"}
"""Samplers whose evaluations are no simple function of the steps."""


def compare(settings, path="txt2img", **fields):
    return post(path, BASE | {"script_name": TITLE, "script_args": [settings]} | fields)


def table(answer):
    assert answer.status_code == 200, answer.text
    text = json.loads(answer.json()["info"])["extra_generation_params"][TITLE]
    return pd.read_csv(io.StringIO(text), keep_default_na=False, na_values={"psnr": "", "ssim": ""})


def cost(infotext):
    found = re.search(r'Few-Step cost: "(\d+) evals, (\d+\.\d+) s"', infotext)
    return int(found[1]), float(found[2])


def test_the_record_is_off_by_default_and_changes_no_image(plain):
    assert get("options")["fewstep_record"] is False
    assert "Few-Step cost" not in generate()[1]
    recorded, infotext = generate(**ON)
    assert same(recorded, plain)
    assert cost(infotext)[0] == 5
    assert get("options")["fewstep_record"] is False


def test_the_evaluations_are_the_unet_s_calls_for_every_sampler():
    names = [entry["name"] for entry in get("samplers")]
    frame = table(compare({"steps": [4], "cfg": [5], "samplers": names, "reference_steps": 1}))
    assert not frame["error"].any()
    rows = frame[~frame["reference"]]
    assert list(rows["sampler"]) == names
    assert (rows["evaluations"] == rows["unet_calls"]).all()
    assert (rows["unet_rows"] == 2 * rows["unet_calls"]).all()
    for row in rows.itertuples():
        if row.sampler not in OWN:
            assert row.evaluations == (7 if row.sampler in TWICE else 4), row.sampler


def test_the_seconds_add_up_to_the_time_that_steps_take():
    """What is not sampling takes the same time at 2 and at 14 steps, so the difference of both is sampling alone."""
    waited, recorded = [], []
    for steps in (2, 14):
        started = time.perf_counter()
        _, infotext = generate(steps=steps, **ON)
        waited.append(time.perf_counter() - started)
        recorded.append(cost(infotext)[1])
    assert recorded[1] - recorded[0] == pytest.approx(waited[1] - waited[0], rel=0.05)


def test_the_passes_of_a_hires_fix_are_added_up():
    hires = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.6, "hr_upscaler": "Latent"}
    _, infotext = generate(**hires, hr_second_pass_steps=3, **ON)
    assert cost(infotext)[0] == 8


def test_cells_equal_single_runs():
    answer = compare(SMALL | {"methods": ["None", "Deep Shrink"], "images": True})
    frame, images = table(answer), pictures(answer)[2:]
    assert len(frame) == len(images) == 9
    assert not frame["error"].any()
    for row, image in zip(frame.itertuples(), images, strict=True):
        method = {"enabled": row.method != "None", "method": "Deep Shrink"}
        (alone,), _ = generate(method, steps=row.steps, cfg_scale=row.cfg, sampler_name=row.sampler)
        assert np.array_equal(image, alone)


def test_the_answer_has_grid_curves_and_strips():
    answer = compare(SMALL | {"strips": True})
    assert len(pictures(answer)) == 2 + 5
    assert pictures(answer)[1].shape == (1000, 1400, 3)
    assert "Script: Few-step comparison" in infotexts(answer)[0]


def test_progress_and_interrupt_keep_what_is_done():
    answers, texts = [], []
    many = SMALL | {"steps": [1, 2, 3, 4, 5, 6]}
    run = threading.Thread(target=lambda: answers.append(compare(many)))
    run.start()
    while run.is_alive():
        text = get("progress?skip_current_image=true")["textinfo"]
        if text and text not in texts:
            texts.append(text)
        if text == "10 of 13 cells left":
            post("interrupt", {})
            break
    run.join()
    errors = list(table(answers[0])["error"])
    assert texts[-1] == "10 of 13 cells left"
    assert errors[:3] == [""] * 3
    assert errors[3:] == ["stopped"] + ["not run"] * 9
    assert get("progress?skip_current_image=true")["textinfo"] is None


def test_a_failing_cell_shows_its_error_and_the_rest_goes_on():
    """The grid of LCM has no more than 50 steps."""
    settings = {"steps": [2, 60], "cfg": [3], "samplers": ["Euler"], "reference_steps": 2}
    frame = table(compare(settings, scheduler="LCM grid"))
    assert list(frame["error"] != "") == [False, False, True]
    assert "60" in frame["error"].iloc[2]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": []}, "steps = ()"),
        ({"samplers": ["Eular"]}, "samplers = 'Eular'"),
        ({"prompts": "nowhere.tsv"}, "nowhere.tsv"),
        ({"methods": ["Kohya"]}, "methods = 'Kohya'"),
        ({"stepz": [1]}, "Did you mean steps?"),
    ],
)
def test_wrong_settings_are_named_before_the_first_image(settings, said):
    answer = compare(settings)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(TITLE)
    assert said in answer.json()["detail"]


def test_img2img():
    (image,), _ = generate()
    frame = table(compare(SMALL, "img2img", init_images=[encoded(image)], denoising_strength=0.6))
    assert not frame["error"].any()
    assert (frame["evaluations"] > 0).all()
