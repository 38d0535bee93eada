"""A pass that a tab of the page would start."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from lib_fewstep.highres import Pass
from lib_fewstep.sentences import Sentence
from lib_fewstep.webui.common.translate import in_language


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


def lines_of(said: Sequence[str]) -> str:
    """What is said of each pass, as HTML in the page's language; of two passes with their names."""
    if len(said) > 1:
        said = [Sentence("First pass: {what}", what=said[0]), Sentence("Hires pass: {what}", what=said[1])]
    return "<br>".join(html.escape(in_language(line)) for line in said)
