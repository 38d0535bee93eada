"""Put stand-ins into a UNet's block lists, and take them out again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from lib_fewstep.unet.scaler import Scaler, Scaling


@dataclass(frozen=True)
class Place:
    """Where a block sits: `input_blocks[index]` or `output_blocks[index]`."""

    side: Literal["input", "output"]
    index: int

    def __str__(self) -> str:
        """The host's own expression for the block."""
        return f"{self.side}_blocks[{self.index}]"


def install(unet: nn.Module, scalings: Mapping[Place, Scaling]) -> None:
    """Put a `Scaler` into each of the places, after removing whatever an earlier call left in the UNet.

    Raises IndexError if a place is not in the UNet; nothing is installed then.
    """
    remove(unet)
    blocks = {place: _blocks(unet, place.side)[place.index] for place in scalings}
    for place, scaling in scalings.items():
        _put(_blocks(unet, place.side), place.index, Scaler(blocks[place], scaling))


def remove(unet: nn.Module) -> int:
    """Put every block back, and say how many there were.

    Stand-ins are known by what they carry and not by their class, so those of an earlier import of this package
    are found too. One that another extension has wrapped or kept stays where it is and does nothing any more.
    """
    removed = 0
    for blocks in (_blocks(unet, "input"), _blocks(unet, "output")):
        for index, scaler in _scalers(blocks):
            block = scaler
            while "fewstep_block" in vars(block):
                vars(block)["fewstep_scaling"] = Scaling()
                block = vars(block)["fewstep_block"]
            _put(blocks, index, block)
            removed += 1
    return removed


def _blocks(unet: nn.Module, side: Literal["input", "output"]) -> nn.ModuleList:
    blocks: nn.ModuleList = getattr(unet, f"{side}_blocks")
    return blocks


def _scalers(blocks: nn.ModuleList) -> Iterator[tuple[int, nn.Module]]:
    return ((index, block) for index, block in enumerate(list(blocks)) if "fewstep_block" in vars(block))


def _put(blocks: nn.ModuleList, index: int, block: nn.Module | Scaler) -> None:
    blocks._modules[str(index)] = block  # type: ignore[assignment]  # a Scaler is a Module by its made-up class
