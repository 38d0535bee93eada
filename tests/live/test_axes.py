"""The axes of the X/Y/Z plot on a running WebUI. CONTRIBUTING.md says which one they need."""

from __future__ import annotations

import itertools

import pytest

from tests.live.client import cells, encoded, generate, get, plot, same

HIRES = ("Method", "Preset", "RAU-Net", "Window attention", "T1", "T2", "Aggressive", "Passes", "Downscale", "Upscale")
HIRES += ("Depth 1", "Depth 2", "Stop 1", "Stop 2", "Scaler", "Smooth scaling")
FEW_STEP = ("Preset", "Guidance", "Gamma", "Timesteps", "Prior", "Prompts", "SA tau", "SA predictor", "SA corrector")
LABELS = [f"[HiDiffusion] {name}" for name in HIRES] + [f"[Few-Step] {name}" for name in FEW_STEP]
PAPER = {"preset": "Paper"}
SHRINK = {"method": "Deep Shrink", "preset": "Paper"}
CFGPP = {"sampler_name": "Euler CFG++", "cfg_scale": 3}

AXES = [
    ("[HiDiffusion] Method", "None, HiDiffusion, Deep Shrink", PAPER, {}),
    ("[HiDiffusion] Preset", "Auto, Paper", {"trained_size": 512}, {}),
    ("[HiDiffusion] RAU-Net", "False, True", PAPER, {}),
    ("[HiDiffusion] Window attention", "False, True", PAPER, {}),
    ("[HiDiffusion] T1", "0.2, 1", PAPER, {}),
    ("[HiDiffusion] T2", "0, 0.6", PAPER | {"aggressive": False, "t1": 1.0}, {}),
    ("[HiDiffusion] Passes", "First, Hires", PAPER, {}),
    ("[HiDiffusion] Downscale", "0.25, 0.5", SHRINK, {}),
    ("[HiDiffusion] Upscale", "2, 3", SHRINK, {}),
    ("[HiDiffusion] Depth 1", "3, 5", SHRINK, {}),
    ("[HiDiffusion] Depth 2", "3, 5", SHRINK, {}),
    ("[HiDiffusion] Stop 1", "0.2, 0.8", SHRINK, {}),
    ("[HiDiffusion] Stop 2", "0.2, 0.8", SHRINK, {}),
    ("[HiDiffusion] Scaler", "bicubic, nearest", SHRINK, {}),
    ("[HiDiffusion] Smooth scaling", "False, True", SHRINK, {}),
    ("[Few-Step] Guidance", "calibrated, lambda", None, CFGPP),
    ("[Few-Step] Gamma", "0, 1", None, {"sampler_name": "TCD"}),
    ("[Few-Step] Timesteps", '"999, 499", "999, 749, 249"', None, {}),
    ("[Few-Step] Preset", "SDXL-Lightning 4 steps, SDXL-Lightning 2 steps", None, {}),
]
FIELDS = {
    "Method": lambda text: {"enabled": text != "None", **({} if text == "None" else {"method": text})},
    "RAU-Net": lambda text: {"raunet": text == "True"},
    "Window attention": lambda text: {"window_attention": text == "True"},
    "Smooth scaling": lambda text: {"smooth_scaling": text == "True"},
    "Depth 1": lambda text: {"d1": int(text)},
    "Depth 2": lambda text: {"d2": int(text)},
    "Stop 1": lambda text: {"s1": float(text)},
    "Stop 2": lambda text: {"s2": float(text)},
    "Timesteps": lambda text: {"timesteps": [int(number) for number in text.split(",")]},
    **dict.fromkeys(("T1", "T2", "Downscale", "Upscale", "Gamma"), None),
}


def settings_of(label, text):
    """An axis's value as the API's dict says it."""
    name = label.partition("] ")[2]
    read = FIELDS.get(name, lambda text: {name.lower(): text})
    return read(text) if read is not None else {name.lower(): float(text)}


def split(values):
    return [text.strip() for text in (values.strip('"').split('", "') if '"' in values else values.split(","))]


def test_every_axis_is_there_once():
    infos = [entry for entry in get("script-info") if entry["name"] == "x/y/z plot"]
    assert len(infos) == 2
    for info in infos:
        choices = info["args"][0]["choices"]
        assert [choices.count(label) for label in LABELS] == [1] * len(LABELS)


@pytest.mark.parametrize(("label", "values", "base", "fields"), AXES, ids=[axis[0] for axis in AXES])
def test_an_axis_does_what_its_setting_does(label, values, base, fields):
    script = "HiDiffusion" if "HiDiffusion" in label else "Few-Step"
    found = cells(plot({label: values}, base, script, **fields))
    singles = [
        generate({**(base or {}), **settings_of(label, text)}, script=script, **fields)[0][0] for text in split(values)
    ]
    assert same(found, singles)
    assert not any(same([a], [b]) for a, b in itertools.combinations(found, 2))


def test_the_prior_is_a_saved_file_or_none(plain):
    saved = {"prior": {"images": [encoded(plain[0])], "save": "live-test"}}
    generate(saved, script="Few-Step", steps=1)
    found = cells(plot({"[Few-Step] Prior": "None, live-test.safetensors"}, steps=1))
    loaded = {"prior": {"statistics": "live-test"}}
    assert same(found, [generate(value, script="Few-Step", steps=1)[0][0] for value in ({}, loaded)])
    assert not same(found[:1], found[1:])


def test_aggressive_is_an_axis_for_larger_images():
    fields = {"width": 512, "height": 512, "steps": 6}
    base = PAPER | {"trained_size": 256}
    found = cells(plot({"[HiDiffusion] Aggressive": "False, True"}, base, **fields))
    assert same(found, [generate(base | {"aggressive": value}, **fields)[0][0] for value in (False, True)])


def test_a_plot_of_eighteen_cells_equals_eighteen_runs():
    axes = {
        "[HiDiffusion] Method": "None, HiDiffusion, Deep Shrink",
        "Steps": "2, 3, 4",
        "[HiDiffusion] Preset": "Paper, Auto",
    }
    found = cells(plot(axes))
    singles = [
        generate(settings_of("] Method", method) | {"preset": preset}, steps=steps)[0][0]
        for preset in ("Paper", "Auto")
        for steps in (2, 3, 4)
        for method in ("None", "HiDiffusion", "Deep Shrink")
    ]
    assert len(found) == 18
    assert same(found, singles)


def test_a_preset_leaves_to_other_axes_what_they_change():
    axes = {"[Few-Step] Preset": "SDXL-Lightning 4 steps", "Steps": "2, 3"}
    singles = [
        generate({"preset": "SDXL-Lightning 4 steps", "keep": ["steps"]}, script="Few-Step", steps=steps)[0][0]
        for steps in (2, 3)
    ]
    assert same(cells(plot(axes)), singles)


@pytest.mark.parametrize(
    ("label", "values", "said"),
    [
        ("[HiDiffusion] T1", "0.2, 3", "t1 = 3.0"),
        ("[HiDiffusion] Method", "HiDiffusion, Kohya", "method = 'Kohya'"),
        ("[HiDiffusion] Depth 1", "3, 40", "d1 = 40"),
        ("[HiDiffusion] RAU-Net", "maybe", "raunet = 'maybe'"),
        ("[HiDiffusion] Scaler", "", "no values"),
        ("[Few-Step] Gamma", "0.5, 2", "gamma = 2.0"),
        ("[Few-Step] Preset", "Thunder", "preset = 'Thunder'"),
        ("[Few-Step] Timesteps", '"999, 1200"', "1200"),
        ("[Few-Step] Prior", "nowhere", "nowhere"),
        ("[Few-Step] Prompts", "nowhere.txt", "nowhere.txt"),
    ],
)
def test_a_wrong_value_is_named_before_the_first_image(label, values, said):
    answer = plot({label: values})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert label in answer.json()["detail"]


def test_axes_of_both_methods_need_the_axis_of_methods():
    both = {"[HiDiffusion] T1": "0.2", "[HiDiffusion] Depth 1": "3"}
    answer = plot(both)
    assert answer.status_code == 422
    assert "[HiDiffusion] Method" in answer.json()["detail"]
    found = cells(plot(both | {"[HiDiffusion] Method": "HiDiffusion"}, PAPER))
    assert same(found, [generate(PAPER | {"t1": 0.2})[0][0]])
