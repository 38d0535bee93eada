"""What `torch.compile` makes of a module, and the module as it is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


def written(module: nn.Module) -> nn.Module:
    """The module that `torch.compile` has wrapped, or the module itself."""
    original = module._modules.get("_orig_mod")
    return module if original is None else original


@contextmanager
def as_written(block: nn.Module) -> Iterator[None]:
    """Nothing inside the block runs compiled: compiled code does not notice hooks that come and go."""
    before = [(vars(module), _uncompiled(module)) for module in block.modules()]
    compiled = [(own, {name: own[name] for name in changes}, changes) for own, changes in before if changes]
    try:
        for own, _, changes in compiled:
            own.update(changes)
        yield
    finally:
        for own, values, _ in compiled:
            own.update(values)


def _uncompiled(module: nn.Module) -> dict[str, Any]:
    """Which attributes a compiled module has to have instead, to run as it is written; none for another one."""
    changes: dict[str, Any] = {}
    if vars(module).get("_compiled_call_impl") is not None:
        changes["_compiled_call_impl"] = None
    if "forward" in vars(module) and written(module) is not module:
        changes["forward"] = written(module)
    return changes
