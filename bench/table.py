"""The report as text."""

from __future__ import annotations

from typing import Any

from bench.speed import COMPARED, THEIRS

HEAD = ("seconds", "gain", "TFLOP", "gain by work", "reached", "MiB")


def size_table(title: str, rows: dict[str, Any]) -> str:
    """One line a method: seconds, gain over the plain model, work, the gain by work alone and how much is reached."""
    lines = [f"\n{title:<26}" + "".join(f"{name:>14}" for name in HEAD)]
    for name, cost in rows.items():
        plain = rows[f"{THEIRS}plain" if name.startswith(THEIRS) else "plain"]
        if not cost:
            continue
        gain, by_work = (_ratio(plain, cost, what) for what in ("seconds", "tflop"))
        reached = gain / by_work if gain and by_work else None
        cells = (
            _cell(cost.get("seconds"), "{:.1f}"),
            _cell(gain, "{:.2f}x"),
            _cell(cost.get("tflop"), "{:.1f}"),
            _cell(by_work, "{:.2f}x"),
            _cell(reached, "{:.0%}"),
            _cell(cost.get("mib"), "{:.0f}"),
        )
        lines.append(f"{name:<26}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join([*lines, *_warnings(rows)])


def _warnings(rows: dict[str, Any]) -> list[str]:
    """A line where a method is slower than the plain model or needs more memory, and for each gain beside theirs."""
    lines = []
    for name, cost in rows.items():
        if name.startswith(THEIRS):
            continue
        for what, word in (("seconds", "slower"), ("mib", "larger")):
            ratio = _ratio(cost, rows["plain"], what)
            if ratio and ratio > 1:
                lines.append(f"  {name} is {ratio - 1:.1%} {word} than plain")
        if name in COMPARED and "seconds" in cost:
            ours = _gain(rows["plain"], cost)
            theirs = _gain(rows[f"{THEIRS}plain"], rows[THEIRS + name])
            lines.append(f"  {name}: {ours}, the reference {theirs} over its own plain model")
    return lines


def _gain(plain: dict[str, Any], method: dict[str, Any]) -> str:
    """Of the medians, and in brackets the least and the most of the single rounds."""
    single = [before / after for before, after in zip(plain["rounds"], method["rounds"], strict=True)]
    return f"{plain['seconds'] / method['seconds']:.2f}x ({min(single):.2f} to {max(single):.2f})"


def _ratio(first: dict[str, Any], second: dict[str, Any], what: str) -> float | None:
    return first[what] / second[what] if what in first and what in second else None


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
