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
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.xyz import axis_values, choices, confirming, from_axis, kind, or_refuse, set_axis_values

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
    shown, label = page_fields(HighResSettings)[name].shown, _label(name)
    offered = choices(_OPTIONS[name], shown)
    if name == "method":
        offered = [NO_METHOD, *(offered or [])]

    def read(value: Any) -> Any:
        checked = from_axis(shown, value)
        with_axes(HighResSettings(), {name: checked})
        return checked

    def apply(p: Processing, value: Any, values: Any) -> None:  # noqa: ARG001 (the host's signature)
        set_axis_values(p, SCRIPT, **{name: read(value)})
        if _label("method") not in host.lists.plotted_axes():
            or_refuse(label, with_axes, HighResSettings(), axis_values(p, SCRIPT))

    return xyz.AxisOption(
        label,
        kind(shown),
        apply,
        confirm=confirming(label, read),
        choices=None if offered is None else lambda: offered,
    )


def _label(name: str) -> str:
    return f"[HiDiffusion] {_OPTIONS[name].label}"
