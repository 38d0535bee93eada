"""Gaussian mixtures, whose denoised images are exact, as models in the WebUI's form; and schedules of noise levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.kdiffusion import external, sampling
from lib_fewstep.sampling import sigmas_at, trailing_timesteps


@dataclass(frozen=True)
class Mixture:
    """Data whose every number is drawn from Gaussians: (weight, mean, standard deviation) of each."""

    parts: tuple[tuple[float, float, float], ...]

    def denoised(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The exact posterior mean of the data, given `x` (n, ...) with noise of level `sigma` (n,)."""
        variance = sigma.view(-1, *[1] * (x.dim() - 1)) ** 2
        logs, means = [], []
        for weight, mean, std in self.parts:
            total = std**2 + variance
            logs.append(torch.log(weight / total**0.5) - (x - mean) ** 2 / (2 * total))
            means.append(mean + std**2 / total * (x - mean))
        logits = torch.stack(logs)
        wide = torch.promote_types(logits.dtype, torch.float32)  # torch 2.1 has no softmax in float16 on the CPU
        shares = logits.softmax(dim=0, dtype=wide).to(logits.dtype)
        image: Tensor = (shares * torch.stack(means)).sum(dim=0)
        return image

    def below(self, x: Tensor, sigma: float) -> Tensor:
        """The share of the noised data that lies below `x`; the exact flow from level to level keeps it."""
        each = (w * torch.special.ndtr((x - mean) / (std**2 + sigma**2) ** 0.5) for w, mean, std in self.parts)
        share: Tensor = torch.stack(list(each)).sum(dim=0)
        return share

    def draw(self, shape: tuple[int, ...], seed: int = 3) -> Tensor:
        """Data, in float64."""
        generator = torch.Generator().manual_seed(seed)
        weights, means, stds = torch.tensor(self.parts, dtype=torch.float64).T
        chosen = torch.multinomial(weights, torch.Size(shape).numel(), replacement=True, generator=generator)
        noise = torch.randn(len(chosen), generator=generator, dtype=torch.float64)
        drawn: Tensor = (means[chosen] + stds[chosen] * noise).view(shape)
        return drawn


def one(mean: float = 0.0, std: float = 1.0) -> Mixture:
    """A single Gaussian."""
    return Mixture(((1.0, mean, std),))


def sd_schedule(*, quantize: bool = False) -> Any:
    """k-diffusion's schedule of Stable Diffusion's 1000 noise levels."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    alphas = torch.cumprod(1 - betas, dim=0)
    return external.DiscreteSchedule(((1 - alphas) / alphas) ** 0.5, quantize)


SCHEDULE = sd_schedule()


class Model:
    """A denoiser with guidance, as the WebUI hands it to samplers; `keeps` is what it leaves in last_noise_uncond."""

    def __init__(self, uncond: Mixture, cond: Mixture | None = None, keeps: str = "image") -> None:
        """Without `cond` there is nothing to guide towards: both images are the unconditional one."""
        self.uncond, self.cond, self.keeps = uncond, cond or uncond, keeps
        self.inner_model = SCHEDULE
        self.need_last_noise_uncond = False
        self.last_noise_uncond: Tensor | None = None
        self.calls = 0

    def __call__(self, x: Tensor, sigma: Tensor, cond_scale: float = 1.0) -> Tensor:
        """The guided image."""
        assert sigma.shape == (len(x),)
        self.calls += 1
        uncond = self.uncond.denoised(x, sigma)
        cond = uncond if self.cond is self.uncond else self.cond.denoised(x, sigma)
        if self.need_last_noise_uncond and self.keeps != "nothing":
            level = sigma.view(-1, *[1] * (x.dim() - 1))
            self.last_noise_uncond = uncond if self.keeps == "image" else (x - uncond) / level
        return uncond + cond_scale * (cond - uncond)


def sgm_uniform(steps: int) -> Tensor:
    """Evenly spaced timesteps that leave out the last, as the WebUI has them."""
    timesteps = torch.linspace(999, 0, steps + 1)[:-1]
    levels: Tensor = sampling.append_zero(SCHEDULE.t_to_sigma(timesteps)).double()
    return levels


def karras(steps: int) -> Tensor:
    """The schedule of Karras et al. over the model's levels."""
    levels: Tensor = sampling.get_sigmas_karras(steps, float(SCHEDULE.sigma_min), float(SCHEDULE.sigma_max)).double()
    return levels


def trailing(steps: int) -> Tensor:
    """The levels of trailing timesteps."""
    return sigmas_at(trailing_timesteps(steps), SCHEDULE).double()


SCHEDULES: dict[str, Callable[[int], Tensor]] = {"SGM uniform": sgm_uniform, "Karras": karras, "Trailing": trailing}


def noise_sampler(shape: tuple[int, ...], seed: int = 1, dtype: torch.dtype = torch.float64) -> Callable[..., Tensor]:
    """A source of noise that gives the same sequence again for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *_: torch.randn(shape, generator=generator, dtype=dtype)


def start(sigmas: Tensor, shape: tuple[int, ...] = (64, 1, 1, 1), seed: int = 0) -> Tensor:
    """Noise of the first level, in float64."""
    return sigmas[0].double() * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def near_unit() -> tuple[Mixture, Mixture]:
    """Three modes each, unconditional and conditional; of about unit variance, as latents are."""
    return (
        Mixture(((0.3, -0.9, 0.7), (0.4, 0.0, 0.7), (0.3, 0.9, 0.7))),
        Mixture(((0.3, -0.6, 0.7), (0.4, 0.3, 0.7), (0.3, 1.2, 0.7))),
    )


def skewed() -> tuple[Mixture, Mixture]:
    """Two unlike modes each, with other weights and widths under the condition; of about unit variance."""
    return (
        Mixture(((0.6, -0.5, 0.85), (0.4, 0.75, 0.7))),
        Mixture(((0.5, -0.3, 0.85), (0.5, 0.9, 0.75))),
    )


def separated() -> tuple[Mixture, Mixture]:
    """Two narrow modes, of which the condition leaves one."""
    return Mixture(((0.5, -1.0, 0.3), (0.5, 1.0, 0.3))), one(1.0, 0.3)
