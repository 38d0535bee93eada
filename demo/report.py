"""The demo's figures: as JSON for programs, as tables for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from demo.compare import Estimate, Judged, Result, difference, mean
from demo.edit import Edited
from demo.ways import Way


def of_results(results: Sequence[Result]) -> dict[str, Any]:
    """By each way's key: settings, share of right pictures with its 95% interval, clipped colours, seconds."""
    return {
        result.way.key: {
            **_settings(result.way),
            **_share(result),
            "clipped": round(result.clipped, 5),
            "seconds": round(result.seconds, 3),
            "active_steps": [] if result.report is None else list(result.report.active_steps),
        }
        for result in results
    }


def of_pairs(results: Sequence[Result], keys: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """How much more the second way of each pair is right and clipped, over the same prompts and seeds, with errors."""
    return {
        f"{second.way.key} - {first.way.key}": {"right": asdict(right), "clipped": asdict(clipped)}
        for first, second, right, clipped in pairs(results, keys)
    }


def of_edits(results: Sequence[Edited]) -> dict[str, Any]:
    """By each way's key: share of right pictures with its 95% interval, share of kept pixels with its error, cost."""
    return {
        result.way.key: {
            **_share(result),
            "kept": asdict(mean(result.kept)),
            "evaluations": result.evaluations,
        }
        for result in results
    }


@dataclass(frozen=True)
class Agreement:
    """How a way did in two reports, over the prompts and seeds of both: how many pictures are right in one alone."""

    pictures: int
    only_here: int
    only_there: int

    @property
    def chance(self) -> float:
        """How likely at least so uneven a split is where both are right equally often (McNemar's exact test)."""
        apart = self.only_here + self.only_there
        return float(stats.binomtest(self.only_here, apart).pvalue) if apart else 1.0


def agreement(found: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Agreement]:
    """By the key of each way that two reports of the same first seed have."""
    return {key: _agreement(found[key]["each_right"], expected[key]["each_right"]) for key in found if key in expected}


def _agreement(here: Sequence[bool], there: Sequence[bool]) -> Agreement:
    both = list(zip(here, there))  # noqa: B905 (one report may have more pictures)
    return Agreement(len(both), sum(a and not b for a, b in both), sum(b and not a for a, b in both))


def _share(result: Judged) -> dict[str, Any]:
    return {
        "right": round(result.share, 4),
        "interval": [round(edge, 4) for edge in result.interval],
        "each_right": [image.right for image in result.images],
    }


def write(report: dict[str, Any], path: Path) -> None:
    """Write the report as JSON, making the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def pairs(
    results: Sequence[Result], keys: Iterable[tuple[str, str]]
) -> list[tuple[Result, Result, Estimate, Estimate]]:
    """The pairs whose both ways have results, and how much more the second is right and clipped."""
    by_key, found = {result.way.key: result for result in results}, []
    for first, second in ((by_key[a], by_key[b]) for a, b in keys if a in by_key and b in by_key):
        right = difference([one.right for one in first.images], [one.right for one in second.images])
        clipped = difference([one.clipped for one in first.images], [one.clipped for one in second.images])
        found.append((first, second, right, clipped))
    return found


def table(title: str, results: Sequence[Result]) -> str:
    """One line per way: size, steps, share of right pictures with its interval, clipped colours, seconds, parts."""
    head = (
        f"{title:32}{'size':>9}{'steps':>7}{'right':>7}{'95% interval':>15}{'clipped':>9}{'seconds':>9}   steps active"
    )
    return "\n".join([head, *(_line(result) for result in results)])


def pair_table(results: Sequence[Result], keys: Iterable[tuple[str, str]]) -> str:
    """One line per pair: the paired differences with two standard errors."""
    lines = [f"{'second minus first':60}{'right':>15}{'clipped':>15}"]
    for first, second, right, clipped in pairs(results, keys):
        names = f"{second.way.title} - {first.way.title}"
        lines.append(f"{names:60}{_percent(right):>15}{_percent(clipped):>15}")
    return "\n".join(lines)


def edit_table(title: str, results: Sequence[Edited]) -> str:
    """One line per way to edit: share of right pictures with its interval, kept pixels, evaluations."""
    lines = [f"{title:32}{'right':>7}{'95% interval':>15}{'kept':>7}{'evaluations':>13}"]
    for result in results:
        kept = 100 * float(np.mean(result.kept))
        lines.append(f"{result.way.title:32}{_percentages(result)}{kept:>6.0f}%{result.evaluations or '':>13}")
    return "\n".join(lines)


def _settings(way: Way) -> dict[str, Any]:
    given = {name: getattr(way, name) for name in ("size", "sampler", "schedule", "steps", "cfg", "lora")}
    method = way.method
    return given | {"method": None if method is None else {"method": method.method, "preset": method.preset}}


def _line(result: Result) -> str:
    height, width = result.way.size
    return (
        f"{result.way.title:32}{f'{width}x{height}':>9}{result.way.steps:>7}{_percentages(result)}"
        f"{100 * result.clipped:>8.2f}%{result.seconds:>9.1f}   {_parts(result)}"
    )


def _percentages(result: Judged) -> str:
    low, high = result.interval
    return f"{100 * result.share:>6.0f}%{f'{100 * low:.0f}% to {100 * high:.0f}%':>15}"


def _parts(result: Result) -> str:
    """Which part of the method acted on which steps, counted from 1."""
    if result.report is None:
        return ""
    spans = [f"{part} {steps[0] + 1}-{steps[-1] + 1}" for part, steps in result.report.planned.items()]
    return f"{', '.join(spans)} of {result.way.steps}"


def _percent(apart: Estimate) -> str:
    error = "" if apart.standard_error is None else f" +- {200 * apart.standard_error:.1f}"
    return f"{100 * apart.mean:+.1f}{error}"
