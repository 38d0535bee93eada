"""What a sampler of k-diffusion's form calls in the embedded host: the guided UNet and its noise levels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from demo.schedule import TRAIN_STEPS, training_sigmas
from lib_fewstep.highres import HighResSession


class NoiseLevels:
    """The UNet's noise levels under k-diffusion's names; a sampler finds them at its model's `inner_model`."""

    def __init__(self) -> None:
        """The levels of the schedule that the checkpoint was trained on."""
        self.sigmas = training_sigmas().float()
        self._log_sigmas = training_sigmas().log()

    def t_to_sigma(self, timestep: Tensor) -> Tensor:
        """The noise level, float32, at each timestep, also between two of them."""
        place = timestep.double().clamp(0, TRAIN_STEPS - 1)
        low = place.floor().long()
        return torch.lerp(self._log_sigmas[low], self._log_sigmas[place.ceil().long()], place - low).exp().float()

    def sigma_to_t(self, sigma: Tensor) -> Tensor:
        """The timestep, float64 and not rounded, at each noise level."""
        log_sigma = sigma.double().log().clamp(self._log_sigmas[0], self._log_sigmas[-1])
        high = torch.searchsorted(self._log_sigmas, log_sigma).clamp(1, TRAIN_STEPS - 1)
        below, above = self._log_sigmas[high - 1], self._log_sigmas[high]
        return high - 1 + (log_sigma - below) / (above - below)


class GuidedDenoiser:
    """The UNet as the WebUI shows it to a sampler: guided images, and the unconditional ones on request.

    Each call is an evaluation, which runs one batch of both halves. It tells a session the step of `sigmas` that it
    belongs to, which is also right for samplers that look between two levels.
    """

    def __init__(
        self, unet: nn.Module, context: Tensor, cond_scale: float, sigmas: Tensor, session: HighResSession | None = None
    ) -> None:
        """`context` holds the prompts and as many empty ones, `sigmas` (n + 1,) is the run's falling schedule."""
        self.inner_model = NoiseLevels()
        self.need_last_noise_uncond = False
        self.last_noise_uncond: Tensor | None = None
        self.cond_scale = cond_scale
        self.evaluations = 0
        self._unet, self._context, self._session = unet, context, session
        self._starts = sigmas[:-1].tolist()

    def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        """The guided image in `x` (n, 4, h, w) at the noise levels `sigma` (n,), which are all the same."""
        self.evaluations += 1
        if self._session is not None:
            self._session.at_step(self._step_at(float(sigma[0])))
        level = sigma[:, None, None, None]
        conditional, unconditional = (x - level * noise for noise in self._noise(x / (level**2 + 1).sqrt(), sigma))
        if self.need_last_noise_uncond:
            self.last_noise_uncond = unconditional
        return unconditional + self.cond_scale * (conditional - unconditional)

    def _noise(self, scaled: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The noise that the UNet sees with the prompts and without."""
        times = self.inner_model.sigma_to_t(sigma).to(scaled)
        both: Tensor = self._unet(torch.cat([scaled, scaled]), torch.cat([times, times]), context=self._context)
        conditional, unconditional = both.chunk(2)
        return conditional, unconditional

    def _step_at(self, sigma: float) -> int:
        """The last step that starts at `sigma` or above, up to rounding."""
        started = [index for index, start in enumerate(self._starts) if start >= sigma * (1 - 1e-5)]
        return max(started, default=0)
