"""What the page says, in the language that the user has chosen for it."""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter

from lib_fewstep.sentences import Sentence
from lib_fewstep.webui.common import host


def in_language(text: str) -> str:
    """A text of the page in the page's language; in English where that has no words for it."""
    known = host.options.dictionary()
    if not isinstance(text, Sentence):
        return known.get(text, text)
    values = {name: in_language(value) if isinstance(value, Sentence) else value for name, value in text.values.items()}
    said = known.get(text.template, text.template)
    return said.format(**values) if _same_places(said, text.template) else text


def _same_places(said: str, template: str) -> bool:
    """Whether a template, perhaps of another's file, has no other places than ours."""
    try:
        return set(_places(said)) <= set(_places(template))
    except ValueError:
        return False


def _places(template: str) -> Iterator[tuple[str, str | None, str | None]]:
    return ((name, form, how) for _, name, form, how in Formatter().parse(template) if name is not None)
