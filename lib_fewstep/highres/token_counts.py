"""Other extensions that tell the size of a feature map from the number of its tokens."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from torch import nn

from lib_fewstep.unet.compiled import uncompiled
from lib_fewstep.unet.topology import transformer_of


def counting_tokens(blocks: Iterable[nn.Module]) -> str | None:
    """The name of the first one at work on the attention of a UNet's blocks, or None.

    tomesd gives transformer blocks another class; regional prompting gives cross-attention another `forward`. Both
    know the size of the image, and take every feature map for a half, a quarter, ... of it.
    """
    transformers = (transformer_of(block) for block in blocks)
    modules = (module for transformer in transformers if transformer is not None for module in transformer.modules())
    return next((name for name in map(_counting, modules) if name is not None), None)


def _counting(transformer: nn.Module) -> str | None:
    if type(transformer).__name__ == "ToMeBlock":
        return "token merging (tomesd)"
    attention = transformer._modules.get("attn2")
    if attention is None:
        return None
    attention = uncompiled(attention)
    forward: Any = vars(attention).get("forward")
    while isinstance(forward, functools.partial):
        forward = forward.func
    if forward is None or getattr(forward, "__func__", None) is type(attention).forward:
        return None
    return f"{forward.__module__} (which replaces the forward of cross-attention)"
