"""Operations that are made of others, in these parts."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class InParts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hands the parts of each operation on: in inference mode, torch 2.1 shows a counter no product inside a layer."""

    def __init__(self) -> None:
        """It has no settings."""
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation's parts, or the operation where it has none."""
        kwargs = kwargs or {}
        with self:
            out = func.decompose(*args, **kwargs)
        return func(*args, **kwargs) if out is NotImplemented else out
