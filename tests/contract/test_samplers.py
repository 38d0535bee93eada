"""Samplers and schedules: their names, and what they are given."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.contract.helpers import (
    HIRES,
    SMALL,
    listening,
    module,
    on,
    recorded,
    register,
    schedule_of,
)
from tests.webui import standin

SAMPLERS: dict[str, Any] = {
    "DPM++ 2M": (["k_dpmpp_2m"], {"scheduler": "karras"}),
    "DPM++ 2M SDE": (["k_dpmpp_2m_sde"], {"scheduler": "exponential", "brownian_noise": True}),
    "Euler a": (["k_euler_a", "k_euler_ancestral"], {"uses_ensd": True}),
    "Euler": (["k_euler"], {}),
    "Heun": (["k_heun"], {"second_order": True}),
    "DPM2": (["k_dpm_2"], {"scheduler": "karras", "discard_next_to_last_sigma": True, "second_order": True}),
    "DPM fast": (["k_dpm_fast"], {"uses_ensd": True}),
    "DPM adaptive": (["k_dpm_ad"], {"uses_ensd": True}),
    "LCM": (["k_lcm"], {}),
    "DDIM": (["ddim"], {}),
    "DDIM CFG++": (["ddim_cfgpp"], {}),
}
"""Those of the host's samplers that the stand-in has, with their aliases and options."""


class TestSamplers:
    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            (("DPM++ 2M Karras", None), ("DPM++ 2M", "Automatic")),
            (("DPM++ 2M", "karras"), ("DPM++ 2M", "Automatic")),
            (("Euler karras", "Beta"), ("Euler", "Karras")),
            (("Euler SGMUniform", None), ("Euler", "SGM Uniform")),
            (("Euler", "Nobody's"), ("Euler", "Automatic")),
            ((None, None), ("DPM++ 2M", "Automatic")),
        ],
    )
    def test_names(self, host: Any, asked: Any, found: Any) -> None:
        assert module("sd_samplers").get_sampler_and_scheduler(*asked) == found

    def test_a_default_schedule_may_be_kept(self, host: Any) -> None:
        samplers = module("sd_samplers")
        kept = samplers.get_sampler_and_scheduler("DPM++ 2M Karras", None, convert_automatic=False)
        assert kept == ("DPM++ 2M", "Karras")

    def test_names_in_infotexts(self, host: Any) -> None:
        samplers = module("sd_samplers")
        text = {"Sampler": "Euler", "Schedule type": "Karras", "Hires sampler": "Heun"}
        assert samplers.get_sampler_from_infotext(text) == "Euler"
        assert samplers.get_scheduler_from_infotext(text) == "Karras"
        assert samplers.get_hr_sampler_from_infotext(text) == "Heun"
        assert samplers.get_hr_scheduler_from_infotext(text) == "Use same scheduler"

    def test_hidden_and_unknown_samplers(self, host: Any) -> None:
        samplers = module("sd_samplers")
        host.shared.opts.hide_samplers = ["Euler"]
        samplers.set_samplers()
        assert "Euler" not in samplers.visible_sampler_names()
        assert samplers.find_sampler_config("Nobody") is None
        assert samplers.create_sampler("Euler", host.shared.sd_model).config.name == "Euler"
        with pytest.raises(AssertionError, match="Nobody"):
            samplers.create_sampler("Nobody", host.shared.sd_model)

    def test_every_sampler_generates_with_every_schedule(self, host: Any) -> None:
        samplers, schedulers = (module(name) for name in ("sd_samplers", "sd_schedulers"))
        names = [(sampler.name, "Karras") for sampler in samplers.all_samplers]
        names += [("Euler", scheduler.label) for scheduler in schedulers.schedulers]
        for sampler, scheduler in names:
            result = host.txt2img(**{**SMALL, "sampler_name": sampler}, scheduler=scheduler)
            assert bool(torch.isfinite(result.latents).all()), (sampler, scheduler)
            assert f"Schedule type: {scheduler}," in result.infotexts[0]

    def test_schedules(self, host: Any) -> None:
        assert schedule_of(host) == [14.615, 2.918, 0.932, 0.029]
        assert schedule_of(host, scheduler="SGM Uniform") == [14.615, 4.086, 1.616, 0.695]
        assert schedule_of(host, sampler_name="DPM++ 2M") == schedule_of(host, scheduler="Karras")
        assert len(schedule_of(host, sampler_name="DPM2")) == 7  # the fifth of five sigmas is left out
        host.shared.opts.always_discard_next_to_last_sigma = True
        assert schedule_of(host)[-1] > 0.029
        assert "Discard penultimate sigma: True" in host.txt2img(**SMALL, scheduler="Karras").infotexts[0]

    def test_limits_of_the_settings(self, host: Any) -> None:
        opts = host.shared.opts
        opts.sigma_min, opts.sigma_max, opts.rho = 0.5, 5.0, 3.0
        sigmas = schedule_of(host, scheduler="Karras")
        assert (sigmas[0], sigmas[-1]) == (5.0, 0.5)
        assert (
            "Schedule min sigma: 0.5, Schedule max sigma: 5.0, Schedule rho: 3.0"
            in host.txt2img(**SMALL, scheduler="Karras").infotexts[0]
        )

    def test_a_job_may_bring_its_own_schedule(self, host: Any) -> None:
        p = host.job("txt2img", **SMALL)
        p.sampler_noise_scheduler_override = lambda steps: torch.linspace(8.0, 0.0, steps + 1)
        host.run_job(p)
        assert [call.step for call in host.probe.calls] == [0, 1, 2, 3]
        assert float(recorded("denoiser")[0].sigma[0]) == 8.0

    def test_schedule_of_the_second_pass(self, host: Any) -> None:
        fields = {**HIRES, "scheduler": "Karras", "hr_scheduler": "Normal"}
        text = host.txt2img(**SMALL, **fields, hr_sampler_name="Heun").infotexts[0]
        assert "Schedule type: Karras" in text
        assert "Hires schedule type: Normal" in text
        assert "Hires sampler: Heun" in text
        assert "Hires prompt" not in text

    def test_lcm_knows_fifty_timesteps(self, host: Any) -> None:
        sampler = module("sd_samplers").create_sampler("LCM", host.shared.sd_model)
        denoiser = sampler.model_wrap_cfg.inner_model
        assert len(denoiser.sigmas) == 50
        assert denoiser.sigma_to_t(denoiser.sigmas).tolist() == list(range(19, 1000, 20))
        grid = torch.arange(19, 1000, 20)
        assert torch.allclose(denoiser.t_to_sigma(grid), denoiser.sigmas)
        result = host.txt2img(**{**SMALL, "sampler_name": "LCM"}, cfg_scale=1.0)
        assert host.probe.launches == [("LCM", 4)]
        assert bool(torch.isfinite(result.latents).all())

    def test_arguments_go_by_the_function(self, host: Any) -> None:
        got: dict[str, Any] = {}

        def sample(
            model: Any, x: Any, sigmas: Any, extra_args: Any, callback: Any, disable: Any, eta=1.0, noise_sampler=None
        ) -> Any:
            got.update(eta=eta, noise_sampler=noise_sampler, names=sorted(extra_args))
            return x

        register(sample, {"brownian_noise": True})
        host.shared.opts.eta_ancestral = 0.5
        text = host.txt2img(**{**SMALL, "sampler_name": "Mine"}).infotexts[0]
        assert (got["eta"], "Eta: 0.5" in text) == (0.5, True)
        assert got["names"] == ["cond", "cond_scale", "image_cond", "s_min_uncond", "uncond"]
        assert torch.equal(got["noise_sampler"](2.0, 1.0), got["noise_sampler"](2.0, 1.0))
        host.shared.opts.no_dpmpp_sde_batch_determinism = True
        host.txt2img(**{**SMALL, "sampler_name": "Mine"})
        assert got["noise_sampler"] is None

    def test_extra_params_come_from_the_settings(self, host: Any) -> None:
        host.shared.opts.s_noise, host.shared.opts.s_churn = 0.9, 2.0
        plain = host.txt2img(**SMALL)
        assert "Sigma churn: 2.0, Sigma noise: 0.9" in plain.infotexts[0]
        assert "Sigma" not in host.txt2img(**{**SMALL, "sampler_name": "Euler a"}).infotexts[0]

    def test_solver_types_differ(self, host: Any) -> None:
        names = ("DPM++ 2M SDE", "DPM++ 2M SDE Heun")
        first, second = (host.txt2img(**{**SMALL, "sampler_name": name}) for name in names)
        assert not torch.equal(first.latents, second.latents)

    def test_extra_noise_of_img2img(self, host: Any) -> None:
        heard: list[Any] = []
        on("extra_noise", heard.append)
        host.shared.opts.img2img_extra_noise = 0.2
        result = host.img2img(**SMALL, init_images=[standin.picture(64, 64)])
        assert "Extra noise: 0.2" in result.infotexts[0]
        assert len(heard) == 1

    def test_pictures_become_latents(self, host: Any) -> None:
        common, picture = module("sd_samplers_common"), standin.picture(64, 64)
        torch.manual_seed(1)  # the real encoder draws its latents
        p = host.img2img(**SMALL, init_images=[picture]).p
        pixels = torch.tensor(list(picture.getdata())).view(64, 64, 3).permute(2, 0, 1)[None] / 255
        torch.manual_seed(1)
        assert torch.allclose(common.images_tensor_to_samples(pixels), p.init_latent, atol=1e-6)

    @pytest.mark.parametrize(
        ("label", "sigmas"),
        [
            ("Automatic", [14.615, 2.918, 0.932, 0.029]),
            ("Uniform", [14.615, 2.918, 0.932, 0.029]),
            ("Karras", [14.615, 3.169, 0.447, 0.029]),
            ("Exponential", [14.615, 1.84, 0.232, 0.029]),
            ("Polyexponential", [14.615, 1.84, 0.232, 0.029]),
            ("SGM Uniform", [14.615, 4.086, 1.616, 0.695]),
            ("KL Optimal", [14.615, 2.143, 0.962, 0.42]),
            ("Align Your Steps", [14.615, 2.394, 0.743, 0.029]),
            ("Simple", [14.615, 4.082, 1.613, 0.693]),
            ("Normal", [14.615, 2.918, 0.932, 0.029]),
            ("DDIM", [4.117, 1.624, 0.698, 0.041]),
            ("Beta", [14.615, 10.598, 4.046, 0.029]),
        ],
    )
    def test_sigmas(self, host: Any, label: str, sigmas: list[float]) -> None:
        assert schedule_of(host, scheduler=label) == sigmas

    def test_sigmas_of_a_part(self, host: Any) -> None:
        images = [standin.picture(64, 64)]
        seen: list[float] = []
        with listening("cfg_denoiser", lambda params: seen.append(round(float(params.sigma[0]), 3))):
            host.img2img(**SMALL, denoising_strength=0.5, init_images=images)
            host.txt2img(**SMALL, **HIRES)
        assert seen[:3] == schedule_of(host)[1:]
        assert seen[-4:] == schedule_of(host, steps=8)[4:]

    def test_a_discarded_sigma_is_not_counted(self, host: Any) -> None:
        assert schedule_of(host, sampler_name="DPM2", scheduler="Normal")[::2] == [14.615, 4.086, 1.616, 0.695]
        host.img2img(**{**SMALL, "sampler_name": "DPM2"}, denoising_strength=0.5, init_images=[standin.picture(64, 64)])
        assert host.probe.launches == [("DPM2", 3)]

    def test_the_samplers_of_the_host(self, host: Any) -> None:
        found = {sampler.name: (sampler.aliases, sampler.options) for sampler in module("sd_samplers").all_samplers}
        assert {name: found[name] for name in SAMPLERS} == SAMPLERS
        assert next(iter(found)) == "DPM++ 2M"

    def test_a_schedule_is_offered_by_name(self, host: Any) -> None:
        got: dict[str, Any] = {}

        def sample(
            model: Any, x: Any, n: int, sigma_min: Any, sigma_max: Any, extra_args: Any, callback: Any, disable: Any
        ) -> Any:
            got.update(n=n, low=round(float(sigma_min), 3), high=round(float(sigma_max), 3))
            return x

        register(sample)
        host.txt2img(**{**SMALL, "sampler_name": "Mine"})
        assert got == {"n": 4, "low": 0.029, "high": 14.615}
        fields = {**SMALL, "sampler_name": "Mine", "init_images": [standin.picture(64, 64)]}
        host.img2img(**fields, denoising_strength=0.5)
        assert got == {"n": 3, "low": 0.029, "high": 2.918}

    def test_sdxl_may_be_refused(self, host: Any) -> None:
        register(len, {"no_sdxl": True})
        host.load_model("sdxl")
        assert host.api.txt2img({**SMALL, "sampler_name": "Mine"}).status == 500

    def test_timesteps_of_ddim(self, host: Any) -> None:
        for steps, expected in ((4, [751.0, 501.0, 251.0]), (3, [999.0, 667.0, 334.0]), (7, [995.0, 853.0])):
            sigmas = schedule_of(host, sampler_name="DDIM", steps=steps)
            assert sigmas[: len(expected)] == expected
