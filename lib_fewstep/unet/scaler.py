"""A stand-in for one block of the UNet that changes what goes in, what comes out and how it runs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, SupportsIndex

from torch import Tensor, nn

from lib_fewstep.unet.compiled import running_uncompiled

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

    `Scaler(block, scaling)` is an instance of the block's own class, and its attributes *are* the block's, in one and
    the same dictionary: names, iteration, indexing and in-place weight loading work as on the block itself, and what
    others set on the stand-in (a `forward`, a hook, a mark of their own) is the block's and stays with it. Hooks run
    when the block runs, and see the block.
    """

    # In slots, because the dictionary is shared: there they would be attributes of the block, too.
    __slots__ = ("fewstep_block", "fewstep_scaling")

    fewstep_block: nn.Module
    fewstep_scaling: Scaling

    def __new__(cls, block: nn.Module, scaling: Scaling) -> Scaler:
        """A stand-in for `block`; the block itself is not changed."""
        scaler: Scaler = object.__new__(_scaler_class(type(block)))
        # One dictionary for both. A module keeps its weights, children, hooks and mode in it. In a wrapper around the
        # block their names would have one more level, and LoRA would not find them; in a copy of the dictionary, what
        # others set while the stand-in is there would be lost with it. `object.__setattr__`, because a module's own
        # would make the block a child of itself.
        object.__setattr__(scaler, "__dict__", vars(block))
        object.__setattr__(scaler, "fewstep_block", block)
        rescale(scaler, scaling)
        return scaler

    def __init__(self, block: nn.Module, scaling: Scaling) -> None:
        """Everything is done in `__new__`: the block's own constructor must not run again."""

    def __reduce_ex__(self, _protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """A copy of a model with stand-ins has the blocks themselves."""
        # No session would take a stand-in out of a copy, and its class cannot be imported by whoever loads a saved one.
        return _identity, (self.fewstep_block,)

    def __copy__(self) -> nn.Module:
        """A copy of the block."""
        return copy.copy(self.fewstep_block)

    @property
    def __class__(self) -> Any:
        """The block's own class; assigning another one changes the block, too."""
        # Others derive a class from `module.__class__` and assign it, as token merging does to transformer blocks. From
        # the stand-in's class it would be another stand-in; assigned to the stand-in alone it would be lost with it.
        # `type()` still tells the two apart.
        return self.fewstep_block.__class__

    @__class__.setter
    def __class__(self, value: Any) -> None:
        self.fewstep_block.__class__ = value
        vars(object)["__class__"].__set__(self, _scaler_class(value))

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Run the block on a changed feature map; called as the block is: `(x, emb, context)`.

        The hooks are the block's, which runs them itself.
        """
        scaling = self.fewstep_scaling
        for change in scaling.before:
            x = change(x)
        with ExitStack() as contexts:
            if scaling.around:  # they hang hooks on modules inside, which compiled code does not notice
                contexts.enter_context(running_uncompiled(self.fewstep_block))
            for around in scaling.around:
                contexts.enter_context(around(x))
            x = self.fewstep_block(x, *args, **kwargs)
        for change in scaling.after:
            x = change(x)
        return x


def rescale(scaler: Scaler, scaling: Scaling) -> None:
    """Give a stand-in something else to do; plain assignment would be the block's class's own, if it has one."""
    object.__setattr__(scaler, "fewstep_scaling", scaling)


def _identity(block: nn.Module) -> nn.Module:
    return block


def _scaler_class(block: type[Any]) -> type[Any]:
    """The class for stand-ins of blocks of the class `block`, which lives no longer than it is used."""
    # A subclass, because others ask by isinstance what a block is, and because Python looks up len(), iteration and
    # indexing on the class. Made here, because the block's class is only known now: `ldm` and `sgm` have one each, and
    # other extensions make more. Found among the subclasses and not in a table of ours, which would keep a class alive
    # that nobody else uses any more.
    if issubclass(block, Scaler):
        return block
    existing = (kind for kind in block.__subclasses__() if kind.__bases__ == (Scaler, block))
    return next(existing, None) or type(f"Scaler[{block.__name__}]", (Scaler, block), {"__module__": __name__})
