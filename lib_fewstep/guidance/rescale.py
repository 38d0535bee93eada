"""Rescaled guidance (Lin et al. 2024, arXiv 2305.08891, section 3.4): the contrast of the conditional image."""

from __future__ import annotations

import torch
from torch import Tensor


def rescaled(denoised: Tensor, cond: Tensor, x: Tensor, sigma: Tensor | float, phi: float) -> Tensor:
    """A guided image whose velocity has the standard deviation of the conditional one, as far as `phi` says.

    All images are (n, c, h, w) in latents; `x` is what the model was given at noise level `sigma` (a number, or one for
    each row); at a level of 0 nothing changes. `phi` is 0 (the guided image as it is) to 1; the paper takes 0.7 for
    v-prediction.

    The paper's equations 15 and 16 are for a v-predicting model's output, so images are turned into velocities and back
    here, whatever the model predicts; on the images themselves greys would move.
    """
    if phi == 0:
        return denoised
    precise = torch.promote_types(x.dtype, torch.float32)  # float16 cannot hold the square of a high noise level
    level = torch.as_tensor(sigma, dtype=precise, device=x.device).reshape(-1, 1, 1, 1)
    root = (level**2 + 1).sqrt()
    mean, slope = x / root**2, level / root
    velocity, cond_velocity = (mean - denoised) / slope, (mean - cond) / slope
    deviation = _deviation(velocity)
    matched = velocity * torch.where(deviation > 0, _deviation(cond_velocity) / deviation, torch.ones_like(deviation))
    image = mean - slope * (phi * matched + (1 - phi) * velocity)
    return torch.where(level > 0, image, denoised.to(precise)).to(denoised)


def _deviation(image: Tensor) -> Tensor:
    return image.std(dim=(1, 2, 3), keepdim=True)
