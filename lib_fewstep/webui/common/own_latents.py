"""That the model of a pass has latents of its own, for whoever brings others: an entry of the job's state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class OwnLatents:
    """The model's latents (n, c, h, w), of the host's."""

    of_host: Callable[[Tensor], Tensor]
