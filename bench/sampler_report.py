"""What was measured of the samplers: as JSON for programs, as a table for people, with those behind their base marked.

A sampler is behind its base where its error is greater by more than two standard errors of the difference, which is
taken seed by seed from the same noise, and by more than a thousandth, which is rounding. At the measure's floor nobody
is: what differs there is chance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.sampler_list import BASES

ERRORS = 2.0
"""Standard errors of the difference that are within the measurement."""

ROUNDING = 1e-3
"""Relative difference that means nothing."""

BEHIND = "<"


@dataclass(frozen=True)
class Point:
    """One sampler's runs at one setting: evaluations that were counted, and the error with each seed (seeds,)."""

    evaluations: int
    errors: npt.NDArray[np.float64]


@dataclass
class Section:
    """One measure on one kind of data: `floor` is what it says of a perfect sampler, `cfg` None is no guidance."""

    title: str
    measure: str
    floor: float
    points: dict[str, list[Point]] = field(default_factory=dict)
    cfg: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The figures, and how each sampler here compares with its base at the same number of evaluations."""
        return {
            "title": self.title,
            "measure": self.measure,
            "floor": self.floor,
            "cfg": self.cfg,
            "samplers": {name: [_figures(point) for point in points] for name, points in self.points.items()},
            "comparisons": [
                compared(name, point, other, self.floor)
                for name, points in self.points.items()
                if BASES.get(name) in self.points
                for point in points
                for other in self.points[BASES[name]]
                if other.evaluations == point.evaluations
            ],
        }


def _figures(point: Point) -> dict[str, float]:
    return {
        "evaluations": point.evaluations,
        "error": float(point.errors.mean()),
        "standard_error": standard_error(point.errors),
    }


def standard_error(values: npt.NDArray[np.float64]) -> float:
    """Of the mean of independent values (n,), n > 1."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


def compared(name: str, mine: Point, other: Point, floor: float) -> dict[str, Any]:
    """A sampler beside its base: their errors' ratio, the difference with its standard error, and who is behind."""
    apart = mine.errors - other.errors
    difference, uncertain, scale = float(apart.mean()), standard_error(apart), float(other.errors.mean())
    above = float(mine.errors.mean()) - floor > ERRORS * standard_error(mine.errors)
    return {
        "sampler": name,
        "base": BASES[name],
        "evaluations": mine.evaluations,
        "ratio": float(mine.errors.mean()) / scale,
        "difference": difference,
        "standard_error": uncertain,
        "behind": above and difference > max(ERRORS * uncertain, ROUNDING * scale),
    }


def sampler_table(report: dict[str, Any]) -> str:
    """A block for each section: a line for each sampler, its error in the column of the evaluations that it may take.

    Below a sampler that has a base stands the ratio of their errors; "<" marks where it is behind.
    """
    head = [
        "Errors of the samplers; a column holds what takes at most that many evaluations.",
        f'"x base" is the ratio to the base\'s error; {BEHIND} marks more than {ERRORS:g} standard errors behind.',
    ]
    blocks = [_block(section, report["budgets"]) for section in report["sections"]]
    return "\n\n".join(["\n".join(head), *blocks, _summary(report)])


def _block(section: dict[str, Any], budgets: list[int]) -> str:
    lines = [section["title"], f"  {section['measure']}; floor {section['floor']:.2g}"]
    lines.append(f"  {'':24}" + "".join(f"{budget:>9}" for budget in budgets))
    for name, points in section["samplers"].items():
        lines.append(f"  {name:24}" + _cells(points, budgets, lambda point: f"{point['error']:.4f}"))
        ratios = [one for one in section["comparisons"] if one["sampler"] == name]
        if ratios:
            lines.append(f"  {f'  x {BASES[name]}':24}" + _cells(ratios, budgets, _ratio))
    return "\n".join(line.rstrip() for line in lines)


def _cells(points: list[dict[str, Any]], budgets: list[int], text_of: Any) -> str:
    """The last point that fits into each column and not into the one before."""
    cells = dict.fromkeys(budgets, "")
    for point in points:
        fitting = [budget for budget in budgets if budget >= point["evaluations"]]
        if fitting:
            cells[fitting[0]] = text_of(point)
    return "".join(f"{cell:>9}" for cell in cells.values())


def _ratio(one: dict[str, Any]) -> str:
    return f"{one['ratio']:.3f}{BEHIND if one['behind'] else ' '}"


def _summary(report: dict[str, Any]) -> str:
    lines = []
    for title, guided in (("without guidance", False), ("with guidance", True)):
        sections = [section for section in report["sections"] if (section["cfg"] is not None) == guided]
        every = [one for section in sections for one in section["comparisons"]]
        lines.append(f"Behind the base {title}: {sum(one['behind'] for one in every)} of {len(every)} comparisons.")
        for name in BASES:
            mine = [one for one in every if one["sampler"] == name]
            if mine:
                behind, ratios = sum(one["behind"] for one in mine), [one["ratio"] for one in mine]
                lines.append(
                    f"  {name:24}{behind:>4} of {len(mine):>3}   ratios {min(ratios):.3f} to {max(ratios):.3f}"
                )
    return "\n".join(lines)
