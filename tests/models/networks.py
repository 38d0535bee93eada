"""What a network of each kind is given and has learnt to say, by the papers' definitions."""

from __future__ import annotations

from typing import Any

from lib_fewstep.models.kinds import EDM, EDM_DATA, EDM_V, FLOW, NOISE, V


def length(name: str, sigma: Any) -> Any:
    """What noisy latents are divided by before a network is given them."""
    data = EDM_DATA if name == EDM else 1.0
    return 1.0 if name == FLOW else (sigma**2 + data**2) ** 0.5


def output(name: str, image: Any, noise: Any, sigma: Any) -> Any:
    """What it says of an image with noise."""
    if name == NOISE:
        return noise
    if name in (V, EDM_V):
        return (noise - sigma * image) / length(name, sigma)
    if name == FLOW:
        return image - noise
    c_skip = EDM_DATA**2 / (sigma**2 + EDM_DATA**2)
    c_out = EDM_DATA * sigma / (sigma**2 + EDM_DATA**2) ** 0.5
    return (image - c_skip * (image + sigma * noise)) / c_out
