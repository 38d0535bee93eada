"""The table {name of a generation: hash}: how it is made, and how two of them are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

Generation = tuple[str, Callable[[], object]]
"""A readable name, and what makes the content that is hashed; it is called before the next one is asked for."""

FAILED = "failed: "


def table_of(generations: Iterable[Generation]) -> dict[str, str]:
    """The hash of each generation; of one that fails, its error. Raises ValueError for a name that comes twice."""
    table: dict[str, str] = {}
    for name, make in generations:
        if name in table:
            raise ValueError(f"two generations are called {name!r}")
        try:
            table[name] = digest(make())
        except Exception as error:  # noqa: BLE001 (the other generations still count)
            table[name] = f"{FAILED}{type(error).__name__}: {error}"
    return table


def failures(table: Mapping[str, str]) -> list[str]:
    """A line for each generation that has failed."""
    return [f"{name} has {result}" for name, result in table.items() if result.startswith(FAILED)]


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """A line for each generation that differs, is missing or is new."""
    lines = []
    for name in dict.fromkeys((*before, *after)):
        if name not in after:
            lines.append(f"missing: {name}")
        elif name not in before:
            lines.append(f"new: {name}")
        elif before[name] != after[name]:
            failed = f" ({after[name]})" if after[name].startswith(FAILED) else ""
            lines.append(f"differs: {name}{failed}")
    return lines


def digest(content: object) -> str:
    """The hash of tensors, texts, numbers and whatever lists and dicts of them there are.

    Raises TypeError for anything else, whose text might hold an address.
    """
    found = hashlib.sha256()
    for part in _parts(content):
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.hexdigest()[:32]


def _parts(content: Any) -> Iterator[bytes]:
    """A value's kind and its bytes; of several, those of each."""
    if isinstance(content, Tensor):
        yield f"{content.dtype} {tuple(content.shape)}".encode()
        yield content.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes()
    elif isinstance(content, Mapping):
        yield f"dict of {len(content)}".encode()
        for key, value in content.items():
            yield from _parts(key)
            yield from _parts(value)
    elif isinstance(content, (list, tuple, range)):
        yield f"list of {len(content)}".encode()
        for value in content:
            yield from _parts(value)
    elif content is None or isinstance(content, (str, bytes, bool, int, float)):
        yield f"{type(content).__name__} {content!r}".encode(errors="backslashreplace")
    else:
        raise TypeError(f"{type(content).__name__} has no hash here")
