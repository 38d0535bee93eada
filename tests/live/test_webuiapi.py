"""Every example of docs/api.md against a running WebUI, sent with webuiapi, a client that others have written.

`make live-client WEBUI_URL=http://127.0.0.1:7860`
"""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import webuiapi
from PIL import Image

from tests.docs.examples import (
    body_of_shell,
    line_of_shell,
    programs,
    promised,
    requests,
    run_program,
    run_shell,
    served,
    span,
)
from tests.docs.pages import API
from tests.live.client import BASE, URL, generate, post, same
from tests.live.test_few_step import SAMPLERS

CLIENT = webuiapi.WebUIApi(baseurl=f"{URL}/sdapi/v1")
REQUESTS = [json.loads(text) for text in requests(API)]
IMAGES = [request for request in REQUESTS if "alwayson_scripts" in request]
(COMPARISON,) = (request for request in REQUESTS if "script_name" in request)
LARGE = next(request for request in IMAGES if "HiDiffusion" in request["alwayson_scripts"])
SMALL = {"prompt": "a lighthouse at dusk", "width": 64, "height": 64, "steps": 2}
PRESET = "SDXL-Lightning 4 steps"


def sent(example):
    """A request of the page with a seed, so that images can be compared, and on a CPU so small that it takes seconds.

    There each side is an eighth, and there are no more than 4 steps. The arguments of the extension stay, but for one:
    HiDiffusion has the preset Paper, unless the example names another, because Auto does nothing at such a size.
    A WebUI with a GPU, which is one that tells how much memory it has, gets the example as it is written.
    """
    request = {"seed": 7} | example
    if "error" not in CLIENT.get_memory()["cuda"]:
        return request
    sides = {side: request.get(side, 512) // 8 for side in ("width", "height")}
    steps = {"steps": min(request["steps"], 4)} if "steps" in request else {}
    scripts = dict(request.get("alwayson_scripts", {}))
    if "HiDiffusion" in json.dumps([scripts, request.get("script_args")]):
        first, *others = scripts.get("HiDiffusion", {"args": [{}]})["args"]
        scripts["HiDiffusion"] = {"args": [{"preset": "Paper"} | first if isinstance(first, dict) else first, *others]}
    return request | sides | steps | {"alwayson_scripts": scripts}


def pixels(made):
    return [np.asarray(image) for image in made.images]


def check(request, infotext, image):
    """An image has its size, and the infotext says what the request asks for."""
    assert [said for said in promised(request) if said not in infotext] == []
    assert image.size == tuple(request.get(side, 512) for side in ("width", "height"))


def refusal(**fields):
    """The sentence with which a request is refused."""
    with pytest.raises(RuntimeError) as caught:
        CLIENT.txt2img(**SMALL | fields)
    status, text = caught.value.args
    assert status == 422
    return json.loads(text)["detail"]


@pytest.mark.parametrize("example", IMAGES)
def test_an_image(example):
    """It is made as asked, twice the same, and not as without this extension."""
    request = sent(example)
    made = CLIENT.txt2img(**request)
    check(request, made.info["infotexts"][0], made.image)
    assert same(pixels(CLIENT.txt2img(**request)), pixels(made))
    assert not same(pixels(CLIENT.txt2img(**request | {"alwayson_scripts": {}})), pixels(made))


def test_a_comparison():
    made = CLIENT.txt2img(**sent(COMPARISON))
    title, (settings,) = COMPARISON["script_name"], COMPARISON["script_args"]
    frame = pd.read_csv(io.StringIO(made.info["extra_generation_params"][title]), keep_default_na=False)
    assert not any(frame["error"])
    cells = frame[~frame["reference"]]
    assert len(cells) == np.prod([len(values) for values in settings.values()])
    plain, ours = (list(cells.loc[cells["method"] == method, "psnr"]) for method in ("None", "HiDiffusion"))
    assert all(one != other for one, other in zip(plain, ours, strict=True))
    assert f"Script: {title}" in made.info["infotexts"][0]


def test_the_request_of_the_shell():
    """webuiapi's own method for a path and what is posted to it."""
    request = sent(body_of_shell())
    made = CLIENT.custom_post("txt2img", request, baseurl=True)
    check(request, made.info["infotexts"][0], made.image)
    assert same(pixels(CLIENT.txt2img(**request)), pixels(made))


def forwarded(request):
    """What the WebUI answers to a request that a program of the page has sent."""
    answer = post("txt2img", sent(request))
    return answer.status_code, answer.json()


@pytest.mark.parametrize("package", programs())
def test_a_program(package, tmp_path):
    """It runs as it is written, but for the address: of a server that sends the WebUI what it may send."""
    with served(forwarded) as (address, came):
        printed = run_program(programs()[package], address, tmp_path)
    (file,) = tmp_path.iterdir()
    with Image.open(file) as image:
        check(sent(came[0]), printed, image)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_line_of_shell(tmp_path):
    with served(forwarded) as (address, came):
        answer = json.loads(run_shell(line_of_shell(), address, tmp_path))
    assert came == [body_of_shell()]
    assert all(said in json.loads(answer["info"])["infotexts"][0] for said in promised(came[0] | sent(came[0])))


def test_the_list():
    request = sent(LARGE | {"alwayson_scripts": {"HiDiffusion": json.loads(span('{"args": [true'))}})
    made = CLIENT.txt2img(**request)
    assert "HiDiffusion method: Deep Shrink, HiDiffusion preset: Paper" in made.info["infotexts"][0]
    assert not same(pixels(CLIENT.txt2img(**request | {"alwayson_scripts": {}})), pixels(made))


@pytest.mark.parametrize(("args", "steps"), [([{"preset": PRESET}], 4), ([True, PRESET], SMALL["steps"])])
def test_a_preset_sets_the_steps_from_a_dict_only(args, steps):
    infotext = CLIENT.txt2img(**SMALL, alwayson_scripts={"Few-Step": {"args": args}}).info["infotexts"][0]
    assert f"Few-Step preset: {PRESET}" in infotext
    assert f"Steps: {steps}," in infotext


def test_the_other_name_of_passes():
    request = sent(LARGE)
    settings = request["alwayson_scripts"]["HiDiffusion"]["args"][0]
    made = {}
    for name, value in (("only_one_pass", True), ("passes", "First")):
        scripts = {"HiDiffusion": {"args": [settings | {name: value, "method": "Deep Shrink"}]}}
        made[name] = CLIENT.txt2img(**request | {"alwayson_scripts": scripts})
        assert "HiDiffusion passes: First" in made[name].info["infotexts"][0]
    assert same(*map(pixels, made.values()))


def test_a_setting_of_the_webui():
    """For one request, and for all of them until it is put back."""
    given = json.loads("{" + span('"override_settings"') + "}")
    ((name, value),) = given["override_settings"].items()
    before = CLIENT.get_options()[name]
    assert before != value
    assert "Few-Step cost" in CLIENT.txt2img(**SMALL, **given).info["infotexts"][0]
    assert CLIENT.get_options()[name] == before
    try:
        CLIENT.set_options({name: value})
        assert "Few-Step cost" in CLIENT.txt2img(**SMALL).info["infotexts"][0]
    finally:
        CLIENT.set_options({name: before})
    assert "Few-Step cost" not in CLIENT.txt2img(**SMALL).info["infotexts"][0]


def test_img2img_acts_from_a_denoising_strength_of_a_half():
    request = sent(LARGE)
    plain = {**request, "alwayson_scripts": {}, "images": [Image.fromarray(generate()[0][0])]}
    with_it = plain | {"alwayson_scripts": request["alwayson_scripts"]}
    for strength, acts in ((0.8, True), (0.3, False)):
        made = CLIENT.img2img(**with_it, denoising_strength=strength)
        assert made.image.size == (request["width"], request["height"])
        assert same(pixels(CLIENT.img2img(**plain, denoising_strength=strength)), pixels(made)) is not acts
        assert ("HiDiffusion method" in made.info["infotexts"][0]) is acts


def test_a_refusal_is_the_page_s():
    scripts = {"HiDiffusion": {"args": [{"t1": -1}]}}
    assert refusal(alwayson_scripts=scripts) == span("HiDiffusion: t1 = -1 ")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"alwayson_scripts": {"HiDiffusion": {"args": [{"metod": "HiDiffusion"}]}}}, "Did you mean method?"),
        ({"alwayson_scripts": {"Few-Step": {"args": [{"preset": "Lightning"}]}}}, "preset = 'Lightning'"),
        ({"script_name": COMPARISON["script_name"], "script_args": [{"steps": [0]}]}, "steps = 0"),
    ],
)
def test_names_and_values_that_are_not_allowed_are_refused(fields, said):
    assert said in refusal(**fields)


@pytest.mark.parametrize("sampler", ["Euler", *SAMPLERS])
def test_what_the_client_sends_unasked_changes_nothing(sampler):
    """webuiapi sends a value for every field, such as eta 1 and the schedule "automatic"."""
    fields = BASE | {"sampler_name": sampler, "width": 128, "height": 128}
    assert same(pixels(CLIENT.txt2img(**fields)), generate(**fields)[0])


def test_samplers_and_schedules_are_in_its_lists():
    assert set(SAMPLERS) <= set(CLIENT.util_get_sampler_names())
    labels = {entry["name"]: entry["label"] for entry in CLIENT.get_schedulers()}
    for name, label in (("trailing", "Trailing"), ("lcm_grid", "LCM grid")):
        assert labels[name] == label
        infotext = CLIENT.txt2img(**SMALL, scheduler=name).info["infotexts"][0]
        assert f"Schedule type: {label}" in infotext
