"""The counts over HTTP, on a WebUI that draws what it is asked for."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from PIL import Image

from demo.mini import live
from demo.mini.compare import tasks_for
from demo.mini.edit import WAYS as ALL_EDITS
from demo.mini.edit import edits_for
from demo.mini.live import EDITS, LIVE_PAIRS, WAYS, edit_request, request_of
from demo.mini.ways import DOUBLE, NATIVE, SIZES
from demo.model.layouts import LAYOUTS
from demo.pictures.scenes import Scene, as_bytes, draw
from lib_fewstep.highres import HighResSettings
from lib_fewstep.sampling import FewStepSettings
from tests.webui import standin

AXIS = "[HiDiffusion] Method"
PROMPT = re.compile(r"a (\w+) (\w+)(?: on a (\w+) background)?(?: <lora:(\S+):1>)?$")

FIELDS = {
    *("prompt", "seed", "steps", "width", "height", "sampler_name", "scheduler", "cfg_scale", "alwayson_scripts"),
    *("enable_hr", "hr_scale", "hr_upscaler", "denoising_strength", "init_images", "override_settings"),
    *("script_name", "script_args"),
}
READERS = {"HiDiffusion": HighResSettings.from_dict, "Few-Step": FewStepSettings.from_dict}


def as_base64(picture):
    file = io.BytesIO()
    Image.fromarray(as_bytes(picture)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


class WebUI:
    """Answers as the API does; plain pictures above the trained size show two things."""

    def __init__(self):
        self.asked, self.checkpoint = [], "mine.safetensors"
        self.titles = [f"fewstep-mini/mini-{name}.safetensors [abc]" for name in LAYOUTS]

    def request(self, verb, address, json=None, timeout=None):
        path = address.partition("/sdapi/v1/")[2]
        if path == "sd-models":
            names = [title.partition(".")[0].replace("/", "_") for title in self.titles]
            return self.answer([{"title": t, "model_name": n} for t, n in zip(self.titles, names, strict=True)])
        if path == "options":
            self.checkpoint = (json or {}).get("sd_model_checkpoint", self.checkpoint)
            return self.answer({"sd_model_checkpoint": self.checkpoint})
        if path == "script-info":
            return self.answer([{"name": "x/y/z plot", "is_img2img": False, "args": [{"choices": ["Nothing", AXIS]}]}])
        assert set(json) <= FIELDS
        for name, given in json.get("alwayson_scripts", {}).items():
            READERS[name](*given["args"])
        self.asked.append((self.checkpoint, path, json))
        if "script_name" in json:
            return self.answer({"images": [as_base64(picture) for picture in self.plotted(json)]})
        return self.answer({"images": [as_base64(self.drawn(json))]})

    def plotted(self, body):
        """The grid, and a cell for each method of the plot's first axis."""
        axis, values, *_ = body["script_args"]
        assert (axis, len(body["script_args"])) == (1, 18)
        plain = {name: value for name, value in body.items() if name != "alwayson_scripts"}
        cells = [self.drawn(plain if method == "None" else body) for method in values.split(", ")]
        return [np.concatenate(cells, axis=1), *cells]

    @staticmethod
    def answer(content):
        return SimpleNamespace(status_code=200, json=lambda: content, text="")

    @staticmethod
    def drawn(body):
        colour, kind, background, _ = PROMPT.match(body["prompt"]).groups()
        scale = body.get("hr_scale", 1)
        size = body["height"] * scale, body["width"] * scale
        picture = draw(Scene(kind, colour, 0.5, background=background or ""), *size)
        repeated = size != NATIVE and "HiDiffusion" not in body.get("alwayson_scripts", {})
        return np.tile(picture, (1, 2, 1))[:, ::2] if repeated else picture


@pytest.fixture
def webui(monkeypatch):
    host = WebUI()
    monkeypatch.setattr(requests, "request", host.request)
    return host


@pytest.fixture
def called(monkeypatch, tmp_path):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["live", "http://host/", "--out", str(tmp_path / "out"), *words])
        return live.main()

    return run


def test_every_way_is_asked_for_and_counted(webui, called, tmp_path):
    assert called("--images", "2") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["images"] == 2
    for name in LAYOUTS:
        right = {key: figures["right"] for key, figures in report[name]["ways"].items()}
        assert set(right) == {way.key for way in WAYS}
        assert {key for key, share in right.items() if share < 1} == {"plain_2x", "plain_wide", "hires_plain"}
        edits = report[name]["edits"]
        assert set(edits) == {way.key for way in EDITS}
        assert edits["inversion_1"]["right"] == 1
        assert "hires_hidiffusion - hires_plain" in report[name]["pairs"]
        assert report[name]["plots_apart"] == 0
    assert {checkpoint for checkpoint, *_ in webui.asked} == set(webui.titles)
    assert webui.checkpoint == "mine.safetensors"
    webui.asked.clear()
    assert called("--images", "2") == 0
    assert all("script_name" in body for *_, body in webui.asked)  # the other pictures were there


def test_another_checkpoint_of_the_same_name_is_asked_again(webui, called):
    called("--images", "1", "--layouts", "sd15")
    webui.titles = [title.replace("abc", "def") for title in webui.titles]
    before = len(webui.asked)
    called("--images", "1", "--layouts", "sd15")
    assert len(webui.asked) == 2 * before


def test_the_names_are_the_webuis():
    with standin.webui("sd1") as host:
        samplers = {entry["name"] for entry in host.api.samplers()}
        schedules = {entry["label"] for entry in host.api.schedulers()} | {"Automatic"}
    assert {way.sampler for way in (*WAYS, *EDITS)} <= samplers
    assert {way.schedule for way in WAYS} <= schedules


def test_loras_run_at_cfg_1():
    task = tasks_for(1)[0]
    asked = [request_of(LAYOUTS["sd15"], way, task) for way in WAYS if way.lora == "lcm"]
    assert {body["sampler_name"] for body in asked} == {"LCM (reference grid)", "LCM"}
    assert all(body["cfg_scale"] == 1 and body["prompt"].endswith(" <lora:mini-sd15-lcm:1>") for body in asked)


def test_edits_are_asked_for_as_the_library_makes_them():
    edit = edits_for(1)[0]
    assert set(EDITS) < set(ALL_EDITS)
    for way in EDITS:
        body = edit_request(way, edit)
        assert body["denoising_strength"] == way.strength
        assert body["sampler_name"] == way.sampler
        assert ("alwayson_scripts" in body) == (way.sampler == "Euler CFG++")
    inverting = edit_request(EDITS[0], edit)["alwayson_scripts"]["Few-Step"]["args"]
    assert inverting == [{"invert": {"prompt": edit.source.prompt}}]


def test_every_pair_is_of_ways_that_there_are():
    assert {key for pair in LIVE_PAIRS for key in pair} - {way.key for way in WAYS} == {
        f"{name}_{steps}" for name in ("cfg", "cfgpp") for steps in (1, 2)
    }


def test_the_library_is_compared_with(webui, called, tmp_path, capsys):
    called("--images", "2", "--layouts", "sd15", "--library", str(tmp_path / "none.json"))
    assert "make quality writes it" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    report["sd15"]["ways"]["native"]["interval"] = [0.0, 0.1]
    (tmp_path / "library.json").write_text(json.dumps(report))
    called("--images", "2", "--layouts", "sd15", "--library", str(tmp_path / "library.json"))
    assert "not: ['native']" in capsys.readouterr().out


def test_a_hires_fix_starts_at_the_trained_size():
    task = tasks_for(1)[0]
    for way in WAYS:
        body = request_of(LAYOUTS["sd15"], way, task)
        twice = body.get("enable_hr", False)
        assert twice == way.key.startswith("hires_")
        assert (body["height"], body["width"]) == (NATIVE if twice else way.size)
    assert sum(way.size == DOUBLE for way in WAYS) == 5
    presets = {
        way.key: request_of(LAYOUTS["sd15"], way, task)["alwayson_scripts"]["HiDiffusion"]["args"][0]["preset"]
        for way in (SIZES[2], WAYS[len(SIZES) + 1])
    }
    assert presets == {"hidiffusion_2x": "Paper", "hires_hidiffusion": "Auto"}


def test_a_checkpoint_that_is_not_installed_is_a_sentence(webui, called, capsys):
    webui.titles = []
    assert called() == 1
    assert "python -m demo.install" in capsys.readouterr().err


def test_nobody_at_the_address_is_a_sentence(called, capsys, monkeypatch):
    def refuse(*_, **__):
        raise requests.ConnectionError("refused")

    monkeypatch.setattr(requests, "request", refuse)
    assert called() == 1
    assert "start the WebUI with --api" in capsys.readouterr().err
