"""The X/Y/Z plot: a script module of the host that is loaded before those of extensions."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.webui.standin.processing import Processed, process_images
from tests.webui.standin.scripts import Script, ScriptClassData
from tests.webui.standin.strict import StrictModule, fake


def format_value_add_label(p: Any, opt: Any, x: Any) -> str:
    """How a cell is labelled."""
    return f"{opt.label}: {x}"


def format_value(p: Any, opt: Any, x: Any) -> str:
    """How a cell is labelled, without the axis."""
    return str(x)


def apply_field(field: str) -> Callable[[Any, Any, Any], None]:
    """An axis that sets a field of the job."""
    return lambda p, x, xs: setattr(p, field, x)


@dataclass
class AxisOption:
    """An axis that users can choose."""

    label: str
    type: Callable[[str], Any]
    apply: Callable[[Any, Any, Any], None]
    format_value: Callable[[Any, Any, Any], str] = format_value_add_label
    confirm: Callable[[Any, list[Any]], None] | None = None
    cost: float = 0.0
    choices: Callable[[], list[str]] | None = None
    prepare: Callable[[str], list[str]] | None = None


class AxisOptionTxt2Img(AxisOption):
    """Only in txt2img."""

    is_img2img = False


class AxisOptionImg2Img(AxisOption):
    """Only in img2img."""

    is_img2img = True


class XYZScript(Script):
    """The selectable script; the stand-in runs its cells from `run_cells`."""

    def title(self) -> str:
        """The script's name."""
        return "X/Y/Z plot"


def fresh_module() -> StrictModule:
    """The script's module, as a start or a reload of the UI makes it."""
    return StrictModule(
        "xyz_grid.py",
        AxisOption=AxisOption,
        AxisOptionImg2Img=AxisOptionImg2Img,
        AxisOptionTxt2Img=AxisOptionTxt2Img,
        Script=XYZScript,
        apply_field=apply_field,
        axis_options=[
            AxisOption("Nothing", str, lambda p, x, xs: None),
            AxisOption("Seed", int, apply_field("seed")),
            AxisOption("Steps", int, apply_field("steps")),
            AxisOption("CFG Scale", float, apply_field("cfg_scale")),
            AxisOption("Sampler", str, apply_field("sampler_name")),
        ],
        format_value=format_value,
        format_value_add_label=format_value_add_label,
    )


def load() -> None:
    """Put the script into the host's list."""
    data = ScriptClassData(XYZScript, "/webui/scripts/xyz_grid.py", "/webui", fresh_module())
    fake("modules.scripts").scripts_data.append(data)


def find_axis(label: str) -> Any:
    """The axis of that label."""
    module = next(d.module for d in fake("modules.scripts").scripts_data if d.path.endswith("xyz_grid.py"))
    axes = [axis for axis in module.axis_options if axis.label == label]
    if len(axes) != 1:
        raise LookupError(f"{len(axes)} axes are called {label!r}: {[axis.label for axis in module.axis_options]}")
    return axes[0]


def run_cells(p: Any, chosen: dict[str, str]) -> Iterator[Processed]:
    """One job for each combination of the axes' values, which are given as text with commas.

    What a cell raises is reported, and the cell stays empty.
    """
    axes = []
    for label, text in chosen.items():
        axis = find_axis(label)
        values = [axis.type(value.strip()) for value in text.split(",")]
        if axis.confirm:
            axis.confirm(p, values)
        axes.append((axis, values))
    for combination in itertools.product(*(values for _, values in axes)):
        cell = copy.copy(p)
        for (axis, values), value in zip(axes, combination, strict=True):
            axis.apply(cell, value, values)
        yield _run(cell)


def _run(cell: Any) -> Processed:
    try:
        return process_images(cell)
    except Exception as error:  # noqa: BLE001 (as the host does)
        fake("modules.errors").display(error, "a cell of the plot failed")
        return Processed(cell, [], cell.seed, "")
