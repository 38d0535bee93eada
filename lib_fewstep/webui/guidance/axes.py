"""The axes "[Guidance] ..." of the X/Y/Z plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.options import page_fields
from lib_fewstep.webui.common.xyz import from_axis, setting_axis

SCRIPT = "Guidance"
"""Whose settings the axes set."""

_FIELDS = page_fields(GuidanceSettings)


def guidance_axes(xyz: Any) -> list[Any]:
    """One axis for each setting, made with the X/Y/Z script's module."""
    return [_axis(xyz, name) for name in _FIELDS if name != "enabled"]


def with_axes(settings: GuidanceSettings, values: Mapping[str, Any]) -> GuidanceSettings:
    """The settings of a plot's cell: an axis switches guidance on, over what the page or the API says.

    Settings that are switched off count for nothing. Raises SettingError.
    """
    if not values:
        return settings
    used = settings if settings.enabled else GuidanceSettings()
    filled = GuidanceSettings.filled_by(values["preset"]) if "preset" in values else {}
    return replace(used, **{**filled, **values})


def _axis(xyz: Any, name: str) -> Any:
    field = _FIELDS[name]

    def read(value: Any) -> Any:
        checked = (
            None if field.option.blank is not None and value == field.option.blank else from_axis(field.shown, value)
        )
        with_axes(GuidanceSettings(), {name: checked})
        return checked

    label, check = f"[Guidance] {field.option.label}", partial(with_axes, GuidanceSettings())
    return setting_axis(xyz, SCRIPT, label, field, read, check)
