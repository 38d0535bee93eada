"""What a sampler of k-diffusion's form calls: the guided UNet and its noise levels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from demo.model.unet import alphas_cumprod
from lib_fewstep.highres import HighResSession


class NoiseLevels:
    """The UNet's noise levels under k-diffusion's names; a sampler finds them at its model's `inner_model`."""

    def __init__(self) -> None:
        """The levels of the schedule that the checkpoints were trained on."""
        self.sigmas = training_sigmas().float()
        self._log_sigmas = training_sigmas().log()

    def t_to_sigma(self, timestep: Tensor) -> Tensor:
        """The noise level, float32, at each timestep, also between two of them."""
        place = timestep.double().clamp(0, len(self.sigmas) - 1)
        low = place.floor().long()
        return torch.lerp(self._log_sigmas[low], self._log_sigmas[place.ceil().long()], place - low).exp().float()

    def sigma_to_t(self, sigma: Tensor) -> Tensor:
        """The timestep, float64 and not rounded, at each noise level."""
        log_sigma = sigma.double().log().clamp(self._log_sigmas[0], self._log_sigmas[-1])
        high = torch.searchsorted(self._log_sigmas, log_sigma).clamp(1, len(self.sigmas) - 1)
        below, above = self._log_sigmas[high - 1], self._log_sigmas[high]
        return high - 1 + (log_sigma - below) / (above - below)


def training_sigmas() -> Tensor:
    """Noise level of each training step in k-diffusion's form, (1000,), float64, rising."""
    kept = alphas_cumprod()
    return ((1 - kept) / kept).sqrt()


class GuidedDenoiser:
    """The UNet as the WebUI shows it to a sampler: guided images, and the unconditional ones on request.

    Each call is an evaluation: one batch of both halves, or of the prompts alone where guidance of 1 asks for no more.
    It tells a session the step of `sigmas` that it belongs to, which is also right for samplers that look between two
    levels.
    """

    uncond_is_image = True

    def __init__(
        self,
        unet: nn.Module,
        given: tuple[dict[str, Any], dict[str, Any]],
        cond_scale: float,
        sigmas: Tensor,
        session: HighResSession | None = None,
    ) -> None:
        """`given` is the conditioning of the prompts, and that of prompts and negative prompts in one batch.

        `sigmas` (n + 1,) is the run's falling schedule.
        """
        self.inner_model = NoiseLevels()
        self.need_last_noise_uncond = False
        self.last_noise_uncond: Tensor | None = None
        self.cond_scale = cond_scale
        self.evaluations = 0
        self._unet, self._given, self._session = unet, given, session
        self._starts = sigmas[:-1].tolist()

    def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        """The guided image in `x` (n, 4, h, w) at the noise levels `sigma` (n,), which are all the same."""
        self.evaluations += 1
        if self._session is not None:
            self._session.at_step(self._step_at(float(sigma[0])))
        level = sigma[:, None, None, None]
        scaled, times = x / (level**2 + 1).sqrt(), self.inner_model.sigma_to_t(sigma).to(x)
        prompted, both = self._given
        if self.cond_scale == 1 and not self.need_last_noise_uncond:
            alone: Tensor = x - level * self._unet(scaled, times, **prompted)
            return alone
        noise: Tensor = self._unet(torch.cat([scaled, scaled]), torch.cat([times, times]), **both)
        conditional, unconditional = (x - level * half for half in noise.chunk(2))
        if self.need_last_noise_uncond:
            self.last_noise_uncond = unconditional
        return unconditional + self.cond_scale * (conditional - unconditional)

    def _step_at(self, sigma: float) -> int:
        """The last step that starts at `sigma` or above, up to rounding."""
        started = [index for index, start in enumerate(self._starts) if start >= sigma * (1 - 1e-5)]
        return max(started, default=0)
