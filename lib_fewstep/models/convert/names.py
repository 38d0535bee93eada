"""What the weights of blocks are called in both layouts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from lib_fewstep.models.convert.folder import NotConvertible, Part

Rule = tuple[str, Callable[[re.Match[str]], str]]
"""A pattern of whole names, and what the match is called in the other layout."""


def renamed(part: Part, rules: tuple[Rule, ...], prefix: str) -> dict[str, Tensor]:
    """A part's tensors under the original layout's names. Raises NotConvertible for a name that no rule knows."""
    return {f"{prefix}{_name(part, name, rules)}": tensor for name, tensor in part.tensors.items()}


def _name(part: Part, name: str, rules: tuple[Rule, ...]) -> str:
    for pattern, write in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return write(match)
    raise NotConvertible(f"The weight {name} beside {part.name} has no place in the original layout.")


def replaced(name: str, words: Mapping[str, str]) -> str:
    """A name whose beginning is one of the words, with what stands for it."""
    for word, other in words.items():
        if name == word or name.startswith(f"{word}."):
            return other + name[len(word) :]
    return name
