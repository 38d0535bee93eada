"""The embedded host: what the WebUI puts around the `ldm` UNet classes, as far as a generation needs it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from demo.model.quiet import quiet

with quiet():
    import ldm.modules.attention as ldm_attention
    import ldm.modules.diffusionmodules.openaimodel as ldm_unet


class HostTorch:
    """Stands in for `torch` inside `openaimodel`: fits two tensors of unlike size before it joins them.

    The first is resized to the second by nearest neighbour, in silence, as the WebUI does; `resized` counts
    how often.
    """

    def __init__(self) -> None:
        """Nothing has been resized yet."""
        self.resized = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def cat(self, tensors: list[Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """`torch.cat`, after the first of two tensors was fitted to the second one's height and width."""
        if len(tensors) == 2:
            first, second = tensors
            if first.shape[-2:] != second.shape[-2:]:
                self.resized += 1
                first = functional.interpolate(first, size=second.shape[-2:], mode="nearest")
            tensors = [first, second]
        return torch.cat(tensors, *args, **kwargs)


def sdp_attention(self: Any, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Forward pass of `CrossAttention` by torch's scaled dot product attention; (batch, tokens, channels)."""
    source = x if context is None else context

    def heads(projected: Tensor) -> Tensor:
        batch, tokens, _ = projected.shape
        return projected.view(batch, tokens, self.heads, -1).transpose(1, 2)

    query, key, value = heads(self.to_q(x)), heads(self.to_k(source)), heads(self.to_v(source))
    seen = None if mask is None else mask.flatten(1)[:, None, None, :]
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    out: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
    return out


def prepare_host() -> HostTorch:
    """Put the WebUI's replacements into the `ldm` modules; a second call finds them in place.

    Returns the stand-in for `torch`, whose `resized` counts the silent resizes.
    """
    if not isinstance(ldm_unet.th, HostTorch):
        ldm_unet.th = HostTorch()
    ldm_attention.CrossAttention.forward = sdp_attention
    stand_in: HostTorch = ldm_unet.th
    return stand_in
