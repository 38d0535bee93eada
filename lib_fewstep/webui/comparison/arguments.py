"""From the comparison script's arguments to its settings, and what its page shows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lib_fewstep.compare.settings import AS_SET, LISTS, NO_METHOD, ComparisonSettings
from lib_fewstep.highres import METHODS as HIGHRES_METHODS
from lib_fewstep.options import PageField, SettingError, from_page, page_fields, shown

NUMBERS = ("steps", "cfg")
"""Lists that the page shows as text."""
METHODS = (AS_SET, NO_METHOD, *(method.name for method in HIGHRES_METHODS))
"""What may be compared for high resolution."""


def comparison_settings(args: Sequence[Any]) -> ComparisonSettings:
    """The settings that a script's arguments mean: a dict, or all of the page's values in order.

    Raises SettingError. Fewer values would mean others': the host fills them up with the next script's.
    """
    if args and isinstance(args[0], Mapping):
        return _with_known_methods(ComparisonSettings.from_dict(args[0]))
    if len(args) != len(FIELDS):
        raise SettingError(
            f"script_args has {len(args)} values: it must have one dict of settings, or all {len(FIELDS)} "
            "values in order."
        )
    values = {name: _from_text(name, value) for name, value in zip(FIELDS, args, strict=True)}
    return _with_known_methods(ComparisonSettings.from_dict(from_page(ComparisonSettings, values)))


def _with_known_methods(settings: ComparisonSettings) -> ComparisonSettings:
    """The settings; a method that is not there is refused."""
    for method in settings.methods:
        if method not in METHODS:
            raise SettingError(f"methods = {shown(method)} is not allowed: it must be {' or '.join(METHODS)}.")
    return settings


def listed(values: Sequence[Any]) -> str:
    """A list as text."""
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


def _shown(field: PageField) -> Any:
    if field.name in NUMBERS:
        return listed(field.shown)
    return list(field.shown) if field.name in LISTS else field.shown


FIELDS = {
    name: dataclasses.replace(field, shown=_shown(field)) for name, field in page_fields(ComparisonSettings).items()
}
"""The components of the page in their order."""


def _from_text(name: str, value: Any) -> Any:
    if name in NUMBERS and isinstance(value, str):
        return [_number(name, text) for text in re.split(r"[,\s]+", value.strip()) if text]
    return value


def _number(name: str, text: str) -> float:
    """Steps stay whole; anything that is no number is refused."""
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        allowed = FIELDS[name].option.allowed
        raise SettingError(f"{name} = {shown(text)} is not allowed: it must be {allowed}.") from None
