"""The axes "[Model] ..." of the X/Y/Z plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from lib_fewstep.models import ModelSettings
from lib_fewstep.models.settings import CUSTOM, SCHEDULE_PARTS, SIZES
from lib_fewstep.options import page_fields
from lib_fewstep.webui.common.xyz import from_axis, setting_axis

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
    return replace(used, **_choosing_custom(values))


def _choosing_custom(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the choice that a plotted part of a custom schedule or size is for."""
    chosen = {"noise_schedule": SCHEDULE_PARTS, "size": SIZES}
    custom = {choice: CUSTOM for choice, parts in chosen.items() if not values.keys().isdisjoint(parts)}
    return {**custom, **values}


def _axis(xyz: Any, name: str) -> Any:
    field = _FIELDS[name]

    def read(value: Any) -> Any:
        checked = from_axis(field.shown, value)
        with_axes(ModelSettings(), {} if name in _TOGETHER else {name: checked})
        return checked

    label, check = f"[Model] {field.option.label}", partial(with_axes, ModelSettings())
    return setting_axis(xyz, SCRIPT, label, field, read, check)


_TOGETHER = ("beta_start", "beta_end")
"""Whose values are allowed or not only together."""
