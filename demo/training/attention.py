"""Attention for training on the CPU, where torch's own is quick forwards and slow backwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from ldm.modules.attention import CrossAttention
from torch import Tensor


def product_attention(self: Any, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Forward pass of `CrossAttention` by two products of matrices; masks are not known here."""
    assert mask is None
    source = x if context is None else context

    def heads(projected: Tensor) -> Tensor:
        batch, tokens, _ = projected.shape
        return projected.view(batch, tokens, self.heads, -1).transpose(1, 2).reshape(batch * self.heads, tokens, -1)

    query, key, value = heads(self.to_q(x)), heads(self.to_k(source)), heads(self.to_v(source))
    weights = torch.bmm(query * query.shape[-1] ** -0.5, key.transpose(1, 2)).softmax(dim=-1)
    mixed = torch.bmm(weights.to(value.dtype), value)
    batch, tokens, _ = x.shape
    out: Tensor = self.to_out(mixed.view(batch, self.heads, tokens, -1).transpose(1, 2).reshape(batch, tokens, -1))
    return out


@contextmanager
def quick_backwards() -> Iterator[None]:
    """Every UNet computes its attention by `product_attention` meanwhile."""
    before = CrossAttention.forward
    CrossAttention.forward = product_attention
    try:
        yield
    finally:
        CrossAttention.forward = before
