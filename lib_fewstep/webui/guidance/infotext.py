"""Guidance's settings in the image's infotext, and back into the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.options import options_of
from lib_fewstep.webui.common.infotext import keys_of, pasted_value, pasting

_MARKS = set(keys_of(GuidanceSettings).values())


def infotext(settings: GuidanceSettings) -> dict[str, Any]:
    """What the infotext says of settings: whatever is not at its default."""
    neutral = GuidanceSettings()
    values = {name: getattr(settings, name) for name in options_of(GuidanceSettings) if name != "enabled"}
    differing = {name: value for name, value in values.items() if value != getattr(neutral, name)}
    return {options_of(GuidanceSettings)[name].infotext: value for name, value in differing.items()}


def pasted(name: str, parameters: Mapping[str, str]) -> Any:
    """What a pasted infotext makes of a component; any of the script's keys says that the image was made with it."""
    return pasted_value(GuidanceSettings, name, parameters, marked=not _MARKS.isdisjoint(parameters))


PASTING = pasting(GuidanceSettings, pasted)
