"""The figures of a comparison: as JSON for programs, as a table for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from demo.columns import chosen_settings
from demo.compare import Result
from demo.generate import GUIDANCE, STEPS
from demo.guidance import CFG, Difference, Pair
from demo.pictures.judge import wilson


def as_dict(results: list[Result], pairs: list[Pair], checkpoint: dict[str, str]) -> dict[str, Any]:
    """The report: shares with their 95% intervals, UNet seconds, settings and active steps, by column key.

    "cfg" is the guidance of the columns; "guidance" holds the comparison of CFG with CFG++, which has its own.
    """
    return {
        "images": len(results[0].images),
        "exact": {result.column.key: round(result.share, 4) for result in results},
        "interval": {result.column.key: _interval(result) for result in results},
        "unet_seconds": {result.column.key: round(result.unet_seconds, 3) for result in results},
        "thresholds": chosen_settings(),
        "active_steps": {result.column.key: _active_steps(result) for result in results},
        "size": {result.column.key: list(result.column.size) for result in results},
        "steps": STEPS,
        "cfg": GUIDANCE,
        "guidance": {"cfg": CFG, "steps": {str(pair.steps): _guidance(pair) for pair in pairs}},
        "checkpoint": checkpoint,
    }


def _guidance(pair: Pair) -> dict[str, Any]:
    """Both samplers' shares at one number of steps, and their paired differences, CFG++ minus CFG."""
    figures: dict[str, Any] = {"lambda": round(pair.cfgpp.strength, 4)}
    for key, guided in (("cfg", pair.cfg), ("cfgpp", pair.cfgpp)):
        figures[key] = {"exact": round(guided.exact_share, 4), "out_of_range": round(guided.out_of_range_share, 6)}
    for key, apart in (("exact", pair.exact_difference), ("out_of_range", pair.out_of_range_difference)):
        error = apart.standard_error
        figures[f"{key}_difference"] = round(apart.mean, 6)
        figures[f"{key}_standard_error"] = None if error is None else round(error, 6)
    return figures


def write(report: dict[str, Any], path: Path) -> None:
    """Write the report as JSON, making the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def table(results: list[Result]) -> str:
    """One line per column: size, share of right images with its interval, UNet seconds, steps active."""
    head = f"{'':20}{'size':>8}{'exact':>8}{'95% interval':>16}{'UNet seconds':>15}   steps active"
    return "\n".join([head, *(_line(result) for result in results)])


def guidance_table(pairs: list[Pair]) -> str:
    """One line per number of steps: both samplers' shares, and the paired differences with two standard errors."""
    title = f"CFG {CFG:g} against CFG++ with the lambda that means the same; differences with two standard errors"
    head = f"{'steps':>5}{'lambda':>8}" + "".join(
        f"{f'{name}: CFG':>19}{'CFG++':>8}{'difference':>18}" for name in ("exact", "out of range")
    )
    return "\n".join([title, head, *(_guidance_line(pair) for pair in pairs)])


def _guidance_line(pair: Pair) -> str:
    exact = _shares(pair.cfg.exact_share, pair.cfgpp.exact_share, pair.exact_difference)
    outside = _shares(pair.cfg.out_of_range_share, pair.cfgpp.out_of_range_share, pair.out_of_range_difference)
    return f"{pair.steps:>5}{pair.cfgpp.strength:>8.2f}{exact}{outside}"


def _shares(cfg: float, cfgpp: float, apart: Difference) -> str:
    error = "" if apart.standard_error is None else f" +- {200 * apart.standard_error:.2f}"
    return f"{100 * cfg:>18.1f}%{100 * cfgpp:>7.1f}%{f'{100 * apart.mean:+.2f}{error}':>18}"


def _line(result: Result) -> str:
    height, width = result.column.size
    low, high = _interval(result)
    size, share = f"{width}x{height}", f"{100 * result.share:.0f}%"
    span, seconds = f"{100 * low:.0f}% to {100 * high:.0f}%", f"{result.unet_seconds:.1f}"
    return f"{result.column.title:20}{size:>8}{share:>8}{span:>16}{seconds:>15}   {_parts(result)}"


def _active_steps(result: Result) -> list[int]:
    return [] if result.report is None else list(result.report.active_steps)


def _parts(result: Result) -> str:
    """Which part of the method acted on which steps, counted from 1."""
    if result.report is None:
        return "none"
    spans = [f"{part} {steps[0] + 1}-{steps[-1] + 1}" for part, steps in result.report.planned.items()]
    return f"{', '.join(spans)} of {STEPS}"


def _interval(result: Result) -> list[float]:
    return [round(edge, 4) for edge in wilson(result.hits, len(result.images))]
