"""Sentences that can be said in another language."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any


class Sentence(str):
    """A text made from a template, which it remembers together with the values; otherwise a text like any other.

    `template` is in the form of `str.format`; values that are sentences themselves can be said in another language,
    too.
    """

    __slots__ = ("template", "values")

    template: str
    values: dict[str, Any]

    def __new__(cls, template: str, **values: Any) -> Sentence:
        """The template with its values."""
        sentence = super().__new__(cls, template.format(**values))
        sentence.template, sentence.values = template, values
        return sentence


def joined(parts: Iterable[Sentence]) -> Sentence:
    """At least one part, with commas between them."""
    return reduce(lambda before, part: Sentence("{before}, {part}", before=before, part=part), parts)
