"""The WebUI's autoencoder: pictures of 8x8 pixels a latent pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from demo.model.quiet import quiet

with quiet():
    from ldm.modules.diffusionmodules.model import Decoder, Encoder

PIXELS_PER_LATENT = 8


def as_tensor(pictures: npt.NDArray[np.float32]) -> Tensor:
    """Pictures (n, h, w, 3) with values from 0 to 1, as the autoencoder takes them: (n, 3, h, w) from -1 to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2) * 2 - 1


class Autoencoder(nn.Module):
    """Encoder and decoder under the key names of `AutoencoderKL`; pictures (n, 3, h, w) have values from -1 to 1."""

    def __init__(self, layout: dict[str, Any]) -> None:
        """Untrained weights, from torch's global random state; `layout` is the YAML's `ddconfig`."""
        super().__init__()
        known = {name: value for name, value in layout.items() if name != "attn_type"}
        with quiet():
            self.encoder, self.decoder = Encoder(**known), Decoder(**known)
        channels = layout["z_channels"]
        self.quant_conv = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.post_quant_conv = nn.Conv2d(channels, channels, 1)

    def moments(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the pictures' latents, (n, 4, h / 8, w / 8)."""
        mean, log_variance = self.quant_conv(self.encoder(pictures)).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def decode(self, latents: Tensor) -> Tensor:
        """The pictures of latents."""
        pictures: Tensor = self.decoder(self.post_quant_conv(latents))
        return pictures
