"""Generation with the embedded host: any sampler of k-diffusion's form over trailing timesteps, with guidance."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from demo.checkpoint import MiniModel
from demo.denoiser import GuidedDenoiser
from demo.scenes import TRAINED_SIDE
from demo.schedule import training_sigmas
from lib_fewstep.compare.meter import Meter
from lib_fewstep.highres import HighResSession, HighResSettings, ModelHints, Report
from lib_fewstep.sampling import trailing_timesteps
from lib_fewstep.sampling.steps import Callback, Run

PIXELS_PER_LATENT = 8
HINTS = ModelHints(trained_size=TRAINED_SIDE * PIXELS_PER_LATENT)
STEPS = 20
GUIDANCE = 4.0

Sampler = Callable[..., Tensor]
"""What k-diffusion's samplers are: called with the denoiser, the start, the noise levels and `disable`; those that
add noise take a `noise_sampler` too."""


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


def trailing_sigmas(steps: int) -> Tensor:
    """The noise levels of a run over trailing timesteps, and 0: (steps + 1,), in float32, as k-diffusion needs them."""
    sigmas = training_sigmas()[trailing_timesteps(steps)].float()
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def sample_euler(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,  # noqa: FBT001
) -> Tensor:
    """k-diffusion's Euler sampler, without its churn."""
    run = Run(model, x, sigmas, extra_args, callback, disable)
    for step in run.steps():
        denoised = run.denoised(x, step.sigma)
        run.report(step, x, denoised)
        x = denoised + step.ratio * (x - denoised)
    return x


def sample_dpmpp_2m(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,  # noqa: FBT001
) -> Tensor:
    """DPM-Solver++ (2M) of Lu et al., arXiv 2211.01095: Euler's step towards an image that is carried on.

    It lies on the line in -log(sigma) through the last two, in the middle of the step. First and last step have none.
    """
    run = Run(model, x, sigmas, extra_args, callback, disable)
    previous: tuple[float, Tensor] | None = None
    for step in run.steps():
        denoised = run.denoised(x, step.sigma)
        run.report(step, x, denoised)
        image = denoised
        if previous is not None and not step.last:
            h_previous, denoised_previous = previous
            image = denoised + step.h / (2 * h_previous) * (denoised - denoised_previous)
        x = image + step.ratio * (x - image)
        previous = step.h, denoised
    return x


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
