"""The axes "[Model] ..." of the X/Y/Z plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lib_fewstep.models import ModelSettings
from lib_fewstep.options import page_fields
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.xyz import axis_values, choices, confirming, from_axis, kind, or_refuse, set_axis_values

SCRIPT = "Model sampling"
"""Whose settings the axes set."""

_FIELDS = page_fields(ModelSettings)


def model_axes(xyz: Any) -> list[Any]:
    """One axis for each setting, made with the X/Y/Z script's module."""
    return [_axis(xyz, name) for name in _FIELDS if name != "enabled"]


def with_axes(settings: ModelSettings, values: Mapping[str, Any]) -> ModelSettings:
    """The settings of a plot's cell: an axis switches them on, over what the page or the API says.

    Settings that are switched off count for nothing. Raises SettingError.
    """
    used = settings if settings.enabled else ModelSettings()
    return replace(used, **values)


def _axis(xyz: Any, name: str) -> Any:
    field, label = _FIELDS[name], f"[Model] {_FIELDS[name].option.label}"
    offered = choices(field.option, field.shown)

    def read(value: Any) -> Any:
        checked = from_axis(field.shown, value)
        with_axes(ModelSettings(), {} if name in _TOGETHER else {name: checked})
        return checked

    def apply(p: Processing, value: Any, values: Any) -> None:  # noqa: ARG001 (the host's signature)
        set_axis_values(p, SCRIPT, **{name: read(value)})
        or_refuse(label, with_axes, ModelSettings(), axis_values(p, SCRIPT))

    return xyz.AxisOption(
        label,
        kind(field.shown),
        apply,
        confirm=confirming(label, read),
        choices=None if offered is None else lambda: offered,
    )


_TOGETHER = ("beta_start", "beta_end")
"""Whose values are allowed or not only together."""
