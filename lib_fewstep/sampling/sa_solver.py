"""SA-Solver (arXiv 2309.05019): a stochastic Adams method, predictor and corrector, in terms of sigma."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lib_fewstep.sampling.steps import Callback, NoiseSampler, Run


def tau_in_the_middle(place: float, share: float = 1.0) -> float:
    """A share of stochasticity from a fifth to four fifths of the timesteps and none outside.

    1 is the paper's setting for images, from timestep 200 to 800 of 1000.
    """
    return share if 0.2 <= place <= 0.8 else 0.0


@torch.no_grad()
def sample_sa_solver(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    noise_sampler: NoiseSampler | None = None,
    predictor_order: int = 2,
    corrector_order: int = 2,
    tau: Callable[[float], float] = tau_in_the_middle,
) -> Tensor:
    """SA-Solver with one evaluation a step: the corrector uses the evaluation that the next prediction needs.

    `tau(place)` is the share of stochasticity at a place among the model's timesteps, 0 to 1: 0 solves the ODE, 1 the
    SDE. Orders count the images in use;
    they are lower in the first steps and in the last ones; a corrector of order 0 is none. `model.inner_model` needs
    `sigma_to_t`, as k-diffusion's denoisers have it.
    """
    run = Run(model, x, sigmas, extra_args, callback, disable, noise_sampler)
    steps = len(sigmas) - 1
    history: list[tuple[float, Tensor]] = []  # (-log sigma, image), newest first
    corrector: _Update | None = None
    for step in run.steps():
        denoised = run.denoised(x, step.sigma)
        now = -math.log(step.sigma)
        history = [(now, denoised), *(earlier for earlier in history if earlier[0] != now)]
        if corrector is not None and corrector_order > 0:
            x = corrector.to(history, min(corrector_order, steps - step.index + 2))
        run.report(step, x, denoised)
        if step.last:
            x = denoised
        else:
            corrector = _Update(x, step.sigma, step.sigma_next, tau(run.place(step.sigma)), run.noise(step))
            x = corrector.to(history, min(predictor_order, steps - step.index))
            history = history[: max(predictor_order, corrector_order - 1)]
    return x


class _Update:
    """The way from a sample at one noise level to the next, for any images that it is computed from."""

    def __init__(self, x: Tensor, sigma: float, sigma_next: float, tau: float, noise: Tensor) -> None:
        self._h = math.log(sigma / sigma_next)
        self._end = -math.log(sigma_next)
        self._rate = 1 + tau**2
        fresh = sigma_next * math.sqrt(-math.expm1(-2 * tau**2 * self._h))
        self._from_x_and_noise = sigma_next / sigma * math.exp(-(tau**2) * self._h) * x + fresh * noise

    def to(self, history: list[tuple[float, Tensor]], order: int) -> Tensor:
        """The sample at the end, from the newest `order` of `history`."""
        used = history[:order]
        distances = [self._end - then for then, _ in used]
        x = self._from_x_and_noise
        for weight, (_, image) in zip(self._weights(distances), used, strict=True):
            x = x + weight * image
        return x

    def _weights(self, distances: list[float]) -> list[float]:
        """Weights of images at these distances (in -log sigma) from the end.

        They integrate polynomials of their order against the decay of the update exactly. Two images follow the
        authors' implementation instead, whose second moment is the undamped rate * h^2 / 2.
        """
        moments = self._moments(len(distances))
        if len(distances) == 2:
            slope = self._rate * self._h**2 / 2 / (distances[1] - distances[0])
            return [moments[0] + slope, -slope] if distances[0] > 0 else [slope, moments[0] - slope]
        nodes = torch.tensor(distances, dtype=torch.float64)
        powers = nodes ** torch.arange(len(distances), dtype=torch.float64)[:, None]
        weights: list[float] = torch.linalg.solve(powers, torch.tensor(moments, dtype=torch.float64)).tolist()
        return weights

    def _moments(self, count: int) -> list[float]:
        """Integrals of rate * exp(-rate s) s^j over the step, by parts, for j below `count`."""
        decay = math.exp(-self._rate * self._h)
        moments = [1 - decay]
        for power in range(1, count):
            moments.append(power / self._rate * moments[-1] - self._h**power * decay)
        return moments
