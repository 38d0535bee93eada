"""Normalized attention guidance (Chen et al. 2025, arXiv 2505.21179, section 4): a negative prompt at CFG 1."""

from __future__ import annotations

import torch
from torch import Tensor


def nag(positive: Tensor, negative: Tensor, scale: float, tau: float, alpha: float) -> Tensor:
    """What a cross-attention gives with a negative prompt: its output with the prompt, moved away from the other.

    `positive` and `negative` are its outputs before `to_out`, (batch, tokens, channels), with the prompt and with the
    negative prompt. `scale` is how far it is moved: 0 is not at all, and the authors' number is this plus 1. `tau` is
    how many times its size (L1 norm, for each token) the output may grow, `alpha` the share of the new output in the
    result. With a `scale` or an `alpha` of 0, and where both outputs are the same, nothing changes.
    """
    if scale == 0 or alpha == 0:
        return positive
    moved = positive + scale * (positive - negative)
    longest, length = tau * _size(positive), _size(moved)
    factor = torch.where(length > longest, longest / length, torch.ones_like(length)).to(positive)
    return positive + alpha * (moved * factor - positive)


def _size(output: Tensor) -> Tensor:
    """The L1 norm of each token, which float16 cannot hold."""
    precise = torch.promote_types(output.dtype, torch.float32)
    return output.abs().sum(-1, keepdim=True, dtype=precise)
