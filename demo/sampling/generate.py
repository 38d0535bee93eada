"""Pictures of the embedded checkpoints, with a sampler by its name, a CFG and a method."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from demo.model.autoencoder import PIXELS_PER_LATENT, as_tensor
from demo.model.checkpoint import MiniModel
from demo.pictures.scenes import TRAINED_SIDE
from demo.sampling.denoiser import Denoiser, Given, GuidedDenoiser, NoiseDenoiser
from demo.sampling.named import SAMPLERS, SCHEDULE, schedule, strength
from lib_fewstep.compare.meter import Meter
from lib_fewstep.guidance import GuidanceSession, GuidanceSettings
from lib_fewstep.highres import HighResSession, HighResSettings, ModelHints, Report

HINTS = ModelHints(trained_size=TRAINED_SIDE)
STEPS = 20
GUIDANCE = 4.0

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass
class Generation:
    """Latents (n, 4, h / 8, w / 8), what guided and what it cost, and the method's report (None = plain).

    `guidance` is CFG, or the lambda of a CFG++ sampler.
    """

    latents: Tensor
    guidance: float
    evaluations: int
    meter: Meter
    report: Report | None = None


def seeded_noise(seeds: Sequence[int], size: Size) -> Callable[..., Tensor]:
    """Draws unit noise for pictures of `size`, each one's from its own seed: batches equal singles."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape = (4, *(side // PIXELS_PER_LATENT for side in size))
    return lambda *_: torch.stack([torch.randn(shape, generator=generator) for generator in generators])


@torch.inference_mode()
def generate(
    model: MiniModel,
    prompts: list[str],
    seeds: list[int],
    size: Size = (TRAINED_SIDE, TRAINED_SIDE),
    settings: HighResSettings | None = None,
    *,
    sampler: str = "Euler",
    cfg: float = GUIDANCE,
    steps: int = STEPS,
    sigmas: Tensor | None = None,
    start: Tensor | None = None,
    guidance: GuidanceSettings | None = None,
    negative: str = "",
    denoiser: Denoiser | None = None,
    told: Size | None = None,
) -> Generation:
    """Sample one picture of `size` per prompt and seed; `settings` None is the plain model.

    `sigmas` are Trailing's for `steps` unless they are given, `start` is noise of the first level unless it is given.
    `guidance` is for samplers without CFG++ in their names, `denoiser` for a UNet that does not predict noise; `told`
    is the size that SDXL is told, None that of the pictures. A sampler that adds noise gets each picture's from that
    picture's seed. Raises ValueError for unlike numbers of prompts and seeds, and what `HighResSession` raises for
    settings that cannot work.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts and {len(seeds)} seeds: one seed per prompt is needed")
    denoiser = denoiser or NoiseDenoiser(model.unet)
    sigmas = schedule(SCHEDULE, steps, denoiser) if sigmas is None else sigmas
    function, cond_scale = SAMPLERS[sampler], strength(sampler, cfg, sigmas)
    noise, meter = seeded_noise(seeds, size), Meter(torch.device("cpu"))
    first = noise() * float(sigmas[0])
    adds_noise = "noise_sampler" in inspect.signature(function).parameters
    latent_size = (size[0] // PIXELS_PER_LATENT, size[1] // PIXELS_PER_LATENT)
    hires = (
        None
        if settings is None
        else HighResSession(model.unet, settings, latent_size=latent_size, steps=len(sigmas) - 1, hints=HINTS)
    )
    guiding = None if guidance is None else GuidanceSession(guidance, sigmas.tolist(), unet=model.unet)
    with hires or nullcontext() as session, guiding or nullcontext():
        given = conditioning(model, prompts, told or size, negative)
        guided = GuidedDenoiser(denoiser, given, cond_scale, sigmas, session, guiding)
        meter.start(model.unet)
        try:
            more: dict[str, Any] = {"noise_sampler": noise} if adds_noise else {}
            latents = function(guided, first if start is None else start, sigmas, disable=True, **more)
        finally:
            meter.stop()
    return Generation(latents, cond_scale, guided.evaluations, meter, None if session is None else session.report)


def conditioning(model: MiniModel, prompts: list[str], size: Size, negative: str = "") -> Given:
    """What the UNet gets for prompts, and for the same negative prompt with each of them.

    To SDXL's it says the size as the WebUI does: the picture is uncut, and as large as it is made.
    """
    sizes = torch.tensor([[*size, 0, 0, *size]] * len(prompts))
    return Given(model.conditioning(prompts, sizes), model.conditioning([negative] * len(prompts), sizes))


@torch.inference_mode()
def encoded(model: MiniModel, pictures: npt.NDArray[np.float32]) -> Tensor:
    """The latents of pictures (n, h, w, 3) with values from 0 to 1."""
    mean, _ = model.autoencoder.moments(as_tensor(pictures))
    return mean * model.layout.scale_factor


@torch.inference_mode()
def decoded(model: MiniModel, latents: Tensor) -> npt.NDArray[np.float32]:
    """The pictures (n, h, w, 3) of latents, values about from 0 to 1, not clipped."""
    pictures = [model.autoencoder.decode(latent[None] / model.layout.scale_factor) for latent in latents]
    found: npt.NDArray[np.float32] = ((torch.cat(pictures) + 1) / 2).permute(0, 2, 3, 1).numpy()
    return found
