"""A Gaussian blur over maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def blurred(maps: Tensor, sigma: float, reach: int) -> Tensor:
    """Maps (n, c, h, w) after a Gaussian of deviation `sigma` and 2 * `reach` + 1 places, mirrored at their edges.

    Its width along a side is at most what can be mirrored there. Computed in float32 at least.
    """
    found = maps.to(torch.promote_types(maps.dtype, torch.float32))
    for axis in (2, 3):
        near = min(reach, maps.shape[axis] - 1)
        places = torch.arange(-near, near + 1, dtype=found.dtype, device=found.device)
        weights = torch.exp(-((places / sigma) ** 2) / 2)
        padding = (0, 0, near, near) if axis == 2 else (near, near, 0, 0)
        windows = functional.pad(found, padding, mode="reflect").unfold(axis, len(places), 1)
        found = (windows * (weights / weights.sum())).sum(-1)
    return found.to(maps)
