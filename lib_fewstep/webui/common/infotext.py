"""Settings in an image's infotext, back into the components of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lib_fewstep.options import Option, PageField, options_of, page_fields

Pasted = Callable[[Mapping[str, str]], Any]
"""What an infotext's parameters make of a component; None leaves it as it is."""


def keys_of(settings: type[Any]) -> dict[str, str]:
    """The infotext's keys for the components of a settings class, by component; those that have one."""
    fields = page_fields(settings).values()
    return {
        field.name: field.option.infotext
        for field in fields
        if field.option.infotext and not field.switch and field.name != "enabled"
    }


def differing(settings: Any) -> dict[str, Any]:
    """What the infotext says of a settings object: whatever is not at its default."""
    neutral, options = type(settings)(), options_of(type(settings))
    values = {name: getattr(settings, name) for name in options if name != "enabled"}
    return {options[name].infotext: value for name, value in values.items() if value != getattr(neutral, name)}


def forget(settings: type[Any], parameters: dict[str, Any]) -> None:
    """Take the keys of a settings class out of an infotext's parameters: an earlier image has left them there."""
    for key in keys_of(settings).values():
        parameters.pop(key, None)


def pasted_value(settings: type[Any], name: str, parameters: Mapping[str, str], *, marked: bool) -> Any:
    """What an infotext makes of a component; `marked` says whether the image was made with the script.

    An image without it switches the script off and changes nothing else. Settings that the infotext does not name were
    at their defaults. What is not allowed is left alone.
    """
    field, keys = page_fields(settings)[name], keys_of(settings)
    if name == "enabled":
        return marked
    if not marked:
        return None
    if field.switch:
        return any(keys[part] in parameters for part in keys if part.startswith(f"{name}_"))
    if name not in keys:
        return None
    text = parameters.get(keys[name])
    return field.shown if text is None else parsed(text, field)


def marked_by_any_key(settings: type[Any]) -> dict[str, Pasted]:
    """The pasting of a script whose keys all say that the image was made with it."""
    marks = set(keys_of(settings).values())

    def pasted(name: str, parameters: Mapping[str, str]) -> Any:
        return pasted_value(settings, name, parameters, marked=not marks.isdisjoint(parameters))

    return pasting(settings, pasted)


def pasting(settings: type[Any], pasted: Callable[[str, Mapping[str, str]], Any]) -> dict[str, Pasted]:
    """`pasted` for each component; the same functions in both tabs: by them the WebUI finds what it takes along."""
    return {name: partial(pasted, name) for name in page_fields(settings)}


def parsed(text: str, field: PageField) -> Any:
    """The value that a text means for a component, or None if it is not allowed."""
    if field.option.choices:
        return text if text in field.option.choices else None
    if isinstance(field.shown, bool):
        return {"True": True, "False": False}.get(text)
    if isinstance(field.shown, str):
        return text
    return _number(text, field.option, type(field.shown))


def _number(text: str, option: Option, kind: type[Any]) -> Any:
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value) or not (option.low or 0) <= value <= (option.high or 0):
        return None
    return value if kind is float else int(value)
