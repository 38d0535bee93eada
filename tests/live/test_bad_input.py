"""Bad input over HTTP: one sentence, and the next plain image is the first (`conftest.py`)."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from tests.live.client import BASE, URL, get, plot, post

TITLE = "Few-step comparison"
SMALL = {"width": 64, "height": 64, "steps": 1}
MARKUP, FORGED = "<img src=x onerror=alert(1)>", "x\n[Few-Step] forged\r\x1b[2J\u202e"
PICTURE = base64.b64encode(b"GIF89a no picture").decode()
POSTSCRIPT = base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n").decode()

REFUSED = [
    ("HiDiffusion", "t1", "high"),
    ("HiDiffusion", "t1", [0] * 10_000),
    ("HiDiffusion", "method", FORGED),
    ("HiDiffusion", "enabled", None),
    ("HiDiffusion", "d1", 10**30),
    ("HiDiffusion", "passes", MARKUP),
    ("HiDiffusion", "only_one_pass", "9" * 5000),
    ("Few-Step", "gamma", -1),
    ("Few-Step", "preset", FORGED),
    ("Few-Step", "timesteps", ["x"] * 10_000),
    ("Few-Step", "keep", {"a": None}),
    ("Few-Step", "guidance", "\ud800"),
    ("Few-Step", "invert", MARKUP),
    ("Few-Step", "prior", {"statistics": "../../../etc/passwd"}),
    ("Few-Step", "prior", {"statistics": "日" * 100}),
    ("Few-Step", "prior", {"statistics": "no such file"}),
    ("Few-Step", "prior", {"images": [PICTURE], "save": "../x"}),
    ("Few-Step", "prior", {"images": [PICTURE]}),
    ("Few-Step", "prior", {"images": [POSTSCRIPT]}),
    ("Few-Step", "prior", {"images": [{"name": "/etc/passwd"}]}),
]


def sentence(answer):
    """What refuses a request: one printable line."""
    assert answer.status_code == 422, answer.text
    said = answer.json()["detail"]
    assert said.isprintable()
    assert said.endswith((".", "?"))
    return said


def ask(script, args):
    return post("txt2img", BASE | SMALL | {"alwayson_scripts": {script: {"args": args}}})


def test_a_sentence_names_the_setting():
    for script, name, value in REFUSED:
        assert name in sentence(ask(script, [{name: value}]))


def test_json_that_only_python_reads():
    """NaN is no JSON, but the WebUI's server takes it."""
    text = json.dumps(BASE | SMALL | {"alwayson_scripts": {"Few-Step": {"args": [{"gamma": "HERE"}]}}})
    for value in ("NaN", "Infinity", "-1e999", "[" * 300 + "]" * 300):
        answer = httpx.post(f"{URL}/sdapi/v1/txt2img", content=text.replace('"HERE"', value), timeout=600)
        assert "gamma = " in sentence(answer)


@pytest.mark.parametrize("script", ["HiDiffusion", "Few-Step"])
def test_lists(script):
    for args in ([True, 7], [True, "HiDiffusion", None], ["x"] * 19, [[]], [FORGED]):
        sentence(ask(script, args))


def test_comparisons():
    sent = {"steps": [10**30], "cfg": ["x"], "samplers": [FORGED], "methods": MARKUP, "prompts": "../../../etc/passwd"}
    for name, value in {**sent, "reference_sampler": None, "seeds": "1", "prompt_limit": -1}.items():
        request = BASE | SMALL | {"script_name": TITLE, "script_args": [{name: value}]}
        assert name in sentence(post("txt2img", request))


def test_axes():
    axes = {"[HiDiffusion] Method": MARKUP, "[Few-Step] Preset": "TCD\x1b[2J", "[Few-Step] Timesteps": "1 2 3"}
    for label, text in {**axes, "[Few-Step] Prior": "../../x", "[Few-Step] Prompts": "/etc/passwd, 1"}.items():
        assert sentence(plot({label: text}, **SMALL)).startswith(label)


def test_the_folder_of_the_record_stays():
    before = get("options")["fewstep_record_folder"]
    sent = {"override_settings": {"fewstep_record": True, "fewstep_record_folder": "/nowhere/at/all"}}
    assert post("txt2img", BASE | SMALL | sent).status_code == 200
    assert get("options")["fewstep_record_folder"] == before
