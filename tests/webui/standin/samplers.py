"""The host's samplers, one object for each pass, and how they are registered and found."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.webui.standin import kdiff
from tests.webui.standin.denoiser import CFGDenoiser, InterruptedException
from tests.webui.standin.probe import probe
from tests.webui.standin.strict import StrictModule, fake


class SamplerData(NamedTuple):
    """A sampler that users can choose."""

    name: str
    constructor: Callable[[Any], Any]
    aliases: list[str]
    options: dict[str, Any]

    def total_steps(self, steps: int) -> int:
        """Calls of the denoiser, as far as the host knows."""
        return steps * 2 if self.options.get("second_order", False) else steps


@dataclass
class Scheduler:
    """A schedule of sigmas that users can choose; `function` None means the model's own."""

    name: str
    label: str
    function: Callable[..., Tensor] | None
    default_rho: float = -1
    need_inner_model: bool = False
    aliases: list[str] | None = None


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


def karras(n: int, sigma_min: float, sigma_max: float, device: Any = "cpu", rho: float = 7.0) -> Tensor:
    """The schedule of Karras et al."""
    ramp = torch.linspace(0, 1, n)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return kdiff.append_zero((high + ramp * (low - high)) ** rho)


def sgm_uniform(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any = "cpu") -> Tensor:
    """Evenly spaced timesteps that leave out the last."""
    start, end = (inner_model.sigma_to_t(torch.tensor(s)) for s in (sigma_max, sigma_min))
    return kdiff.append_zero(inner_model.t_to_sigma(torch.linspace(float(start), float(end), n + 1)[:-1]))


def uniform(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any = "cpu") -> Tensor:
    """The model's own schedule."""
    sigmas: Tensor = inner_model.get_sigmas(n)
    return sigmas


SCHEDULERS = (
    Scheduler("automatic", "Automatic", None),
    Scheduler("uniform", "Uniform", uniform, need_inner_model=True),
    Scheduler("karras", "Karras", karras, default_rho=7.0),
    Scheduler("sgm_uniform", "SGM Uniform", sgm_uniform, need_inner_model=True, aliases=["SGMUniform"]),
    Scheduler("simple", "Simple", uniform, need_inner_model=True),
    Scheduler("normal", "Normal", uniform, need_inner_model=True),
    Scheduler("ddim", "DDIM", uniform, need_inner_model=True),
    Scheduler("beta", "Beta", uniform, need_inner_model=True),
)


def setup_img2img_steps(p: Any, steps: int | None = None) -> tuple[int, int]:
    """(steps of the schedule, the last of them that is run); `steps` says explicitly how many to run."""
    denoise = min(p.denoising_strength, 0.999)
    if fake("modules.shared").opts.img2img_fix_steps or steps is not None:
        wanted = steps or p.steps
        return (int(wanted / denoise) if denoise > 0 else 0), wanted - 1
    return p.steps, int(denoise * p.steps)


class Sampler:
    """One sampler object; a new one is made for each pass."""

    config: SamplerData

    def __init__(self, function: str | Callable[..., Tensor]) -> None:
        self.funcname = function
        self.func: Callable[..., Tensor] = function  # type: ignore[assignment]
        self.p: Any = None
        self.last_latent: Tensor | None = None
        self.stop_at: int | None = None
        self.eta: float | None = None
        self.model_wrap: Any = None
        self.model_wrap_cfg: CFGDenoiser
        self.sampler_extra_args: dict[str, Any] = {}
        self.eta_option_field = "eta_ancestral"
        self.conditioning_key = fake("modules.shared").sd_model.model.conditioning_key

    def callback_state(self, news: dict[str, Any]) -> None:
        """After each step."""
        if self.stop_at is not None and news["i"] > self.stop_at:
            raise InterruptedException
        fake("modules.shared").state.sampling_step = news["i"]

    def launch_sampling(self, steps: int, func: Callable[[], Tensor]) -> Tensor:
        """Run one pass; an interrupt or a skip ends it with what there is."""
        self.model_wrap_cfg.steps = steps
        self.model_wrap_cfg.total_steps = self.config.total_steps(steps)
        state = fake("modules.shared").state
        state.sampling_steps, state.sampling_step = steps, 0
        probe().launches.append((self.config.name, steps))
        try:
            with probe().watching_blocks():
                return func()
        except InterruptedException:
            return self.last_latent  # type: ignore[return-value]

    def initialize(self, p: Any) -> dict[str, Any]:
        """Get ready for a pass; the function's further arguments."""
        denoiser = self.model_wrap_cfg
        self.p = denoiser.p = p
        denoiser.mask, denoiser.nmask = getattr(p, "mask", None), getattr(p, "nmask", None)
        denoiser.step = 0
        denoiser.image_cfg_scale = getattr(p, "image_cfg_scale", None)
        self.eta = p.eta if p.eta is not None else getattr(fake("modules.shared").opts, self.eta_option_field)
        self.s_min_uncond = p.s_min_uncond or 0.0
        fake("k_diffusion.sampling").torch = NoiseLikeTheHost(p)
        names = inspect.signature(self.func).parameters
        more: dict[str, Any] = {"eta": self.eta} if "eta" in names else {}
        if self.config.options.get("brownian_noise", False):
            more["noise_sampler"] = lambda sigma, following: p.rng.next()
        return more

    def _sample(self, p: Any, x: Tensor, steps: int, arguments: dict[str, Any], conditions: dict[str, Any]) -> Tensor:
        self.last_latent = x
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

        return self.launch_sampling(steps, run)


class CFGDenoiserKDiffusion(CFGDenoiser):
    """The denoiser over sigmas, whose output is an image."""

    @property
    def inner_model(self) -> kdiff.DiscreteDenoiser:
        """The loaded model as a function of sigma."""
        if self.model_wrap is None:
            self.model_wrap = kdiff.DiscreteDenoiser(fake("modules.shared").sd_model)
        wrapped: kdiff.DiscreteDenoiser = self.model_wrap
        return wrapped


class KDiffusionSampler(Sampler):
    """The family that works with sigmas."""

    def __init__(self, function: str | Callable[..., Tensor], sd_model: Any, options: Any = None) -> None:
        super().__init__(function)
        if isinstance(function, str):
            self.func = getattr(fake("k_diffusion.sampling"), function)
        self.options = options or {}
        self.model_wrap_cfg = CFGDenoiserKDiffusion(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def get_sigmas(self, p: Any, steps: int) -> Tensor:
        """The schedule of `steps` steps."""
        skips_one = self.config.options.get("discard_next_to_last_sigma", False)
        steps += skips_one
        schedulers = fake("modules.sd_schedulers").schedulers_map
        scheduler = schedulers.get(p.scheduler or "Automatic")
        if scheduler is None or scheduler.name == "automatic":
            scheduler = schedulers.get(self.config.options.get("scheduler"))
        if scheduler is None or scheduler.function is None:
            sigmas = self.model_wrap.get_sigmas(steps)
        else:
            more = {"inner_model": self.model_wrap} if scheduler.need_inner_model else {}
            low, high = self.model_wrap.sigma_min.item(), self.model_wrap.sigma_max.item()
            sigmas = scheduler.function(n=steps, sigma_min=low, sigma_max=high, **more, device="cpu")
        if skips_one:
            sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
        return sigmas

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
        sgm = fake("modules.shared").opts.sgm_noise_multiplier
        x = x * (torch.sqrt(1 + sigmas[0] ** 2) if sgm else sigmas[0])
        whole = self.model_wrap.sigma_min.item(), self.model_wrap.sigma_max.item()
        arguments = {**self.initialize(p), **self._schedule(sigmas, steps, whole)}
        conditions = {
            "cond": conditioning,
            "uncond": unconditional_conditioning,
            "image_cond": image_conditioning,
        }
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
        sigmas = self.get_sigmas(p, steps)[steps - last - 1 :]
        arguments = self.initialize(p)
        arguments.update(self._schedule(sigmas, len(sigmas) - 1, (sigmas[-2].item(), sigmas[0].item())))
        self.model_wrap_cfg.init_latent = x
        conditions = {
            "cond": conditioning,
            "uncond": unconditional_conditioning,
            "image_cond": image_conditioning,
        }
        return self._sample(p, x + noise * sigmas[0], last + 1, arguments, conditions)

    def _schedule(self, sigmas: Tensor, n: int, ends: tuple[float, float]) -> dict[str, Any]:
        offered = {
            "sigmas": sigmas,
            "n": n,
            "sigma_sched": sigmas,
            "sigma_min": ends[0],
            "sigma_max": ends[1],
        }
        names = inspect.signature(self.func).parameters
        return {name: value for name, value in offered.items() if name in names}


class CFGDenoiserTimesteps(CFGDenoiser):
    """The denoiser over timesteps, whose output is noise."""

    def __init__(self, sampler: Any) -> None:
        super().__init__(sampler)
        self.mask_before_denoising = True

    @property
    def inner_model(self) -> kdiff.TimestepsDenoiser:
        """The loaded model as a function of the timestep."""
        if self.model_wrap is None:
            self.model_wrap = kdiff.TimestepsDenoiser(fake("modules.shared").sd_model)
        wrapped: kdiff.TimestepsDenoiser = self.model_wrap
        return wrapped

    def get_pred_x0(self, x_in: Tensor, x_out: Tensor, sigma: Tensor) -> Tensor:
        """The denoised image."""
        alpha = self.inner_model.alphas_cumprod[int(sigma[0])]
        return (x_in - (1 - alpha) ** 0.5 * x_out) / alpha**0.5

    def forward(self, x: Tensor, sigma: Tensor, **conditions: Any) -> Tensor:
        """One step's guided noise; what is kept of the image is put in beforehand."""
        if self.mask is not None and self.nmask is not None and self.init_latent is not None:
            alpha = self.inner_model.alphas_cumprod[int(sigma[0])]
            kept = self.init_latent * alpha**0.5 + self.sampler.start_noise * (1 - alpha) ** 0.5
            x = x * self.nmask + kept * self.mask
        return super().forward(x, sigma, **conditions)

    def _blend(self, guided: Tensor, sigma: Tensor) -> Tensor:
        return guided


class CompVisSampler(Sampler):
    """The family that works with timesteps; it ignores schedulers."""

    def __init__(self, function: Callable[..., Tensor], sd_model: Any) -> None:
        super().__init__(function)
        self.eta_option_field = "eta_ddim"
        self.start_noise: Tensor
        self.model_wrap_cfg = CFGDenoiserTimesteps(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def get_timesteps(self, p: Any, steps: int) -> Tensor:
        """Rising timesteps; there may be more than `steps`."""
        return torch.clip(torch.arange(0, 1000, 1000 // max(steps, 1)) + 1, 0, 999)

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
        arguments = {**self.initialize(p), "timesteps": self.get_timesteps(p, steps)}
        conditions = {
            "cond": conditioning,
            "uncond": unconditional_conditioning,
            "image_cond": image_conditioning,
        }
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
        alpha = self.model_wrap.alphas_cumprod[timesteps[min(last, len(timesteps) - 1)]]
        arguments = {**self.initialize(p), "timesteps": timesteps[:last]}
        self.model_wrap_cfg.init_latent = x
        self.start_noise = noise
        conditions = {
            "cond": conditioning,
            "uncond": unconditional_conditioning,
            "image_cond": image_conditioning,
        }
        noisy = x * alpha**0.5 + noise * (1 - alpha) ** 0.5
        return self._sample(p, noisy, last + 1, arguments, conditions)


def _known() -> list[SamplerData]:
    sigma_family: list[tuple[str, str, list[str], dict[str, Any]]] = [
        ("Euler a", "sample_euler_ancestral", ["k_euler_a"], {"uses_ensd": True}),
        ("Euler", "sample_euler", ["k_euler"], {}),
        ("Heun", "sample_heun", ["k_heun"], {"second_order": True}),
        ("DPM adaptive", "sample_dpm_adaptive", ["k_dpm_ad"], {"uses_ensd": True}),
    ]
    timestep_family = [("DDIM", kdiff.ddim, ["ddim"]), ("DDIM CFG++", kdiff.ddim_cfgpp, ["ddim_cfgpp"])]
    return [
        SamplerData(name, lambda model, function=function: KDiffusionSampler(function, model), aliases, options)
        for name, function, aliases, options in sigma_family
    ] + [
        SamplerData(name, lambda model, function=function: CompVisSampler(function, model), aliases, {})
        for name, function, aliases in timestep_family
    ]


def find_sampler_config(name: str | None) -> SamplerData:
    """The sampler of that name; the first one if there is none."""
    samplers = fake("modules.sd_samplers")
    config: SamplerData = samplers.all_samplers_map.get(name, samplers.all_samplers[0])
    return config


def create_sampler(name: str | None, model: Any) -> Sampler:
    """A new sampler object."""
    config = find_sampler_config(name)
    if model.is_sdxl and config.options.get("no_sdxl", False):
        raise RuntimeError(f"{config.name} does not work with SDXL")
    sampler: Sampler = config.constructor(model)
    sampler.config = config
    return sampler


def set_samplers() -> None:
    """Make the maps of names anew from `all_samplers`."""
    module = fake("modules.sd_samplers")
    module.samplers = module.samplers_for_img2img = module.all_samplers
    module.samplers_map.clear()
    for sampler in module.all_samplers:
        for alias in (sampler.name, *sampler.aliases):
            module.samplers_map[alias.lower()] = sampler.name


@cache
def get_sampler_and_scheduler(sampler_name: str | None, scheduler_name: str | None) -> tuple[str, str]:
    """(sampler's name, scheduler's label): a scheduler's name at the end of the sampler's is cut off it."""
    sampler, found = sampler_name or "", scheduler_name or "Automatic"
    for scheduler in fake("modules.sd_schedulers").schedulers:
        for name in (scheduler.label, scheduler.name, *(scheduler.aliases or [])):
            if sampler.endswith(" " + name):
                sampler, found = sampler[: -len(name) - 1], scheduler.label
                break
    return find_sampler_config(sampler).name, found


def sampler_modules() -> list[StrictModule]:
    """`modules.sd_samplers*` and `modules.sd_schedulers`."""
    known = _known()
    get_sampler_and_scheduler.cache_clear()
    return [
        StrictModule(
            "modules.sd_samplers",
            all_samplers=known,
            all_samplers_map={sampler.name: sampler for sampler in known},
            samplers=known,
            samplers_for_img2img=known,
            samplers_map={},
            samplers_hidden={},
            create_sampler=create_sampler,
            find_sampler_config=find_sampler_config,
            get_sampler_and_scheduler=get_sampler_and_scheduler,
            set_samplers=set_samplers,
        ),
        StrictModule(
            "modules.sd_samplers_common",
            InterruptedException=InterruptedException,
            Sampler=Sampler,
            SamplerData=SamplerData,
            setup_img2img_steps=setup_img2img_steps,
        ),
        StrictModule(
            "modules.sd_samplers_kdiffusion",
            CFGDenoiserKDiffusion=CFGDenoiserKDiffusion,
            KDiffusionSampler=KDiffusionSampler,
        ),
        StrictModule(
            "modules.sd_samplers_timesteps",
            CFGDenoiserTimesteps=CFGDenoiserTimesteps,
            CompVisSampler=CompVisSampler,
        ),
        StrictModule("modules.sd_samplers_cfg_denoiser", CFGDenoiser=CFGDenoiser),
        StrictModule(
            "modules.sd_schedulers",
            Scheduler=Scheduler,
            schedulers=list(SCHEDULERS),
            schedulers_map={name: s for s in SCHEDULERS for name in (s.name, s.label)},
        ),
    ]
