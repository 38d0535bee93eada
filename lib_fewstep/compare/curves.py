"""The picture of a comparison's cost and quality: a line for each sampler, CFG and method, and the Pareto front."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image as PilImage
from PIL.Image import Image

from lib_fewstep.compare.grid import FAINT, INK, METHOD_NAMES, PAPER, counted, named
from lib_fewstep.compare.settings import AS_SET, NO_METHOD
from lib_fewstep.compare.table import mean_curves, pareto
from lib_fewstep.options import on_one_line

WIDTH, HEIGHT, DPI = 1400, 1000, 100
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe and Ito's colours, which colour-blind people can tell apart."""

WITHOUT_METHOD = {AS_SET: "o", NO_METHOD: "D"}
MARKERS = ("s", "^", "v", "P", "X", "<", ">", "*")
"""Of methods, in their order; beyond that many they are used again."""

QUALITIES = {"psnr": "PSNR (dB)", "ssim": "SSIM"}
COSTS = {"evaluations": "Evaluations of the denoiser", "seconds": "Seconds of sampling per image"}
FRONT, GRID = "#dcd3b6", "#e8e6e0"
TITLE_SIZE, TEXT_SIZE = 15, 11
MOST_TICKS = 9
LEGEND_ROW = 24
"""Pixels of a line of the legend."""


@dataclass(frozen=True)
class Styles:
    """The colour of each sampler, the dashes of each CFG and the marker of each method."""

    colours: dict[str, Any]
    dashes: dict[float, Any]
    markers: dict[str, str]

    @classmethod
    def of(cls, curves: pd.DataFrame) -> Styles:
        """Styles that tell the curves apart."""
        samplers, scales = list(curves["sampler"].unique()), sorted(curves["cfg"].unique())
        palette: Sequence[Any] = PALETTE
        if len(samplers) > len(PALETTE):
            palette = mpl.colormaps["viridis"](np.linspace(0, 0.95, len(samplers)))
        dashes = {cfg: "-" if index == 0 else (0, (5, 2) + (1, 2) * (index - 1)) for index, cfg in enumerate(scales)}
        return cls(dict(zip(samplers, palette, strict=False)), dashes, _markers(list(curves["method"].unique())))


def _markers(methods: Sequence[str]) -> dict[str, str]:
    """A marker for each method; only those that are methods use up one."""
    own = dict(zip((method for method in methods if method not in WITHOUT_METHOD), itertools.cycle(MARKERS)))
    return {method: WITHOUT_METHOD.get(method) or own[method] for method in methods}


def draw_curves(frame: pd.DataFrame, title: str, note: str = "") -> Image:
    """PSNR and SSIM against evaluations and seconds, from the rows of `table.table`.

    A line for each sampler (colour), CFG (dashes) and method (marker) through the means of its numbers of steps; the
    Pareto front as a broad pale line behind them, its points ringed. Infinite PSNR is counted in the caption, which
    ends in the note.
    """
    curves = mean_curves(frame)
    rows = sum(curves[name].nunique() for name in ("sampler", "cfg", "method")) + 12
    height = max(HEIGHT, 180 + rows * LEGEND_ROW)
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    canvas: Any = FigureCanvasAgg(figure)
    head = textwrap.wrap(title, 110, max_lines=2, placeholder=" …")
    _text(figure, (20, height - 16), "\n".join(head), TITLE_SIZE, INK)
    if any(_drawn(curves, cost, quality).any() for cost in COSTS for quality in QUALITIES):
        _draw_panels(figure, curves, f"{caption(frame, curves)} {note}", 20 + 26 * len(head))
    else:
        _text(figure, (20, height - 32 - 26 * len(head)), _nothing(frame), TEXT_SIZE + 2, FAINT)
    canvas.draw()
    return PilImage.fromarray(np.array(canvas.buffer_rgba())).convert("RGB")


def caption(frame: pd.DataFrame, curves: pd.DataFrame) -> str:
    """What a point is, what it was measured against, and what is left out."""
    measured = curves["images"][curves["images"] > 0]
    low, high = int(measured.min()), int(measured.max())
    if high == 1:
        sentences = ["Each point is one image."]
    else:
        sentences = [f"Each point is the mean of {high if low == high else f'{low} to {high}'} images."]
    references = frame[frame["reference"]]
    kinds = dict.fromkeys(zip(references["sampler"], references["steps"], references["method"], strict=True))
    names = [named(*kind) for kind in kinds]
    sentences.append(f"Reference: {' or '.join(names)}, with the same prompt, seed and CFG.")
    sentences += _left_out(frame, curves)
    return " ".join(sentences)


def _left_out(frame: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    equal = curves[np.isinf(curves["psnr"])]
    names = list(dict.fromkeys(f"{row.sampler}, CFG {row.cfg:g}, {counted(row.steps)}" for row in equal.itertuples()))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    failed = int((frame["error"] != "").sum())
    return [
        *([f"No PSNR where an image equals its reference: {'; '.join(names[:3])}{more}."] if names else []),
        *([f"Left out: {failed} of {len(frame)} images, which failed or were not run."] if failed else []),
    ]


def _nothing(frame: pd.DataFrame) -> str:
    errors = [error for error in frame["error"].unique() if error]
    reason = f"The first error: {on_one_line(errors[0])}" if errors else "No image could be compared with a reference."
    return "\n".join(["There is nothing to draw.", *textwrap.wrap(reason, 120, max_lines=12)])


def _draw_panels(figure: Figure, curves: pd.DataFrame, note: str, above: int) -> None:
    """Panels, legend and caption; `above` are the pixels that the title takes."""
    width, height = (round(inches * DPI) for inches in figure.get_size_inches())
    lines = textwrap.wrap(note, 165)
    below = 30 + 20 * len(lines)
    _text(figure, (20, below - 14), "\n".join(lines), TEXT_SIZE, FAINT)
    styles = Styles.of(curves)
    taken = _draw_legend(figure, styles, above)
    panels: Any = figure.subplots(len(QUALITIES), len(COSTS))
    figure.subplots_adjust(
        left=80 / width,
        right=1 - (taken + 40) / width,
        top=1 - (above + 14) / height,
        bottom=(below + 56) / height,
        wspace=0.2,
        hspace=0.24,
    )
    for line, quality in zip(panels, QUALITIES, strict=True):
        for axes, cost in zip(line, COSTS, strict=True):
            _draw_panel(axes, curves, styles, cost, quality)


def _draw_panel(axes: Axes, curves: pd.DataFrame, styles: Styles, cost: str, quality: str) -> None:
    """One panel; points without a finite cost and quality are not drawn."""
    axes.set_xlabel(COSTS[cost], fontsize=TEXT_SIZE, color=INK)
    axes.set_ylabel(QUALITIES[quality], fontsize=TEXT_SIZE, color=INK)
    axes.tick_params(labelsize=TEXT_SIZE, colors=INK)
    axes.set_facecolor("white")
    axes.grid(color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    axes.margins(y=0.1)
    points = curves[_drawn(curves, cost, quality)]
    if points.empty:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "nothing to draw", transform=axes.transAxes, ha="center", fontsize=TEXT_SIZE, color=FAINT)
        return
    for _, alike in points.groupby("cfg"):  # each CFG has references of its own
        _draw_front(axes, alike, cost, quality)
    for (method, sampler, cfg), line in points.groupby(["method", "sampler", "cfg"], sort=False):
        ordered = line.sort_values("steps")
        axes.plot(
            ordered[cost],
            ordered[quality],
            color=styles.colours[sampler],
            linestyle=styles.dashes[cfg],
            marker=styles.markers[method],
            markersize=5.5,
            linewidth=1.7,
        )
    _number_costs(axes, points[cost])


def _draw_front(axes: Axes, points: pd.DataFrame, cost: str, quality: str) -> None:
    """The best quality for each cost, and rings around the points that have it."""
    front = points[pareto(points[cost], points[quality])].sort_values(cost)
    axes.plot(
        front[cost],
        front[quality],
        color=FRONT,
        linewidth=9,
        drawstyle="steps-post",
        zorder=1.5,
        solid_capstyle="round",
    )
    axes.plot(front[cost], front[quality], **_RING, zorder=3)


_RING: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 13,
    "markerfacecolor": "none",
    "markeredgecolor": INK,
    "markeredgewidth": 1.1,
}


def _number_costs(axes: Axes, costs: pd.Series) -> None:
    """A logarithmic axis of an octave or more, with plain numbers at powers of two; between them where they are few.

    Costs below 1 have other numbers, for powers of two are long there.
    """
    low, high = math.log2(costs.min()), math.log2(costs.max())
    margin = max(0.06 * (high - low), (1 - (high - low)) / 2)
    low, high = low - margin, high + margin
    ticks = _powers_of_two(low, high) if costs.min() >= 1 else _few_digits(2**low, 2**high)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(2**low, 2**high)


def _powers_of_two(low: float, high: float) -> list[float]:
    powers = np.arange(math.ceil(low), math.floor(high) + 1)
    ticks: list[float] = (2.0 ** powers[:: math.ceil(len(powers) / MOST_TICKS)]).tolist()
    if len(powers) < 3:
        between = 1.5 * 2.0 ** np.arange(math.floor(low), math.ceil(high))
        ticks += between[(between > 2**low) & (between < 2**high)].tolist()
    return ticks


def _few_digits(low: float, high: float) -> list[float]:
    """Powers of ten, or as many multiples of them as are needed for three numbers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    ticks: list[float] = []
    for digits in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        ticks = [digit * 10.0**power for power in (*powers, powers.stop) for digit in digits]
        ticks = [tick for tick in ticks if low < tick < high]
        if len(ticks) >= 3:
            break
    return ticks


def _drawn(curves: pd.DataFrame, cost: str, quality: str) -> pd.Series:
    """Which points have a place on a panel."""
    return np.isfinite(curves[cost].astype(float)) & (curves[cost] > 0) & np.isfinite(curves[quality].astype(float))


def _draw_legend(figure: Figure, styles: Styles, above: int) -> int:
    """The meaning of colours, dashes and markers, at the right; returns how many pixels wide it is."""
    width, height = (round(inches * DPI) for inches in figure.get_size_inches())
    entries = [
        ("Sampler", None),
        *((sampler, Line2D([], [], color=colour, linewidth=3)) for sampler, colour in styles.colours.items()),
        ("", None),
        ("CFG", None),
        *((f"{cfg:g}", Line2D([], [], color=INK, linestyle=dash)) for cfg, dash in styles.dashes.items()),
        ("", None),
        ("High-resolution method", None),
        *((METHOD_NAMES.get(method, method), _marker(marker)) for method, marker in styles.markers.items()),
        ("", None),
        ("Pareto front of each CFG", None),
        ("best for its cost", Line2D([], [], color=FRONT, linewidth=9)),
        ("a point of it", Line2D([], [], **_RING)),
    ]
    legend = figure.legend(
        [handle or Line2D([], [], linestyle="none") for _, handle in entries],
        [textwrap.fill(name, 26) for name, _ in entries],
        loc="upper right",
        bbox_to_anchor=(1 - 14 / width, 1 - (above + 4) / height),
        borderaxespad=0,
        fontsize=TEXT_SIZE,
        labelcolor=INK,
        handlelength=4,
        frameon=False,
    )
    for text, (_, handle) in zip(legend.get_texts(), entries, strict=True):
        text.set_parse_math(False)
        text.set_fontweight("normal" if handle else "bold")
    return math.ceil(legend.get_window_extent().width)


def _marker(marker: str) -> Line2D:
    return Line2D([], [], linestyle="none", marker=marker, color=INK, markersize=7)


def _text(figure: Figure, place: tuple[int, int], text: str, size: int, colour: str) -> None:
    """Text with its upper left corner at a place, in pixels from the lower left."""
    width, height = (inches * DPI for inches in figure.get_size_inches())
    figure.text(place[0] / width, place[1] / height, text, fontsize=size, color=colour, va="top", parse_math=False)
