"""Where a pass is guided, for whoever makes one number of its guidance: an entry of the job's state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class GuidedLevels:
    """Whether the prompt guides at a noise level of the pass that runs."""

    guides: Callable[[float], bool]
