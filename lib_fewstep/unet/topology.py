"""Read from a loaded UNet what it is: its family, its resamplers, its pairs of blocks, its attention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from lib_fewstep.unet.swapper import Place

Family = Literal["SD1", "SD2", "SDXL", "SDXL refiner"]

_LAYOUTS = ((12, (3, 6, 9)), (9, (3, 6)), (8, (2, 4, 6)), (6, (2, 4)))
"""Numbers of input blocks with their downsamplers: the last two are those of small UNets, such as BK-SDM and SDXS."""

_TRAINED_SIZE: dict[Family, int] = {"SD1": 512, "SD2": 512, "SDXL": 1024, "SDXL refiner": 1024}
_SD2_CONTEXT_WIDTH = 1024
_INPAINTING_CHANNELS = 9


class UnsupportedModel(ValueError):  # noqa: N818 (the name that callers catch)
    """The model is no UNet of a layout that the methods know; the message is one sentence that says why."""


@dataclass(frozen=True)
class Attention:
    """One block with self-attention: where it sits and how many transformer blocks it stacks."""

    place: Place
    depth: int


@dataclass(frozen=True)
class Topology:
    """What a UNet is, as its structure tells.

    `downsamplers` and `upsamplers` are indices into `input_blocks` and `output_blocks`, in the order in which they
    run; `trained_size` is the side in pixels that the layout is usually trained for.
    """

    family: Family
    inpainting: bool
    blocks: int
    downsamplers: tuple[int, ...]
    upsamplers: tuple[int, ...]
    attention: tuple[Attention, ...]
    trained_size: int

    def partner(self, index: int) -> int:
        """The output block that consumes the skip of input block `index`, and the other way round."""
        return self.blocks - 1 - index

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(input block, output block) for every skip connection."""
        return tuple((index, self.partner(index)) for index in range(self.blocks))

    def size_at(self, place: Place, latent_size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the feature map that an input block gets, of a latent of `latent_size`."""
        height, width = (-(-side // 2 ** self.level(place)) for side in latent_size)
        return height, width

    def level(self, place: Place) -> int:
        """How many times the feature map that the block's attention sees has been halved."""
        if place.side == "input":
            return sum(place.index > down for down in self.downsamplers)
        return len(self.upsamplers) - sum(place.index > up for up in self.upsamplers)


def inspect_unet(unet: nn.Module) -> Topology:
    """The topology of a loaded UNet in the layout of the original implementation (`ldm`, `sgm`).

    Raises UnsupportedModel, with a sentence, for anything else: transformer models (DiT), other block counts,
    resamplers without a strided convolution.
    """
    inputs, outputs = _block_lists(unet)
    downsamplers = tuple(i for i, block in enumerate(inputs) if _is_downsampler(block))
    upsamplers = tuple(j for j, block in enumerate(outputs) if upsampler_of(block) is not None)
    blocks = len(inputs)
    if len(outputs) != blocks or upsamplers != tuple(blocks - 1 - down for down in reversed(downsamplers)):
        raise UnsupportedModel(
            f"{_name(unet)} has {blocks} input and {len(outputs)} output blocks with downsamplers at {downsamplers} "
            f"and upsamplers at {upsamplers}, which do not pair up as in Stable Diffusion 1, 2 and XL."
        )
    family = _family(unet, downsamplers, inputs)
    return Topology(
        family=family,
        inpainting=_input_channels(inputs[0]) == _INPAINTING_CHANNELS,
        blocks=blocks,
        downsamplers=downsamplers,
        upsamplers=upsamplers,
        attention=(*_attention("input", inputs), *_attention("output", outputs)),
        trained_size=_TRAINED_SIZE[family],
    )


def upsampler_of(block: nn.Module) -> nn.Module | None:
    """The upsampler inside an output block, or None."""
    return next((module for module in _inside(block) if isinstance(module._modules.get("conv"), nn.Conv2d)), None)


def transformer_of(block: nn.Module) -> nn.Module | None:
    """The spatial transformer inside a block, or None."""
    return next(filter(_is_spatial, _inside(block)), None)


def _is_spatial(module: nn.Module) -> bool:
    """Whether a module stacks transformer blocks; those of motion modules attend between frames, and do not count."""
    stack = module._modules.get("transformer_blocks")
    if stack is None:
        return False
    return not any("attention_blocks" in layer._modules for layer in stack.children())


def _inside(block: nn.Module) -> Iterator[nn.Module]:
    """A block's children, and theirs: another extension, or `torch.compile`, may have wrapped the block."""
    for child in block.children():
        yield child
        yield from child.children()


def _block_lists(unet: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    lists = [getattr(unet, name, None) for name in ("input_blocks", "output_blocks")]
    if not all(isinstance(blocks, nn.ModuleList) and len(blocks) > 0 for blocks in lists):
        raise UnsupportedModel(
            f"{_name(unet)} has no input_blocks and output_blocks, so it is not a UNet of Stable Diffusion 1, 2 or XL "
            "(transformer models such as SD3 and Flux have none)."
        )
    inputs, outputs = (list(blocks) for blocks in lists if isinstance(blocks, nn.ModuleList))
    return inputs, outputs


def _is_downsampler(block: nn.Module) -> bool:
    convolutions = (module._modules.get("op") for module in _inside(block))
    return any(isinstance(found, nn.Conv2d) and found.stride == (2, 2) for found in convolutions)


def _attention(side: Literal["input", "output"], blocks: Iterable[nn.Module]) -> Iterable[Attention]:
    for index, block in enumerate(blocks):
        stack: Any = getattr(transformer_of(block), "transformer_blocks", ())
        if len(stack) > 0 and not getattr(stack[0], "disable_self_attn", False):
            yield Attention(Place(side, index), len(stack))


def _input_channels(block: nn.Module) -> int:
    return next((module.in_channels for module in _inside(block) if isinstance(module, nn.Conv2d)), 0)


def _family(unet: nn.Module, downsamplers: tuple[int, ...], inputs: list[nn.Module]) -> Family:
    first = next((index for index, block in enumerate(inputs) if transformer_of(block) is not None), None)
    if first is None or (len(inputs), downsamplers) not in _LAYOUTS:
        raise UnsupportedModel(
            f"{_name(unet)} has {len(inputs)} input blocks with downsamplers at {downsamplers} and "
            f"{'no' if first is None else 'some'} attention, which is not a layout of Stable Diffusion 1, 2 or XL."
        )
    if len(inputs) == 9:
        return "SDXL"
    if len(inputs) == 12 and first > downsamplers[0]:
        return "SDXL refiner"
    return "SD2" if _looks_like_sd2(inputs[first]) else "SD1"


def _looks_like_sd2(block: nn.Module) -> bool:
    transformer = transformer_of(block)
    if isinstance(getattr(transformer, "proj_in", None), nn.Linear):
        return True
    first: Any = transformer.transformer_blocks[0]  # type: ignore[union-attr, index]
    to_k = getattr(getattr(first, "attn2", None), "to_k", None)
    return getattr(to_k, "in_features", None) == _SD2_CONTEXT_WIDTH


def _name(unet: nn.Module) -> str:
    return f"The model ({type(unet).__name__})"
