"""What the page says, in the language that the user has chosen for it."""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter

from lib_fewstep.sentences import Sentence
from lib_fewstep.webui.common import host


def in_language(text: str) -> str:
    """A text of the page in the page's language; in English where that has no words for it."""
    dictionary = host.options.dictionary()
    if not isinstance(text, Sentence):
        return dictionary.get(text, text)
    values = {name: in_language(value) if isinstance(value, Sentence) else value for name, value in text.values.items()}
    translation = dictionary.get(text.template, text.template)
    return translation.format(**values) if _fits(translation, text.template) else text


def _fits(translation: str, template: str) -> bool:
    """Whether a translation, perhaps from somebody else's file, has no other placeholders than our template."""
    try:
        return set(_placeholders(translation)) <= set(_placeholders(template))
    except ValueError:
        return False


def _placeholders(template: str) -> Iterator[tuple[str, str | None, str | None]]:
    return ((name, form, how) for _, name, form, how in Formatter().parse(template) if name is not None)
