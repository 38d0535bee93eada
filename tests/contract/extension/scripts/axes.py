"""Axes of an extension: one of each kind, which all write down what they have applied."""

# ruff: noqa: INP001  (the host executes each file)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modules import scripts

seen: list[Any] = []
actions: dict[str, Callable[..., Any]] = {}
"""What a test wants an axis to do besides, by the axis's label."""


class Axes(scripts.Script):
    """Nothing on the page: a file without a class of scripts is not in the host's list."""

    def title(self) -> str:
        return "Axes"

    def show(self, is_img2img: bool) -> bool:
        return False


xyz_grid = next(data for data in scripts.scripts_data if data.path.endswith("xyz_grid.py")).module


def add(label: str, kind: Any, **more: Any) -> None:
    """One axis."""

    def apply(p: Any, x: Any, xs: list[Any]) -> None:
        seen.append((x, xs))
        p.mine = x
        if label in actions:
            actions[label](p, x, xs)

    xyz_grid.axis_options.append(xyz_grid.AxisOption(label, kind, apply, **more))


def confirm(p: Any, xs: list[Any]) -> None:
    """Nothing is right."""
    raise RuntimeError(f"{xs} of seed {p.seed}")


add("Mine", str)
add("My int", int)
add("My float", float)
add("My prepared", str, prepare=lambda text: text.split(";"))
add("My choice", str, choices=lambda: ["a, b", "c"], prepare=lambda text: [text.upper()])
add("My refused", int, confirm=confirm)
add("My costly", str, cost=0.5)
add("My label", str, format_value=lambda p, opt, x: f"<{x}>")
