"""What every sampler here shares: the steps of a schedule, the ancestral split, the noise, the guided denoiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import trange

from lib_fewstep.sampling.schedules import trained_steps
from lib_fewstep.sampling.uncond import MissingUncondError, is_noise

Callback = Callable[[dict[str, Any]], None]
NoiseSampler = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Step:
    """From `sigma` to `sigma_next`, which is lower and may be 0."""

    index: int
    sigma: float
    sigma_next: float

    @property
    def ratio(self) -> float:
        """The share of the noise level that is left after the step."""
        return self.sigma_next / self.sigma

    @property
    def last(self) -> bool:
        """Whether the step ends without noise."""
        return self.sigma_next == 0

    @property
    def h(self) -> float:
        """The step's width in -log(sigma); infinite for the last one."""
        return math.inf if self.last else math.log(self.sigma / self.sigma_next)

    def ancestral(self, eta: float) -> tuple[float, float]:
        """(sigma_down, sigma_up): how far to go down, and how much fresh noise leads back up to `sigma_next`."""
        up = min(self.sigma_next, eta * self.sigma_next * math.sqrt(max(1 - self.ratio**2, 0.0)))
        return math.sqrt(self.sigma_next**2 - up**2), up


def steps_of(sigmas: Tensor) -> list[Step]:
    """The steps of a falling schedule (n + 1,); from a noise level of 0 there is none."""
    levels = sigmas.tolist()
    return [Step(i, *levels[i : i + 2]) for i in range(len(levels) - 1) if levels[i] > 0]


class Run:
    """One run over a schedule: calls the denoiser, tells the callback, draws the noise."""

    def __init__(
        self,
        model: Any,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any] | None,
        callback: Callback | None,
        disable: bool | None,
        noise_sampler: NoiseSampler | None = None,
    ) -> None:
        """In k-diffusion's terms; without a `noise_sampler` noise comes from torch's own generator."""
        self.model, self._sigmas, self._callback, self._disable = model, sigmas, callback, disable
        self._extra_args = {} if extra_args is None else extra_args
        self._noise_sampler = noise_sampler or (lambda sigma, sigma_next: torch.randn_like(x))

    def steps(self) -> Iterator[Step]:
        """The steps, with a progress bar."""
        steps = steps_of(self._sigmas)
        for index in trange(len(steps), disable=self._disable):
            yield steps[index]

    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        """One evaluation: the image that the model sees in `x` (n, c, h, w) at noise level `sigma`."""
        image: Tensor = self.model(x, x.new_full((len(x),), sigma), **self._extra_args)
        return image

    def report(self, step: Step, x: Tensor, denoised: Tensor) -> None:
        """Tell the callback of the step that is about to be taken, in k-diffusion's words."""
        if self._callback is not None:
            sigma = self._sigmas[step.index]
            self._callback({"x": x, "i": step.index, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})

    def timestep(self, sigma: float) -> float:
        """The model's timestep at a noise level, by its own `sigma_to_t`, without what float32 adds."""
        inner = self.model.inner_model
        return round(float(inner.sigma_to_t(torch.tensor([sigma], device=inner.sigmas.device))), 2)

    def place(self, sigma: float) -> float:
        """The same as a share of how many timesteps the model has."""
        return self.timestep(sigma) / trained_steps(self.model.inner_model)

    def sigma_at(self, timestep: float) -> float:
        """The noise level at a timestep, by the model's own `t_to_sigma`."""
        inner = self.model.inner_model
        return float(inner.t_to_sigma(torch.tensor([timestep], device=inner.sigmas.device)))

    def noise(self, step: Step) -> Tensor:
        """Fresh noise of unit variance for a step."""
        return self._noise_sampler(self._sigmas[step.index], self._sigmas[step.index + 1])


class GuidedRun(Run):
    """A run whose denoiser also gives its unconditional image."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As `Run`; asks the denoiser to keep its unconditional output."""
        super().__init__(*args, **kwargs)
        self.model.need_last_noise_uncond = True
        self._keeps_noise: bool | None = False if getattr(self.model, "uncond_is_image", False) else None

    def both(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """One evaluation: the guided image and the unconditional one.

        Raises MissingUncondError if the denoiser keeps no unconditional output. A denoiser with a true
        `uncond_is_image` keeps the image; for others `is_noise` guesses at the first evaluation.
        """
        self.model.last_noise_uncond = None
        denoised = self.denoised(x, sigma)
        kept: Tensor | None = self.model.last_noise_uncond
        if kept is None:
            raise MissingUncondError(f"CFG++ needs the unconditional output, which {_name(self.model)} does not keep.")
        if self._keeps_noise is None:
            self._keeps_noise = is_noise(kept, x, sigma, denoised)
        return denoised, x - sigma * kept if self._keeps_noise else kept


def _name(model: Any) -> str:
    return type(model).__name__
