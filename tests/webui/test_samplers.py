"""The samplers and schedules in the host's lists, driven through a strict stand-in of the WebUI."""

from __future__ import annotations

import sys
from itertools import product

import pytest

from lib_fewstep.highres import HighResSession
from lib_fewstep.sampling.presets import PRESETS
from tests.unets import describe
from tests.webui import standin
from tests.webui.exact import BASE, CFGPP, OURS, SCHEDULES, SCRIPTS, made, off, refused, same, settings_of, timesteps
from tests.webui.exact import request as request_of

CORE = [
    "DPM++ 2M",
    "DPM++ SDE",
    "DPM++ 2M SDE",
    "DPM++ 2M SDE Heun",
    "Euler a",
    "Euler",
    "Heun",
    "DPM2",
    "DPM fast",
    "DPM adaptive",
]
CORE += ["DDIM", "DDIM CFG++", "LCM"]
OWN_SCHEDULE = {"DPM fast", "DPM adaptive", "DDIM", "DDIM CFG++"}
FAILS_AT_ONE = ("DPM++ 2M SDE", "DPM++ 2M SDE Heun")
"""Of k-diffusion: their first step, if it is the last, leaves a name unbound."""
TWICE = {"DPM++ 2S a CFG++", "DPM++ SDE", "Heun", "DPM2"}
ADAPTIVE = pytest.param("DPM adaptive", marks=pytest.mark.long)
"""Samplers with two evaluations for each step but the last."""

TRAILING = {1: [999], 2: [999, 499], 3: [999, 666, 332], 4: [999, 749, 499, 249]}
LCM_GRID = {1: [999], 2: [999, 499], 3: [999, 679, 339], 4: [999, 759, 499, 259]}
LCM_GRID[8] = [999, 879, 759, 639, 499, 379, 259, 139]
PICTURE = standin.picture(32, 24)


def lists():
    samplers, schedulers = sys.modules["modules.sd_samplers"], sys.modules["modules.sd_schedulers"]
    return samplers, schedulers


FLOW = "Rectified flow"
"""Our sampler for models of another kind."""


def check_lists(host, count=1):
    samplers, schedulers = lists()
    names, labels = [s["name"] for s in host.api.samplers()], [s["label"] for s in host.api.schedulers()]
    for name in (*OURS, FLOW):
        assert names.count(name) == sum(s.name == name for s in samplers.samplers) == count
        assert (name in samplers.all_samplers_map) == (name in samplers.samplers_map.values()) == bool(count)
    for label in SCHEDULES:
        assert labels.count(label) == count
        assert (label in schedulers.schedulers_map) == bool(count)
    assert [name for name in names if name not in (*OURS, FLOW)] == CORE
    assert len(labels) == 12 + len(SCHEDULES) * count


class TestTheLists:
    def test_one_entry_each_also_after_a_second_registration_and_reloads(self, unit):
        check_lists(unit)
        sys.modules["lib_fewstep.webui.fewstep.samplers"].register()
        check_lists(unit)
        before = made(unit, sampler_name="TCD")
        for reimport in (False, True):
            unit.reload_ui(reimport=reimport)
            check_lists(unit)
            assert same(before, made(unit, sampler_name="TCD"))
            for tab in unit.tabs.values():
                assert set(OURS) <= set(tab.labels["Sampling method"].choices)
                assert set(SCHEDULES) <= set(tab.labels["Schedule type"].choices)

    def test_without_the_page(self):
        with standin.webui("sd1", SCRIPTS, nowebui=True) as host:
            check_lists(host)
            assert host.api.txt2img(request_of(sampler_name="Euler CFG++")).status == 200
            assert not host.errors

    def test_unloading_takes_them_out(self, unit):
        for callback in list(unit.callbacks.kinds["script_unloaded"]):
            callback.callback()
        check_lists(unit, count=0)
        lookup = sys.modules["modules.sd_samplers"].get_sampler_and_scheduler
        assert lookup("TCD", "Trailing") == ("DPM++ 2M", "Automatic")
        unit.reload_ui(reimport=True)
        check_lists(unit)
        assert lookup("TCD", "Trailing") == ("TCD", "Trailing"), "the host remembers answers"

    def test_no_name_is_taken_apart(self, unit):
        """The host cuts the label of a schedule off the end of a sampler's name."""
        samplers, schedulers = lists()
        labels = [s.label for s in schedulers.schedulers]
        for name, label in product([*OURS, *CORE], labels):
            assert samplers.get_sampler_and_scheduler(name, label, convert_automatic=False) == (name, label)
            if label != "SGM Uniform":  # of which the host cuts off Uniform alone
                joined = samplers.get_sampler_and_scheduler(f"{name} {label}", None, convert_automatic=False)
                assert joined == (name, label)
        for scheduler in schedulers.schedulers:
            for known in (scheduler.name, scheduler.label):
                found = samplers.get_sampler_and_scheduler("SA-Solver", known)
                assert found == ("SA-Solver", scheduler.label)
        aliases = {(alias.lower(), s.name) for s in samplers.all_samplers for alias in (s.name, *s.aliases)}
        assert len(aliases) == len({alias for alias, _ in aliases}) == len(samplers.samplers_map)
        endings = tuple(f" {name.lower()}" for s in schedulers.schedulers for name in (s.name, s.label))
        assert not [alias for alias, _ in aliases if alias.endswith(endings)]

    @pytest.mark.parametrize("name", ["euler_cfg_pp", "sa_solver"])
    def test_names_of_others_work_in_requests_and_plots(self, unit, name):
        ours = {"euler_cfg_pp": "Euler CFG++", "sa_solver": "SA-Solver"}[name]
        assert same(made(unit, sampler_name=name), made(unit, sampler_name=ours))
        assert f"Sampler: {ours}," in made(unit, sampler_name=name).infotexts[0]

    def test_names_of_others_lead_to_ours(self, unit):
        names = sys.modules["modules.sd_samplers"].samplers_map
        assert names["euler_ancestral_cfg_pp"] == "Euler a CFG++"
        assert names["dpmpp_2m_cfg_pp"] == "DPM++ 2M CFG++"
        assert names["sa_solver"] == "SA-Solver"
        assert names["lcm"] == "LCM", "the host's own"

    def test_an_infotext_pastes_back(self, unit):
        own = {"TCD": "LCM grid", "LCM (reference grid)": "LCM grid"}
        for name, label in product([*OURS, "Euler"], [*SCHEDULES, "Karras", "Automatic"]):
            if name in CFGPP and "DPM++" in name and label == "Karras":
                continue
            for tab, fields in (("txt2img", {}), ("img2img", {"init_images": [PICTURE]})):
                result = made(unit, sampler_name=name, scheduler=label, steps=2, **fields)
                pasted = unit.paste(tab, result.infotexts[0])
                assert pasted["Sampling method"] == name
                assert pasted["Schedule type"] == ("Automatic" if own.get(name) == label else label)

    def test_hidden_samplers_are_not_on_the_page_and_still_work(self):
        with standin.webui("sd1", SCRIPTS, config={"hide_samplers": ["TCD", "Euler CFG++"]}) as host:
            check_lists(host)
            choices = host.tabs["txt2img"].labels["Sampling method"].choices
            assert set(OURS) - set(choices) == {"TCD", "Euler CFG++"}
            assert host.api.txt2img(request_of(sampler_name="TCD")).status == 200


@pytest.mark.parametrize("sampler", OURS)
def test_a_batch_equals_single_images(unit, sampler):
    batch = made(unit, sampler_name=sampler, batch_size=2, n_iter=2, steps=5)
    assert f"Sampler: {sampler}, " in batch.infotexts[0]
    for number in range(4):
        single = made(unit, sampler_name=sampler, seed=1 + number, steps=5)
        assert off(batch.latents[number : number + 1], single) < 1e-4
    picture = made(unit, sampler_name=sampler, batch_size=2, n_iter=2, steps=5, init_images=[PICTURE])
    for number in range(4):
        single = made(unit, sampler_name=sampler, seed=1 + number, steps=5, init_images=[PICTURE])
        assert off(picture.latents[number : number + 1], single) < 1e-4


@pytest.mark.parametrize("sampler", OURS)
def test_hires_fix_with_another_sampler_and_schedule(unit, sampler):
    hires = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.5, "hr_upscaler": "Latent"}
    ours = {"sampler_name": sampler, "scheduler": "Trailing"}
    same_one = made(unit, **hires, **ours)
    assert unit.probe.launches == [(sampler, 4), (sampler, 4)]
    assert "Hires sampler" not in same_one.infotexts[0]
    explicit = made(unit, hr_sampler_name=sampler, hr_scheduler="Trailing", **hires, **ours)
    assert same(same_one, explicit)
    second = made(unit, hr_sampler_name=sampler, hr_scheduler="LCM grid", **hires, sampler_name="Euler")
    assert unit.probe.launches == [("Euler", 4), (sampler, 4)]
    hires_calls = [call.timestep for call in unit.probe.calls if call.launch == 1]  # the last 4 of 8
    assert hires_calls[0] == pytest.approx(LCM_GRID[8][4], abs=0.02)
    assert hires_calls[-1] == pytest.approx(LCM_GRID[8][7], abs=0.02)
    assert f"Hires sampler: {sampler}" in second.infotexts[0]
    assert "Hires schedule type: LCM grid" in second.infotexts[0]
    assert unit.paste("txt2img", second.infotexts[0])["Hires sampling method"] == sampler
    other = made(unit, hr_sampler_name="DPM++ 2M", hr_scheduler="Exponential", **hires, **ours)
    assert unit.probe.launches == [(sampler, 4), ("DPM++ 2M", 4)]
    pasted = unit.paste("txt2img", other.infotexts[0])
    assert (pasted["Sampling method"], pasted["Schedule type"]) == (sampler, "Trailing")
    assert (pasted["Hires sampling method"], pasted["Hires schedule type"]) == ("DPM++ 2M", "Exponential")


@pytest.mark.parametrize("sampler", OURS)
def test_evaluations(unit, sampler):
    for steps in (1, 2, 3, 7, 20):
        made(unit, sampler_name=sampler, steps=steps)
        assert len(unit.probe.calls) == (2 * steps - 1 if sampler in TWICE else steps)


@pytest.mark.parametrize("sampler", [name for name in [*OURS, *CORE] if name not in OWN_SCHEDULE])
def test_a_schedules_timesteps_are_those_at_the_unet(unit, sampler):
    """LCM of the host knows 50 timesteps, so it runs Trailing at the nearest of them; DPM2 leaves one out."""
    for label, grid in (("Trailing", TRAILING), ("LCM grid", LCM_GRID)):
        for steps in grid:
            if steps == 1 and sampler in FAILS_AT_ONE:
                continue
            wanted = grid[steps] if sampler != "DPM2" else grid.get(steps + 1, [])[:-1]
            made(unit, sampler_name=sampler, scheduler=label, steps=steps)
            at_steps = timesteps(unit)[:: 2 if sampler in TWICE else 1]
            if sampler == "LCM" and label == "Trailing":
                assert at_steps == pytest.approx(wanted, abs=10.01)
            elif wanted:
                assert at_steps == pytest.approx(wanted, abs=0.02)
            shown = made(unit, sampler_name=sampler, scheduler=label, steps=2).infotexts[0]
            assert f"Schedule type: {label}" in shown


def test_the_lcm_grids_own_samplers_take_it_by_themselves(unit):
    for name in ("TCD", "LCM (reference grid)"):
        made(unit, sampler_name=name)
        assert timesteps(unit) == pytest.approx(LCM_GRID[4], abs=0.02)


def test_a_quantized_model_has_the_same_timesteps(unit):
    with settings_of(unit, enable_quantization=True):
        for name in ("TCD", "SA-Solver", "Euler a CFG++"):
            made(unit, sampler_name=name, scheduler="LCM grid")
            assert timesteps(unit) == LCM_GRID[4]


def test_gamma_leads_from_euler_to_lcm(unit):
    """The host's LCM mixes the image with the sample a little, so it is not quite ours."""
    fields = {"scheduler": "LCM grid", "steps": 5}
    assert off(made(unit, {"gamma": 0}, sampler_name="TCD", **fields), made(unit, **fields)) < 1e-4
    full = made(unit, {"gamma": 1}, sampler_name="TCD", **fields)
    assert off(full, made(unit, sampler_name="LCM (reference grid)", **fields)) < 1e-5
    assert off(full, made(unit, sampler_name="LCM", **fields)) < 1e-3
    between = made(unit, sampler_name="TCD", **fields)
    assert same(between, made(unit, {"gamma": 0.3}, sampler_name="TCD", **fields))
    assert off(between, full) > 0.01


def test_a_grid_that_cannot_serve_the_steps_is_refused(unit):
    sentence = 'schedule = "LCM grid" is not allowed for a grid of 51 steps'
    assert sentence in refused(unit, sampler_name="TCD", steps=51)
    assert sentence in refused(unit, sampler_name="DPM2", scheduler="LCM grid", steps=50)
    made(unit, sampler_name="TCD", steps=50)
    picture = {"init_images": [PICTURE], "sampler_name": "TCD", "denoising_strength": 0.5, "steps": 30}
    with settings_of(unit, img2img_fix_steps=True):
        assert "a grid of 60 steps" in refused(unit, **picture)
    made(unit, **picture)
    hires = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.1, "hr_upscaler": "Latent"}
    result = unit.api.txt2img(request_of(sampler_name="TCD", steps=8, **hires))
    assert result.status == 422
    assert "a grid of 80 steps" in result.message
    assert not unit.probe.calls, "it is known before the first pass"


@pytest.mark.parametrize("schedule", ["Karras", "Trailing", "LCM grid"])
@pytest.mark.parametrize("sampler", sorted({*OURS, "Euler"} - {"DPM++ 2M SDE CFG++"}))
def test_hires_fix_without_denoising_upscales_alone(unit, sampler, schedule):
    """Not with the host's Brownian noise, which needs a noise level above 0 for its own samplers, too."""
    hires = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0, "hr_upscaler": "Latent"}
    if schedule == "Karras":
        schedule = "Automatic" if sampler == "Euler" else "Trailing"
    result = made(unit, sampler_name=sampler, scheduler=schedule, **hires)
    assert {call.launch for call in unit.probe.calls} == {0}
    assert result.latents.shape[-2:] == (6, 8)


def test_a_host_that_keeps_noise_is_refused(unit, monkeypatch):
    """As Forge does, where CFG++ would be wrong in silence."""
    denoiser = sys.modules["modules.sd_samplers_kdiffusion"].CFGDenoiserKDiffusion
    forward = denoiser.forward

    def keep_noise(self, x, sigma, **conditions):
        image = forward(self, x, sigma, **conditions)
        if self.last_noise_uncond is not None:
            self.last_noise_uncond = (x - self.last_noise_uncond) / sigma[:, None, None, None]
        return image

    monkeypatch.setattr(denoiser, "forward", keep_noise)
    result = unit.api.txt2img(request_of(sampler_name="Euler CFG++"))
    assert result.status == 422
    assert "it keeps the predicted noise" in result.message


@pytest.mark.parametrize("seed", range(1, 7))
@pytest.mark.parametrize("cfg", [0.9999, 1.0, 1.0001])
@pytest.mark.parametrize("prompt", ["a cat", "a cat AND a dog"])
def test_what_tells_nothing_of_the_host_is_not_held_against_it(unit, listen, prompt, cfg, seed):
    """Without guidance both readings of what the host keeps fit; AND and other extensions change what they are."""
    fields = {"sampler_name": "Euler CFG++", "prompt": prompt, "cfg_scale": cfg, "seed": seed, "steps": 1}
    made(unit, {"guidance": "lambda"}, **fields)
    listen(lambda params: params.x.mul_(0.9), "cfg_after_cfg")
    made(unit, {"guidance": "lambda"}, **fields)


def test_a_host_that_keeps_nothing_is_refused(unit, monkeypatch):
    denoiser = sys.modules["modules.sd_samplers_kdiffusion"].CFGDenoiserKDiffusion
    monkeypatch.setattr(denoiser, "forward", lambda self, x, sigma, **conditions: x)
    result = unit.api.txt2img(request_of(sampler_name="Euler CFG++"))
    assert result.status == 422
    assert "needs the unconditional output" in result.message


def test_guidance_by_an_image_is_refused(unit, monkeypatch):
    monkeypatch.setattr(type(unit.shared.sd_model), "cond_stage_key", "edit")
    picture = {"init_images": [PICTURE], "image_cfg_scale": 1.5}
    assert "image CFG scale = 1.5 is not allowed with Euler CFG++" in refused(
        unit, sampler_name="Euler CFG++", **picture
    )


@pytest.mark.parametrize("sampler", ["Euler a CFG++", "DPM++ 2S a CFG++", "DPM++ 2M SDE CFG++"])
def test_the_hosts_eta_and_noise_settings_count(unit, sampler):
    plain = made(unit, sampler_name=sampler)
    with settings_of(unit, eta_ancestral=0.5):
        still = made(unit, sampler_name=sampler)
    assert "Eta: 0.5" in still.infotexts[0]
    with settings_of(unit, s_noise=0.5):
        quiet = made(unit, sampler_name=sampler)
    assert "Sigma noise: 0.5" in quiet.infotexts[0]
    with settings_of(unit, no_dpmpp_sde_batch_determinism=True):
        own = made(unit, sampler_name=sampler)
    assert not any(same(plain, other) for other in (still, quiet))
    assert same(plain, own) == ("SDE" not in sampler)


def test_euler_a_without_noise_is_euler(unit):
    with settings_of(unit, eta_ancestral=0.0):
        still = made(unit, sampler_name="Euler a CFG++")
    assert off(still, made(unit, sampler_name="Euler CFG++")) < 1e-5


class TestHiDiffusion:
    @pytest.fixture(scope="class")
    def host(self):
        with standin.webui("sd1", SCRIPTS) as host:
            yield host

    @pytest.mark.parametrize("sampler", [*OURS, *(name for name in CORE if name != "DPM adaptive"), ADAPTIVE])
    def test_it_is_active_with_every_sampler(self, host, sampler, monkeypatch):
        fields = BASE | {"width": 64, "height": 48, "sampler_name": sampler, "steps": 3, "cfg_scale": 4}
        if sampler == "DPM adaptive":
            fields["cfg_scale"] = 1.0  # half of the evaluations
        before, plain = describe(host.unet), host.api.txt2img(fields)
        evaluations = len(host.probe.calls)
        seen = []
        original = HighResSession.at_step
        monkeypatch.setattr(HighResSession, "at_step", lambda self, i: seen.append(i) or original(self, i))
        for method in ("HiDiffusion", "Deep Shrink"):
            seen.clear()
            settings = {"method": method, "preset": "Paper"}
            result = host.api.txt2img(fields | {"alwayson_scripts": {"HiDiffusion": {"args": [settings]}}})
            assert result.status == 200, result.message
            assert f"HiDiffusion method: {method}, HiDiffusion preset: Paper" in result.infotexts[0]
            assert f"Sampler: {sampler}," in result.infotexts[0]
            assert off(result, plain) > 1e-3
            if sampler != "DPM adaptive":
                each = 2 if sampler in TWICE else 1
                assert seen == [number // each for number in range(evaluations)]
                assert evaluations == {2: 5, 1: 3}[each] if "DDIM" not in sampler else True
            assert describe(host.unet) == before
        assert same(host.api.txt2img(fields), plain)
        assert not host.errors


class TestRectifiedFlow:
    @pytest.fixture(scope="class")
    def host(self):
        with standin.webui("sd3", SCRIPTS) as host:
            yield host

    @pytest.mark.parametrize("sampler", OURS)
    def test_our_samplers_are_refused(self, host, sampler):
        assert f'sampling method = "{sampler}" is not allowed: the loaded model is a rectified flow' in refused(
            host, sampler_name=sampler, scheduler="Normal"
        )

    @pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "Heun"])
    def test_our_schedules_and_timesteps_are_refused_and_the_hosts_are_not(self, host, sampler):
        for label in SCHEDULES:
            assert "rectified flow (SD3)" in refused(host, sampler_name=sampler, scheduler=label)
        assert "rectified flow (SD3)" in refused(host, {"timesteps": [999, 499]}, sampler_name=sampler)
        assert "rectified flow (SD3)" in refused(host, {"prior": {"statistics": "a"}}, sampler_name=sampler, steps=1)
        with_script = made(host, {}, sampler_name=sampler, scheduler="Normal")
        assert same(with_script, made(host, sampler_name=sampler, scheduler="Normal"))
        assert made(host, {"preset": "TCD", "keep": ["sampler", "schedule"]}, sampler_name=sampler)


@pytest.mark.parametrize("checkpoint", ["unit-v", "unit-xl"])
@pytest.mark.parametrize("sampler", OURS)
def test_v_prediction_and_sdxl(unit, checkpoint, sampler):
    """Both see the same data as the model of SD1."""
    wanted = made(unit, sampler_name=sampler)
    unit.load_model(checkpoint)
    assert off(made(unit, sampler_name=sampler), wanted) < 1e-4


def test_presets_name_what_the_lists_have(unit):
    samplers, schedulers = lists()
    for preset in PRESETS.values():
        assert preset.sampler in samplers.all_samplers_map
        assert preset.schedule in [scheduler.label for scheduler in schedulers.schedulers]
