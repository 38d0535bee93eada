"""Generation with the embedded host: any sampler of k-diffusion's form over trailing timesteps, with guidance."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from demo.checkpoint import MiniModel
from demo.denoiser import GuidedDenoiser
from demo.sampling.denoiser import trailing_sigmas
from demo.sampling.samplers import Sampler, sample_euler
from demo.scenes import TRAINED_SIDE
from lib_fewstep.compare.meter import Meter
from lib_fewstep.highres import HighResSession, HighResSettings, ModelHints, Report

PIXELS_PER_LATENT = 8
HINTS = ModelHints(trained_size=TRAINED_SIDE * PIXELS_PER_LATENT)
STEPS = 20
GUIDANCE = 4.0


@dataclass
class Generation:
    """Latents (n, 4, height, width), what their sampling cost, and the method's report (None = plain)."""

    latents: Tensor
    evaluations: int
    meter: Meter
    report: Report | None = None


def seeded_noise(seeds: list[int], size: tuple[int, int]) -> Callable[..., Tensor]:
    """Draws unit noise (len(seeds), 4, height, width), each image's from its own seed: batches equal singles."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return lambda *_: torch.stack([torch.randn(4, *size, generator=generator) for generator in generators])


@torch.inference_mode()
def generate(
    model: MiniModel,
    prompts: list[str],
    seeds: list[int],
    size: tuple[int, int] = (TRAINED_SIDE, TRAINED_SIDE),
    settings: HighResSettings | None = None,
    *,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    sampler: Sampler = sample_euler,
) -> Generation:
    """Sample one latent of `size` (height, width) per prompt and seed; `settings` None is the plain model.

    `guidance` is what the denoiser guides with, lambda for a CFG++ sampler. A sampler that adds noise gets each image's
    from that image's seed. Raises UnknownPromptError for a prompt outside the vocabulary, ValueError for unlike numbers
    of prompts and seeds, and what `HighResSession` raises for settings that cannot work.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts and {len(seeds)} seeds: one seed per prompt is needed")
    context = model.text([*prompts, *[""] * len(prompts)])
    sigmas = trailing_sigmas(steps)
    noise, meter = seeded_noise(seeds, size), Meter(torch.device("cpu"))
    start = noise() * float(sigmas[0])
    adds_noise = "noise_sampler" in inspect.signature(sampler).parameters
    hires = (
        None if settings is None else HighResSession(model.unet, settings, latent_size=size, steps=steps, hints=HINTS)
    )
    with hires or nullcontext() as session:
        guided = GuidedDenoiser(model.unet, context, guidance, sigmas, session)
        meter.start(model.unet)
        try:
            latents = sampler(guided, start, sigmas, disable=True, **({"noise_sampler": noise} if adds_noise else {}))
        finally:
            meter.stop()
    return Generation(latents, guided.evaluations, meter, None if session is None else session.report)
