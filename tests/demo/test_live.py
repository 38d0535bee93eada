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

from demo.compare import tasks_for
from demo.edit import WAYS as ALL_EDITS
from demo.edit import edits_for
from demo.live import __main__ as live
from demo.live.asked import EDITS, LIVE_PAIRS, WAYS, edit_request, request_of
from demo.live.host import PINNED, digest
from demo.model.layouts import LAYOUTS
from demo.pictures.scenes import Scene, as_bytes, draw
from demo.ways import DOUBLE, NATIVE, SIZES, WITHOUT_LORA
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
        self.scripts = [{"name": "x/y/z plot", "is_img2img": False, "args": [{"choices": ["Nothing", AXIS]}]}]
        self.refused = ""
        self.files = {f"fewstep-mini/mini-{name}.safetensors": digest(at.path) for name, at in LAYOUTS.items()}
        self.hashed = set()

    def request(self, verb, address, json=None, timeout=None):
        path = address.partition("/sdapi/v1/")[2]
        if path == "sd-models":
            return self.answer([self.described(*file) for file in self.files.items()])
        if path == "options":
            if self.refused and (json or {}).get("sd_model_checkpoint") == self.refused:
                self.checkpoint = self.refused  # the WebUI keeps the choice
                return SimpleNamespace(status_code=500, text="broken")
            self.checkpoint = (json or {}).get("sd_model_checkpoint", self.checkpoint).partition(" [")[0]
            self.hashed.add(self.checkpoint)
            return self.answer({"sd_model_checkpoint": self.checkpoint})
        if path == "script-info":
            return self.answer(self.scripts)
        assert set(json) <= FIELDS
        for name, given in json.get("alwayson_scripts", {}).items():
            READERS[name](*given["args"])
        self.asked.append((self.checkpoint, path, json))
        if "script_name" in json:
            return self.answer({"images": [as_base64(picture) for picture in self.plotted(json)]})
        return self.answer({"images": [as_base64(self.drawn(json))]})

    def described(self, file, sha256):
        """As the WebUI does: with a hash once the file was loaded."""
        found = {"title": file, "sha256": None, "model_name": file.removesuffix(".safetensors").replace("/", "_")}
        return found | ({"title": f"{file} [{sha256[:10]}]", "sha256": sha256} if file in self.hashed else {})

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
    def run(*words, address="http://host/"):
        places = ["--out", str(tmp_path / "out"), "--library", str(tmp_path / "library.json")]
        monkeypatch.setattr(sys, "argv", ["live", address, *places, *words])
        return live.main()

    return run


def test_every_way_is_asked_for_and_counted(webui, called, tmp_path):
    assert called("--images", "2") == 1  # there is no library's report
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
    assert {checkpoint for checkpoint, *_ in webui.asked} == set(webui.files)
    assert webui.checkpoint == "mine.safetensors"
    webui.asked.clear()
    called("--images", "2")
    assert all("script_name" in body for *_, body in webui.asked)  # the other pictures were there


def test_another_file_of_the_same_name_is_a_sentence(webui, called, capsys):
    webui.files = dict.fromkeys(webui.files, "0" * 64)
    assert called("--images", "1") == 1
    assert (
        "another mini-sd15.safetensors than this project, or computes no hashes: run python -m demo.install"
        in capsys.readouterr().err
    )
    assert (webui.asked, webui.checkpoint) == ([], "mine.safetensors")


@pytest.mark.parametrize("file", ["mini-sd15.safetensors", "mini-sd15-lcm.safetensors"])
def test_pictures_of_other_weights_are_asked_for_again(webui, called, monkeypatch, file):
    called("--images", "1", "--layouts", "sd15")
    webui.asked.clear()
    monkeypatch.setattr("demo.live.host.digest", lambda path: "new" if path.name == file else digest(path))
    webui.files = {name: "new" if name.endswith(f"/{file}") else sha256 for name, sha256 in webui.files.items()}
    called("--images", "1", "--layouts", "sd15")
    again = [body["prompt"] for *_, body in webui.asked if "script_name" not in body]
    assert len(again) == (2 * 4 if "lcm" in file else len(WAYS) + len(EDITS))
    assert "lcm" not in file or all("mini-sd15-lcm" in prompt for prompt in again)


@pytest.mark.parametrize("other", ["code", "settings", "webui"])
def test_pictures_of_another_extension_or_webui_are_asked_for_again(webui, called, monkeypatch, other):
    called("--images", "1", "--layouts", "sd15")
    webui.asked.clear()
    if other == "code":
        monkeypatch.setattr("demo.live.host.extension", lambda: "new")
    elif other == "settings":
        monkeypatch.setitem(PINNED, "CLIP_stop_at_last_layers", 2)
    address = "http://other" if other == "webui" else "http://host"
    called("--images", "1", "--layouts", "sd15", address=address)
    assert len([body for *_, body in webui.asked if "script_name" not in body]) == len(WAYS) + len(EDITS)


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
        *(f"{name}_{steps}" for name in ("cfg", "cfgpp") for steps in (1, 2)),
        *(way.key for way in WITHOUT_LORA),
    }


def test_the_library_is_compared_with(webui, called, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(live, "WAYS", SIZES)
    monkeypatch.setattr(live, "EDITS", EDITS[:1])
    assert called("--images", "12", "--layouts", "sd15") == 1
    assert "make quality writes it" in capsys.readouterr().out
    place, library = tmp_path / "out" / "report.json", tmp_path / "library.json"
    figures = json.loads(place.read_text())
    library.write_text(json.dumps(figures))
    assert called("--images", "12", "--layouts", "sd15") == 0
    agreement = json.loads(place.read_text())["agreement"]
    assert set(agreement) == {f"sd15 {way.key}" for way in (*SIZES, EDITS[0])}
    assert agreement["sd15 native"] == {"pictures": 12, "only_here": 0, "only_there": 0}
    figures["sd15"]["ways"]["native"]["each_right"] = [False] * 12
    library.write_text(json.dumps(figures))
    assert called("--images", "12", "--layouts", "sd15") == 1
    assert "not: ['sd15 native']" in capsys.readouterr().out
    library.write_text(json.dumps(figures | {"seed": 1}))
    assert called("--images", "12", "--layouts", "sd15") == 1
    assert "nothing to compare with" in capsys.readouterr().out


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
    webui.files = {}
    assert called() == 1
    assert "python -m demo.install" in capsys.readouterr().err


@pytest.mark.parametrize("axes", [[], ["Nothing"]])
def test_a_webui_without_the_plot_or_its_axis_is_a_sentence(webui, called, capsys, axes):
    scripts = [{"name": "x/y/z plot", "is_img2img": False, "args": [{"choices": axes}]}] if axes else []
    webui.scripts = scripts
    assert called("--images", "1") == 1
    assert "no axis [HiDiffusion] Method" in capsys.readouterr().err
    assert webui.checkpoint == "mine.safetensors"


def test_a_page_instead_of_an_answer_is_a_sentence(called, capsys, monkeypatch):
    def page():
        raise ValueError("<html>")

    monkeypatch.setattr(requests, "request", lambda *_, **__: SimpleNamespace(status_code=200, json=page))
    assert called("--images", "1") == 1
    assert "something else than JSON" in capsys.readouterr().err


def test_a_checkpoint_that_cannot_be_loaded_leaves_the_former_one(webui, called, capsys):
    webui.refused = "fewstep-mini/mini-sd15.safetensors"
    assert called("--images", "1") == 1
    assert "options: 500" in capsys.readouterr().err
    assert webui.checkpoint == "mine.safetensors"


def test_half_of_a_picture_is_never_left(webui, called, monkeypatch, tmp_path):
    """A stop in the middle of writing."""
    saved = Image.Image.save

    def stopped(self, place, *words, **given):
        saved(self, place, *words, **given)
        if "fresh" in str(place):
            raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        called("--images", "1")
    assert not list((tmp_path / "out").rglob("*.png"))


def test_nobody_at_the_address_is_a_sentence(called, capsys, monkeypatch):
    def refuse(*_, **__):
        raise requests.ConnectionError("refused")

    monkeypatch.setattr(requests, "request", refuse)
    assert called() == 1
    assert "http://host does not answer (refused)" in capsys.readouterr().err


def test_a_webui_without_its_api_is_a_sentence(called, capsys, monkeypatch):
    monkeypatch.setattr(requests, "request", lambda *_, **__: SimpleNamespace(status_code=404, text="Not Found"))
    assert called() == 1
    assert "start the WebUI with --api" in capsys.readouterr().err


def test_a_plot_that_shows_other_pictures_is_an_error(webui, called, monkeypatch):
    drawn = webui.drawn
    monkeypatch.setattr(webui, "drawn", lambda body: drawn(body) * (0.9 if "script_name" in body else 1))
    assert called("--images", "1", "--layouts", "sd15") == 1
