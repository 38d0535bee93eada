"""Exact models of every kind over every noise schedule: networks whose output is made of a mixture's denoised image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor

from bench.kdiffusion import sampling
from bench.mixtures import Mixture, Model
from lib_fewstep.models import (
    KINDS,
    NAMED,
    STABLE_DIFFUSION,
    ModelDenoiser,
    NoiseSchedule,
    levels_of,
    shifted,
    sigmas_of,
    with_zero_terminal_snr,
)
from lib_fewstep.models.kinds import EDM, EDM_V, FLOW, FLOW_TIME, NOISE, V
from lib_fewstep.sampling.schedules import GRIDS
from tests.models.networks import length, output

SHARES = {
    "Stable Diffusion": STABLE_DIFFUSION.alphas_cumprod(),
    **{name: schedule.alphas_cumprod() for name, schedule in NAMED.items()},
    "custom": NoiseSchedule("Linear", 0.001, 0.03, 500).alphas_cumprod(),
    "zero terminal SNR": with_zero_terminal_snr(STABLE_DIFFUSION.alphas_cumprod()),
    "shifted": shifted(STABLE_DIFFUSION.alphas_cumprod(), 2.0),
}


@dataclass(frozen=True)
class Trained:
    """A kind of model, by its name, and the rising noise levels of its timesteps."""

    kind: str
    table: Tensor

    @property
    def flow(self) -> bool:
        """Whether noisy latents are sigma * noise + (1 - sigma) * image."""
        return self.kind == FLOW

    def kept(self, sigma: float | Tensor) -> float | Tensor:
        """How much of the image is in noisy latents."""
        return 1 - sigma if self.flow else 1.0

    @property
    def denoiser(self) -> ModelDenoiser:
        """What knows its timesteps and noise levels; without a network."""
        return ModelDenoiser(lambda x, time: x, KINDS[self.kind], self.table)

    def start(self, shape: tuple[int, ...], seed: int = 0) -> Tensor:
        """Unit noise times the highest level, in float64."""
        generator = torch.Generator().manual_seed(seed)
        return self.table[-1] * torch.randn(shape, generator=generator, dtype=torch.float64)


TRAINED = {
    **{f"{kind} {name}": Trained(kind, sigmas_of(shares)) for name, shares in SHARES.items() for kind in (NOISE, V)},
    **{name: Trained(name, levels_of(KINDS[name])) for name in (EDM, EDM_V, FLOW)},
}
each_model = pytest.mark.parametrize("trained", TRAINED.values(), ids=TRAINED)


def seen(mixture: Mixture, x: Tensor, sigma: Tensor, kept: float | Tensor = 1.0) -> Tensor:
    """The posterior mean of the data, given `x` = kept * data + sigma * noise, also where nothing is kept."""
    logs, means = [], []
    for weight, mean, std in mixture.parts:
        total = (kept * std) ** 2 + sigma**2
        logs.append(torch.log(weight / total**0.5) - (x - kept * mean) ** 2 / (2 * total))
        means.append(mean + kept * std**2 / total * (x - kept * mean))
    image: Tensor = (torch.stack(logs).softmax(dim=0) * torch.stack(means)).sum(dim=0)
    return image


def share_below(mixture: Mixture, x: Tensor, sigma: float, kept: float | Tensor = 1.0) -> Tensor:
    """The share of kept * data + sigma * noise that lies below `x`; the exact flow from level to level keeps it."""
    return Mixture(tuple((w, kept * mean, kept * std) for w, mean, std in mixture.parts)).below(x, sigma)


class Exact(ModelDenoiser):
    """A denoiser of this project around a network that is exact for a mixture."""

    def __init__(self, trained: Trained, mixture: Mixture) -> None:
        super().__init__(self._output, KINDS[trained.kind], trained.table)
        self._trained, self._mixture = trained, mixture

    def _output(self, x: Tensor, time: Tensor) -> Tensor:
        """What the network has learnt: it is given scaled latents and the time of its kind."""
        sigma = self._level(time).reshape(-1, 1, 1, 1).to(x)
        noisy, kept = length(self._trained.kind, sigma) * x, self._trained.kept(sigma)
        image = seen(self._mixture, noisy, sigma, kept)
        said: Tensor = output(self._trained.kind, image, (noisy - kept * image) / sigma, sigma)
        return said

    def _level(self, time: Tensor) -> Tensor:
        if self._trained.flow:
            return time / FLOW_TIME
        return (4 * time).exp() if self.kind.levels is not None else self.t_to_sigma(time)


class ExactModel(Model):
    """The same with guidance, as the WebUI hands it to samplers."""

    def __init__(self, trained: Trained, uncond: Mixture, cond: Mixture | None = None) -> None:
        super().__init__(uncond, cond)
        self.inner_model = trained.denoiser
        self._images = Exact(trained, self.uncond), Exact(trained, self.cond)

    def __call__(self, x: Tensor, sigma: Tensor, cond_scale: float = 1.0) -> Tensor:
        """The guided image."""
        self.calls += 1
        uncond = self._images[0](x, sigma)
        self.last_noise_uncond = uncond
        return uncond if self.cond is self.uncond else uncond + cond_scale * (self._images[1](x, sigma) - uncond)


def _spaced(levels: Callable[..., Tensor], steps: int, trained: Trained) -> Tensor:
    """A schedule of k-diffusion's; float32 puts its ends a little outside of the table, where no network is exact."""
    low, high = float(trained.table[0]), float(trained.table[-1])
    found: Tensor = levels(steps, low, high).double()
    return torch.cat([found[:-1].clamp(low, high), found[-1:]])


def _at_timesteps(name: str, steps: int, trained: Trained) -> Tensor:
    return GRIDS[name].levels(steps, trained.denoiser, False).double()


SCHEDULES: dict[str, Callable[[int, Trained], Tensor]] = {
    "Karras": partial(_spaced, sampling.get_sigmas_karras),
    "Exponential": partial(_spaced, sampling.get_sigmas_exponential),
    "Trailing": partial(_at_timesteps, "trailing"),
    "Beta": partial(_at_timesteps, "beta_timesteps"),
}
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
