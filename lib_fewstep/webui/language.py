"""What the page says, in the language that the user has chosen for it."""

from __future__ import annotations

from lib_fewstep.sentences import Sentence
from lib_fewstep.webui import host


def in_language(text: str) -> str:
    """A text of the page in the page's language; in English where that has no words for it."""
    known = host.dictionary()
    if not isinstance(text, Sentence):
        return known.get(text, text)
    values = {name: in_language(value) if isinstance(value, Sentence) else value for name, value in text.values.items()}
    try:
        return known.get(text.template, text.template).format(**values)
    except (KeyError, IndexError, ValueError):  # a file of another's, whose template has other places
        return text
