"""The picture of the samplers: error against evaluations, each sampler here beside its base."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from bench.sampler_list import BASES
from lib_fewstep.compare.curves import GRID
from lib_fewstep.compare.grid import FAINT, INK, PAPER

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000", "#56b4e9")
"""Okabe and Ito's colours, which colour-blind people can tell apart."""

OTHERS, RING = "#c9c7c0", "#c1121f"
COLUMNS = 4
TEXT = 9
ROW = 3.4

TITLE = "Error of the samplers against evaluations of the model"
NOTE = (
    "Full lines: samplers of this project. Dashes of the same colour: the base of each. "
    "Where only the full line is seen, both are the same. SA-Solver has diamonds.\n"
    "Thin pale lines: k-diffusion's other samplers. Dotted: the measure's floor, where it is in range. "
    "Red rings: behind the base."
)


def sampler_picture(report: dict[str, Any], path: Path) -> None:
    """Write a PNG with a panel for each section, making the folder where it is missing."""
    sections = report["sections"]
    rows = -(-len(sections) // COLUMNS)
    height = ROW * rows + 2
    figure = Figure(figsize=(4.6 * COLUMNS, height), dpi=80, facecolor=PAPER)
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(rows, COLUMNS, squeeze=False)
    colours = _colours()
    for axes, section in zip(panels.flat, sections, strict=False):
        _draw(axes, section, colours)
    for axes in list(panels.flat)[len(sections) :]:
        axes.set_axis_off()
    figure.subplots_adjust(left=0.05, right=0.99, top=1 - 1.95 / height, bottom=0.5 / height, wspace=0.28, hspace=0.32)
    figure.suptitle(TITLE, x=0.04, y=1 - 0.15 / height, ha="left", va="top", fontsize=15, color=INK)
    figure.text(0.04, 1 - 0.5 / height, NOTE, fontsize=10, color=FAINT, va="top")
    _legend(figure, colours, height)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor=PAPER)


def _colours() -> dict[str, str]:
    """A base and what comes from it have one colour."""
    groups = dict.fromkeys(BASES.values())
    return dict(zip(groups, PALETTE, strict=True))


def _draw(axes: Axes, section: dict[str, Any], colours: dict[str, str]) -> None:
    axes.set_title(section["title"], fontsize=TEXT + 1, color=INK, loc="left")
    axes.set_ylabel(textwrap.fill(section["measure"], 36), fontsize=TEXT - 1.5, color=FAINT)
    axes.set_facecolor("white")
    axes.grid(color=GRID)
    behind = {(one["sampler"], one["evaluations"]) for one in section["comparisons"] if one["behind"]}
    for name, points in section["samplers"].items():
        costs = [point["evaluations"] for point in points]
        errors = [point["error"] for point in points]
        axes.plot(costs, errors, **_style(name, colours))
        rings = [(cost, error) for cost, error in zip(costs, errors, strict=True) if (name, cost) in behind]
        if rings:
            axes.plot(*zip(*rings, strict=True), "o", ms=11, mfc="none", mec=RING)
    axes.axhline(section["floor"], color=INK, linestyle=":", linewidth=1.2)
    _scale(axes, section)


def _style(name: str, colours: dict[str, str]) -> dict[str, Any]:
    if name in BASES:
        marker = "D" if name == "SA-Solver" else "o"
        return {"color": colours[BASES[name]], "marker": marker, "markersize": 4, "linewidth": 1.8}
    if name in colours:
        return {"color": colours[name], "linestyle": "--", "marker": "s", "markersize": 4, "linewidth": 1.4}
    return {"color": OTHERS, "linewidth": 0.9, "zorder": 1.5}


def _scale(axes: Axes, section: dict[str, Any]) -> None:
    """Logarithmic axes; a floor far below every error is left out of the range."""
    errors = [point["error"] for points in section["samplers"].values() for point in points]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    low = min(errors) if section["floor"] < min(errors) / 10 else min(*errors, section["floor"])
    axes.set_ylim(low / 1.3, max(errors) * 1.3)
    wide = max(errors) > 20 * low
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axes.xaxis.set_major_locator(FixedLocator([4, 8, 16, 32, 64]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=TEXT, colors=INK)
    axes.set_xlabel("evaluations", fontsize=TEXT, color=FAINT)


def _legend(figure: Figure, colours: dict[str, str], height: float) -> None:
    names = [name for base in colours for name in (base, *(mine for mine in BASES if BASES[mine] == base))]
    names = list(dict.fromkeys(names))
    handles = [Line2D([], [], **_style(name, colours)) for name in names]
    handles.append(Line2D([], [], **_style("", colours)))
    figure.legend(
        handles,
        [*names, "others"],
        loc="upper left",
        bbox_to_anchor=(0.035, 1 - 0.9 / height),
        ncols=6,
        frameon=False,
        fontsize=10,
    )
