"""A client of a running WebUI for the tests that need one."""

from __future__ import annotations

import base64
import io
import json
import os
from contextlib import contextmanager

import httpx
import numpy as np
from PIL import Image

URL = os.environ.get("WEBUI_URL", "")
BASE = {
    "prompt": "a cat on a table",
    "negative_prompt": "blurry",
    "seed": 7,
    "steps": 5,
    "width": 256,
    "height": 256,
    "sampler_name": "Euler",
    "cfg_scale": 5,
}


def post(path, body):
    return httpx.post(f"{URL}/sdapi/v1/{path}", json=body, timeout=600)


def settle_noise():
    """Let the next img2img request be as ever: the WebUI encodes its picture with the noise that the last job left."""
    assert post("txt2img", BASE | {"steps": 1, "width": 64, "height": 64}).status_code == 200


def get(path):
    return get_from_root(f"sdapi/v1/{path}")


def get_from_root(path):
    return httpx.get(f"{URL}/{path}", timeout=600).json()


def generate(settings=None, path="txt2img", script="HiDiffusion", **fields):
    """The pixels of every image, and the first infotext; `settings` are those of `script`."""
    scripts = {} if settings is None else {"alwayson_scripts": {script: {"args": [settings]}}}
    answer = post(path, BASE | fields | scripts)
    assert answer.status_code == 200, answer.text
    return pictures(answer), infotexts(answer)[0]


@contextmanager
def options(values):
    """The WebUI's settings changed for a while; a request's own would stay where `config.json` lacks them."""
    before = get("options")
    try:
        assert post("options", values).status_code == 200
        yield
    finally:
        post("options", {key: before[key] for key in values})


def same(a, b):
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def encoded(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def plot(axes, settings=None, script="HiDiffusion", **fields):
    """The answer to an X/Y/Z plot; `axes` are up to three labels with their values as text."""
    scripts = {} if settings is None else {"alwayson_scripts": {script: {"args": [settings]}}}
    known = next(entry for entry in get("script-info") if entry["name"] == "x/y/z plot" and not entry["is_img2img"])
    labels = known["args"][0]["choices"]
    given = [*axes.items(), ("Nothing", ""), ("Nothing", ""), ("Nothing", "")][:3]
    chosen = [part for label, values in given for part in (labels.index(label), values, [])]
    options = [False, True, False, False, False, False, False, 0, True]  # lone images, no legend, csv mode
    request = {"script_name": "x/y/z plot", "script_args": [*chosen, *options]}
    return post("txt2img", BASE | fields | scripts | request)


def cells(answer):
    """The pixels of a plot's cells, x first, then y, then z."""
    assert answer.status_code == 200, answer.text
    return pictures(answer)[1:]


def infotexts(answer):
    """The infotext of every image of an answer."""
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["info"])["infotexts"]


def pictures(answer):
    """The pixels of every image of an answer."""
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(image)))) for image in answer.json()["images"]]
