"""Put stand-ins into a UNet's block lists, and put the blocks back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
        _set_block(unet, place, scaler)
    return scalers


def installed(unet: nn.Module, scalers: Mapping[Place, Scaler]) -> bool:
    """Whether each of the stand-ins that `install` has returned is still where it was put."""
    present: dict[Place, Any] = {place: _blocks(unet, place.side)._modules.get(str(place.index)) for place in scalers}
    return all(present[place] is scaler for place, scaler in scalers.items())


def uninstall(unet: nn.Module, scalers: Mapping[Place, Scaler]) -> None:
    """Put back the blocks of what `install` has returned; where another extension has put its own, leave that.

    Wherever a stand-in is now, it does nothing any more.
    """
    for place, scaler in scalers.items():
        still_there = installed(unet, {place: scaler})
        block = _retire(scaler)
        if still_there:
            _set_block(unet, place, block)


def watch(unet: nn.Module, see: Callable[..., None]) -> None:
    """Give `see` the arguments of each call of the UNet, before it runs, until `unwatch`; one watches at a time."""
    unwatch(unet)
    unet.register_forward_pre_hook(_Watch(unet, see), with_kwargs=True)


class _Watch:
    """The hook of `watch`. Neither a copy of the UNet nor one that is saved in the middle of a pass is watched."""

    fewstep_watch = True
    """By an attribute, as with the stand-ins: a hook may be from an earlier import of this package."""

    def __init__(self, unet: nn.Module | None = None, see: Callable[..., None] | None = None) -> None:
        self._unet, self._see = unet, see

    def __call__(self, unet: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._see is not None and unet is self._unet:  # a shallow copy has the same hooks
            self._see(*args, **kwargs)

    def __reduce__(self) -> tuple[type[_Watch], tuple[()]]:
        return _Watch, ()


def unwatch(unet: nn.Module) -> None:
    """Nobody watches the UNet any more, also for an earlier import of this package."""
    for key, hook in list(unet._forward_pre_hooks.items()):
        if hasattr(hook, "fewstep_watch"):
            del unet._forward_pre_hooks[key]
            unet._forward_pre_hooks_with_kwargs.pop(key, None)


def remove(unet: nn.Module) -> int:
    """Put every block back, and say how many there were.

    Those that an earlier import of this package has left are found too, also inside what another extension has
    wrapped around them. One that somebody keeps elsewhere does nothing any more.
    """
    found = [*_stand_ins(_blocks(unet, "input")), *_stand_ins(_blocks(unet, "output"))]
    for parent, name, stand_in in found:
        parent._modules[name] = _retire(stand_in)
    return len(found)


def _blocks(unet: nn.Module, side: Literal["input", "output"]) -> nn.ModuleList:
    blocks: nn.ModuleList = getattr(unet, f"{side}_blocks")
    return blocks


def _set_block(unet: nn.Module, place: Place, block: nn.Module | Scaler) -> None:
    _blocks(unet, place.side)._modules[str(place.index)] = block  # type: ignore[assignment]  # made to be a Module


def _is_stand_in(module: nn.Module | Scaler) -> bool:
    # By an attribute and not by isinstance: a reload of the UI imports this package anew, and the stand-ins that were
    # left before are instances of another `Scaler`. On the class and not on the module: a wrapper of another extension
    # may hand on every attribute that it does not have itself, and would be taken for the stand-in inside it.
    return hasattr(type(module), "fewstep_block")


def _stand_ins(parent: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Every stand-in below a module, with its parent and its name there."""
    # At any depth: another extension, or `torch.compile`, may have put a stand-in into a module of its own, which has
    # to stay. Below the block of a stand-in, too: that may be such a module with an older stand-in in it.
    for name, child in list(parent._modules.items()):
        if child is not None:
            below: Any = child
            if _is_stand_in(child):
                yield parent, name, child
                below = below.fewstep_block
            yield from _stand_ins(below)


def _retire(stand_in: nn.Module | Scaler) -> nn.Module:
    """Make a stand-in, or several on top of each other, do nothing any more; returns the block behind them."""
    # To take it out of the UNet is not enough: another extension may have kept it as "the block that was there", and
    # put it back or call it later.
    module: Any = stand_in
    while _is_stand_in(module):
        rescale(module, Scaling())
        module = module.fewstep_block
    return module  # type: ignore[no-any-return]
