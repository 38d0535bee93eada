"""The axes "[HiDiffusion] ..." of the X/Y/Z plot."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lib_fewstep.compare.settings import NO_METHOD
from lib_fewstep.highres import AXES as NAMES
from lib_fewstep.highres import HighResSettings
from lib_fewstep.options import SettingError, options_of, page_fields
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.xyz import choices, from_axis, setting_axis

SCRIPT = "HiDiffusion"
"""Whose settings the axes set."""

_OPTIONS = options_of(HighResSettings)


def highres_axes(xyz: Any) -> list[Any]:
    """One axis for each setting, made with the X/Y/Z script's module."""
    return [_axis(xyz, name) for name in NAMES]


def with_axes(settings: HighResSettings, values: Mapping[str, Any]) -> HighResSettings:
    """The settings of a plot's cell: an axis switches its method on, over what the page or the API says.

    Settings that are switched off count for nothing. Raises SettingError for axes of both methods without one that
    says which of them is meant.
    """
    if not values:
        return settings
    method = values.get("method") or _method_of(values)
    if method == NO_METHOD:
        return HighResSettings(enabled=False)
    used = settings if settings.enabled else HighResSettings()
    return dataclasses.replace(used, **{**values, "method": method or used.method})


def _method_of(values: Mapping[str, Any]) -> str:
    """The method whose settings the axes change; empty if they change none of one method alone."""
    methods = sorted({_OPTIONS[name].group for name in values} - {""})
    if len(methods) > 1:
        raise SettingError(
            f"the plot has axes of {' and of '.join(methods)}, but each cell can run only one of them: add the axis "
            f"{_label('method')}, which sets the method of each cell."
        )
    return methods[0] if methods else ""


def _axis(xyz: Any, name: str) -> Any:
    field = page_fields(HighResSettings)[name]
    offered = [NO_METHOD, *(choices(field.option, field.shown) or [])] if name == "method" else None

    def read(value: Any) -> Any:
        checked = from_axis(field.shown, value)
        with_axes(HighResSettings(), {name: checked})
        return checked

    def check(values: Mapping[str, Any]) -> None:
        if _label("method") not in host.lists.plotted_axes():
            with_axes(HighResSettings(), values)

    return setting_axis(xyz, SCRIPT, _label(name), field, read, check, offered)


def _label(name: str) -> str:
    return f"[HiDiffusion] {_OPTIONS[name].label}"
