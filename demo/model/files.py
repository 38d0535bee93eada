"""Files of weights in float16."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def save_half(weights: Mapping[str, Tensor], path: Path, metadata: dict[str, str], largest: int) -> None:
    """Write weights in float16, making the folder where it is missing.

    Raises ValueError if they would take more than `largest` bytes.
    """
    half = {key: value.detach().to(torch.float16).contiguous() for key, value in weights.items()}
    size = sum(value.numel() * value.element_size() for value in half.values())
    if size > largest:
        raise ValueError(f"{path.name} would take {size} bytes, allowed are {largest}")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(half, path, metadata=metadata)


def existing(path: Path) -> Path:
    """A file of this project. Raises FileNotFoundError, saying where it comes from, if it is not there."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: clone the project again, or train it with: make train")
    return path
