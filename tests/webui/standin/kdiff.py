"""A few samplers in k-diffusion's form, and the denoisers that make a model one of either family."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tests.webui.standin.strict import StrictModule, fake

Callback = Callable[[dict[str, Any]], None] | None
LCM_TIMESTEPS = 50
LCM_SIGMA_DATA = 0.5


class DiscreteSchedule(nn.Module):
    """The map between sigmas and the timesteps of a model that was trained at some of them."""

    def __init__(self, sigmas: Tensor, quantize: bool | None = None) -> None:
        super().__init__()
        self.register_buffer("sigmas", sigmas)
        self.register_buffer("log_sigmas", sigmas.log())
        self.quantize = quantize

    @property
    def sigma_min(self) -> Tensor:
        """The smallest sigma."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Tensor:
        """The largest sigma."""
        return self.sigmas[-1]

    def get_sigmas(self, n: int | None = None) -> Tensor:
        """`n` sigmas at evenly spaced timesteps, or all of them, and 0."""
        if n is None:
            return append_zero(self.sigmas.flip(0))
        return append_zero(self.t_to_sigma(torch.linspace(len(self.sigmas) - 1, 0, n)))

    def sigma_to_t(self, sigma: Tensor, quantize: bool | None = None) -> Tensor:
        """Timesteps: fractional ones, or the nearest ones if quantized."""
        log_sigma = sigma.log()
        if self.quantize if quantize is None else quantize:
            return (log_sigma - self.log_sigmas[:, None]).abs().argmin(dim=0).view(sigma.shape)
        low = (torch.searchsorted(self.log_sigmas, log_sigma) - 1).clamp(0, len(self.sigmas) - 2)
        span = self.log_sigmas[low + 1] - self.log_sigmas[low]
        return low + ((log_sigma - self.log_sigmas[low]) / span).clamp(0, 1)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        """Sigmas at fractional timesteps."""
        t = t.float()
        low, part = t.floor().long(), t.frac()
        high = t.ceil().long()
        return torch.exp((1 - part) * self.log_sigmas[low] + part * self.log_sigmas[high])


class EpsDenoiser(DiscreteSchedule):
    """A model that predicts noise, as a function of sigma that returns the denoised image."""

    def __init__(self, model: Any, quantize: bool = False) -> None:
        super().__init__(sigmas_of(model.alphas_cumprod), quantize)
        self.inner_model = model
        self.sigma_data = 1.0

    def forward(self, x: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
        """The denoised image."""
        level = sigma.view(-1, 1, 1, 1)
        scale = (level**2 + 1) ** -0.5
        return self.denoised(x, self.inner_model.apply_model(x * scale, self.sigma_to_t(sigma), **kwargs), level, scale)

    def denoised(self, x: Tensor, predicted: Tensor, level: Tensor, scale: Tensor) -> Tensor:
        """What the prediction makes of `x`."""
        return x - predicted * level


class VDenoiser(EpsDenoiser):
    """The same for a model that predicts v."""

    def denoised(self, x: Tensor, predicted: Tensor, level: Tensor, scale: Tensor) -> Tensor:
        """What the prediction makes of `x`."""
        return x * scale**2 - predicted * level * scale


class LCMDenoiser(DiscreteSchedule):
    """A model at 50 of its timesteps, with the boundary condition of consistency models; it always predicts noise."""

    def __init__(self, model: Any) -> None:
        self.skip_steps = 1000 // LCM_TIMESTEPS
        super().__init__(sigmas_of(model.alphas_cumprod[self.skip_steps - 1 :: self.skip_steps]))
        self.inner_model = model
        self.sigma_data = 1.0

    def get_sigmas(self, n: int | None = None) -> Tensor:
        """`n` sigmas at evenly spaced timesteps, or all of them, and 0."""
        if n is None:
            return append_zero(self.sigmas.flip(0))
        start, end = (float(self.sigma_to_t(sigma)) for sigma in (self.sigma_max, self.sigma_min))
        return append_zero(self.t_to_sigma(torch.linspace(start, end, n)))

    def sigma_to_t(self, sigma: Tensor, quantize: bool | None = None) -> Tensor:
        """The nearest of the 50 timesteps: 19, 39, ... 999."""
        return super().sigma_to_t(sigma, quantize=True) * self.skip_steps + (self.skip_steps - 1)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        """Sigmas between those of the 50 timesteps."""
        place = (t - (self.skip_steps - 1)) / self.skip_steps
        return super().t_to_sigma(place.clamp(0, len(self.sigmas) - 1))

    def forward(self, x: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
        """The denoised image, mixed with `x` where the timestep is small."""
        level, timestep = sigma.view(-1, 1, 1, 1), self.sigma_to_t(sigma)
        predicted = self.inner_model.apply_model(x * (level**2 + 1) ** -0.5, timestep, **kwargs)
        scaled, variance = timestep.view(-1, 1, 1, 1) * 10.0, LCM_SIGMA_DATA**2
        return (x - level * predicted) * scaled / (scaled**2 + variance) ** 0.5 + x * variance / (scaled**2 + variance)


class TimestepsDenoiser(nn.Module):
    """A latent diffusion model as a function of the timestep that returns the noise."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner_model = model

    def forward(self, x: Tensor, timesteps: Tensor, **kwargs: Any) -> Tensor:
        """The noise."""
        predicted: Tensor = self.inner_model.apply_model(x, timesteps, **kwargs)
        if self.inner_model.parameterization != "v":
            return predicted
        alpha = self.inner_model.alphas_cumprod[timesteps.long()].view(-1, 1, 1, 1)
        return predicted * alpha**0.5 + x * (1 - alpha) ** 0.5


class BrownianTreeNoiseSampler:
    """Noise that depends on the seeds and on the two sigmas alone, not on how often it is asked for."""

    def __init__(self, x: Tensor, sigma_min: Any, sigma_max: Any, seed: Any = None, transform: Any = None) -> None:
        seed = int(torch.randint(0, 2**31, [])) if seed is None else seed
        self._shape = x.shape[1:]
        self._seeds = list(seed) if isinstance(seed, list | tuple) else len(x) * [seed]
        if len(self._seeds) != len(x):
            raise RuntimeError(f"there are {len(self._seeds)} seeds for {len(x)} images")

    def __call__(self, sigma: Any, sigma_next: Any) -> Tensor:
        """(images, channels, height, width), of unit variance."""
        place = hash((round(float(sigma), 5), round(float(sigma_next), 5))) & 0xFFFFFFFF
        drawn = [torch.Generator().manual_seed((int(seed) << 8) ^ place) for seed in self._seeds]
        return torch.stack([torch.randn(self._shape, generator=generator) for generator in drawn])


def trange(*numbers: int, disable: Any = None) -> range:
    """A range, without the progress bar."""
    return range(*numbers)


def sigmas_of(alphas_cumprod: Tensor) -> Tensor:
    """The sigmas of a model's timesteps."""
    return ((1 - alphas_cumprod) / alphas_cumprod) ** 0.5


def append_zero(sigmas: Tensor) -> Tensor:
    """The sigmas and 0."""
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def append_dims(x: Tensor, target_dims: int) -> Tensor:
    """`x` with further dimensions of 1 at its end."""
    return x[(...,) + (None,) * (target_dims - x.dim())]


def get_sigmas_karras(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0, device: Any = "cpu") -> Tensor:
    """The schedule of Karras et al."""
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return append_zero((high + torch.linspace(0, 1, n, device=device) * (low - high)) ** rho)


def get_sigmas_exponential(n: int, sigma_min: float, sigma_max: float, device: Any = "cpu") -> Tensor:
    """Sigmas that are evenly spaced by their logarithms."""
    return append_zero(torch.linspace(math.log(sigma_max), math.log(sigma_min), n, device=device).exp())


def get_sigmas_polyexponential(
    n: int, sigma_min: float, sigma_max: float, rho: float = 1.0, device: Any = "cpu"
) -> Tensor:
    """A power of an even ramp between the logarithms."""
    low, high = math.log(sigma_min), math.log(sigma_max)
    return append_zero((low + torch.linspace(1, 0, n, device=device) ** rho * (high - low)).exp())


def default_noise_sampler(x: Tensor) -> Callable[[Any, Any], Tensor]:
    """Fresh noise at each call."""
    return lambda sigma, sigma_next: fake("k_diffusion.sampling").torch.randn_like(x)


def to_d(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """The slope towards the noise."""
    return (x - denoised) / sigma


def get_ancestral_step(sigma_from: Tensor, sigma_to: Tensor, eta: float = 1.0) -> tuple[Any, Any]:
    """(sigma_down, sigma_up)."""
    if not eta:
        return sigma_to, 0.0
    up = min(sigma_to, eta * (sigma_to**2 * (sigma_from**2 - sigma_to**2) / sigma_from**2) ** 0.5)
    return (sigma_to**2 - up**2) ** 0.5, up


def _steps(
    model: Any, x: Tensor, sigmas: Tensor
) -> Iterator[tuple[int, Tensor, Tensor, Callable[[Tensor, Tensor], Any]]]:
    ones = x.new_ones(len(x))
    for index in range(len(sigmas) - 1):
        yield index, sigmas[index], sigmas[index + 1], lambda x, sigma, **kw: model(x, sigma * ones, **kw)


def _tell(callback: Callback, **news: Any) -> None:
    if callback is not None:
        callback({**news, "sigma_hat": news["sigma"]})


def _churned(
    x: Tensor, sigma: Tensor, steps: int, s_churn: float, s_tmin: float, s_tmax: float, s_noise: float
) -> tuple[Tensor, Tensor]:
    """`x` with a little noise added, if that is asked for, and its sigma; noise is drawn in any case."""
    gamma = min(s_churn / steps, 2**0.5 - 1) if s_tmin <= sigma <= s_tmax else 0.0
    noise = fake("k_diffusion.sampling").torch.randn_like(x) * s_noise
    raised = sigma * (1 + gamma)
    return x + noise * (raised**2 - sigma**2) ** 0.5 if gamma > 0 else x, raised


def sample_euler(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Any = None,
    callback: Callback = None,
    disable: Any = None,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
) -> Tensor:
    """Euler's method."""
    for index, sigma, following, call in _steps(model, x, sigmas):
        x, level = _churned(x, sigma, len(sigmas) - 1, s_churn, s_tmin, s_tmax, s_noise)
        denoised = call(x, level, **(extra_args or {}))
        _tell(callback, x=x, i=index, sigma=sigma, denoised=denoised)
        x = x + to_d(x, level, denoised) * (following - level)
    return x


def sample_euler_ancestral(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Any = None,
    callback: Callback = None,
    disable: Any = None,
    eta: float = 1.0,
    s_noise: float = 1.0,
    noise_sampler: Any = None,
) -> Tensor:
    """Euler's method with fresh noise at each step."""
    noise_sampler = noise_sampler or default_noise_sampler(x)
    for index, sigma, following, call in _steps(model, x, sigmas):
        denoised = call(x, sigma, **(extra_args or {}))
        _tell(callback, x=x, i=index, sigma=sigma, denoised=denoised)
        down, up = get_ancestral_step(sigma, following, eta)
        x = x + to_d(x, sigma, denoised) * (down - sigma)
        if following > 0:
            x = x + noise_sampler(sigma, following) * s_noise * up
    return x


def sample_heun(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Any = None,
    callback: Callback = None,
    disable: Any = None,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
) -> Tensor:
    """Heun's method: two calls a step, one for the last."""
    for index, sigma, following, call in _steps(model, x, sigmas):
        x, level = _churned(x, sigma, len(sigmas) - 1, s_churn, s_tmin, s_tmax, s_noise)
        denoised = call(x, level, **(extra_args or {}))
        _tell(callback, x=x, i=index, sigma=sigma, denoised=denoised)
        slope = to_d(x, level, denoised)
        ahead = x + slope * (following - level)
        if following > 0:
            slope = (slope + to_d(ahead, following, call(ahead, following, **(extra_args or {})))) / 2
        x = x + slope * (following - level)
    return x


def sample_dpm_2(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Any = None,
    callback: Callback = None,
    disable: Any = None,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
) -> Tensor:
    """The midpoint method over log sigma: two calls a step, one for the last."""
    for index, sigma, following, call in _steps(model, x, sigmas):
        x, level = _churned(x, sigma, len(sigmas) - 1, s_churn, s_tmin, s_tmax, s_noise)
        denoised = call(x, level, **(extra_args or {}))
        _tell(callback, x=x, i=index, sigma=sigma, denoised=denoised)
        slope = to_d(x, level, denoised)
        if following > 0:
            middle = (level * following) ** 0.5
            ahead = x + slope * (middle - level)
            slope = to_d(ahead, middle, call(ahead, middle, **(extra_args or {})))
        x = x + slope * (following - level)
    return x


def sample_dpmpp_2m(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Any = None,
    callback: Callback = None,
    disable: Any = None,
) -> Tensor:
    """DPM-Solver++ of the second order, from the denoised images of two steps."""
    before = None
    for index, sigma, following, call in _steps(model, x, sigmas):
        denoised = call(x, sigma, **(extra_args or {}))
        _tell(callback, x=x, i=index, sigma=sigma, denoised=denoised)
        target = denoised
        if before is not None and following > 0:
            stride, last = (sigma / following).log(), (sigmas[index - 1] / sigma).log()
            target = denoised + (denoised - before) * stride / (2 * last)
        x = target + (x - target) * following / sigma
        before = denoised
    return x


def sample_dpmpp_2m_sde(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Any = None,
    callback: Callback = None,
    disable: Any = None,
    eta: float = 1.0,
    s_noise: float = 1.0,
    noise_sampler: Any = None,
    solver_type: str = "midpoint",
) -> Tensor:
    """DPM-Solver++ of the second order with noise at each step."""
    noise_sampler = noise_sampler or default_noise_sampler(x)
    before, last = None, None
    for index, sigma, following, call in _steps(model, x, sigmas):
        denoised = call(x, sigma, **(extra_args or {}))
        _tell(callback, x=x, i=index, sigma=sigma, denoised=denoised)
        if following > 0:
            stride = (sigma / following).log()
            kept = (-stride * (1 + eta)).exp()
            x = following / sigma * (-eta * stride).exp() * x + (1 - kept) * denoised
            if before is not None:
                weight = 0.5 * (1 - kept) if solver_type == "midpoint" else 1 - (1 - kept) / (stride * (1 + eta))
                x = x + weight * stride / last * (denoised - before)
            x = x + noise_sampler(sigma, following) * following * (1 - (-2 * eta * stride).exp()) ** 0.5 * s_noise
            last = stride
        else:
            x = denoised
        before = denoised
    return x


def sample_dpm_fast(
    model: Any,
    x: Tensor,
    sigma_min: float,
    sigma_max: float,
    n: int,
    extra_args: Any = None,
    callback: Callback = None,
    disable: Any = None,
    eta: float = 0.0,
    s_noise: float = 1.0,
    noise_sampler: Any = None,
) -> Tensor:
    """`n` steps of the first order at evenly spaced log sigmas of its own; it ends at `sigma_min`."""
    sigmas = torch.linspace(math.log(sigma_max), math.log(sigma_min), n + 1).exp()
    noise_sampler = noise_sampler or default_noise_sampler(x)
    for index, sigma, following, call in _steps(model, x, sigmas):
        denoised = call(x, sigma, **(extra_args or {}))
        _tell(callback, x=x, i=index, sigma=sigma, denoised=denoised)
        down, up = get_ancestral_step(sigma, following, eta)
        x = x + to_d(x, sigma, denoised) * (down - sigma) + s_noise * up * noise_sampler(sigma, following)
    return x


def sample_dpm_adaptive(
    model: Any,
    x: Tensor,
    sigma_min: float,
    sigma_max: float,
    extra_args: Any = None,
    callback: Callback = None,
    disable: Any = None,
    eta: float = 0.0,
    s_noise: float = 1.0,
    noise_sampler: Any = None,
) -> Tensor:
    """An adaptive method: nobody knows beforehand how many calls it makes, and rejected steps repeat a sigma."""
    ones, place, end, stride = x.new_ones(len(x)), math.log(sigma_max), math.log(sigma_min), 1.5
    taken = 0
    while place > end + 1e-6:
        stride = min(stride, place - end)
        sigma, following = math.exp(place), math.exp(place - stride)
        denoised = model(x, sigma * ones, **(extra_args or {}))
        slope = (x - denoised) / sigma
        ahead = x + slope * (following - sigma)
        other = (ahead - model(ahead, following * ones, **(extra_args or {}))) / following
        error = float(((slope - other) * (following - sigma) / 2).square().mean().sqrt() / (0.3 * sigma + 0.3))
        if error <= 1 or stride <= 0.4:
            _tell(callback, x=x, i=taken, sigma=torch.tensor(sigma), denoised=denoised)
            x = x + (slope + other) / 2 * (following - sigma)
            place, taken = place - stride, taken + 1
        stride = max(0.4, stride * min(2.0, max(0.3, 0.9 / max(error, 1e-6))))
    return x


def sample_lcm(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Any = None,
    callback: Callback = None,
    disable: Any = None,
    noise_sampler: Any = None,
) -> Tensor:
    """Jump to the image and go back to the next sigma with fresh noise."""
    noise_sampler = noise_sampler or default_noise_sampler(x)
    for index, sigma, following, call in _steps(model, x, sigmas):
        denoised = call(x, sigma, **(extra_args or {}))
        _tell(callback, x=x, i=index, sigma=sigma, denoised=denoised)
        x = denoised + following * noise_sampler(sigma, following) if following > 0 else denoised
    return x


def ddim(
    model: Any,
    x: Tensor,
    timesteps: Tensor,
    extra_args: Any = None,
    callback: Callback = None,
    disable: Any = None,
    eta: float = 0.0,
) -> Tensor:
    """DDIM over rising `timesteps`: one call fewer than there are timesteps."""
    return _ddim(model, x, timesteps, extra_args, callback, eta, plus_plus=False)


def ddim_cfgpp(
    model: Any,
    x: Tensor,
    timesteps: Tensor,
    extra_args: Any = None,
    callback: Callback = None,
    disable: Any = None,
    eta: float = 0.0,
) -> Tensor:
    """DDIM that renoises by the unconditional noise; the slider is divided by 12.5."""
    model.cond_scale_miltiplier = 1 / 12.5
    model.need_last_noise_uncond = True
    return _ddim(model, x, timesteps, extra_args, callback, eta, plus_plus=True)


def _ddim(
    model: Any, x: Tensor, timesteps: Tensor, extra_args: Any, callback: Callback, eta: float, *, plus_plus: bool
) -> Tensor:
    alphas, ones = model.inner_model.inner_model.alphas_cumprod, x.new_ones(len(x))
    for count in range(len(timesteps) - 1):
        now, then = alphas[timesteps[-1 - count]], alphas[timesteps[-2 - count]]
        noise = model(x, timesteps[-1 - count] * ones, **(extra_args or {}))
        image = (x - (1 - now) ** 0.5 * noise) / now**0.5
        renoise = model.last_noise_uncond if plus_plus else noise
        fresh = eta * ((1 - then) / (1 - now) * (1 - now / then)) ** 0.5
        x = then**0.5 * image + (1 - then - fresh**2) ** 0.5 * renoise
        x = x + fresh * fake("k_diffusion.sampling").torch.randn_like(x)
        if callback is not None:
            callback({"x": x, "i": count, "sigma": 0, "sigma_hat": 0, "denoised": image})
    return x


def kdiffusion_modules() -> list[StrictModule]:
    """`k_diffusion` with its `sampling`, whose `torch` the host replaces for each pass."""
    sampling = StrictModule(
        "k_diffusion.sampling",
        torch=torch,
        BrownianTreeNoiseSampler=BrownianTreeNoiseSampler,
        append_zero=append_zero,
        default_noise_sampler=default_noise_sampler,
        get_ancestral_step=get_ancestral_step,
        get_sigmas_exponential=get_sigmas_exponential,
        get_sigmas_karras=get_sigmas_karras,
        get_sigmas_polyexponential=get_sigmas_polyexponential,
        sample_dpm_2=sample_dpm_2,
        sample_dpm_adaptive=sample_dpm_adaptive,
        sample_dpm_fast=sample_dpm_fast,
        sample_dpmpp_2m=sample_dpmpp_2m,
        sample_dpmpp_2m_sde=sample_dpmpp_2m_sde,
        sample_euler=sample_euler,
        sample_euler_ancestral=sample_euler_ancestral,
        sample_heun=sample_heun,
        to_d=to_d,
        trange=trange,
    )
    external = StrictModule(
        "k_diffusion.external",
        CompVisDenoiser=EpsDenoiser,
        CompVisVDenoiser=VDenoiser,
        DiscreteSchedule=DiscreteSchedule,
    )
    utils = StrictModule("k_diffusion.utils", append_dims=append_dims)
    root = StrictModule("k_diffusion", sampling=sampling, external=external, utils=utils, __path__=[])
    return [root, sampling, external, utils]
