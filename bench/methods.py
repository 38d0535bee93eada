"""The methods that are measured, and a UNet made ready for one step of a run with one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tomesd
from torch import nn

from lib_fewstep.highres import HighResSession, HighResSettings
from lib_fewstep.highres.methods.base import Parts
from lib_fewstep.unet import inspect_unet

PLAIN = HighResSettings(enabled=False)
METHODS = {
    "RAU-Net": HighResSettings(preset="Paper", window_attention=False),
    "MSW-MSA": HighResSettings(preset="Paper", raunet=False),
    "HiDiffusion": HighResSettings(preset="Paper"),
    "Deep Shrink": HighResSettings(preset="Paper", method="Deep Shrink"),
}
TOME = "ToMe 0.5"
"""Token merging at half of the tokens, its authors' default, where HiDiffusion has its windows, on every step."""


def steps_of(method: str, unet: nn.Module, side: int, steps: int) -> tuple[Parts, ...]:
    """What a method does on each step of a run at `side` latent pixels."""
    settings = METHODS.get(method, PLAIN)
    return HighResSession(unet, settings, (side, side), steps).schedule.steps


@contextmanager
def token_merging(unet: nn.Module, max_downsample: int) -> Iterator[None]:
    """Half of the tokens are merged where feature maps are at most `max_downsample` times smaller than the latent."""
    model = nn.Module()
    model.model = nn.Module()
    model.model.diffusion_model = unet
    tomesd.apply_patch(model, ratio=0.5, max_downsample=max_downsample, use_rand=False)
    try:
        yield
    finally:
        tomesd.remove_patch(model)


@contextmanager
def ready(unet: nn.Module, method: str, side: int, steps: int, index: int) -> Iterator[None]:
    """The UNet is ready for step `index`, and afterwards as before."""
    if method == TOME:
        topology = inspect_unet(unet)
        largest = min(topology.level(attention.place) for attention in topology.attention)
        with token_merging(unet, 2**largest):
            yield
        return
    with HighResSession(unet, METHODS.get(method, PLAIN), (side, side), steps) as session:
        session.at_step(index)
        yield
