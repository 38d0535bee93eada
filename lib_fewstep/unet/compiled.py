"""Modules that `torch.compile` has changed, and how they run without that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


def uncompiled(module: nn.Module) -> nn.Module:
    """The module that `torch.compile` has wrapped, or the module itself."""
    original = module._modules.get("_orig_mod")
    return module if original is None else original


@contextmanager
def running_uncompiled(block: nn.Module) -> Iterator[None]:
    """Nothing inside the block runs compiled: compiled code does not notice hooks that come and go."""
    found = [(vars(module), _eager_attributes(module)) for module in block.modules()]
    compiled = [(own, {name: own[name] for name in eager}, eager) for own, eager in found if eager]
    try:
        for own, _, eager in compiled:
            own.update(eager)
        yield
    finally:
        for own, before, _ in compiled:
            own.update(before)


def _eager_attributes(module: nn.Module) -> dict[str, Any]:
    """The attributes with which a compiled module runs uncompiled; none for a module that is not compiled."""
    eager: dict[str, Any] = {}
    if vars(module).get("_compiled_call_impl") is not None:
        eager["_compiled_call_impl"] = None
    if "forward" in vars(module) and uncompiled(module) is not module:
        eager["forward"] = uncompiled(module)
    return eager
