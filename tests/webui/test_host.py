"""What the extension learns from the host about the model and the job, and how it counts steps."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lib_fewstep.highres import ModelHints
from lib_fewstep.options import options_of
from tests.webui import standin

SCRIPTS = Path(__file__).parents[2] / "scripts"
BASE = {"prompt": "a cat", "width": 96, "height": 80, "steps": 4, "seed": 1, "sampler_name": "Euler"}


@pytest.fixture(scope="module")
def host():
    """A host whose checkpoint each test chooses."""
    with standin.webui("sd1", SCRIPTS) as made:
        yield made


@pytest.fixture
def hints_for(host, monkeypatch):
    """A function that gives what is learnt from a job; names and headers are the checkpoint's for one test."""

    def hints_for(model, tab="txt2img", *, name=None, header=None, units=None, title="ControlNet", hr=False, **fields):
        host.load_model(model)
        p = host.job(tab, **BASE, **fields)
        if units is not None:
            place = {"args_from": len(p.script_args), "args_to": len(p.script_args) + len(units)}
            script = SimpleNamespace(title=lambda: title, **place)
            p.script_args = (*p.script_args, *units)
            p.scripts_value = SimpleNamespace(alwayson_scripts=[*p.scripts.alwayson_scripts, script])
        if hr:
            p.is_hr_pass = True
        if name is not None:
            monkeypatch.setattr(host.shared.sd_model, "sd_checkpoint_info", SimpleNamespace(name=name))
        if header is not None:
            monkeypatch.setattr(host.shared.sd_model.sd_checkpoint_info, "metadata", header)
        return sys.modules["lib_fewstep.webui.common.host.model"].model_hints(p)

    return hints_for


def test_a_plain_model_in_the_first_pass(hints_for):
    assert hints_for("sd1") == ModelHints()


def test_sd2_with_v_prediction_is_trained_at_768(hints_for):
    assert hints_for("sd2-v").trained_size == 768
    assert hints_for("sd2").trained_size is None


@pytest.mark.parametrize(
    ("said", "trained"),
    [
        ("128x128", 128),
        ("1024x1024", 1024),
        (" 768 x 768 ", 768),
        ("1152x896", 1016),
        ("832x1216", 1006),
        ("64x64", 64),
        ("32x32", None),
        ("1024", None),
        ("about 1024x1024", None),
        ("99999x99999", None),
        ("", None),
        (1024, None),
    ],
)
def test_the_size_in_a_header(hints_for, said, trained):
    assert hints_for("sdxl", header={"modelspec.resolution": said}).trained_size == trained


def test_a_header_without_a_size_leaves_the_usual_one(hints_for):
    assert hints_for("sd2-v", header={"modelspec.title": "A model"}).trained_size == 768
    assert hints_for("sd2-v", header={"modelspec.resolution": "512x512"}).trained_size == 512


@pytest.mark.parametrize(
    ("name", "turbo", "playground"),
    [
        ("sd_xl_turbo_1.0_fp16.safetensors", True, False),
        ("SDXL Turbo.safetensors", True, False),
        ("sdxl-turbo.safetensors", True, False),
        ("dreamshaperXL_turboDPMSDE.safetensors", False, False),
        ("playground-v2.5-1024px-aesthetic.safetensors", False, True),
        ("sd_xl_base_1.0.safetensors", False, False),
    ],
)
def test_what_a_name_tells(hints_for, name, turbo, playground):
    hints = hints_for("sdxl", name=name)
    assert (hints.turbo, hints.playground) == (turbo, playground)


UNIT = {"enabled": True, "image": "...", "model": "canny"}


@pytest.mark.parametrize("title", ["ControlNet", "controlnet"])
@pytest.mark.parametrize(
    ("units", "controlnet"),
    [
        ([UNIT], True),
        ([UNIT | {"enabled": False}, UNIT | {"control_mode": "Balanced"}], True),
        ([{"image": "...", "model": "canny"}], False),  # its default
        ([SimpleNamespace(**UNIT), SimpleNamespace(enabled=False)], True),
        ([UNIT | {"enabled": False}], False),
        ([SimpleNamespace(enabled=False)], False),
        ([], False),
    ],
)
def test_an_enabled_unit_of_controlnet(hints_for, units, controlnet, title):
    assert hints_for("sdxl", units=units, title=title).controlnet is controlnet


def test_the_arguments_of_other_scripts_are_no_units(hints_for):
    assert not hints_for("sdxl", units=[UNIT], title="Another script").controlnet


def test_kinds_of_passes(hints_for):
    picture, mask = standin.picture(96, 80), standin.mask_picture(96, 80)
    assert hints_for("sd1", hr=True, denoising_strength=0.4) == ModelHints(pass_="hires", denoise=0.4)
    drawn = {"init_images": [picture], "denoising_strength": 0.6}
    assert hints_for("sd1", "img2img", **drawn) == ModelHints(pass_="img2img", denoise=0.6)
    assert hints_for("sd1", "img2img", mask=mask, **drawn) == ModelHints(pass_="inpaint", denoise=0.6)


@pytest.mark.parametrize(
    ("options", "hr", "rival"),
    [
        ({}, False, None),
        ({"hypertile_enable_unet": True}, False, "HyperTile"),
        ({"hypertile_enable_unet_secondpass": True}, False, None),
        ({"hypertile_enable_unet_secondpass": True}, True, "HyperTile"),
        ({"token_merging_ratio": 0.3}, False, "token merging"),
    ],
)
def test_what_competes_for_the_tokens(options, hr, rival):
    with standin.webui("sd1", SCRIPTS) as host:
        p = host.job("txt2img", **BASE)
        p.is_hr_pass = hr
        for name, value in options.items():
            if name.startswith("hypertile"):
                host.shared.opts.add_option(name, host.shared.OptionInfo(value))
            else:
                setattr(host.shared.opts, name, value)
        assert sys.modules["lib_fewstep.webui.common.host.model"].competing_attention(p) == rival


def test_every_step_of_every_run_is_counted_exactly(host):
    """Against exact integers: evaluation k of n, or of 2n, belongs to step k, or k // 2; beyond the end the last."""
    room = sys.modules["lib_fewstep.webui.highres.sampling_pass"]
    p = host.job("txt2img", **BASE)
    p.sampler = SimpleNamespace(funcname="sample_euler")
    running = room.SamplingPass(room.HighResRequest(None), p, (10, 12))
    for n in range(1, 151):
        running._steps = n
        for order in (1, 2):
            for k in range(order * n + 3):
                denoiser = SimpleNamespace(step=k, total_steps=order * n)
                assert running._index(denoiser, None) == min(k // order, n - 1)


def test_a_sampler_without_a_count_is_placed_by_its_timestep(host):
    room = sys.modules["lib_fewstep.webui.highres.sampling_pass"]
    p = host.job("txt2img", **BASE)
    p.sampler = SimpleNamespace(funcname="sample_dpm_adaptive")
    running = room.SamplingPass(room.HighResRequest(None), p, (10, 12))
    running._steps = 10
    seen = []
    for timestep in (999, 800, 500, 600, 99, 0):
        sigma_to_t = SimpleNamespace(sigma_to_t=lambda _, timestep=timestep: timestep)
        denoiser = SimpleNamespace(step=77, total_steps=10, inner_model=sigma_to_t)
        seen.append(running._index(denoiser, SimpleNamespace(max=lambda: None)))
    assert seen == [0, 1, 4, 3, 9, 9]


@pytest.mark.usefixtures("host")
def test_the_callback_ignores_a_denoiser_that_is_not_there():
    room = sys.modules["lib_fewstep.webui.highres.sampling_pass"]
    room.on_cfg_denoiser(SimpleNamespace(denoiser=None, sigma=None))


def test_every_setting_has_a_place_in_the_page(host):
    settings = sys.modules["lib_fewstep.highres"].HighResSettings
    labels = {option.label for name, option in options_of(settings).items() if name != "enabled"}
    assert labels <= set(host.tabs["txt2img"].labels)
