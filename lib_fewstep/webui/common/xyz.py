"""Axes of the WebUI's X/Y/Z plot: how they are added, and where their values are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modules import script_callbacks

from lib_fewstep.options import Option, PageField, SettingError
from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.refusal import Refusal

_TRUTH = {"True": True, "False": False}

MakeAxes = Callable[[Any], list[Any]]
"""The axes made with the X/Y/Z script's module."""


def add_axes(make: MakeAxes) -> None:
    """Add axes now, for a WebUI without a page, and before each making of the page, which has a new list.

    Without the X/Y/Z script nothing happens. Axes of the same label are replaced.
    """

    def add() -> None:
        module = host.lists.xyz_module()
        if module is None:
            return
        axes = make(module)
        labels = {axis.label for axis in axes}
        module.axis_options[:] = [axis for axis in module.axis_options if axis.label not in labels] + axes

    add()
    script_callbacks.on_before_ui(add)


@dataclass(frozen=True)
class AxisValues:
    """The values of a plot's cell: for each script those of its settings that have an axis in the plot."""

    by_script: Mapping[str, Mapping[str, Any]]


def set_axis_values(p: Processing, script: str, **values: Any) -> None:
    """Set values of a script's settings for one cell of a plot, on the cell's processing object."""
    by_script = _by_script(p)
    state.put(p, AxisValues({**by_script, script: {**by_script.get(script, {}), **values}}))


def axis_values(p: Processing, script: str) -> Mapping[str, Any]:
    """The values that the axes of a plot have set for a script; nothing outside of a plot."""
    return _by_script(p).get(script, {})


def _by_script(p: Processing) -> Mapping[str, Mapping[str, Any]]:
    values = state.find(p, AxisValues)
    return {} if values is None else values.by_script


def setting_axis(
    xyz: Any,
    script: str,
    label: str,
    field: PageField,
    read: Callable[[Any], Any],
    check: Callable[[Mapping[str, Any]], object],
    offered: Sequence[str] | None = None,
) -> Any:
    """An axis over one setting of a script, made with the X/Y/Z script's module.

    `read` makes the setting's value of the plot's, `check` refuses the values that a cell's axes have set so far.
    """

    def apply(p: Processing, value: Any, values: Any) -> None:  # noqa: ARG001 (the host's signature)
        set_axis_values(p, script, **{field.name: read(value)})
        or_refuse(label, check, axis_values(p, script))

    offered = choices(field.option, field.shown) if offered is None else offered
    return xyz.AxisOption(
        label,
        kind(field.shown),
        apply,
        confirm=confirming(label, read),
        choices=None if offered is None else lambda: offered,
    )


def choices(option: Option, shown: Any) -> list[str] | None:
    """What an axis offers to choose from; None for numbers and free text."""
    if isinstance(shown, bool):
        return list(_TRUTH)
    return list(option.choices) or None


def kind(shown: Any) -> type:
    """How the plot reads an axis's values: numbers may be ranges."""
    return str if isinstance(shown, bool) else type(shown)


def from_axis(shown: Any, value: Any) -> Any:
    """A setting's value from an axis's; what is no truth value stays, to be refused by the settings."""
    return _TRUTH.get(value, value) if isinstance(shown, bool) else value


def confirming(label: str, read: Callable[[Any], object]) -> Callable[[Any, Sequence[Any]], None]:
    """A `confirm` that reads each value before the first image; a Refusal names the axis and the value."""

    def confirm(p: Processing, values: Sequence[Any]) -> None:  # noqa: ARG001 (the host's signature)
        if not values:
            raise Refusal(f"{label} has no values: it must have at least one.")
        for value in values:
            or_refuse(label, read, value)

    return confirm


def or_refuse(label: str, read: Callable[..., object], *values: Any) -> Any:
    """What `read` makes of values; its SettingError becomes a Refusal with the axis's label before it."""
    try:
        return read(*values)
    except SettingError as refusal:
        raise Refusal(f"{label}: {refusal}") from refusal
