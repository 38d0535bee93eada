"""Put stand-ins into a UNet's block lists, and take them out again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from lib_fewstep.unet.scaler import Scaler, Scaling, rescale


@dataclass(frozen=True)
class Place:
    """Where a block sits: `input_blocks[index]` or `output_blocks[index]`."""

    side: Literal["input", "output"]
    index: int

    def __str__(self) -> str:
        """The host's own expression for the block."""
        return f"{self.side}_blocks[{self.index}]"


def blocks_of(unet: nn.Module) -> dict[Place, nn.Module]:
    """What stands in every place of a UNet now."""
    sides: tuple[Literal["input", "output"], ...] = ("input", "output")
    return {Place(side, index): block for side in sides for index, block in enumerate(_blocks(unet, side))}


def install(unet: nn.Module, scalings: Mapping[Place, Scaling]) -> dict[Place, Scaler]:
    """Put a `Scaler` into each of the places, after removing whatever an earlier call left in the UNet.

    Raises IndexError if a place is not in the UNet; nothing is installed then.
    """
    remove(unet)
    scalers = {place: Scaler(_blocks(unet, place.side)[place.index], scaling) for place, scaling in scalings.items()}
    for place, scaler in scalers.items():
        _put(unet, place, scaler)
    return scalers


def in_place(unet: nn.Module, scalers: Mapping[Place, Scaler]) -> bool:
    """Whether each of the stand-ins that `install` has returned stands where it was put."""
    standing: dict[Place, Any] = {place: _blocks(unet, place.side)._modules.get(str(place.index)) for place in scalers}
    return all(standing[place] is scaler for place, scaler in scalers.items())


def take_out(unet: nn.Module, scalers: Mapping[Place, Scaler]) -> None:
    """Put back the blocks of what `install` has returned; where another extension has put its own, leave that.

    Wherever a stand-in is now, it does nothing any more.
    """
    for place, scaler in scalers.items():
        stands = in_place(unet, {place: scaler})
        block = _retire(scaler)
        if stands:
            _put(unet, place, block)


def remove(unet: nn.Module) -> int:
    """Put every block back, and say how many there were.

    Stand-ins are known by what their class has and not by which it is, so those of an earlier import of this package
    are found too, also inside what another extension has wrapped around them. One that somebody keeps elsewhere
    does nothing any more.
    """
    found = [*_stand_ins(_blocks(unet, "input")), *_stand_ins(_blocks(unet, "output"))]
    for parent, name, stand_in in found:
        parent._modules[name] = _retire(stand_in)
    return len(found)


def _blocks(unet: nn.Module, side: Literal["input", "output"]) -> nn.ModuleList:
    blocks: nn.ModuleList = getattr(unet, f"{side}_blocks")
    return blocks


def _put(unet: nn.Module, place: Place, block: nn.Module | Scaler) -> None:
    _blocks(unet, place.side)._modules[str(place.index)] = block  # type: ignore[assignment]  # made to be a Module


def _is_stand_in(module: nn.Module | Scaler) -> bool:
    return hasattr(type(module), "fewstep_block")  # not of the module: others' wrappers hand on what they do not have


def _stand_ins(parent: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Every stand-in below a module, with its parent and its name there; what it stands for is searched too."""
    for name, child in list(parent._modules.items()):
        if child is not None:
            below: Any = child
            if _is_stand_in(child):
                yield parent, name, child
                below = below.fewstep_block
            yield from _stand_ins(below)


def _retire(stand_in: nn.Module | Scaler) -> nn.Module:
    """Tell a stand-in, or several on top of each other, to do nothing any more; the block behind them."""
    module: Any = stand_in
    while _is_stand_in(module):
        rescale(module, Scaling())
        module = module.fewstep_block
    return module  # type: ignore[no-any-return]
