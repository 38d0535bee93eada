"""What a sampler of k-diffusion's form calls: the guided UNet and its noise levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from demo.model.unet import alphas_cumprod
from lib_fewstep.guidance import GuidanceSession, Row
from lib_fewstep.highres import HighResSession
from lib_fewstep.models import HostModel, ModelDenoiser, ModelPlan
from lib_fewstep.models.kinds import NOISE


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


class NoiseDenoiser(NoiseLevels):
    """The images that a UNet sees which predicts the noise, as the embedded checkpoints' do."""

    def __init__(self, unet: nn.Module) -> None:
        """At the levels that it was trained on."""
        super().__init__()
        self._unet = unet

    def __call__(self, x: Tensor, sigma: Tensor, **given: Any) -> Tensor:
        """The images in `x` (n, 4, h, w) at the noise levels `sigma` (n,)."""
        level = sigma[:, None, None, None]
        scaled, times = x / (level**2 + 1).sqrt(), self.sigma_to_t(sigma).to(x)
        noise: Tensor = self._unet(scaled, times, **given)
        return x - level * noise


Denoiser = NoiseDenoiser | ModelDenoiser

HOST = HostModel(NOISE, alphas_cumprod())
"""A WebUI that knows of no kind takes every checkpoint for one that predicts noise."""


def planned(unet: nn.Module, plan: ModelPlan) -> ModelDenoiser:
    """The images that a UNet sees by a plan of the extension's library."""
    return ModelDenoiser(unet, plan.kind, plan.sigmas.float())


@dataclass(frozen=True)
class Given:
    """The conditioning of a run's rows: `prompted` of the prompts, `negative` of the negative ones."""

    prompted: dict[str, Any]
    negative: dict[str, Any]

    def of(self, negative: tuple[bool, ...]) -> dict[str, Any]:
        """That of a batch in which the negative prompts are where it says so, and the prompts elsewhere."""
        parts = [self.negative if each else self.prompted for each in negative]
        return {name: _joined([part[name] for part in parts]) for name in self.prompted}

    @property
    def negative_text(self) -> Tensor:
        """The embedding of the negative prompts, (n, tokens, channels)."""
        context = self.negative["context"]
        text: Tensor = context[0] if isinstance(context, list) else context
        return text


def _joined(values: Sequence[Any]) -> Any:
    """Tensors, or lists of a tensor for each transformer, as one batch."""
    if isinstance(values[0], list):
        return [torch.cat(tensors) for tensors in zip(*values, strict=True)]
    return torch.cat(list(values))


class GuidedDenoiser:
    """The UNet as the WebUI shows it to a sampler: guided images, and the unconditional ones on request.

    Each call is an evaluation: one batch of both halves, or of the prompts alone where guidance of 1 asks for no more.
    It tells a session the step of `sigmas` that it belongs to, which is also right for samplers that look between two
    levels.
    """

    uncond_is_image = True

    def __init__(
        self,
        denoiser: Denoiser,
        given: Given,
        cond_scale: float,
        sigmas: Tensor,
        session: HighResSession | None = None,
        guidance: GuidanceSession | None = None,
    ) -> None:
        """`given` is the conditioning of the prompts and of the negative ones, which `denoiser` is called with.

        `sigmas` (n + 1,) is the run's falling schedule. `guidance` is for samplers that do not read the unconditional
        image.
        """
        self.inner_model = denoiser
        self.need_last_noise_uncond = False
        self.last_noise_uncond: Tensor | None = None
        self.cond_scale = cond_scale
        self.evaluations = 0
        self._given, self._session, self._guidance = given, session, guidance
        self._starts = sigmas[:-1].tolist()

    def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        """The guided image in `x` (n, 4, h, w) at the noise levels `sigma` (n,), which are all the same."""
        self.evaluations += 1
        if self._session is not None:
            self._session.at_step(self._step_at(float(sigma[0])))
        if self._guidance is not None:
            evaluate = partial(self._images, sigma)
            return self._guidance.denoised(x, sigma, self.cond_scale, evaluate, self._given.negative_text)
        if self.cond_scale == 1 and not self.need_last_noise_uncond:
            return self._images(sigma, x, [Row.PROMPT])
        conditional, unconditional = self._images(sigma, x, [Row.PROMPT, Row.NEGATIVE]).chunk(2)
        if self.need_last_noise_uncond:
            self.last_noise_uncond = unconditional
        return unconditional + self.cond_scale * (conditional - unconditional)

    def _images(self, sigma: Tensor, x: Tensor, kinds: Sequence[Row]) -> Tensor:
        """What the UNet sees in `x` for each kind of row, (kinds * n, 4, h, w)."""
        count = len(kinds)
        given = self._given.of(tuple(kind in (Row.NEGATIVE, Row.DEGRADED) for kind in kinds))
        images: Tensor = self.inner_model(x.repeat(count, 1, 1, 1), sigma.repeat(count), **given)
        return images

    def _step_at(self, sigma: float) -> int:
        """The last step that starts at `sigma` or above, up to rounding."""
        started = [index for index, start in enumerate(self._starts) if start >= sigma * (1 - 1e-5)]
        return max(started, default=0)
