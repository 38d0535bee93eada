"""A stand-in for one block of the UNet that changes what goes in, what comes out and how it runs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any, SupportsIndex

from torch import Tensor, nn

from lib_fewstep.unet.compiled import as_written

Change = Callable[[Tensor], Tensor]
"""A feature map of shape (batch, channels, height, width) in, another one out."""

Around = Callable[[Tensor], AbstractContextManager[object]]
"""Given the feature map that the block is about to receive, a context that lasts as long as the block runs."""


@dataclass(frozen=True)
class Scaling:
    """What a `Scaler` does to one block: changes before, contexts around and changes after its call."""

    before: tuple[Change, ...] = ()
    around: tuple[Around, ...] = ()
    after: tuple[Change, ...] = ()

    def __add__(self, other: Scaling) -> Scaling:
        """Both: first this one's changes, then the other's."""
        return Scaling(self.before + other.before, self.around + other.around, self.after + other.after)


class Scaler:
    """Stands where a block of the UNet stood.

    `Scaler(block, scaling)` is an instance of the block's own class that shares the block's children, parameters,
    buffers and tables of hooks, so that names, iteration, indexing and in-place weight loading work as on the block
    itself. Hooks run when the block runs, and see the block; one that is registered on the stand-in is the block's,
    and so is a `forward` that is set on it.
    """

    fewstep_block: nn.Module
    fewstep_scaling: Scaling

    def __new__(cls, block: nn.Module, scaling: Scaling) -> Scaler:
        """A stand-in for `block`; the block itself is not changed."""
        made: type[Any] = _scaler_class(type(block))  # type: ignore[arg-type]  # a class is hashable
        scaler: Scaler = object.__new__(made)
        shared = {name: value for name, value in vars(block).items() if name != "forward"}
        vars(scaler).update(shared, fewstep_block=block, fewstep_scaling=scaling)
        return scaler

    def __init__(self, block: nn.Module, scaling: Scaling) -> None:
        """Everything is done in `__new__`: the block's own constructor must not run again."""

    def __reduce_ex__(self, _protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """A copy of a model with stand-ins has the blocks themselves."""
        return _itself, (self.fewstep_block,)

    @property
    def forward(self) -> Any:
        """The block's own; who exchanges it exchanges the block's, and that stays when the stand-in goes."""
        return self.fewstep_block.forward

    @forward.setter
    def forward(self, value: Any) -> None:
        self.fewstep_block.forward = value

    @forward.deleter
    def forward(self) -> None:
        del self.fewstep_block.forward

    def __call__(self, h: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Run the block on a changed feature map; called as the block is: `(h, emb, context)`.

        The hooks are the block's, which runs them itself.
        """
        scaling = self.fewstep_scaling
        for change in scaling.before:
            h = change(h)
        with ExitStack() as contexts:
            if scaling.around:
                contexts.enter_context(as_written(self.fewstep_block))
            for around in scaling.around:
                contexts.enter_context(around(h))
            h = self.fewstep_block(h, *args, **kwargs)
        for change in scaling.after:
            h = change(h)
        return h


def _itself(block: nn.Module) -> nn.Module:
    return block


@cache
def _scaler_class(block: Hashable) -> type[Any]:
    """A class for stand-ins of blocks of the class `block`."""
    assert isinstance(block, type)
    if issubclass(block, Scaler):
        return block
    return type(f"Scaler[{block.__name__}]", (Scaler, block), {"__module__": __name__})
