"""NUL in CSV files: Python 3.10 neither writes nor reads it, newer ones do."""

from __future__ import annotations

from typing import Any

_NUL = "\0"
_PLACEHOLDER = "\ud800"  # half a surrogate pair: text that was read as UTF-8 has none


def spelled(value: Any) -> Any:
    """A text with each NUL as its number, in the way of `backslashreplace`; anything else as it is."""
    return value.replace(_NUL, r"\x00") if isinstance(value, str) else value


def hidden(text: str) -> str:
    """A text for `csv` to read, with a placeholder for each NUL."""
    return text.replace(_NUL, _PLACEHOLDER)


def restored(row: list[str]) -> list[str]:
    """A row of such a text as it was."""
    return [cell.replace(_PLACEHOLDER, _NUL) for cell in row]
