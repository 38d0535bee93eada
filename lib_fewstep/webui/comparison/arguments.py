"""From the comparison script's arguments to its settings, and what its page shows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lib_fewstep.compare.settings import LISTS, ComparisonSettings
from lib_fewstep.options import SettingError, options_of, shown
from lib_fewstep.webui.highres.arguments import from_ui

NO_PROMPTS = "None"
NUMBERS = ("steps", "cfg")
OPTIONS = options_of(ComparisonSettings)


def comparison_settings(args: Sequence[Any]) -> ComparisonSettings:
    """The settings that a script's arguments mean: a dict, or all of the page's values in order.

    Raises SettingError. Fewer values would mean others': the host fills them up with the next script's.
    """
    if args and isinstance(args[0], Mapping):
        return ComparisonSettings.from_dict(args[0])
    if len(args) != len(OPTIONS):
        raise SettingError(
            f"script_args has {len(args)} values: it must be a dict of settings, or all {len(OPTIONS)} values in order."
        )
    values = {name: _from_page(name, value) for name, value in zip(OPTIONS, args, strict=True)}
    return ComparisonSettings.from_dict(values)


def page_value(name: str) -> Any:
    """What the page shows first for a setting."""
    value = getattr(ComparisonSettings(), name)
    if name == "prompts":
        return NO_PROMPTS
    if name in NUMBERS:
        return listed(value)
    return list(value) if name in LISTS else value


def listed(values: Sequence[Any]) -> str:
    """A list as text."""
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


def _from_page(name: str, value: Any) -> Any:
    if name in NUMBERS and isinstance(value, str):
        return [_number(name, text) for text in re.split(r"[,\s]+", value.strip()) if text]
    if name == "prompts":
        return "" if value in (None, NO_PROMPTS) else value
    return from_ui(value, OPTIONS[name])


def _number(name: str, text: str) -> float:
    """Steps stay whole; anything that is no number is refused."""
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise SettingError(f"{name} = {shown(text)} is not allowed: it must be {OPTIONS[name].allowed}.") from None
