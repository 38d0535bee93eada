"""Dynamic thresholding (Saharia et al. 2022, arXiv 2205.11487, section 2.3), in latents and around their mean."""

from __future__ import annotations

import torch
from torch import Tensor


def thresholded(guided: Tensor, mimicked: Tensor, percentile: float) -> Tensor:
    """The guided image brought to the range of one with weaker guidance, channel by channel.

    `guided` and `mimicked` are denoised images (n, c, h, w) at the CFG that is wanted and at the CFG whose range the
    colours are to have. A channel of `guided` is clamped at its distance of this `percentile` (0 to 1, 1 is the
    largest) from its mean, or at the largest distance in `mimicked` where that is more; then it is scaled to the
    latter, around its own mean. Where both images are the same and `percentile` is 1 nothing changes.
    """
    mean = guided.mean(dim=(2, 3), keepdim=True)
    away = guided - mean
    wanted = (mimicked - mimicked.mean(dim=(2, 3), keepdim=True)).abs().amax(dim=(2, 3), keepdim=True)
    distances = away.abs().flatten(2)
    precise = distances.to(torch.promote_types(distances.dtype, torch.float32))
    reached = torch.quantile(precise, percentile, dim=2, keepdim=True)[..., None].to(guided)
    limit = torch.maximum(reached, wanted)
    scale = torch.where(limit > 0, wanted / limit, torch.ones_like(limit))
    return mean + away.clamp(-limit, limit) * scale
