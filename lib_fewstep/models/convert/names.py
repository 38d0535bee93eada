"""What the weights of blocks are called in both layouts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from lib_fewstep.models.convert.folder import NotConvertible

Rule = tuple[str, Callable[[re.Match[str]], str]]
"""A pattern of whole names, and what the match is called in the other layout."""


def renamed(tensors: Mapping[str, Tensor], rules: tuple[Rule, ...], prefix: str = "") -> dict[str, Tensor]:
    """Tensors under the names that the first rule gives which knows them.

    Raises NotConvertible for two of one name.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        other = f"{prefix}{_name(name, rules)}"
        if other in found:
            raise NotConvertible(f"The weight {name} is there twice, under an older name, too.")
        found[other] = tensor
    return found


def _name(name: str, rules: tuple[Rule, ...]) -> str:
    matches = ((re.fullmatch(pattern, name), write) for pattern, write in rules)
    return next(write(match) for match, write in matches if match)


def replaced(name: str, words: Mapping[str, str]) -> str:
    """A name whose beginning is one of the words, with what stands for it."""
    for word, other in words.items():
        if name == word or name.startswith(f"{word}."):
            return other + name[len(word) :]
    return name
