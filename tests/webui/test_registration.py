"""Samplers and schedules in the host's own lists."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
import torch

from tests.webui import standin

SCRIPTS = Path(__file__).parents[2] / "scripts"
BASE = {"prompt": "a cat", "negative_prompt": "a dog", "width": 96, "height": 80, "steps": 4, "seed": 1, "cfg_scale": 5}
CFGPP = ["Euler CFG++", "Euler a CFG++", "DPM++ 2M CFG++", "DPM++ 2S a CFG++", "DPM++ 2M SDE CFG++"]
OURS = [*CFGPP, "TCD", "LCM (reference grid)", "SA-Solver"]
SCHEDULES = ["Trailing", "LCM grid"]
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6}


@pytest.fixture(scope="module")
def host():
    with standin.webui("sd1", SCRIPTS) as made:
        yield made


def txt2img(host, **fields):
    result = host.api.txt2img(BASE | fields)
    assert result.status == 200, result.message
    assert not host.errors
    return result


def names(host):
    return [entry["name"] for entry in host.api.samplers()], [entry["label"] for entry in host.api.schedulers()]


def registry():
    return sys.modules["modules.sd_samplers"]


@pytest.mark.parametrize("nowebui", [False, True])
def test_one_entry_each_after_any_number_of_reloads(nowebui):
    with standin.webui("sd1", SCRIPTS, nowebui=nowebui) as host:
        for reimport in (None, False, True):
            if reimport is not None and not nowebui:
                host.reload_ui(reimport=reimport)
            samplers, schedules = names(host)
            assert all(samplers.count(name) == 1 for name in OURS)
            assert all(schedules.count(label) == 1 for label in SCHEDULES)
            assert txt2img(host, sampler_name="TCD").infotexts


def test_they_go_with_the_extension(tmp_path):
    with standin.webui("sd1", tmp_path) as without:
        core = names(without)
    with standin.webui("sd1", SCRIPTS) as host:
        host._run("script_unloaded")
        assert names(host) == core


def test_no_name_is_eaten_by_the_suffix_parser(host):
    found = registry().get_sampler_and_scheduler
    samplers, schedules = names(host)
    for sampler, schedule in itertools.product(samplers, schedules):
        assert found(sampler, schedule, convert_automatic=False) == (sampler, schedule)
        if schedule in SCHEDULES:  # "SGM Uniform" is cut wrongly by the host itself
            assert found(f"{sampler} {schedule}", None, convert_automatic=False) == (sampler, schedule)


@pytest.mark.parametrize("alias", ["euler_cfg_pp", "euler_ancestral_cfg_pp", "dpmpp_2m_cfg_pp", "sa_solver", "tcd"])
def test_aliases_lead_to_ours(host, alias):
    assert registry().samplers_map[alias] in OURS
    assert registry().samplers_map["lcm"] == "LCM"


@pytest.mark.parametrize("schedule", ["Automatic", *SCHEDULES, "Karras"])
@pytest.mark.parametrize("sampler", OURS)
def test_an_infotext_pastes_back_to_the_pair(host, sampler, schedule):
    text = f"a cat\nSteps: 4, Sampler: {sampler}, Schedule type: {schedule}, CFG scale: 5, Seed: 1, Size: 96x80"
    pasted = host.paste("txt2img", text)
    own = {entry.name: entry.options.get("scheduler") for entry in registry().all_samplers}[sampler]
    default = {"lcm_grid": "LCM grid", "karras": "Karras"}.get(own)
    assert pasted["Sampling method"] == sampler
    assert pasted["Schedule type"] == ("Automatic" if schedule == default else schedule)


@pytest.mark.parametrize("sampler", OURS)
def test_a_batch_equals_single_images(host, sampler):
    batch = txt2img(host, sampler_name=sampler, batch_size=2, n_iter=2).latents
    for number, latent in enumerate(batch):
        single = txt2img(host, sampler_name=sampler, seed=1 + number).latents[0]
        assert float((latent - single).abs().max()) < 1e-4 * float(single.std())


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("sampler", OURS)
def test_evaluations_and_the_infotext(host, sampler, steps):
    result = txt2img(host, sampler_name=sampler, steps=steps)
    assert f"Sampler: {sampler}," in result.infotexts[0]
    assert len(host.probe.calls) == (2 * steps - 1 if "2S" in sampler else steps)
    assert result.latents.isfinite().all()


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "DPM2", "LCM", "Euler CFG++", "TCD"])
def test_the_unet_sees_the_timesteps_of_the_schedule(host, sampler, schedule):
    """DPM2 leaves out the last but one of five, and looks in between."""
    steps = 4
    txt2img(host, sampler_name=sampler, scheduler=schedule, steps=steps)
    seen = [call.timestep for call in host.probe.calls]
    grid = [999, 749, 499, 249] if schedule == "Trailing" else [999, 759, 499, 259]
    if sampler == "DPM2":
        grid, seen = [999, 799, 599, 399], seen[::2]
    elif sampler == "LCM":  # the host's own grid of twenties
        grid = [20 * round((timestep - 19) / 20) + 19 for timestep in grid]
    assert seen == pytest.approx(grid, abs=20 if sampler == "LCM" else 0.01)


@pytest.mark.parametrize("second", OURS)
def test_hires_fix_with_another_sampler(host, second):
    result = txt2img(host, sampler_name="Euler", hr_sampler_name=second, hr_second_pass_steps=3, **HIRES)
    assert [name for name, _ in host.probe.launches] == ["Euler", second]
    assert f"Hires sampler: {second}" in result.infotexts[0]
    txt2img(host, sampler_name=second, hr_sampler_name="Euler", hr_scheduler="Trailing", **HIRES)
    assert [name for name, _ in host.probe.launches] == [second, "Euler"]


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"sampler_name": "TCD", "steps": 51}, 51),
        ({"hr_sampler_name": "TCD", "hr_second_pass_steps": 20, **HIRES, "denoising_strength": 0.3}, 66),
        ({"scheduler": "Trailing", "hr_second_pass_steps": 20, **HIRES, "denoising_strength": 0.01}, 2000),
    ],
)
def test_a_grid_that_cannot_serve_says_so(host, fields, asked):
    result = host.api.txt2img(BASE | {"sampler_name": "Euler"} | fields)
    assert result.status == 422
    assert f"is not allowed for a grid of {asked} steps: it has 1 to" in result.message


METHODS = [{"preset": "Paper"}, {"preset": "Paper", "method": "Deep Shrink"}]
CORE = ["Euler", "Euler a", "Heun", "DPM++ 2M", "DPM2", "DPM fast", "DPM adaptive", "LCM", "DDIM", "DDIM CFG++"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sampler", [*OURS, *CORE])
def test_hidiffusion_is_active_with_every_sampler(host, sampler, method):
    fields = {"sampler_name": sampler, "steps": 8}
    plain = txt2img(host, **fields)
    active = txt2img(host, alwayson_scripts={"HiDiffusion": {"args": [method]}}, **fields)
    assert f"HiDiffusion method: {method.get('method', 'HiDiffusion')}" in active.infotexts[0]
    assert not torch.equal(plain.latents, active.latents)
    assert torch.equal(plain.latents, txt2img(host, **fields).latents)


@pytest.mark.parametrize("sampler", OURS)
def test_a_flow_model_is_refused(sampler):
    with standin.webui("sd3", SCRIPTS) as host:
        result = host.api.txt2img(BASE | {"sampler_name": sampler, "scheduler": "Karras"})
        assert result.status == 422
        assert f'"{sampler}" is not allowed: the loaded model is a rectified flow' in result.message


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_flow_model_has_no_such_schedule(schedule):
    with standin.webui("sd3", SCRIPTS) as host:
        result = host.api.txt2img(BASE | {"sampler_name": "Euler", "scheduler": schedule})
        assert result.status == 422
        assert "rectified flow" in result.message
        assert host.api.txt2img(BASE | {"sampler_name": "Euler"}).status == 200
