"""Settings in the image's infotext, and back into the UI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_fewstep.hires import HiResSettings
from lib_fewstep.options import options_of
from lib_fewstep.webui.arguments import ALWAYS_READ, ui_value

_OPTIONS = options_of(HiResSettings)
MARK = _OPTIONS["method"].infotext
"""The key that is always there when the method ran."""


def infotext(settings: HiResSettings) -> dict[str, str]:
    """What the infotext says of enabled settings: the method, and whatever is not at its default."""
    return {
        option.infotext: str(getattr(settings, name))
        for name, option in _OPTIONS.items()
        if name == "method" or (name != "enabled" and _worth_saying(settings, name))
    }


def pasted(name: str, parameters: Mapping[str, str]) -> Any:
    """What a pasted infotext makes of a setting in the UI; None leaves the UI as it is.

    Without the method's key the image was made without it: it is switched off, and nothing else changes. Settings
    that the infotext does not name were at their defaults.
    """
    if name == "enabled":
        return MARK in parameters
    if MARK not in parameters:
        return None
    if name == "preset" and any(_OPTIONS[other].infotext in parameters for other in _manual_settings()):
        return "Manual"
    shown = ui_value(name)
    value = parameters.get(_OPTIONS[name].infotext)
    if value is None:
        return shown
    if isinstance(shown, bool):
        return value == "True"
    return type(shown)(value)


def _worth_saying(settings: HiResSettings, name: str) -> bool:
    value = getattr(settings, name)
    if value == getattr(HiResSettings(), name) or _OPTIONS[name].group not in ("", settings.method):
        return False
    return settings.preset != "Manual" or name in ALWAYS_READ or value != ui_value(name)


def _manual_settings() -> list[str]:
    return [name for name in _OPTIONS if name not in ALWAYS_READ]
