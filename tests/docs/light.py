"""A UNet of SDXL's blocks that costs next to nothing, so that the documents' large requests can be sent as they are."""

from __future__ import annotations

from typing import Any

import torch
from ldm.modules.diffusionmodules import openaimodel
from torch import Tensor, nn

from tests.webui.standin.checkpoints import Recipe

CHANNELS = 4
DOWN, ATTENTION = (3, 6), {4: 2, 5: 2, 7: 10, 8: 10}
"""Of SDXL's nine input blocks: those that halve the map, and the transformer blocks of those with attention."""


class Transformer(nn.Module):
    """A spatial transformer whose attention looks at each token alone."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(CHANNELS, CHANNELS)
        self.transformer_blocks = nn.ModuleList(TransformerBlock() for _ in range(depth))

    def forward(self, h: Tensor) -> Tensor:
        """The feature map, with what its tokens became added."""
        tokens = h.flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            tokens = tokens + block.attn1(tokens)
        return h + tokens.transpose(1, 2).reshape(h.shape)


class TransformerBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn1 = nn.Linear(CHANNELS, CHANNELS)


class LightUNet(nn.Module):
    """SDXL's layout: its resamplers, skips and transformers are where the real one has them."""

    def __init__(self) -> None:
        super().__init__()
        convolution = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.input_blocks, self.output_blocks = nn.ModuleList([_block(convolution)]), nn.ModuleList()
        for index in range(1, 9):
            down = openaimodel.Downsample(CHANNELS, use_conv=True)
            self.input_blocks.append(_block(down) if index in DOWN else _block(nn.Identity(), index))
        for index in range(9):
            partner, merge = 8 - index, nn.Conv2d(2 * CHANNELS, CHANNELS, 1)
            up = [openaimodel.Upsample(CHANNELS, use_conv=True)] if partner in DOWN else []
            self.output_blocks.append(_block(merge, partner if partner not in DOWN else partner + 1, *up))
        self.middle_block = _block(nn.Identity())

    def forward(self, x: Tensor, timesteps: Tensor, context: Any = None) -> Tensor:
        """Bounded noise, so that every sampler stays finite."""
        h, skips = x, []
        for block in self.input_blocks:
            h = block(h, None, None)
            skips.append(h)
        for block in self.output_blocks:
            h = block(openaimodel.th.cat([h, skips.pop()], dim=1), None, None)
        return torch.tanh(x + 0.1 * h)


def _block(first: nn.Module, attention: int = 0, *last: nn.Module) -> nn.Module:
    transformer = [Transformer(ATTENTION[attention])] if attention in ATTENTION else []
    return openaimodel.TimestepEmbedSequential(first, *transformer, *last)


def _seeded() -> nn.Module:
    state = torch.get_rng_state()
    torch.manual_seed(0)
    unet = LightUNet().eval().requires_grad_(False)
    torch.set_rng_state(state)
    return unet


LIGHT = Recipe(_seeded, "light", "sdxl")
