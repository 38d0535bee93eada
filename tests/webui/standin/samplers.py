"""The host's samplers, one object for each pass, of both families."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from tests.webui.standin import kdiff
from tests.webui.standin.callbacks import ExtraNoiseParams, run_callbacks
from tests.webui.standin.checkpoints import decode_latents, encode_pictures
from tests.webui.standin.denoiser import CFGDenoiser, InterruptedException, apply_refiner
from tests.webui.standin.images import from_tensor, image_grid
from tests.webui.standin.probe import probe
from tests.webui.standin.strict import StrictModule, fake

APPROXIMATIONS = {"Full": 0, "Approx NN": 1, "Approx cheap": 2, "TAESD": 3}
PIXELS_PER_LATENT = (8, 2, 1, 8)
CHURN = ["s_churn", "s_tmin", "s_tmax", "s_noise"]
EXTRA_PARAMS: dict[Any, list[str]] = {
    "sample_euler": CHURN,
    "sample_heun": CHURN,
    "sample_dpm_2": CHURN,
    "sample_dpm_fast": ["s_noise"],
    "sample_dpmpp_2m_sde": ["s_noise"],
}


class _SamplerData(NamedTuple):
    name: str
    constructor: Callable[[Any], Any]
    aliases: list[str]
    options: dict[str, Any]


class SamplerData(_SamplerData):
    """A sampler that users can choose."""

    def total_steps(self, steps: int) -> int:
        """Calls of the denoiser, as far as the host knows."""
        return steps * 2 if self.options.get("second_order", False) else steps


class NoiseLikeTheHost:
    """What stands in `k_diffusion.sampling.torch`: `randn_like` draws the noise of each image of the job."""

    def __init__(self, p: Any) -> None:
        self._rng = p.rng

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def randn_like(self, x: Tensor) -> Tensor:
        """The next noise of the batch."""
        drawn: Tensor = self._rng.next()
        if drawn.shape != x.shape:
            raise RuntimeError(f"noise of {tuple(drawn.shape)} was drawn for {tuple(x.shape)}")
        return drawn


def setup_img2img_steps(p: Any, steps: int | None = None) -> tuple[int, int]:
    """(steps of the schedule, the last of them that is run); `steps` says explicitly how many to run."""
    denoise = min(p.denoising_strength, 0.999)
    if fake("modules.shared").opts.img2img_fix_steps or steps is not None:
        wanted = steps or p.steps
        return (int(wanted / denoise) if denoise > 0 else 0), wanted - 1
    return p.steps, int(denoise * p.steps)


class Sampler:
    """One sampler object; a new one is made for each pass."""

    def __init__(self, funcname: str | Callable[..., Tensor]) -> None:
        self.funcname = funcname
        self.func: Callable[..., Tensor] = funcname  # type: ignore[assignment]
        self.extra_params: list[str] = []
        self.sampler_noises = None
        self.stop_at: int | None = None
        self.eta: float | None = None
        self.config: Any = None
        self.last_latent: Tensor | None = None
        self.s_min_uncond: float | None = None
        self.s_churn, self.s_tmin, self.s_tmax, self.s_noise = 0.0, 0.0, float("inf"), 1.0
        self.eta_option_field, self.eta_infotext_field, self.eta_default = "eta_ancestral", "Eta", 1.0
        self.conditioning_key = getattr(fake("modules.shared").sd_model.model, "conditioning_key", "crossattn")
        self.p: Any = None
        self.model_wrap_cfg: Any = None
        self.sampler_extra_args: Any = None
        self.options: dict[str, Any] = {}

    def callback_state(self, d: dict[str, Any]) -> None:
        """After each step."""
        if self.stop_at is not None and d["i"] > self.stop_at:
            raise InterruptedException
        fake("modules.shared").state.sampling_step = d["i"]
        fake("modules.shared").total_tqdm.update()

    def launch_sampling(self, steps: int, func: Callable[[], Tensor]) -> Tensor:
        """Run one pass; an interrupt or a skip ends it with what there is."""
        self.model_wrap_cfg.steps = steps
        self.model_wrap_cfg.total_steps = self.config.total_steps(steps)
        state = fake("modules.shared").state
        state.sampling_steps, state.sampling_step = steps, 0
        probe().note("launches", (self.config.name, steps))
        try:
            with probe().watching_blocks():
                return func()
        except (RecursionError, InterruptedException):
            return self.last_latent  # type: ignore[return-value]

    def number_of_needed_noises(self, p: Any) -> int:
        """One for each step."""
        steps: int = p.steps
        return steps

    def initialize(self, p: Any) -> dict[str, Any]:
        """Get ready for a pass; the function's further arguments."""
        denoiser = self.model_wrap_cfg
        self.p = denoiser.p = p
        denoiser.mask, denoiser.nmask = getattr(p, "mask", None), getattr(p, "nmask", None)
        denoiser.step = 0
        denoiser.image_cfg_scale = getattr(p, "image_cfg_scale", None)
        self.eta = p.eta if p.eta is not None else getattr(fake("modules.shared").opts, self.eta_option_field)
        self.s_min_uncond = getattr(p, "s_min_uncond", 0.0)
        kdiff.sampling.torch = NoiseLikeTheHost(p)
        taken = inspect.signature(self.func).parameters
        more = {name: getattr(p, name) for name in self.extra_params if hasattr(p, name) and name in taken}
        if "eta" in taken:
            if self.eta != self.eta_default:
                p.extra_generation_params[self.eta_infotext_field] = self.eta
            more["eta"] = self.eta
        self._take_settings(p, more)
        return more

    def _take_settings(self, p: Any, more: dict[str, Any]) -> None:
        """What the settings say of churn and noise goes before the job's own fields, and into the infotext."""
        for name in CHURN:
            value = getattr(fake("modules.shared").opts, name)
            if name == "s_tmax":
                value = value or self.s_tmax
            if self.extra_params and name in more and value != getattr(self, name):
                more[name] = value
                setattr(p, name, value)
                p.extra_generation_params[f"Sigma {name.removeprefix('s_')}"] = value

    def create_noise_sampler(self, x: Tensor, sigmas: Tensor, p: Any) -> Any:
        """Noise by the seeds of the batch, or None if the user does not want that."""
        if fake("modules.shared").opts.no_dpmpp_sde_batch_determinism:
            return None
        seeds = p.all_seeds[p.iteration * p.batch_size : (p.iteration + 1) * p.batch_size]
        positive = sigmas[sigmas > 0]
        return kdiff.sampling.BrownianTreeNoiseSampler(x, positive.min(), sigmas.max(), seed=seeds)

    def add_infotext(self, p: Any) -> None:
        """After a pass."""
        if self.model_wrap_cfg.padded_cond_uncond:
            p.extra_generation_params["Pad conds"] = True

    def _sample(self, p: Any, x: Tensor, steps: int, arguments: dict[str, Any], conditions: dict[str, Any]) -> Tensor:
        self.sampler_extra_args = {
            **conditions,
            "cond_scale": p.cfg_scale,
            "s_min_uncond": self.s_min_uncond,
        }

        def run() -> Tensor:
            return self.func(
                self.model_wrap_cfg,
                x,
                extra_args=self.sampler_extra_args,
                disable=False,
                callback=self.callback_state,
                **arguments,
            )

        samples = self.launch_sampling(steps, run)
        self.add_infotext(p)
        return samples


def _extra_noise(p: Any, noise: Tensor, x: Tensor, noisy: Tensor) -> Tensor:
    """More noise than the schedule wants, if the user wants it."""
    amount = fake("modules.shared").opts.img2img_extra_noise
    if amount <= 0:
        return torch.zeros_like(noise)
    p.extra_generation_params["Extra noise"] = amount
    params = ExtraNoiseParams(noise, x, noisy)
    run_callbacks("extra_noise", params)
    return params.noise * amount


class CFGDenoiserKDiffusion(CFGDenoiser):
    """The denoiser over sigmas, whose output is an image."""

    @property
    def inner_model(self) -> Any:
        """The loaded model as a function of sigma; a model may make that itself."""
        if self.model_wrap is None:
            shared = fake("modules.shared")
            create, external = getattr(shared.sd_model, "create_denoiser", None), kdiff.external
            kind = external.CompVisVDenoiser if shared.sd_model.parameterization == "v" else external.CompVisDenoiser
            self.model_wrap = create() if create else kind(shared.sd_model, quantize=shared.opts.enable_quantization)
        return self.model_wrap


class KDiffusionSampler(Sampler):
    """The family that works with sigmas."""

    def __init__(self, funcname: str | Callable[..., Tensor], sd_model: Any, options: Any = None) -> None:
        super().__init__(funcname)
        self.extra_params = EXTRA_PARAMS.get(funcname, [])
        self.options = options or {}
        self.func = getattr(kdiff.sampling, funcname) if isinstance(funcname, str) else funcname
        self.model_wrap_cfg: CFGDenoiser = CFGDenoiserKDiffusion(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def get_sigmas(self, p: Any, steps: int) -> Tensor:
        """The schedule of `steps` steps."""
        skips_one = _discards_one(self, p)
        steps += skips_one
        name = (p.hr_scheduler if p.is_hr_pass else p.scheduler) or "Automatic"
        name = self.config.options.get("scheduler") if name == "Automatic" else name
        scheduler = fake("modules.sd_schedulers").schedulers_map.get(name)
        if p.sampler_noise_scheduler_override:
            sigmas = p.sampler_noise_scheduler_override(steps)
        elif scheduler is None or scheduler.function is None:
            sigmas = self.model_wrap.get_sigmas(steps)
        else:
            sigmas = scheduler.function(n=steps, **self._limits(p, scheduler), device=fake("modules.devices").cpu)
        if skips_one:
            sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
        cpu: Tensor = sigmas.cpu()
        return cpu

    def _limits(self, p: Any, scheduler: Any) -> dict[str, Any]:
        """The arguments of a schedule, most of which are noted in the infotext."""
        opts, noted = fake("modules.shared").opts, p.extra_generation_params
        own = {"min": self.model_wrap.sigmas[0].item(), "max": self.model_wrap.sigmas[-1].item()}
        limits: dict[str, Any] = {f"sigma_{end}": value for end, value in own.items()}
        if opts.use_old_karras_scheduler_sigmas:
            limits = {"sigma_min": 0.1, "sigma_max": 10}
        if scheduler.label != "Automatic" and not p.is_hr_pass:
            noted["Schedule type"] = scheduler.label
        elif scheduler.label != noted.get("Schedule type"):
            noted["Hires schedule type"] = scheduler.label
        for end, value in own.items():
            wanted = getattr(opts, f"sigma_{end}")
            if wanted not in (0, value):
                limits[f"sigma_{end}"] = noted[f"Schedule {end} sigma"] = wanted
        if scheduler.default_rho != -1 and opts.rho not in (0, scheduler.default_rho):
            limits["rho"] = noted["Schedule rho"] = opts.rho
        if scheduler.need_inner_model:
            limits["inner_model"] = self.model_wrap
        if scheduler.label == "Beta":
            noted["Beta schedule alpha"], noted["Beta schedule beta"] = opts.beta_dist_alpha, opts.beta_dist_beta
        return limits

    def sample(
        self,
        p: Any,
        x: Tensor,
        conditioning: Any,
        unconditional_conditioning: Any,
        steps: Any = None,
        image_conditioning: Any = None,
    ) -> Tensor:
        """From noise of unit variance to an image."""
        steps = steps or p.steps
        sigmas = self.get_sigmas(p, steps)
        if fake("modules.shared").opts.sgm_noise_multiplier:
            p.extra_generation_params["SGM noise multiplier"] = True
            x = x * torch.sqrt(1.0 + sigmas[0] ** 2.0)
        else:
            x = x * sigmas[0]
        offered = {"n": steps, "sigmas": sigmas}
        offered["sigma_min"], offered["sigma_max"] = (self.model_wrap.sigmas[end].item() for end in (0, -1))
        arguments = {**self.initialize(p), **self._taken(p, x, sigmas, offered)}
        conditions = _conditions(conditioning, unconditional_conditioning, image_conditioning)
        self.last_latent = x
        return self._sample(p, x, steps, arguments, conditions)

    def sample_img2img(
        self,
        p: Any,
        x: Tensor,
        noise: Tensor,
        conditioning: Any,
        unconditional_conditioning: Any,
        steps: Any = None,
        image_conditioning: Any = None,
    ) -> Tensor:
        """From an image and noise of unit variance to an image."""
        steps, last = setup_img2img_steps(p, steps)
        whole = self.get_sigmas(p, steps)
        sigmas = whole[steps - last - 1 :]
        add_noise = getattr(fake("modules.shared").sd_model, "add_noise_to_latent", None)
        noisy = add_noise(x, noise, sigmas[0]) if add_noise else x + noise * sigmas[0]
        noisy = noisy + _extra_noise(p, noise, x, noisy)
        offered = {"n": len(sigmas) - 1, "sigmas": sigmas, "sigma_sched": sigmas}
        if len(sigmas) > 1:  # hires fix at denoising strength 0 has no step
            offered["sigma_min"], offered["sigma_max"] = sigmas[-2], sigmas[0]
        arguments = {**self.initialize(p), **self._taken(p, x, whole, offered)}
        self.model_wrap_cfg.init_latent = x
        conditions = _conditions(conditioning, unconditional_conditioning, image_conditioning)
        self.last_latent = x
        return self._sample(p, noisy, last + 1, arguments, conditions)

    def _taken(self, p: Any, x: Tensor, sigmas: Tensor, offered: dict[str, Any]) -> dict[str, Any]:
        """What of the schedule the function takes by name, and what the sampler's options add."""
        names = inspect.signature(self.func).parameters
        taken = {name: value for name, value in offered.items() if name in names}
        if self.config.options.get("brownian_noise", False):
            taken["noise_sampler"] = self.create_noise_sampler(x, sigmas, p)
        if self.config.options.get("solver_type") == "heun":
            taken["solver_type"] = "heun"
        return taken


def _conditions(cond: Any, uncond: Any, image_cond: Any) -> dict[str, Any]:
    return {"cond": cond, "image_cond": image_cond, "uncond": uncond}


def _discards_one(sampler: Sampler, p: Any) -> bool:
    """Whether the last sigma but one is left out."""
    if sampler.config is not None and sampler.config.options.get("discard_next_to_last_sigma", False):
        return True
    if not fake("modules.shared").opts.always_discard_next_to_last_sigma:
        return False
    p.extra_generation_params["Discard penultimate sigma"] = True
    return True


class CFGDenoiserLCM(CFGDenoiser):
    """The denoiser of the sampler LCM, which knows 50 timesteps."""

    @property
    def inner_model(self) -> Any:
        """The loaded model at those timesteps."""
        if self.model_wrap is None:
            self.model_wrap = kdiff.LCMDenoiser(fake("modules.shared").sd_model)
        return self.model_wrap


class LCMSampler(KDiffusionSampler):
    """The sampler LCM."""

    def __init__(self, funcname: str | Callable[..., Tensor], sd_model: Any, options: Any = None) -> None:
        super().__init__(funcname, sd_model, options)
        self.model_wrap_cfg = CFGDenoiserLCM(self)
        self.model_wrap = self.model_wrap_cfg.inner_model


class CFGDenoiserTimesteps(CFGDenoiser):
    """The denoiser over timesteps, whose output is noise; what is kept of an image is put in beforehand."""

    def __init__(self, sampler: Any) -> None:
        super().__init__(sampler)
        self.alphas = fake("modules.shared").sd_model.alphas_cumprod
        self.mask_before_denoising = True

    @property
    def inner_model(self) -> Any:
        """The loaded model as a function of the timestep."""
        if self.model_wrap is None:
            self.model_wrap = kdiff.TimestepsDenoiser(fake("modules.shared").sd_model)
        return self.model_wrap

    def get_pred_x0(self, x_in: Tensor, x_out: Tensor, sigma: Tensor) -> Tensor:
        """The denoised image."""
        alpha = self.alphas[sigma.long()].view(-1, 1, 1, 1)
        return (x_in - (1 - alpha) ** 0.5 * x_out) / alpha**0.5


class CompVisSampler(Sampler):
    """The family that works with timesteps; it ignores schedulers."""

    def __init__(self, funcname: Callable[..., Tensor], sd_model: Any) -> None:
        super().__init__(funcname)
        self.eta_option_field, self.eta_infotext_field, self.eta_default = "eta_ddim", "Eta DDIM", 0.0
        self.model_wrap_cfg: CFGDenoiser = CFGDenoiserTimesteps(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def get_timesteps(self, p: Any, steps: int) -> Tensor:
        """Rising timesteps; there may be more than `steps`."""
        return torch.clip(torch.arange(0, 1000, 1000 // (steps + _discards_one(self, p))) + 1, 0, 999)

    def sample(
        self,
        p: Any,
        x: Tensor,
        conditioning: Any,
        unconditional_conditioning: Any,
        steps: Any = None,
        image_conditioning: Any = None,
    ) -> Tensor:
        """From noise to an image."""
        steps = steps or p.steps
        timesteps = self.get_timesteps(p, steps)
        arguments = {**self.initialize(p), **self._taken(timesteps=timesteps)}
        conditions = _conditions(conditioning, unconditional_conditioning, image_conditioning)
        self.last_latent = x
        return self._sample(p, x, steps, arguments, conditions)

    def sample_img2img(
        self,
        p: Any,
        x: Tensor,
        noise: Tensor,
        conditioning: Any,
        unconditional_conditioning: Any,
        steps: Any = None,
        image_conditioning: Any = None,
    ) -> Tensor:
        """From an image and noise to an image."""
        steps, last = setup_img2img_steps(p, steps)
        timesteps = self.get_timesteps(p, steps)
        alpha = fake("modules.shared").sd_model.alphas_cumprod[timesteps[last]]
        noisy = x * alpha**0.5 + noise * (1 - alpha) ** 0.5
        noisy = noisy + _extra_noise(p, noise, x, noisy) * alpha**0.5
        arguments = {**self.initialize(p), **self._taken(timesteps=timesteps[:last], is_img2img=True)}
        self.model_wrap_cfg.init_latent = x
        conditions = _conditions(conditioning, unconditional_conditioning, image_conditioning)
        self.last_latent = x
        return self._sample(p, noisy, last + 1, arguments, conditions)

    def _taken(self, **offered: Any) -> dict[str, Any]:
        names = inspect.signature(self.func).parameters
        return {name: value for name, value in offered.items() if name in names}


def images_tensor_to_samples(image: Tensor, approximation: Any = None, model: Any = None) -> Tensor:
    """Latents of pictures: (images, 3, height, width) from 0 to 1."""
    return encode_pictures(image, model or fake("modules.shared").sd_model)


def samples_to_images_tensor(sample: Tensor, approximation: int | None = None, model: Any = None) -> Tensor:
    """Pictures (images, 3, height, width) from -1 to 1 of latents.

    Without an `approximation` it is the one of the live previews, by default "Approx NN", whose pictures are only twice
    as large as the latents; 0 is the picture that the job gives, 8 times as large.
    """
    shared = fake("modules.shared")
    if approximation is None or (shared.state.interrupted and shared.opts.live_preview_fast_interrupt):
        approximation = APPROXIMATIONS.get(shared.opts.show_progress_type, 0)
    return decode_latents(sample, PIXELS_PER_LATENT[approximation])


def decode_first_stage(model: Any, x: Tensor) -> Tensor:
    """The same as the settings want it for a job."""
    wanted = fake("modules.shared").opts.sd_vae_decode_method
    return samples_to_images_tensor(x, APPROXIMATIONS.get(wanted, 0), model)


def single_sample_to_image(sample: Tensor, approximation: int | None = None) -> Image.Image:
    """The picture of one latent (channels, height, width)."""
    return from_tensor((samples_to_images_tensor(sample[None], approximation)[0] * 0.5 + 0.5).clamp(0, 1))


def sample_to_image(samples: Tensor, index: int = 0, approximation: int | None = None) -> Image.Image:
    """The picture of one of several latents."""
    chosen = samples[index]
    return single_sample_to_image(chosen, approximation)


def samples_to_image_grid(samples: Tensor, approximation: int | None = None) -> Image.Image:
    """One picture of several latents."""
    return image_grid([single_sample_to_image(sample, approximation) for sample in samples])


def known_samplers() -> list[SamplerData]:
    """Those of the host's samplers that the stand-in has, in the host's order."""
    by_sigmas: list[tuple[str, str, list[str], dict[str, Any]]] = [
        ("DPM++ 2M", "sample_dpmpp_2m", ["k_dpmpp_2m"], {"scheduler": "karras"}),
        (
            "DPM++ SDE",
            "sample_dpmpp_sde",
            ["k_dpmpp_sde"],
            {"scheduler": "karras", "second_order": True, "brownian_noise": True},
        ),
        (
            "DPM++ 2M SDE",
            "sample_dpmpp_2m_sde",
            ["k_dpmpp_2m_sde"],
            {"scheduler": "exponential", "brownian_noise": True},
        ),
        (
            "DPM++ 2M SDE Heun",
            "sample_dpmpp_2m_sde",
            ["k_dpmpp_2m_sde_heun"],
            {"scheduler": "exponential", "brownian_noise": True, "solver_type": "heun"},
        ),
        ("Euler a", "sample_euler_ancestral", ["k_euler_a", "k_euler_ancestral"], {"uses_ensd": True}),
        ("Euler", "sample_euler", ["k_euler"], {}),
        ("Heun", "sample_heun", ["k_heun"], {"second_order": True}),
        (
            "DPM2",
            "sample_dpm_2",
            ["k_dpm_2"],
            {"scheduler": "karras", "discard_next_to_last_sigma": True, "second_order": True},
        ),
        ("DPM fast", "sample_dpm_fast", ["k_dpm_fast"], {"uses_ensd": True}),
        ("DPM adaptive", "sample_dpm_adaptive", ["k_dpm_ad"], {"uses_ensd": True}),
    ]
    by_timesteps = [("DDIM", kdiff.ddim, ["ddim"]), ("DDIM CFG++", kdiff.ddim_cfgpp, ["ddim_cfgpp"])]
    return [
        *(
            SamplerData(name, lambda model, function=function: KDiffusionSampler(function, model), aliases, options)
            for name, function, aliases, options in by_sigmas
        ),
        *(
            SamplerData(name, lambda model, function=function: CompVisSampler(function, model), aliases, {})
            for name, function, aliases in by_timesteps
        ),
        SamplerData("LCM", lambda model: LCMSampler(kdiff.sample_lcm, model), ["k_lcm"], {}),
    ]


def family_modules() -> list[StrictModule]:
    """The modules beside `modules.sd_samplers`."""
    return [
        StrictModule(
            "modules.sd_samplers_common",
            InterruptedException=InterruptedException,
            Sampler=Sampler,
            SamplerData=SamplerData,
            apply_refiner=apply_refiner,
            approximation_indexes=APPROXIMATIONS,
            decode_first_stage=decode_first_stage,
            images_tensor_to_samples=images_tensor_to_samples,
            sample_to_image=sample_to_image,
            samples_to_image_grid=samples_to_image_grid,
            samples_to_images_tensor=samples_to_images_tensor,
            single_sample_to_image=single_sample_to_image,
            setup_img2img_steps=setup_img2img_steps,
        ),
        StrictModule(
            "modules.sd_samplers_kdiffusion",
            CFGDenoiserKDiffusion=CFGDenoiserKDiffusion,
            KDiffusionSampler=KDiffusionSampler,
            sampler_extra_params=EXTRA_PARAMS,
        ),
        StrictModule(
            "modules.sd_samplers_lcm",
            CFGDenoiserLCM=CFGDenoiserLCM,
            LCMCompVisDenoiser=kdiff.LCMDenoiser,
            LCMSampler=LCMSampler,
            sample_lcm=kdiff.sample_lcm,
        ),
        StrictModule(
            "modules.sd_samplers_timesteps",
            CFGDenoiserTimesteps=CFGDenoiserTimesteps,
            CompVisSampler=CompVisSampler,
        ),
        StrictModule("modules.sd_samplers_cfg_denoiser", CFGDenoiser=CFGDenoiser),
    ]
