"""The guided denoiser of the checkpoint that has no sizes: its conditioning is the context alone."""

from __future__ import annotations

from torch import Tensor, nn

from demo.sampling import denoiser
from lib_fewstep.highres import HighResSession


class GuidedDenoiser(denoiser.GuidedDenoiser):
    """The same, given the context of prompts and empty prompts."""

    def __init__(
        self, unet: nn.Module, context: Tensor, cond_scale: float, sigmas: Tensor, session: HighResSession | None = None
    ) -> None:
        """`context` holds the prompts and as many empty ones, `sigmas` (n + 1,) is the run's falling schedule."""
        prompted, _ = context.chunk(2)
        super().__init__(unet, ({"context": prompted}, {"context": context}), cond_scale, sigmas, session)
