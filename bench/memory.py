"""How much memory an evaluation needs, counted exactly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are alive after each operation; `peak` is the most.

    Tensors that were there before, such as the weights, are not counted, nor is what an operation needs inside.
    """

    def __init__(self, there_before: Iterable[Tensor]) -> None:
        """`there_before` are the tensors that are not to be counted."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._before = {_reference(tensor) for tensor in there_before}
        self._alive: dict[Any, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and look at what is alive."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(out)[0]:
            if isinstance(tensor, Tensor):
                reference = _reference(tensor)
                if reference not in self._before:
                    self._alive[reference] = tensor.untyped_storage().nbytes()
        self._alive = {reference: size for reference, size in self._alive.items() if not reference.expired()}
        self.peak = max(self.peak, sum(self._alive.values()))
        return out


def _reference(tensor: Tensor) -> Any:
    """What tells whether a tensor's memory is still in use, without keeping it."""
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
