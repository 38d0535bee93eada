"""A pass that a tab of the page would start."""

from __future__ import annotations

from dataclasses import dataclass

from lib_fewstep.highres import Pass


@dataclass(frozen=True)
class PagePass:
    """A pass: its kind, (width, height) in pixels, executed steps, denoising strength.

    The steps are the last ones of a schedule of `scheduled` steps, or they are at Few-Step's custom `timesteps`.
    """

    kind: Pass
    size: tuple[int, int]
    steps: int
    denoise: float = 1.0
    scheduled: int = 0
    timesteps: tuple[int, ...] = ()
