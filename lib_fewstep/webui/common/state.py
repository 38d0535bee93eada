"""What this extension keeps of one job: a single attribute of the host's processing object, an entry for each kind.

A copy of a job (a cell of an X/Y/Z plot, a script's job of its own) starts with the entries of the original and keeps
its own from then on: the attribute is replaced at every change and never changed in place.
"""

from __future__ import annotations

from typing import Any, TypeVar

from lib_fewstep.webui.common.host.protocols import Processing

ATTRIBUTE = "fewstep"

E = TypeVar("E")


def find(p: Processing | None, kind: type[E]) -> E | None:
    """The entry of a kind that a processing object has; None without one, and where there is no job (`p` None)."""
    entry: E | None = None if p is None else _entries(p).get(_name(kind))
    return entry


def put(p: Processing, entry: object) -> None:
    """Keep an entry, in the place of an earlier one of its kind."""
    setattr(p, ATTRIBUTE, {**_entries(p), _name(type(entry)): entry})


def drop(p: Processing, kind: type[Any]) -> None:
    """Forget the entry of a kind, if there is one."""
    setattr(p, ATTRIBUTE, {name: entry for name, entry in _entries(p).items() if name != _name(kind)})


def _entries(p: Processing) -> dict[str, Any]:
    entries: dict[str, Any] = vars(p).get(ATTRIBUTE, {})
    return entries


def _name(kind: type[Any]) -> str:
    """A kind by its name: a reload of the UI in the middle of a job imports the classes anew."""
    return f"{kind.__module__}.{kind.__qualname__}"
