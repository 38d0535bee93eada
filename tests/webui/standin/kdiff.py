"""A few samplers in k-diffusion's form, and the denoisers that make a model one of either family."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tests.webui.standin.strict import StrictModule, fake

Callback = Callable[[dict[str, Any]], None] | None


class DiscreteDenoiser(nn.Module):
    """A latent diffusion model as a function of sigma that returns the denoised image."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner_model = model
        self.sigmas = ((1 - model.alphas_cumprod) / model.alphas_cumprod) ** 0.5
        self.log_sigmas = self.sigmas.log()

    @property
    def sigma_min(self) -> Tensor:
        """The smallest sigma."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Tensor:
        """The largest sigma."""
        return self.sigmas[-1]

    def get_sigmas(self, n: int) -> Tensor:
        """`n` sigmas at evenly spaced timesteps, and 0."""
        return append_zero(self.t_to_sigma(torch.linspace(len(self.sigmas) - 1, 0, n)))

    def sigma_to_t(self, sigma: Tensor) -> Tensor:
        """Fractional timesteps."""
        log_sigma = sigma.log()
        low = (torch.searchsorted(self.log_sigmas, log_sigma) - 1).clamp(0, len(self.sigmas) - 2)
        span = self.log_sigmas[low + 1] - self.log_sigmas[low]
        return low + ((log_sigma - self.log_sigmas[low]) / span).clamp(0, 1)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        """Sigmas at fractional timesteps."""
        low, part = t.floor().long(), t.frac()
        high = t.ceil().long()
        return torch.exp((1 - part) * self.log_sigmas[low] + part * self.log_sigmas[high])

    def forward(self, x: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
        """The denoised image."""
        level = sigma.view(-1, 1, 1, 1)
        scale = (level**2 + 1) ** -0.5
        predicted = self.inner_model.apply_model(x * scale, self.sigma_to_t(sigma), **kwargs)
        if self.inner_model.parameterization == "v":
            denoised: Tensor = x * scale**2 - predicted * level * scale
        else:
            denoised = x - predicted * level
        return denoised


class TimestepsDenoiser(nn.Module):
    """A latent diffusion model as a function of the timestep that returns the noise."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner_model = model
        self.alphas_cumprod = model.alphas_cumprod

    def forward(self, x: Tensor, timesteps: Tensor, **kwargs: Any) -> Tensor:
        """The noise."""
        predicted: Tensor = self.inner_model.apply_model(x, timesteps, **kwargs)
        if self.inner_model.parameterization != "v":
            return predicted
        alpha = self.alphas_cumprod[timesteps.long()].view(-1, 1, 1, 1)
        return predicted * alpha**0.5 + x * (1 - alpha) ** 0.5


def append_zero(sigmas: Tensor) -> Tensor:
    """The sigmas and 0."""
    return torch.cat([sigmas, sigmas.new_zeros(1)])


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


def sample_euler(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Any = None,
    callback: Callback = None,
    disable: Any = None,
) -> Tensor:
    """Euler's method."""
    for index, sigma, following, call in _steps(model, x, sigmas):
        denoised = call(x, sigma, **(extra_args or {}))
        _tell(callback, x=x, i=index, sigma=sigma, denoised=denoised)
        x = x + to_d(x, sigma, denoised) * (following - sigma)
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
    library = fake("k_diffusion.sampling").torch
    noise_sampler = noise_sampler or (lambda sigma, following: library.randn_like(x))
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
) -> Tensor:
    """Heun's method: two calls a step, one for the last."""
    for index, sigma, following, call in _steps(model, x, sigmas):
        denoised = call(x, sigma, **(extra_args or {}))
        _tell(callback, x=x, i=index, sigma=sigma, denoised=denoised)
        slope = to_d(x, sigma, denoised)
        ahead = x + slope * (following - sigma)
        if following > 0:
            slope = (slope + to_d(ahead, following, call(ahead, following, **(extra_args or {})))) / 2
        x = x + slope * (following - sigma)
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
    return _ddim(model, x, timesteps, extra_args, callback, plus_plus=False)


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
    return _ddim(model, x, timesteps, extra_args, callback, plus_plus=True)


def _ddim(model: Any, x: Tensor, timesteps: Tensor, extra_args: Any, callback: Callback, *, plus_plus: bool) -> Tensor:
    alphas, ones = model.inner_model.alphas_cumprod, x.new_ones(len(x))
    for count in range(len(timesteps) - 1):
        now, then = timesteps[-1 - count], timesteps[-2 - count]
        noise = model(x, now * ones, **(extra_args or {}))
        image = (x - (1 - alphas[now]) ** 0.5 * noise) / alphas[now] ** 0.5
        if callback is not None:
            callback({"x": x, "i": count, "sigma": 0, "sigma_hat": 0, "denoised": image})
        renoise = model.last_noise_uncond if plus_plus else noise
        x = alphas[then] ** 0.5 * image + (1 - alphas[then]) ** 0.5 * renoise
    return x


def kdiffusion_modules() -> list[StrictModule]:
    """`k_diffusion` with its `sampling`, whose `torch` the host replaces for each pass."""
    sampling = StrictModule(
        "k_diffusion.sampling",
        torch=torch,
        append_zero=append_zero,
        to_d=to_d,
        get_ancestral_step=get_ancestral_step,
        sample_euler=sample_euler,
        sample_euler_ancestral=sample_euler_ancestral,
        sample_heun=sample_heun,
        sample_dpm_adaptive=sample_dpm_adaptive,
    )
    return [StrictModule("k_diffusion", sampling=sampling, __path__=[]), sampling]
