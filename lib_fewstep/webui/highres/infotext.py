"""Settings in the image's infotext, and back into the UI."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lib_fewstep.highres import HighResSettings
from lib_fewstep.options import Option, options_of
from lib_fewstep.webui.highres.arguments import ALWAYS_READ, ui_value
from lib_fewstep.webui.highres.kohya_infotext import in_own_words

_OPTIONS = options_of(HighResSettings)
MARK = _OPTIONS["method"].infotext
"""The key that is always there when the method ran."""


def infotext(settings: HighResSettings, resolved: HighResSettings | None = None) -> dict[str, str]:
    """What the infotext says of enabled settings: the method, and whatever is not at its default.

    Where values of a method were given, the preset is called Manual, because the page reads such values under it
    alone, and they are those of `resolved`: what the pass really used in the place of None.
    """
    defaults, own = HighResSettings(), [name for name, option in _OPTIONS.items() if option.group == settings.method]
    manual = settings.preset == "Manual" or any(getattr(settings, name) != getattr(defaults, name) for name in own)
    said = {name: getattr(settings, name) for name in ALWAYS_READ if name != "enabled"}
    said |= {"preset": "Manual"} if manual else {}
    said = {name: value for name, value in said.items() if name == "method" or value != getattr(defaults, name)}
    if manual:
        used = {name: getattr(resolved or settings, name) for name in own}
        said |= {name: value for name, value in used.items() if value not in (None, ui_value(name))}
    return {_OPTIONS[name].infotext: str(value) for name, value in said.items()}


def pasted(name: str, parameters: Mapping[str, str]) -> Any:
    """What a pasted infotext makes of a setting in the UI; None leaves the UI as it is.

    Without the method's key the image was made without it: it is switched off, and nothing else changes. Settings
    that the infotext does not name were at their defaults. What is not allowed is left alone.
    """
    parameters = in_own_words(parameters)
    if name == "enabled":
        return MARK in parameters
    if MARK not in parameters:
        return None
    text = parameters.get(_OPTIONS[name].infotext)
    return ui_value(name) if text is None else parsed(text, _OPTIONS[name], ui_value(name))


PASTED: dict[str, Callable[[Mapping[str, str]], Any]] = {name: partial(pasted, name) for name in _OPTIONS}
"""`pasted` for each setting; the same functions in both tabs: by them the WebUI finds what it takes along."""


def parsed(text: str, option: Option, shown: Any) -> Any:
    """The value that a text means for a setting whose component shows `shown`, or None if it is not allowed."""
    if option.choices:
        return text if text in option.choices else None
    if isinstance(shown, bool):
        return {"True": True, "False": False}.get(text)
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value) or not (option.low or 0) <= value <= (option.high or 0):
        return None
    return value if isinstance(shown, float) else int(value)
