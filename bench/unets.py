"""Full-size UNets with random weights: the weights do not change the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from ldm.modules.attention import BasicTransformerBlock
from ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor, nn

TOKENS = 77
POOLED_WIDTH, SIZES, SIZE_WIDTH = 1280, 6, 256
"""SDXL's size conditioning: the pooled text, and six numbers with an embedding each."""


class SDXLUNet(UNetModel):  # type: ignore[misc]  # the class is untyped
    """Stable Diffusion XL's UNet: ten transformer blocks a stack on the deepest level, two on the one above."""

    def __init__(self, channels: int = 320, depths: tuple[int, int] = (2, 10), context_width: int = 2048) -> None:
        """`channels` of the first level, and the `depths` of the second and the third level's stacks."""
        super().__init__(
            image_size=128,
            in_channels=4,
            out_channels=4,
            model_channels=channels,
            attention_resolutions=[4, 2],
            num_res_blocks=2,
            channel_mult=[1, 2, 4],
            num_head_channels=64,
            use_spatial_transformer=True,
            use_linear_in_transformer=True,
            transformer_depth=depths[0],
            context_dim=[context_width] * depths[0],
            num_classes="continuous",
            use_checkpoint=False,
            legacy=False,
        )
        width = 4 * channels
        embedding = nn.Sequential(
            nn.Linear(POOLED_WIDTH + SIZES * SIZE_WIDTH, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.label_emb = nn.Sequential(embedding)
        for stack in [module.transformer_blocks for module in self.modules() if hasattr(module, "transformer_blocks")]:
            first = stack[0].attn1
            inner = first.to_q.in_features
            if inner == width:
                stack.extend(
                    BasicTransformerBlock(
                        inner, first.heads, inner // first.heads, context_dim=context_width, checkpoint=False
                    )
                    for _ in range(depths[1] - depths[0])
                )


def sd15_unet() -> nn.Module:
    """Stable Diffusion 1.5's UNet, 860 million parameters."""
    unet: nn.Module = UNetModel(
        image_size=64,
        in_channels=4,
        out_channels=4,
        model_channels=320,
        attention_resolutions=[4, 2, 1],
        num_res_blocks=2,
        channel_mult=[1, 2, 4, 4],
        num_heads=8,
        use_spatial_transformer=True,
        context_dim=768,
        use_checkpoint=False,
        legacy=False,
    )
    return unet


def random_weights(unet: nn.Module) -> nn.Module:
    """Give every weight a small value: a fresh UNet's last layers are zero, and some paths would answer zeros."""
    generator = torch.Generator(next(unet.parameters()).device).manual_seed(0)
    with torch.no_grad():
        for weight in unet.parameters():
            if weight.dim() > 1:
                weight.normal_(std=weight[0].numel() ** -0.5, generator=generator)
    return unet.eval().requires_grad_(False)


@dataclass(frozen=True)
class Layout:
    """A model to measure: its name, the one that the reference implementation knows it by, and its trained side."""

    name: str
    reference_name: str
    trained: int
    make: Callable[[], nn.Module]


LAYOUTS = {
    "SD1.5": Layout("SD1.5", "runwayml/stable-diffusion-v1-5", 512, sd15_unet),
    "SDXL": Layout("SDXL", "stabilityai/stable-diffusion-xl-base-1.0", 1024, SDXLUNet),
}


def conditioning(unet: nn.Module, batch: int) -> dict[str, Any]:
    """A text, and on SDXL a pooled text and sizes, for a batch of images, on the UNet's device and in its dtype."""
    weight = next(unet.parameters())
    stacks: list[Any] = [there.transformer_blocks for there in unet.modules() if hasattr(there, "transformer_blocks")]
    width = stacks[0][0].attn2.to_k.in_features
    text = torch.zeros(batch, TOKENS, width, device=weight.device, dtype=weight.dtype)
    given: dict[str, Any] = {"context": [text] * max(len(stack) for stack in stacks)}
    if hasattr(unet, "label_emb"):
        waves = torch.tensor([1.0, 0.0], device=weight.device, dtype=weight.dtype).repeat_interleave(SIZE_WIDTH // 2)
        pooled = torch.zeros(POOLED_WIDTH, device=weight.device, dtype=weight.dtype)
        given["y"] = torch.cat([pooled, waves.repeat(SIZES)]).expand(batch, -1)
    return given


def latent(unet: nn.Module, size: tuple[int, int], batch: int) -> Tensor:
    """Noise (batch, 4, height, width) on the UNet's device and in its dtype."""
    weight = next(unet.parameters())
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 4, *size, generator=generator).to(weight)


def evaluate(unet: nn.Module, x: Tensor, given: dict[str, Any]) -> Tensor:
    """One evaluation of latents (batch, 4, height, width), given what `conditioning` gives."""
    out: Tensor = unet(x, torch.full((len(x),), 500, device=x.device), **given)
    return out


def evaluate_at(unet: nn.Module, size: tuple[int, int], batch: int) -> Tensor:
    """One evaluation of a batch of noise of a latent size (height, width)."""
    return evaluate(unet, latent(unet, size, batch), conditioning(unet, batch))
