"""Generation with the embedded host: k-diffusion's Euler sampler over trailing timesteps, with guidance."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from demo.checkpoint import MiniModel
from demo.scenes import TRAINED_SIDE
from demo.schedule import trailing_timesteps, training_sigmas
from lib_fewstep.hires import HiResSession, HiResSettings, ModelHints, Report

PIXELS_PER_LATENT = 8
HINTS = ModelHints(trained_size=TRAINED_SIDE * PIXELS_PER_LATENT)
STEPS = 20
GUIDANCE = 4.0


@dataclass
class Generation:
    """Latents (n, 4, height, width), seconds spent inside the UNet, and the method's report (None = plain)."""

    latents: Tensor
    unet_seconds: float
    report: Report | None = None


@dataclass
class GuidedUNet:
    """The UNet as a sampler sees it: guidance over one batch of both halves, and a clock around each call."""

    unet: nn.Module
    context: Tensor
    guidance: float
    seconds: float = field(default=0.0)

    def __call__(self, x: Tensor, sigma: float, timestep: int) -> Tensor:
        """The guided noise prediction for `x` (n, 4, h, w) at noise level `sigma`."""
        scaled = x / (sigma**2 + 1) ** 0.5
        times = torch.full((2 * len(x),), timestep)
        started = time.perf_counter()
        both: Tensor = self.unet(torch.cat([scaled, scaled]), times, context=self.context)
        self.seconds += time.perf_counter() - started
        wanted, unconditional = both.chunk(2)
        return unconditional + self.guidance * (wanted - unconditional)


def seeded_noise(seeds: list[int], size: tuple[int, int]) -> Tensor:
    """Unit noise (len(seeds), 4, height, width), each image's from its own seed: batches equal singles."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.stack([torch.randn(4, *size, generator=generator) for generator in generators])


@torch.inference_mode()
def generate(
    model: MiniModel,
    prompts: list[str],
    seeds: list[int],
    size: tuple[int, int] = (TRAINED_SIDE, TRAINED_SIDE),
    settings: HiResSettings | None = None,
    *,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
) -> Generation:
    """Sample one latent of `size` (height, width) per prompt and seed; `settings` None is the plain model.

    Raises UnknownPromptError for a prompt outside the vocabulary, ValueError for unlike numbers of prompts and
    seeds, and what `HiResSession` raises for settings that cannot work.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts and {len(seeds)} seeds: one seed per prompt is needed")
    context = model.text([*prompts, *[""] * len(prompts)])
    guided = GuidedUNet(model.unet, context, guidance)
    noise = seeded_noise(seeds, size)
    if settings is None:
        latents = sample_euler(guided, noise, steps)
        return Generation(latents, guided.seconds)
    with HiResSession(model.unet, settings, latent_size=size, steps=steps, hints=HINTS) as session:
        latents = sample_euler(guided, noise, steps, session)
    return Generation(latents, guided.seconds, session.report)


def sample_euler(guided: GuidedUNet, noise: Tensor, steps: int, session: HiResSession | None = None) -> Tensor:
    """Euler's method of k-diffusion from the largest noise level down to zero; tells `session` each step."""
    timesteps = trailing_timesteps(steps)
    sigmas = [float(sigma) for sigma in training_sigmas()[timesteps]] + [0.0]
    x = noise * sigmas[0]
    for index, timestep in enumerate(timesteps):
        if session is not None:
            session.at_step(index)
        slope = guided(x, sigmas[index], timestep)
        x = x + slope * (sigmas[index + 1] - sigmas[index])
    return x
