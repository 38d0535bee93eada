"""Modules and objects that know their names: anything else is an AttributeError that names it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class StrictModule(ModuleType):
    """A module with a fixed set of names; reading or setting another one raises AttributeError."""

    def __init__(self, name: str, **content: Any) -> None:
        super().__init__(name)
        vars(self).update(content)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the stand-in's {self.__name__} has no {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in vars(self):
            raise AttributeError(f"the stand-in's {self.__name__} has no {name!r} that could be set")
        super().__setattr__(name, value)


class Strict:
    """An object with a fixed set of attributes; reading or setting another one raises AttributeError."""

    def __init__(self, kind: str, **content: Any) -> None:
        vars(self).update(content, _kind=kind)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the stand-in's {vars(self).get('_kind')} has no {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in vars(self):
            raise AttributeError(f"the stand-in's {self._kind} has no {name!r} that could be set")
        super().__setattr__(name, value)


def fake(name: str) -> Any:
    """The stand-in's module of that name; it exists while a host does."""
    module = sys.modules.get(name)
    if type(module) is not StrictModule:
        raise LookupError(f"{name} is not the stand-in's: use it inside `with standin.webui(...)`")
    return module
