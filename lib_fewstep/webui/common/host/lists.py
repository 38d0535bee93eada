"""What the host lists: sampling methods, the X/Y/Z plot and its axes, components of the page."""

from __future__ import annotations

from typing import Any

from modules import scripts, sd_samplers, shared


def sampler_names() -> list[str]:
    """The sampling methods that the WebUI offers, without their aliases."""
    return [sampler.name for sampler in sd_samplers.visible_samplers()]


def sampler_called(name: str) -> str | None:
    """The WebUI's name of a sampling method, which may be given by an alias; None if there is no such method."""
    entries = (entry for entry in sd_samplers.all_samplers if name == entry.name or name in entry.aliases)
    return next((str(entry.name) for entry in entries), None)


def xyz_module() -> Any:
    """The module of the X/Y/Z script; None where there is none."""
    return next((data.module for data in scripts.scripts_data if data.path.endswith("xyz_grid.py")), None)


def plotted_axes() -> set[str]:
    """The labels of the axes of the running X/Y/Z plot; while none runs, those of the last one."""
    plots = (getattr(shared.state, f"xyz_plot_{axis}", None) for axis in "xyz")
    return {plot.axis.label for plot in plots if plot is not None}


def elem_id_of(component: Any) -> str | None:
    """The id of a component or block of the page."""
    return getattr(component, "elem_id", None)
