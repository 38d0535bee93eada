"""The script "Model sampling" from the API, driven through a strict stand-in of the WebUI whose models are exact."""

from __future__ import annotations

import html
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bench.kdiffusion import sampling
from lib_fewstep.models import (
    KINDS,
    NAMED,
    HostModel,
    ModelDenoiser,
    ModelSettings,
    Told,
    levels_of,
    plan_of,
    sigmas_of,
    with_zero_terminal_snr,
)
from lib_fewstep.models.kinds import EDM, EDM_V, FLOW, NOISE
from lib_fewstep.models.latents import PLAYGROUND
from lib_fewstep.models.size_conditioning import Sizes, with_sizes
from lib_fewstep.options import options_of
from lib_fewstep.sampling.presets import PRESETS
from tests.webui import standin
from tests.webui.exact import (
    CHECKPOINTS,
    OURS,
    SCRIPTS,
    UnitData,
    listening,
    mean_of,
    off,
    pasted,
    same,
    settings_of,
    timesteps,
    unchanged,
)
from tests.webui.guided import HOSTS
from tests.webui.standin.checkpoints import Recipe

BASE = {"prompt": "a cat", "negative_prompt": "a dog", "width": 64, "height": 48, "steps": 6, "seed": 1}
BASE |= {"sampler_name": "Euler", "cfg_scale": 2.0, "scheduler": "Automatic"}
NEUTRAL = {name: getattr(ModelSettings(), name) for name in options_of(ModelSettings) if name != "enabled"}
IMAGE = {"init_images": [standin.picture(64, 48)], "denoising_strength": 0.75}
HIRES = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.7, "hr_upscaler": "Latent"}
QUIET = ["Euler", "Heun", "DPM2", "DPM++ 2M", "Rectified flow"]
"""Samplers that draw no noise."""
QUIET_AT_0 = ["Euler a", "DPM++ SDE", "DPM++ 2M SDE", "DPM fast", "DPM adaptive", "Euler a CFG++"]
"""Samplers that draw none at an `eta` of 0."""
FROM_THE_HIGHEST = ["Automatic", "Uniform", "Karras", "Exponential", "Polyexponential", "SGM Uniform", "KL Optimal"]
FROM_THE_HIGHEST += ["Simple", "Normal", "DDIM", "Beta", "Trailing", "LCM grid", "Beta (timesteps)"]
"""Schedules that start at the model's own highest level, or at one of its timesteps."""


class UnitOf(nn.Module):
    """The best network of a kind, for latents of unit variance around a mean that the text sets.

    One of noise needs the `levels` of its timesteps.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.gain = name, nn.Parameter(torch.tensor(1.0), requires_grad=False)
        self.levels = None

    def forward(self, x, timesteps, context=None):
        mean = (self.gain * context[0][:, 0, 0]).reshape(-1, 1, 1, 1).double()
        time = timesteps.double()
        if self.levels is None:
            sigma = time / 1000 if self.name == FLOW else (4 * time).exp()
        else:
            sigma = ModelDenoiser(None, KINDS[NOISE], self.levels).t_to_sigma(time)
        factors = KINDS[self.name].factors(sigma)
        skip, out, scale = (each.reshape(-1, 1, 1, 1) for each in (factors.skip, factors.out, factors.scale))
        noisy = x.double() / scale
        return ((image_in(noisy, sigma.reshape(-1, 1, 1, 1), mean, flow=self.name == FLOW) - skip * noisy) / out).to(x)


def image_in(noisy, sigma, mean, *, flow=False):
    """What the best denoiser sees."""
    if flow:
        return mean + (1 - sigma) / ((1 - sigma) ** 2 + sigma**2) * (noisy - (1 - sigma) * mean)
    return (noisy + sigma**2 * mean) / (1 + sigma**2)


UNITS = CHECKPOINTS | {
    "unit-velocity": Recipe(partial(UnitData, velocity=True), "unit-velocity", "sd1"),
    **{f"unit-{name}": Recipe(partial(UnitOf, name), f"unit-{name}", "sd1") for name in (NOISE, EDM, EDM_V, FLOW)},
}


@pytest.fixture(scope="module")
def running():
    with patch.dict(standin.RECIPES, UNITS), standin.webui("unit", SCRIPTS) as made:
        yield made


@pytest.fixture
def unit(running):
    running.load_model("unit")
    yield running
    running.load_model("unit")
    assert not running.errors


PRIOR = {"prior": {"brightness": 1}}


def answer(host, model=None, **fields):
    """What came of a request with the settings of this script, and under its name with those of "Few-Step"."""
    settings = {"Model sampling": model, "Few-Step": fields.pop("Few-Step", None)}
    scripts = {name: {"args": [each]} for name, each in settings.items() if each is not None}
    tab = host.api.img2img if "init_images" in fields else host.api.txt2img
    return tab(BASE | {"alwayson_scripts": scripts} | fields)


KOLORS = {"noise_schedule": "Kolors"}


def kolors(host):
    """Load a model of noise whose timesteps are Kolors'."""
    host.load_model(f"unit-{NOISE}")
    host.unet.levels = sigmas_of(NAMED["Kolors"].alphas_cumprod())


SCHEDULES = {
    name: {"noise_schedule": name, "trained_steps": 500}
    for name in options_of(ModelSettings)["noise_schedule"].choices
    if name != "Default"
}
SCHEDULES |= {"zero terminal SNR": {"zero_snr": "On"}, "shifted": {"shift": 2}}


def host_model(host):
    """What the host makes of its model."""
    return HostModel(NOISE, host.shared.sd_model.alphas_cumprod)


def made(host, model=None, **fields):
    result = answer(host, model, **fields)
    assert result.status == 200, result.message
    assert not host.errors
    return result


def refused(host, model, **fields):
    result = answer(host, model, **fields)
    assert result.status == 422, (result.status, result.message)
    assert not host.probe.calls
    return result.message


def as_it_was(host):
    """Whatever of the model a pass may change."""
    model = host.shared.sd_model
    names = ("alphas_cumprod", "parameterization")
    return {name: getattr(model, name) for name in names} | {"own": sorted(vars(model))}


@contextmanager
def nothing_left(host):
    before = as_it_was(host)
    with unchanged(host):
        yield
    after = as_it_was(host)
    assert after["alphas_cumprod"] is before["alphas_cumprod"]
    assert {**after, "alphas_cumprod": None} == {**before, "alphas_cumprod": None}


@contextmanager
def from_file(host, tmp_path, *names, metadata=None, **tensors):
    """The loaded checkpoint comes from a file with these tensors beside its weights."""
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(1)} | {name: torch.ones(1) for name in names} | tensors, path, metadata)
    with patch.object(host.shared.sd_model.sd_checkpoint_info, "filename", str(path)):
        yield


class TestNeutral:
    @pytest.mark.parametrize("sampler", [*HOSTS, *OURS])
    def test_with_every_sampler_nothing_changes_bit_by_bit(self, unit, sampler):
        plain = made(unit, sampler_name=sampler)
        result = made(unit, NEUTRAL, sampler_name=sampler)
        assert same(result, plain)
        assert result.infotexts == plain.infotexts

    @pytest.mark.parametrize("name", NEUTRAL)
    def test_each_alone(self, unit, name):
        assert same(made(unit, {name: NEUTRAL[name]}), made(unit))

    def test_switched_off_its_values_count_for_nothing(self, unit):
        result = made(unit, {"enabled": False, "kind": "v", "shift": 2})
        assert same(result, made(unit))
        assert "Model" not in result.infotexts[0].replace("Model:", "").replace("Model hash", "")


class TestV:
    """An exact network of velocities is the same model as one of noise."""

    @pytest.mark.parametrize("sampler", [name for name in (*HOSTS, *OURS) if name != "LCM"])
    def test_with_every_sampler(self, unit, sampler):
        wanted = made(unit, sampler_name=sampler)
        unit.load_model("unit-velocity")
        with nothing_left(unit):
            found = made(unit, {"kind": "v"}, sampler_name=sampler)
        assert off(found, wanted) < 5e-3
        assert off(made(unit, sampler_name=sampler), wanted) > 0.1

    @pytest.mark.parametrize("job", [HIRES, IMAGE, {"batch_size": 2, "n_iter": 2}], ids=["hires", "img2img", "batches"])
    def test_in_every_pass(self, unit, job):
        wanted = made(unit, **job)
        unit.load_model("unit-velocity")
        with nothing_left(unit):
            found = made(unit, {"kind": "v"}, **job)
        assert off(found, wanted) < 5e-3

    def test_the_host_s_own_is_left_alone(self, unit, log):
        unit.load_model("unit-v")
        assert same(made(unit, {"kind": "v"}), made(unit))
        assert not log()

    def test_noise_can_be_forced(self, unit):
        wanted = made(unit)
        unit.load_model("unit-v")
        unit.shared.sd_model.model.diffusion_model.velocity = False
        assert off(made(unit, {"kind": "noise"}), wanted) < 5e-3
        unit.shared.sd_model.model.diffusion_model.velocity = True

    @pytest.mark.parametrize("word", ["v_pred", "modelspec.prediction_type"])
    def test_the_file_says_so(self, unit, tmp_path, log, word):
        wanted = made(unit)
        unit.load_model("unit-velocity")
        names, metadata = (("v_pred",), None) if word == "v_pred" else ((), {word: "v"})
        with nothing_left(unit), from_file(unit, tmp_path, *names, metadata=metadata):
            found = made(unit)
            assert same(found, made(unit, {"enabled": False}))
            assert not same(found, made(unit, {"kind": "noise"}))
        assert off(found, wanted) < 5e-3
        assert f'Model sampling: v prediction (the file says "{word}").' in log()
        assert "Model kind" not in found.infotexts[0]

    def test_a_setting_leaves_the_file_unread(self, unit, tmp_path):
        unit.load_model("unit-velocity")
        plain = made(unit)
        with from_file(unit, tmp_path, "v_pred"), patch.dict(unit.shared.opts.data, {"fewstep_detect_kind": False}):
            assert same(made(unit), plain)

    def test_a_broken_header_is_said_by_each_job(self, unit, tmp_path, log):
        path = tmp_path / "broken.safetensors"
        path.write_bytes(b"no header at all")
        plain = made(unit)
        with patch.object(unit.shared.sd_model.sd_checkpoint_info, "filename", str(path)):
            first, second = made(unit), made(unit)
        assert same(first, plain)
        assert not plain.comments
        said = [line for line in log() if line in first.comments and line in second.comments]
        assert len(said) == 2
        assert said[0].startswith("The header of broken.safetensors cannot be read: ")
        assert said[0].endswith(". So the model is sampled as the WebUI and the settings here say.")

    def test_noise_levels_that_are_none_are_said_and_left_aside(self, unit, tmp_path):
        plain = made(unit)
        with from_file(unit, tmp_path, **{"edm_vpred.sigma_max": torch.tensor(0.0)}):
            found = made(unit)
        assert same(found, plain)
        assert "edm_vpred.sigma_max = 0 are not allowed" in found.comments

    def test_two_jobs_in_a_row_with_different_kinds(self, unit):
        plain = made(unit)
        unit.load_model("unit-velocity")
        made(unit, {"kind": "v"})
        unit.load_model("unit")
        assert same(made(unit), plain)

    @pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M CFG++", "DDIM"])
    def test_a_refiner_of_another_kind(self, unit, tmp_path, sampler):
        """The file of each says what it is: here the refiner's weights take the place of the model's."""
        fields = {"refiner_checkpoint": "unit-other", "refiner_switch_at": 0.5, "sampler_name": sampler}
        wanted = made(unit, **fields)
        unit.load_model("unit-velocity")
        with from_file(unit, tmp_path, "v_pred"):
            found = made(unit, **fields)
        assert off(found, wanted) < 5e-3
        assert unit.shared.sd_model.parameterization == "eps"

    def test_a_refiner_with_other_latents_ends_the_job_in_a_sentence(self, unit, tmp_path):
        """Those of Playground are no others', and what was under way is put back."""
        unit.load_model("unit-other")
        plain = made(unit)
        unit.load_model(f"unit-{EDM}")
        with from_file(unit, tmp_path, "edm_mean", "edm_std"):
            result = answer(unit, refiner_checkpoint="unit-other", refiner_switch_at=0.5)
        assert result.status == 422
        assert 'of the kind "noise" is not allowed after a model of the kind "EDM"' in result.message
        unit.load_model("unit-other")
        assert same(made(unit), plain)


class TestOwnLevels:
    @pytest.mark.parametrize("sampler", [*HOSTS, *OURS])
    @pytest.mark.parametrize("name", [EDM, EDM_V])
    def test_with_every_sampler(self, unit, name, sampler):
        unit.load_model(f"unit-{name}")
        if sampler == "LCM":
            assert "knows noise alone" in refused(unit, {"kind": name}, sampler_name=sampler)
            return
        with nothing_left(unit):
            found = made(unit, {"kind": name}, sampler_name=sampler, steps=40).latents
        assert found.isfinite().all()
        mean = float(found.mean())
        assert abs(mean - guided_mean(unit)) < 0.5, mean

    @pytest.mark.parametrize("name", [EDM, EDM_V])
    def test_euler_is_k_diffusion_s_over_the_kind_s_levels(self, unit, name):
        unit.load_model(f"unit-{name}")
        with listening(unit) as add:
            seen = add(lambda params: (params.x[:1].clone(), float(params.sigma[0])))
            found = made(unit, {"kind": name}).latents
        table = levels_of(KINDS[name])
        sigmas = sampling.get_sigmas_karras(6, float(table[0]), float(table[-1]))
        torch.testing.assert_close(torch.tensor([sigma for _, sigma in seen]), sigmas[:-1], rtol=1e-4, atol=1e-6)
        mean = guided_mean(unit)
        wanted = sampling.sample_euler(
            lambda x, sigma: image_in(x, sigma.reshape(-1, 1, 1, 1), mean), seen[0][0], sigmas, disable=True
        )
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=2e-3)

    def test_the_levels_are_those_of_the_file(self, unit, tmp_path):
        unit.load_model(f"unit-{EDM_V}")
        ends = {"edm_vpred.sigma_max": torch.tensor(40.0), "edm_vpred.sigma_min": torch.tensor(0.01)}
        with listening(unit) as add, from_file(unit, tmp_path, **ends):
            seen = add(lambda params: float(params.sigma[0]))
            made(unit)
        assert seen[0] == pytest.approx(40.0, rel=1e-4)
        assert seen[-1] == pytest.approx(0.01, rel=1e-3)

    @pytest.mark.parametrize("steps", [1, 4])
    def test_a_flow_starts_from_plain_noise_and_goes_evenly(self, unit, steps):
        unit.load_model(f"unit-{FLOW}")
        with nothing_left(unit), listening(unit) as add:
            seen = add(lambda params: (params.x[:1].clone(), float(params.sigma[0])))
            found = made(unit, {"kind": FLOW}, steps=steps).latents
        assert [sigma for _, sigma in seen] == pytest.approx([1 - step / steps for step in range(steps)], abs=1e-6)
        x, mean = seen[0][0], guided_mean(unit)
        assert float(x.std()) == pytest.approx(1.0, abs=0.15)
        for step in range(steps):
            sigma = 1 - step / steps
            x = x - (x - image_in(x, sigma, mean, flow=True)) / sigma / steps
        torch.testing.assert_close(found, x, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("schedule", ["Automatic", "Karras"])
    def test_the_sampler_for_flows_samples_one(self, unit, log, schedule):
        """On an even grid, whatever the schedule."""
        unit.load_model(f"unit-{FLOW}")
        with nothing_left(unit):
            found = made(unit, sampler_name="Rectified flow", scheduler=schedule)
        torch.testing.assert_close(found.latents, made(unit, {"kind": FLOW}).latents, rtol=1e-5, atol=1e-5)
        assert "Model sampling: rectified flow prediction." in log()
        assert "is for models of the kind" in refused(unit, {"kind": "v"}, sampler_name="Rectified flow")

    @pytest.mark.parametrize("name", [EDM, EDM_V, FLOW])
    @pytest.mark.parametrize(("sampler", "base"), [("Euler CFG++", "Euler"), ("DPM++ 2M CFG++", "DPM++ 2M")])
    @pytest.mark.parametrize("job", [{}, IMAGE], ids=["txt2img", "img2img"])
    def test_cfgpp_is_calibrated_over_its_levels(self, unit, name, sampler, base, job):
        """As strong as ordinary guidance, as the latents have unit variance."""
        unit.load_model(f"unit-{name}")

        def mean(sampler, cfg):
            fields = {"sampler_name": sampler, "scheduler": "Karras", "cfg_scale": cfg}
            return float(made(unit, {"kind": name}, **fields, **job).latents.double().mean())

        unguided = mean(base, 1)
        assert mean(sampler, 15) - unguided == pytest.approx(mean(base, 15) - unguided, rel=1e-3)

    def test_a_flow_s_images_are_mixed_with_noise(self, unit):
        unit.load_model(f"unit-{FLOW}")
        with nothing_left(unit), listening(unit) as add:
            seen = add(
                lambda params: (params.x[:1].clone(), float(params.sigma[0]), params.denoiser.init_latent.clone())
            )
            made(unit, {"kind": FLOW}, **IMAGE, steps=8)
        x, sigma, image = seen[0]
        noise = (x - (1 - sigma) * image) / sigma
        assert float(noise.std()) == pytest.approx(1.0, abs=0.1)

    @pytest.mark.parametrize("sampler", [*QUIET, *QUIET_AT_0])
    def test_a_flow_with_samplers_without_noise(self, unit, sampler):
        """The exact flow of unit variance takes the noise to the mean and itself."""
        unit.load_model(f"unit-{FLOW}")
        fields = {"sampler_name": sampler, "scheduler": "Karras", "steps": 100, "cfg_scale": 1.0}
        with nothing_left(unit), settings_of(unit, eta_ancestral=0.0), listening(unit) as add:
            seen = add(lambda params: params.x[:1].clone())
            found = made(unit, {"kind": FLOW}, **fields).latents
        assert off(found, seen[0] + mean_of(unit, BASE["prompt"])) < 0.2

    @pytest.mark.parametrize("sampler", QUIET_AT_0)
    @pytest.mark.parametrize("eta", [None, 0.5])
    def test_a_flow_with_an_eta_is_refused(self, unit, sampler, eta):
        """Of the WebUI's settings or of the job; its settings say 1."""
        fields = {} if eta is None else {"eta": eta}
        sentence = refused(unit, {"kind": FLOW}, sampler_name=sampler, **fields)
        assert sentence == (
            f'Model sampling: kind = "rectified flow" is not allowed with the sampling method {sampler} at eta = '
            f"{1 if eta is None else eta:g}, which draws fresh noise: it must be one that draws none, such as Euler, "
            "or eta must be 0."
        )

    @pytest.mark.parametrize("sampler", ["Euler", "Heun", "DPM2"])
    @pytest.mark.parametrize("of_job", [False, True])
    def test_a_flow_with_churn_is_refused(self, unit, sampler, of_job):
        with settings_of(unit, s_churn=0.0 if of_job else 2.0):
            churn = {"s_churn": 2.0} if of_job else {}
            sentence = refused(unit, {"kind": FLOW}, sampler_name=sampler, **churn)
        assert sentence == (
            'Model sampling: s_churn = 2 is not allowed with a model of the kind "rectified flow" and the sampling '
            f"method {sampler}, which draws fresh noise: it must be 0."
        )

    @pytest.mark.parametrize("scheduler", ["AYS (exact)", "Align Your Steps"])
    @pytest.mark.parametrize("sampler", ["Euler", "Rectified flow"])
    @pytest.mark.parametrize("job", [{}, IMAGE | {"denoising_strength": 1}], ids=["txt2img", "img2img"])
    def test_a_flow_over_a_schedule_from_above_its_levels_is_refused(self, unit, scheduler, sampler, job):
        fields = {"sampler_name": sampler, "scheduler": scheduler} | job
        sentence = refused(unit, {"kind": FLOW}, **fields)
        assert "A schedule that starts at sigma 14.6" in sentence
        assert "it must start at 1 or below, as Uniform does." in sentence

    def test_a_flow_from_an_image_over_the_end_of_such_a_schedule(self, unit):
        unit.load_model(f"unit-{FLOW}")
        fields = IMAGE | {"scheduler": "AYS (exact)", "steps": 10, "denoising_strength": 0.3}
        made(unit, {"kind": FLOW}, **fields)

    @pytest.mark.parametrize("scheduler", FROM_THE_HIGHEST)
    def test_a_flow_over_every_other_schedule(self, unit, scheduler):
        """None of them starts above its highest level by more than rounding."""
        unit.load_model(f"unit-{FLOW}")
        with nothing_left(unit):
            made(unit, {"kind": FLOW}, scheduler=scheduler)

    def test_custom_timesteps_of_the_sampler_for_flows_are_refused(self, unit):
        unit.load_model(f"unit-{FLOW}")
        few = {"Few-Step": {"timesteps": "999 600 100"}}
        assert refused(unit, None, sampler_name="Rectified flow", **few) == (
            "Few-Step: timesteps = [999, 600, 100] is not allowed with the sampling method Rectified flow, which has "
            "its own schedule: it must be one that takes the WebUI's schedules, such as Euler."
        )
        made(unit, {"kind": FLOW}, **few)
        assert len(unit.probe.calls) == 3

    @pytest.mark.parametrize(
        ("sampler", "words"),
        [
            ("SA-Solver", "draws fresh noise"),
            ("TCD", "draws fresh noise"),
            ("DDIM", "has its own timesteps"),
            ("LCM", "knows noise alone"),
        ],
    )
    def test_a_flow_with_other_samplers_is_refused(self, unit, sampler, words):
        sentence = refused(unit, {"kind": FLOW}, sampler_name=sampler)
        assert words in sentence
        page = unit.tabs["txt2img"]
        page.trigger("fewstep_models_txt2img_kind", "change", FLOW)
        page.trigger("txt2img_sampling", "change", sampler)
        page.trigger("fewstep_models_txt2img_refresh", "click")
        line = html.unescape(page.value("fewstep_models_txt2img_line"))
        assert words in line
        assert sentence.endswith(line)

    def test_playground_s_latents_are_the_host_s_outside_of_a_pass(self, unit, tmp_path):
        unit.load_model(f"unit-{EDM}")
        with listening(unit) as add:
            images = add(lambda params: params.denoiser.init_latent.clone())
            made(unit, {"kind": EDM}, **IMAGE)
        with nothing_left(unit), listening(unit) as add, from_file(unit, tmp_path, "edm_mean", "edm_std"):
            inside = add(lambda params: params.denoiser.init_latent.clone())
            previews = add(lambda params: unit.shared.state.current_latent)
            seen = add(lambda params: params.denoiser.sampler.last_latent)
            denoised = add(lambda params: params.x.clone(), kind="cfg_after_cfg")
            found = made(unit, **IMAGE)
        torch.testing.assert_close(inside[0], PLAYGROUND.of_model(images[0]))
        torch.testing.assert_close(found.latents, PLAYGROUND.of_host(denoised[-1]))
        torch.testing.assert_close(previews[1], PLAYGROUND.of_host(seen[1]))

    def test_a_prior_of_the_host_s_latents_is_one_of_playground_s(self, unit, tmp_path):
        """Beside the same run from noise alone: what they differ by is the converted mean."""
        unit.load_model(f"unit-{EDM}")
        with listening(unit) as add, from_file(unit, tmp_path, "edm_mean", "edm_std"):
            starts = add(lambda params: params.x.clone())
            made(unit)
            noise = starts[0]
            starts.clear()
            made(unit, alwayson_scripts={"Few-Step": {"args": [PRIOR]}})
        white = torch.ones(1, 4, 1, 1) * (1 - (2 * 128 / 255 - 1))
        torch.testing.assert_close(
            starts[0][:1] - noise[:1], PLAYGROUND.of_model(white).expand_as(noise[:1]), atol=1e-4, rtol=1e-4
        )

    def test_a_prior_of_a_flow_is_refused(self, unit):
        unit.load_model(f"unit-{FLOW}")
        scripts = {"Few-Step": {"args": [PRIOR]}, "Model sampling": {"args": [{"kind": FLOW}]}}
        assert "prior is not allowed with a rectified flow" in refused(unit, None, alwayson_scripts=scripts)

    def test_a_stopped_image_of_playground_s(self, unit, tmp_path):
        unit.load_model(f"unit-{EDM}")
        with nothing_left(unit), listening(unit) as add, from_file(unit, tmp_path, "edm_mean", "edm_std"):
            shown = add(lambda params: unit.shared.state.current_latent.clone(), kind="cfg_after_cfg")
            add(lambda params: setattr(unit.shared.state, "interrupted", len(shown) == 3), kind="cfg_after_cfg")
            found = answer(unit)
        assert len(shown) == 3
        torch.testing.assert_close(found.latents, PLAYGROUND.of_host(shown[-1]))


def guided_mean(host):
    """Where images of the model are, with the CFG of `BASE`."""
    text = [host.shared.sd_model.get_learned_conditioning([BASE[name]]) for name in ("prompt", "negative_prompt")]
    positive, negative = (float(each[0, 0, 0]) for each in text)
    return negative + BASE["cfg_scale"] * (positive - negative)


class TestNoiseSchedules:
    @pytest.mark.parametrize("sampler", [*HOSTS, *OURS])
    @pytest.mark.parametrize(
        "name", [name for name in options_of(ModelSettings)["noise_schedule"].choices if name != "Default"]
    )
    def test_the_samplers_run_over_it(self, unit, name, sampler):
        settings = {"noise_schedule": name, "trained_steps": 500}
        schedule = ModelSettings(**settings).custom.alphas_cumprod()
        unit.load_model(f"unit-{NOISE}")
        unit.unet.levels = sigmas_of(schedule)
        if sampler == "LCM" and len(schedule) != 1000:
            assert refused(unit, settings, sampler_name=sampler) == (
                f"Model sampling: A noise schedule of {len(schedule)} timesteps is not allowed with the sampling "
                "method LCM: it must be 1000 timesteps, or another sampling method."
            )
            return
        with nothing_left(unit), listening(unit) as add:
            seen = add(lambda params: float(params.sigma[0]))
            found = made(unit, settings, sampler_name=sampler, scheduler="Uniform", steps=40).latents
        assert abs(float(found.mean()) - guided_mean(unit)) < 0.5
        if sampler in ("Euler", "Euler a", "TCD", *[name for name in OURS if "CFG++" in name]):
            assert seen[0] == pytest.approx(float(sigmas_of(schedule)[-1]), rel=1e-4)
        if sampler in ("DDIM", "DDIM CFG++"):
            assert 0 < max(seen) < len(schedule)
            assert max(seen) > 0.75 * len(schedule)

    @pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "DPM fast", "TCD", "DDIM"])
    def test_the_samplers_run_from_the_highest_levels_that_are_allowed(self, unit, sampler):
        settings = {"noise_schedule": "Custom", "spacing": "Linear", "beta_end": 0.05}
        levels = sigmas_of(ModelSettings(**settings).custom.alphas_cumprod())
        assert levels[-1] > 4e5
        unit.load_model(f"unit-{NOISE}")
        unit.unet.levels = levels
        found = made(unit, settings, sampler_name=sampler, scheduler="Uniform", steps=40).latents
        assert abs(float(found.mean()) - guided_mean(unit)) < 0.5

    @pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "Euler CFG++", "TCD", "SA-Solver"])
    def test_custom_timesteps_are_its_own(self, unit, sampler):
        kolors(unit)
        fields = {"sampler_name": sampler, "Few-Step": {"timesteps": "1099 600 100"}}
        with nothing_left(unit):
            found = made(unit, KOLORS, **fields)
        assert timesteps(unit) == pytest.approx([1099, 600, 100], abs=0.02)
        assert "Steps: 3," in found.infotexts[0]
        assert same(pasted(unit, "txt2img", found.infotexts[0]), found)
        with listening(unit) as add:
            seen = add(lambda params: float(params.sigma[0]))
            made(unit, KOLORS, **fields)
        assert seen == pytest.approx(unit.unet.levels[[1099, 600, 100]].tolist(), rel=1e-4)

    @pytest.mark.parametrize(("timesteps", "steps"), [("1100 600", 1100), ("1000 600", 1000), ("600 500 499", 500)])
    def test_a_custom_timestep_that_it_does_not_have_is_refused(self, unit, timesteps, steps):
        schedule = {1100: KOLORS, 1000: {}, 500: {"noise_schedule": "Custom", "trained_steps": 500}}[steps]
        sentence = refused(unit, schedule, **{"Few-Step": {"timesteps": timesteps}})
        assert sentence == (
            f"Few-Step: timesteps = {list(map(int, timesteps.split()))} is not allowed: the model has {steps} "
            f"timesteps, so they must be whole numbers from {steps - 1} to 0."
        )

    @pytest.mark.parametrize(
        ("denoise", "wanted"), [(1.0, [1099, 600, 100]), (601 / 1100, [600, 100]), (600 / 1100, [100])]
    )
    def test_a_pass_from_an_image_starts_at_one_of_its_own(self, unit, denoise, wanted):
        kolors(unit)
        few = {"Few-Step": {"timesteps": "1099 600 100"}, "denoising_strength": denoise}
        found = made(unit, KOLORS, **IMAGE | few)
        assert timesteps(unit) == pytest.approx(wanted, abs=0.02)
        assert f"Steps: {len(wanted)}," in found.infotexts[0]
        made(unit, KOLORS, **HIRES | few)
        assert timesteps(unit) == pytest.approx([1099, 600, 100, *wanted], abs=0.02)
        assert "must be at or below 98" in refused(unit, KOLORS, **HIRES | few | {"denoising_strength": 0.09})

    def test_of_a_plot_each_cell_counts_in_its_own(self, unit):
        """The axes set the noise schedule before the timesteps are read."""
        kolors(unit)
        axes = {"[Model] Noise schedule": "Kolors, Default", "[Few-Step] Timesteps": '"999 600"'}
        unit.xyz(axes, **BASE)
        assert not unit.errors
        unit.xyz(axes | {"[Few-Step] Timesteps": '"1099 600"'}, **BASE)
        assert timesteps(unit) == pytest.approx([1099, 600], abs=0.02)
        assert ["the model has 1000 timesteps" in str(error.exception) for error in unit.errors] == [True]
        unit.errors.clear()

    def test_a_hires_pass_may_have_as_many_steps_as_it_has_timesteps(self, unit):
        kolors(unit)
        many = HIRES | {"scheduler": "Trailing", "hr_second_pass_steps": 12, "denoising_strength": 12 / 1050}
        made(unit, KOLORS, **many)
        assert "1 to 1000 steps" in refused(unit, {}, **many)

    def test_the_advice_about_ddim_counts_in_its_own(self, unit, log):
        made(unit, KOLORS, sampler_name="DDIM", steps=4)
        assert timesteps(unit)[0] == 826
        assert "runs only 3 of them, starting at timestep 826:" in " ".join(log())

    @pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
    @pytest.mark.parametrize("name", SCHEDULES)
    def test_every_preset_runs_over_it(self, unit, name, preset):
        """From the highest level down; a preset's own timesteps from the first of them."""
        settings = SCHEDULES[name]
        levels = plan_of(ModelSettings(**settings), Told(), host_model(unit)).sigmas
        unit.load_model(f"unit-{NOISE}")
        unit.unet.levels = levels.double()
        few_step = {"Few-Step": {"preset": preset.name}}
        if max(preset.timesteps or (0,)) >= len(levels):
            assert "the model has 500 timesteps" in refused(unit, settings, **few_step)
            return
        with nothing_left(unit), listening(unit) as add:
            seen = add(lambda params: float(params.sigma[0]))
            found = made(unit, settings, **few_step).latents
        assert found.isfinite().all()
        assert seen == sorted(seen, reverse=True)
        assert seen[-1] > 0
        first = levels[preset.timesteps[0]] if preset.timesteps else levels[-1]
        assert seen[0] == pytest.approx(float(first), rel=1e-3)

    def test_zero_terminal_snr_is_the_host_s_own(self, unit):
        before = unit.shared.sd_model.alphas_cumprod
        with nothing_left(unit), listening(unit) as add:
            seen = add(lambda params: unit.shared.sd_model.alphas_cumprod)
            made(unit, {"zero_snr": "On"})
        torch.testing.assert_close(seen[0], with_zero_terminal_snr(before), rtol=1e-6, atol=0)
        assert float(sigmas_of(seen[0])[-1]) == pytest.approx(4518.8, rel=1e-3)

    def test_the_file_says_so(self, unit, tmp_path, log):
        unit.load_model("unit-velocity")
        with nothing_left(unit), listening(unit) as add, from_file(unit, tmp_path, "v_pred", "ztsnr"):
            seen = add(lambda params: float(params.sigma[0]))
            made(unit)
            assert seen[0] == pytest.approx(4518.8, rel=1e-3)
            made(unit, {"zero_snr": "Off"})
            assert seen[6] < 15
        assert 'Model sampling: v prediction (the file says "v_pred"), zero terminal SNR.' in log()

    def test_a_model_that_is_loaded_in_place_meanwhile_keeps_its_own(self, unit):
        """The host then takes the model's schedule of that moment for the one to go back to before each batch."""
        model = unit.shared.sd_model
        model.alphas_cumprod_original = original = model.alphas_cumprod

        def load(params):
            model.alphas_cumprod_original = model.alphas_cumprod

        with listening(unit) as add:
            add(load)
            made(unit, {"zero_snr": "On"})
        assert model.alphas_cumprod is model.alphas_cumprod_original is original
        del model.alphas_cumprod_original

    @pytest.mark.parametrize("shift", [0.5, 2, 3.5])
    def test_a_shift_multiplies_the_levels(self, unit, shift):
        with nothing_left(unit), listening(unit) as add:
            seen = add(lambda params: float(params.sigma[0]))
            made(unit, scheduler="Uniform")
            made(unit, {"shift": shift}, scheduler="Uniform")
        assert [shift * level for level in seen[:6]] == pytest.approx(seen[6:], rel=1e-4)


class TestInputs:
    @pytest.mark.parametrize("text", ["a cat", "a cat AND a fox", "[a cat:a fox:0.5]"])
    def test_sizes_are_told_to_sdxl(self, unit, text):
        unit.load_model("unit-xl")
        model = unit.shared.sd_model
        learnt = model.get_learned_conditioning

        def wide(texts):
            found = learnt(texts)
            found["vector"] = torch.cat([found["vector"], torch.zeros(len(texts), 6 * 256)], 1)
            return found

        settings = {"size": "Custom", "original": "512x256", "crop": "8x16", "negative_target": "640x320"}
        with patch.object(model, "get_learned_conditioning", wide), nothing_left(unit), listening(unit) as add:
            seen = add(lambda params: (params.text_cond["vector"].clone(), params.text_uncond["vector"].clone()))
            made(unit, prompt=text)
            plain = seen.copy()
            seen.clear()
            made(unit, settings, prompt=text)
        told = Sizes(original=(256, 512), crop=(16, 8), target=(48, 64))
        unwanted = Sizes(original=(256, 512), crop=(16, 8), target=(320, 640))
        assert len(seen) == len(plain) == 6
        for (found, other), (before, other_before) in zip(seen, plain, strict=True):
            torch.testing.assert_close(found, with_sizes(before, told))
            torch.testing.assert_close(other, with_sizes(other_before, unwanted))

    def test_the_axes_of_sizes_and_betas_choose_custom(self, unit):
        """Their cells are those of the settings with that choice, which a list on the page would have to make."""
        found = unit.xyz({"[Model] Custom: last beta": "0.01, 0.012"}, **BASE)
        wanted = [made(unit, {"noise_schedule": "Custom", "beta_end": value}) for value in (0.01, 0.012)]
        assert [same(*pair) for pair in zip(found, wanted, strict=True)] == [True, True]
        assert not same(*found)
        (cell,) = unit.xyz({"[Model] Original size": "512x512"}, **BASE)
        assert "Model size: Custom" in cell.infotexts[0]

    def test_what_is_not_used_is_said(self, unit):
        result = made(unit, {"original": "512x256", "beta_end": 0.01})
        assert "beta_end, original: not used, because its noise schedule or size is not Custom." in result.comments
        assert "not used" not in made(unit, {"size": "Custom", "original": "512x256"}).comments

    def test_other_models_are_told_none(self, unit):
        settings = {"size": "Custom", "original": "512x256"}
        assert same(made(unit, settings), made(unit))


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"kind": "EDM 2"}, 'must be "Auto" or "noise"'),
            ({"shift": 9}, "0 to 8"),
            ({"beta_start": 0.5, "beta_end": 0.1}, "beta_end = 0.1 is not allowed: it must be at least beta_start"),
            ({"trained_steps": 0}, "10 to 10000"),
            ({"original": "0x64"}, "original = '0x64' is not allowed"),
            ({"original": "0x0"}, 'height, such as "1024x1024", each 1 to 16384'),
            ({"target": "64"}, "target = '64' is not allowed"),
            ({"negative_crop": "1x99999"}, 'left and top, such as "0x0", each 0 to 16384'),
            (
                {"noise_schedule": "Custom", "spacing": "Linear", "beta_end": 0.2},
                (
                    "beta_end = 0.2 is not allowed with beta_start = 0.00085 and trained_steps = 1000: the last noise "
                    "level would be 2.67e+23, and it must be at most 1e+06."
                ),
            ),
            (
                {"noise_schedule": "Custom", "spacing": "Linear", "beta_start": 0.5, "beta_end": 0.999},
                "the last noise level would be inf",
            ),
            ({"noise_schedule": "Custom", "beta_end": 0.5}, "the last noise level would be 2.4e+45"),
            ({"kind": "EDM", "noise_schedule": "Kolors"}, "noise_schedule = 'Kolors' is not allowed with a model of"),
            ({"kind": "EDM", "shift": 2}, "shift = 2 is not allowed with a model of the kind"),
            ({"kindd": "v"}, "Did you mean kind?"),
        ],
        ids=str,
    )
    def test_one_sentence_before_sampling(self, unit, settings, words):
        sentence = refused(unit, settings)
        assert sentence.startswith("Model sampling: ")
        assert words in sentence

    def test_sd3_is_sampled_in_the_host_s_way(self, unit):
        unit.load_model("sd3")
        plain = made(unit)
        assert same(made(unit, {}), plain)
        assert "kind = 'EDM' is not allowed with SD3" in refused(unit, {"kind": "EDM"})


class TestInfotext:
    SETTINGS = {"kind": "v", "zero_snr": "On", "shift": 1.5, "size": "Custom", "original": "512x256"}

    def test_it_leads_back(self, unit):
        unit.load_model("unit-velocity")
        result = made(unit, self.SETTINGS, scheduler="Karras", cfg_scale=2)
        text = result.infotexts[0]
        for words in ("Model kind: v", "Model zero SNR: On", "Model shift: 1.5", "Model original size: 512 x 256"):
            assert words in text
        again = pasted(unit, "txt2img", text)
        assert again.infotexts == result.infotexts
        assert same(again, result)

    def test_a_list_has_the_page_s_order(self, unit):
        unit.load_model("unit-velocity")
        assert same(answer_list(unit, [True, "v"]), made(unit, {"kind": "v"}))


def answer_list(host, args):
    return host.api.txt2img(BASE | {"alwayson_scripts": {"Model sampling": {"args": args}}})
