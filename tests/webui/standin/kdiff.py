"""k-diffusion as the host has it: the package itself, and what the host adds to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from bench.kdiffusion import external, sampling

Callback = Callable[[dict[str, Any]], None] | None
LCM_TIMESTEPS = 50
LCM_SIGMA_DATA = 0.5


class LCMDenoiser(external.DiscreteSchedule):
    """A model at 50 of its timesteps, with the boundary condition of consistency models; it always predicts noise."""

    def __init__(self, model: Any) -> None:
        self.skip_steps = 1000 // LCM_TIMESTEPS
        alphas = model.alphas_cumprod[self.skip_steps - 1 :: self.skip_steps]
        super().__init__(((1 - alphas) / alphas) ** 0.5, quantize=None)
        self.inner_model = model
        self.sigma_data = 1.0

    def get_sigmas(self, n: int | None = None) -> Tensor:
        """`n` sigmas at evenly spaced timesteps, or all of them, and 0."""
        if n is None:
            return sampling.append_zero(self.sigmas.flip(0))
        start, end = (float(self.sigma_to_t(sigma)) for sigma in (self.sigma_max, self.sigma_min))
        return sampling.append_zero(self.t_to_sigma(torch.linspace(start, end, n)))

    def sigma_to_t(self, sigma: Tensor, quantize: bool | None = None) -> Tensor:
        """The nearest of the 50 timesteps: 19, 39, ... 999."""
        return super().sigma_to_t(sigma, True) * self.skip_steps + (self.skip_steps - 1)

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
    noise_sampler = noise_sampler or sampling.default_noise_sampler(x)
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma * x.new_ones(len(x)), **(extra_args or {}))
        if callback is not None:
            callback({"x": x, "i": index, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})
        x = denoised + sigma_next * noise_sampler(sigma, sigma_next) if sigma_next > 0 else denoised
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
        x = x + fresh * sampling.torch.randn_like(x)
        if callback is not None:
            callback({"x": x, "i": count, "sigma": 0, "sigma_hat": 0, "denoised": image})
    return x


def _range(*numbers: int, disable: Any = None) -> range:
    """A range, without the progress bar."""
    return range(*numbers)


@contextmanager
def installed() -> Iterator[None]:
    """Put the package's modules into `sys.modules`; the host takes them out. In a pass it replaces `sampling.torch`.

    torchsde, which draws its Brownian noise, is not among what the tests install.
    """
    root = ModuleType("k_diffusion")
    root.__path__ = []
    vars(root).update(sampling=sampling, external=external, utils=sampling.utils)
    modules = {f"k_diffusion.{name}": getattr(root, name) for name in ("sampling", "external", "utils")}
    sys.modules.update({"k_diffusion": root, **modules})
    own = {"torch": torch, "trange": _range, "BrownianTreeNoiseSampler": BrownianTreeNoiseSampler}
    with patch.multiple(sampling, **own):
        yield
