"""The axes of the X/Y/Z plot, driven through a strict stand-in of the WebUI."""

from __future__ import annotations

import csv
import io
import itertools
import re
import sys

import pytest
import torch
from fastapi import HTTPException

from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.models import ModelSettings
from lib_fewstep.options import SettingError, options_of
from lib_fewstep.sampling import FewStepSettings
from lib_fewstep.sampling.prior import Prior, save
from tests.webui import standin
from tests.webui.exact import SCRIPTS, unchanged

pytestmark = pytest.mark.long

HIRES = ["Method", "Preset", "RAU-Net", "Window attention", "T1", "T2", "Aggressive", "Passes", "Downscale", "Upscale"]
HIRES += ["Depth 1", "Depth 2", "Stop 1", "Stop 2", "Scaler", "Smooth scaling"]
FEW_STEP = [
    "Preset",
    "Guidance",
    "Gamma",
    "Timesteps",
    "Prior",
    "Prior share",
    "Prior brightness",
    "Prompts",
    "SA tau",
    "SA predictor",
    "SA corrector",
]
GUIDANCE = [option.label for name, option in options_of(GuidanceSettings).items() if name != "enabled"]
MODEL = [option.label for name, option in options_of(ModelSettings).items() if name != "enabled"]
LABELS = {"Few-Step": FEW_STEP, "Guidance": GUIDANCE, "HiDiffusion": HIRES, "Model": MODEL}
"""By script, in the order in which they are loaded."""

BASE = {"prompt": "a cat", "width": 96, "height": 80, "steps": 4, "seed": 1, "sampler_name": "Euler", "cfg_scale": 3.0}
SETTINGS = (SCRIPTS.parent / "docs/settings.md").read_text(encoding="utf-8")
PAPER = {"preset": "Paper"}
SHRINK = PAPER | {"method": "Deep Shrink"}
HALF = PAPER | {"t1": 0.5}

TRUTHS = {"False": False, "True": True}
AXES = {
    "[HiDiffusion] Preset": (None, {"Auto": {}, "Paper": PAPER}),
    "[HiDiffusion] RAU-Net": (PAPER, {text: {"raunet": value} for text, value in TRUTHS.items()}),
    "[HiDiffusion] Window attention": (PAPER, {text: {"window_attention": value} for text, value in TRUTHS.items()}),
    "[HiDiffusion] T1": (PAPER, {"0.25": {"t1": 0.25}, "1": {"t1": 1.0}}),
    "[HiDiffusion] T2": (HALF, {"0": {"t2": 0.0}, "1": {"t2": 1.0}}),
    "[HiDiffusion] Passes": (PAPER, {"All": {"passes": "All"}, "Hires": {"passes": "Hires"}}),
    "[HiDiffusion] Downscale": (SHRINK, {"0.25": {"downscale": 0.25}, "0.5": {"downscale": 0.5}}),
    "[HiDiffusion] Upscale": (SHRINK, {"2": {"upscale": 2.0}, "3": {"upscale": 3.0}}),
    "[HiDiffusion] Depth 1": (SHRINK, {"3": {"d1": 3}, "5": {"d1": 5}}),
    "[HiDiffusion] Depth 2": (SHRINK | {"s2": 0.6}, {"3": {"d2": 3}, "5": {"d2": 5}}),
    "[HiDiffusion] Stop 1": (SHRINK, {"0.25": {"s1": 0.25}, "1": {"s1": 1.0}}),
    "[HiDiffusion] Stop 2": (SHRINK, {"0.25": {"s2": 0.25}, "1": {"s2": 1.0}}),
    "[HiDiffusion] Scaler": (SHRINK, {"bicubic": {"scaler": "bicubic"}, "nearest": {"scaler": "nearest"}}),
    "[HiDiffusion] Smooth scaling": (
        SHRINK | {"s1": 0.6},
        {text: {"smooth_scaling": value} for text, value in TRUTHS.items()},
    ),
}
FEW_STEP_AXES = {
    "[Few-Step] Guidance": (
        {"sampler_name": "Euler CFG++"},
        {"calibrated": {}, "lambda": {"guidance": "lambda"}, "cfg/12.5": {"guidance": "cfg/12.5"}},
    ),
    "[Few-Step] Gamma": ({"sampler_name": "TCD"}, {"0": {"gamma": 0}, "0.5": {"gamma": 0.5}}),
    "[Few-Step] SA tau": ({"sampler_name": "SA-Solver"}, {"1": {}, "0.5": {"sa_tau": 0.5}, "0": {"sa_tau": 0}}),
    "[Few-Step] SA predictor": ({"sampler_name": "SA-Solver"}, {"2": {}, "1": {"sa_predictor": 1}}),
    "[Few-Step] SA corrector": ({"sampler_name": "SA-Solver"}, {"2": {}, "0": {"sa_corrector": 0}}),
    "[Few-Step] Prior brightness": (
        {},
        {"-1": {"prior": {"brightness": -1}}, "0": {}, "0.5": {"prior": {"brightness": 0.5}}},
    ),
    "[Few-Step] Timesteps": ({}, {"999, 499": {"timesteps": [999, 499]}, "999 600 200": {"timesteps": "999 600 200"}}),
    "[Few-Step] Preset": (
        {},
        {name: {"preset": name} for name in ("SDXL-Lightning 4 steps", "SDXL-Lightning 2 steps", "None")},
    ),
}

GUIDANCE_AXES = {
    "[Guidance] Preset": {"Anti-burn": {"preset": "Anti-burn"}, "v-prediction": {"preset": "v-prediction"}},
    "[Guidance] Start": {"0": {}, "0.5": {"start": 0.5}},
    "[Guidance] Highest sigma": {"0": {}, "5": {"sigma_high": 5.0}},
    "[Guidance] Schedule": {name: {"schedule": name} for name in ("Constant", "Linear", "CFG++")},
    "[Guidance] PAG scale": {"0": {}, "2.5": {"pag_scale": 2.5}},
    "[Guidance] NAG scale": {"0": {}, "2": {"nag_scale": 2}},
}


@pytest.fixture(scope="module")
def plain(sd1):
    """The image before any plot."""
    return single(sd1)


@pytest.fixture
def host(sd1, plain):
    """A host on which the plot leaves nothing: neither on the model, in its lists, in the settings nor in errors."""
    unet = sd1.unet
    with unchanged(sd1):
        yield sd1
    assert not sd1.errors
    assert sd1.unet is unet
    assert torch.equal(single(sd1).latents, plain.latents)


def single(host, script=None, settings=None, **fields):
    """One run of its own through the API."""
    scripts = {} if script is None else {"alwayson_scripts": {script: {"args": [settings]}}}
    result = host.api.txt2img(BASE | fields | scripts)
    assert result.status == 200, result.message
    return result


def plot(host, axes, settings=None, **fields):
    """A plot with the HiDiffusion accordion's arguments as the API's dict, or closed."""
    ui = None if settings is None else {"HiDiffusion": settings}
    return host.xyz(axes, ui=ui, **(BASE | fields))


def text(*values):
    """Values as the plot's field has them."""
    with io.StringIO() as line:
        csv.writer(line).writerow(values)
        return line.getvalue().strip()


def equal(found, expected):
    assert len(found) == len(expected)
    return all(torch.equal(a.latents, b.latents) for a, b in zip(found, expected, strict=True))


def different(results):
    return not any(torch.equal(a.latents, b.latents) for a, b in itertools.combinations(results, 2))


def labels_of(host):
    module = next(d.module for d in sys.modules["modules.scripts"].scripts_data if d.path.endswith("xyz_grid.py"))
    return [axis.label for axis in module.axis_options]


@pytest.mark.parametrize("nowebui", [False, True])
def test_every_axis_is_there_once_also_after_a_reload(nowebui):
    """In the order in which the scripts are loaded; before a page is made, the host asks the last one first."""
    with standin.webui("sd1", SCRIPTS, nowebui=nowebui) as host:
        scripts = LABELS if nowebui else reversed(LABELS)
        expected = [f"[{script}] {name}" for script in scripts for name in LABELS[script]]
        for _ in range(3):
            assert [label for label in labels_of(host) if label.startswith("[")] == expected
            host.reload_ui(reimport=True)


def test_the_documents_axes_are_there(host):
    table = SETTINGS.split("| X | Y |")[1].split("\n\n")[0]
    named = re.findall(r"`([^`]+)`", table)
    assert len(named) > 8
    assert set(named) <= set(labels_of(host))


def test_without_the_plot_s_script_nothing_happens():
    with standin.webui("sd1", SCRIPTS, xyz=False) as host:
        assert single(host, "HiDiffusion", PAPER).status == 200
        assert not host.errors


@pytest.mark.parametrize("label", GUIDANCE_AXES)
def test_a_guidance_axis_does_what_its_setting_does(host, label):
    values = GUIDANCE_AXES[label]
    found = plot(host, {label: text(*values)}, None)
    assert equal(found, [single(host, "Guidance", value) for value in values.values()])
    assert different(found)


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"[Guidance] PAG scale": "-1"}, "[Guidance] PAG scale: pag_scale = -1.0 is not allowed"),
        ({"[Guidance] Start": "0.5", "[Guidance] End": "0.4"}, "end = 0.4 is not allowed: it must be above start"),
    ],
    ids=str,
)
def test_a_guidance_axis_refuses(host, axes, words):
    with pytest.raises(HTTPException) as refusal:
        plot(host, axes, None)
    assert words in refusal.value.detail
    host.errors.clear()


@pytest.mark.parametrize("label", AXES)
def test_a_hidiffusion_axis_does_what_its_setting_does(host, label):
    base, values = AXES[label]
    found = plot(host, {label: text(*values)}, base)
    assert equal(found, [single(host, "HiDiffusion", {**(base or {}), **value}) for value in values.values()])
    assert different(found)


def test_aggressive_changes_an_sdxl_model():
    with standin.webui("sdxl", SCRIPTS) as host:
        base = PAPER | {"t1": 1.0}
        found = plot(host, {"[HiDiffusion] Aggressive": "False, True"}, base, steps=8)
        expected = [single(host, "HiDiffusion", base | {"aggressive": v}, steps=8) for v in (False, True)]
        assert equal(found, expected)
        assert different(found)


@pytest.mark.parametrize("label", FEW_STEP_AXES)
def test_a_few_step_axis_does_what_its_setting_does(host, label):
    fields, values = FEW_STEP_AXES[label]
    found = host.xyz({label: text(*values)}, **(BASE | fields))
    assert equal(found, [single(host, "Few-Step", value, **fields) for value in values.values()])
    assert different(found)


def prior_folder(host):
    return host.data_path / "models" / "FewStep"


def test_the_prior_is_a_file_or_none(host):
    save(Prior(torch.tensor([5.0, 0, 0, 0]), torch.ones(4)), prior_folder(host) / "bright.safetensors")
    found = host.xyz({"[Few-Step] Prior": "None, bright.safetensors"}, **(BASE | {"steps": 1}))
    prior = {"prior": {"statistics": "bright"}}
    assert equal(found, [single(host, "Few-Step", value, steps=1) for value in ({}, prior)])
    assert different(found)


def test_the_share_of_a_prior(host):
    """Of the axis of brightness, whose prior it is; without any there is none to have a share of."""
    found = host.xyz({"[Few-Step] Prior brightness": "0.5", "[Few-Step] Prior share": "0.2, 1"}, **BASE)
    cells = [{"prior": {"brightness": 0.5, "share": share}} for share in (0.2, 1)]
    assert equal(found, [single(host, "Few-Step", value) for value in cells])
    assert different(found)
    with pytest.raises(SettingError, match="no pictures and no file"):
        sys.modules["lib_fewstep.webui.fewstep.axes"].with_axes(FewStepSettings(), {"prior_share": 0.2})


def test_a_file_keeps_share_and_brightness_of_the_page(host):
    save(Prior(torch.tensor([5.0, 0, 0, 0]), torch.ones(4)), prior_folder(host) / "bright.safetensors")
    acting = {"share": 0.4, "brightness": -0.5}
    of_page = {"prior": {"images": [standin.as_base64(standin.picture(32, 24))], "mean": "Pixels"} | acting}
    found = host.xyz({"[Few-Step] Prior": "None, bright.safetensors"}, ui={"Few-Step": of_page}, **BASE)
    cells = {}, {"prior": {"statistics": "bright"} | acting}
    assert equal(found, [single(host, "Few-Step", value) for value in cells])


@pytest.mark.parametrize("axis", ["share", "brightness"])
def test_no_prior_has_neither_share_nor_brightness(host, axis):
    save(Prior(torch.tensor([5.0, 0, 0, 0]), torch.ones(4)), prior_folder(host) / "bright.safetensors")
    found = host.xyz({"[Few-Step] Prior": "None, bright.safetensors", f"[Few-Step] Prior {axis}": "0.5, 1"}, **BASE)
    cells = [{}, {}, *({"prior": {"statistics": "bright", axis: value}} for value in (0.5, 1))]
    assert equal(found, [single(host, "Few-Step", value) for value in cells])


def test_choices_can_be_chosen(host):
    found = host.xyz({"[HiDiffusion] Method": ["None", "Deep Shrink"], "[HiDiffusion] Preset": ["Paper"]}, **BASE)
    assert equal(found, [single(host), single(host, "HiDiffusion", SHRINK)])


def test_a_plot_of_eighteen_cells_equals_eighteen_runs(host):
    """With the accordion closed; a method's axis switches it on, and "None" off whatever else is plotted."""
    methods, steps, t1 = ("None", "HiDiffusion", "Deep Shrink"), (2, 3, 4), (0.25, 1.0)
    axes = {"[HiDiffusion] Method": text(*methods), "Steps": text(*steps), "[HiDiffusion] T1": text(*t1)}
    found = plot(host, axes | {"[HiDiffusion] T1": "0.25, 1"}, PAPER)
    expected = [
        single(host, "HiDiffusion", PAPER | {"enabled": method != "None", "t1": share} | _method(method), steps=count)
        for method in methods
        for count in steps
        for share in t1
    ]
    assert len(found) == 18
    assert equal(found, expected)
    assert len({result.latents.numpy().tobytes() for result in found}) == 12  # T1 means nothing to None, Deep Shrink


def _method(name):
    return {} if name == "None" else {"method": name}


def test_an_axis_switches_its_method_on_and_a_closed_accordion_s_values_do_not_count(host):
    closed = {"enabled": False, "preset": "Paper", "raunet": False, "method": "Deep Shrink"}
    (found,) = plot(host, {"[HiDiffusion] T1": "0.5", "[HiDiffusion] Preset": "Paper"}, closed)
    assert equal([found], [single(host, "HiDiffusion", {"preset": "Paper", "t1": 0.5})])
    (found,) = plot(host, {"[HiDiffusion] Depth 1": "5"}, HALF)
    assert equal([found], [single(host, "HiDiffusion", {"preset": "Paper", "method": "Deep Shrink", "d1": 5})])


def test_a_cell_says_in_its_infotext_what_it_used(host):
    first, second = plot(host, {"[HiDiffusion] T1": "0.25, 1"}, PAPER)
    assert "HiDiffusion T1: 0.25" in first.infotexts[0]
    assert "HiDiffusion T1: 1.0" in second.infotexts[0]
    off, on = plot(host, {"[HiDiffusion] Method": "None, HiDiffusion"}, PAPER)
    assert "HiDiffusion" not in off.infotexts[0]
    assert "HiDiffusion method: HiDiffusion" in on.infotexts[0]


def test_a_preset_leaves_to_other_axes_what_they_change(host):
    name = "SDXL-Lightning 4 steps"
    found = host.xyz({"Steps": "2, 3", "[Few-Step] Preset": text(name)}, **BASE)
    assert equal(found, [single(host, "Few-Step", {"preset": name, "keep": ["steps"]}, steps=n) for n in (2, 3)])
    found = host.xyz({"[Few-Step] Preset": text(name), "CFG Scale": "2, 3"}, **BASE)
    kept = {"preset": name, "keep": ["cfg"]}
    assert equal(found, [single(host, "Few-Step", kept, cfg_scale=cfg) for cfg in (2.0, 3.0)])
    found = host.xyz({"[Few-Step] Preset": text(name), "Sampler": "Heun, TCD"}, **BASE)
    kept = {"preset": name, "keep": ["sampler"]}
    assert equal(found, [single(host, "Few-Step", kept, sampler_name=sampler) for sampler in ("Heun", "TCD")])
    found = host.xyz({"[Few-Step] Preset": text(name), "Schedule type": "Karras, Uniform"}, **BASE)
    kept = {"preset": name, "keep": ["schedule"]}
    assert equal(found, [single(host, "Few-Step", kept, scheduler=schedule) for schedule in ("Karras", "Uniform")])


@pytest.fixture
def prompts(host):
    folder = host.data_path / "models" / "FewStep" / "prompts"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parti.tsv").write_text("Prompt\tCategory\nred\tA\ngreen\tB\nblue\tA\n")
    (folder / "diffusion.tsv").write_text("prompt\tseed\tstep\tcfg\tsampler\nred\t5\t3\t2\t4\ngreen\t6\t2\t4\t3\n")
    (folder / "wrong.tsv").write_text("Caption\tCategory\nred\tA\n")
    yield folder
    for path in folder.iterdir():
        path.unlink()


def test_prompts_come_from_a_file(host, prompts):
    found = host.xyz({"[Few-Step] Prompts": "parti.tsv"}, **BASE)
    assert equal(found, [single(host, prompt=prompt) for prompt in ("red", "green", "blue")])
    assert [result.labels for result in found] == [["red"], ["green"], ["blue"]]
    assert len(host.xyz({"[Few-Step] Prompts": "parti.tsv, 2, 7"}, **BASE)) == 2


def test_a_prompt_file_s_own_values_count_unless_another_axis_has_them(host, prompts):
    rows = [
        {"prompt": "red", "seed": 5, "steps": 3, "cfg_scale": 2.0, "sampler_name": "Euler a"},
        {"prompt": "green", "seed": 6, "steps": 2, "cfg_scale": 4.0, "sampler_name": "Euler"},
    ]
    found = host.xyz({"[Few-Step] Prompts": "diffusion.tsv"}, **BASE)
    assert equal(found, [single(host, **row) for row in rows])
    found = host.xyz({"Steps": "4", "[Few-Step] Prompts": "diffusion.tsv", "Seed": "9"}, **BASE)
    assert equal(found, [single(host, **(row | {"steps": 4, "seed": 9})) for row in rows])


REFUSED = {
    "[HiDiffusion] Method": ("HiDiffusion, Kohya", "method = 'Kohya' is not allowed"),
    "[HiDiffusion] T1": ("0.2, 3", "t1 = 3.0 is not allowed: it must be 0 to 1"),
    "[HiDiffusion] Depth 1": ("3, 40", "d1 = 40 is not allowed: it must be 1 to 12"),
    "[HiDiffusion] RAU-Net": ("True, maybe", "raunet = 'maybe' is not allowed: it must be true or false"),
    "[HiDiffusion] Scaler": ("", "has no values"),
    "[Few-Step] Preset": ("None, Thunder", "preset = 'Thunder' is not allowed"),
    "[Few-Step] Guidance": ("calibrated, strong", "guidance = 'strong' is not allowed"),
    "[Few-Step] Gamma": ("0.5, 2", "gamma = 2.0 is not allowed: it must be 0 to 1"),
    "[Few-Step] Timesteps": ('"999, 1200"', "1200"),
    "[Few-Step] Prior": ("None, nowhere", "nowhere"),
    "[Few-Step] Prompts": ("../secret.txt", "prompts = '../secret.txt' is not allowed"),
}


@pytest.mark.parametrize("label", REFUSED)
def test_a_wrong_value_is_named_before_the_first_image(host, label):
    values, said = REFUSED[label]
    with pytest.raises(HTTPException) as refusal:
        host.xyz({"Steps": "2", label: values}, **BASE)
    assert str(refusal.value).startswith(label)
    assert said in str(refusal.value)
    assert not host.probe.calls


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.tsv", "nowhere.tsv"),
        ("wrong.tsv", "Caption"),
        ("parti.tsv, many", "a limit and a seed"),
        ("parti.tsv, 1, 2, 3", "a limit and a seed"),
        ("link.tsv", "not of a link"),
        ("parti.tsv, " + "9" * 5000, "a limit and a seed"),
        ("par\nti.tsv", "the name of a file"),
        ("unknown.tsv", "sampler = 'Eular' in the file is not allowed"),
        ("", "the name of a file"),
    ],
)
def test_a_wrong_prompt_file_is_named_before_the_first_image(host, prompts, name, said):
    (prompts / "link.tsv").symlink_to(prompts / "parti.tsv")
    (prompts / "unknown.tsv").write_text("p\tsampler\nred\tEular\n")
    with pytest.raises(HTTPException) as refusal:
        host.xyz({"[Few-Step] Prompts": name}, **BASE)
    assert said in str(refusal.value)
    assert str(host.data_path) not in str(refusal.value)
    assert not host.probe.calls


def test_the_page_offers_the_files_that_are_accepted(host, prompts):
    (prompts / "link.tsv").symlink_to(prompts / "parti.tsv")
    (prompts / "a (1).tsv").write_text("Prompt\nred\n")
    (prompts / "readme.md").write_text("red")
    host.reload_ui()
    offered = host.tabs["txt2img"].components_by_elem_id["fewstep_comparison_txt2img_prompts"].choices
    assert offered == ["None", "diffusion.tsv", "parti.tsv", "wrong.tsv"]


def test_steps_cannot_be_plotted_beside_timesteps(host):
    with pytest.raises(HTTPException, match="Timesteps is not allowed beside the axis Steps"):
        host.xyz({"Steps": "2, 3", "[Few-Step] Timesteps": '"999, 499"'}, **BASE)
    assert not host.probe.calls


def test_a_preset_leaves_to_prompts_what_their_file_says(host, prompts):
    name = "SDXL-Lightning 4 steps"
    rows = [{"prompt": "red", "seed": 5, "steps": 3, "cfg_scale": 2.0, "sampler_name": "Euler a"}]
    kept = {"preset": name, "keep": ["steps", "cfg", "sampler"]}
    for axes in (
        {"[Few-Step] Prompts": "diffusion.tsv", "[Few-Step] Preset": name},
        {"[Few-Step] Preset": name, "[Few-Step] Prompts": "diffusion.tsv"},
    ):
        assert equal(host.xyz(axes, **BASE)[:1], [single(host, "Few-Step", kept, **row) for row in rows])


def test_axes_of_both_methods_need_the_axis_of_methods(host):
    both = {"[HiDiffusion] T1": "0.5", "[HiDiffusion] Depth 1": "3"}
    with pytest.raises(HTTPException, match=r"\[HiDiffusion\] Method"):
        plot(host, both)
    assert not host.probe.calls
    method = {"[HiDiffusion] Method": "HiDiffusion"}
    t1, depth = ({label: value} for label, value in both.items())
    for axes in (method | t1 | depth, t1 | method | depth, t1 | depth | method):
        assert equal(plot(host, axes, PAPER), [single(host, "HiDiffusion", HALF)])
