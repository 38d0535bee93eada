"""The table of a comparison: one row for each image, and the means that are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib_fewstep.compare.csv_nul import spelled
from lib_fewstep.compare.metrics import psnr, ssim
from lib_fewstep.compare.outcome import Outcome

CELL = ("prompt", "seed", "method", "sampler", "cfg", "steps", "reference")
COLUMNS = (*CELL, "evaluations", "seconds", "psnr", "ssim", "error")
CURVE = ("method", "sampler", "cfg", "steps")
MEANS = ("evaluations", "seconds", "psnr", "ssim")
_TYPES = {"reference": bool, "evaluations": "Int64", "seconds": float, "psnr": float, "ssim": float}
_MOST_WHOLE = 2**53


def references(outcomes: Sequence[Outcome]) -> dict[tuple[str, int, float], Outcome]:
    """The references that have an image, by what the cells measured against them have in common."""
    return {
        outcome.cell.measured_against: outcome
        for outcome in outcomes
        if outcome.cell.reference and outcome.image is not None
    }


def tabulate(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row for each outcome, in order: its cell, cost, PSNR in dB, SSIM, error and the details of all outcomes.

    PSNR and SSIM are those against the reference of the same prompt, seed and CFG; they are missing for the reference
    itself and where either has no image. An image that cannot be compared has the reason as its error. A detail with
    the name of one of `COLUMNS` is left out; one of whole numbers stays so where some outcomes lack it. A NUL in a
    text is written as its number.
    """
    found = references(outcomes)
    rows = [_row(outcome, found.get(outcome.cell.measured_against)) for outcome in outcomes]
    details = dict.fromkeys(name for outcome in outcomes for name in outcome.details if name not in COLUMNS)
    whole = {name: "Int64" for name in details if _is_whole([outcome.details.get(name) for outcome in outcomes])}
    return pd.DataFrame(rows, columns=[*COLUMNS, *details]).astype({**_TYPES, **whole})


def _is_whole(values: Sequence[Any]) -> bool:
    """Whether there are values, and all are whole numbers that a float holds, too."""
    present = [value for value in values if value is not None]
    return bool(present) and all(type(value) is int and abs(value) <= _MOST_WHOLE for value in present)


def _row(outcome: Outcome, reference: Outcome | None) -> dict[str, Any]:
    cell = {name: getattr(outcome.cell, name) for name in CELL}
    cost = {"evaluations": outcome.evaluations, "seconds": outcome.seconds}
    row = {**outcome.details, **cell, **cost, **_measures(outcome, reference)}
    return {name: spelled(value) for name, value in row.items()}


def _measures(outcome: Outcome, reference: Outcome | None) -> dict[str, Any]:
    missing = {"psnr": math.nan, "ssim": math.nan, "error": outcome.error}
    if outcome.cell.reference or outcome.image is None or reference is None or reference.image is None:
        return missing
    try:
        return {**missing, "psnr": psnr(outcome.image, reference.image), "ssim": ssim(outcome.image, reference.image)}
    except ValueError as error:
        return {**missing, "error": outcome.error or str(error)}


def mean_curves(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each method, sampler, CFG and number of steps: the means over prompts and seeds.

    References and rows with an error are left out. `images` is how many images PSNR (averaged in dB) and SSIM are the
    means of. If one of them equals its reference, the mean PSNR is infinite.
    """
    good = frame[~frame["reference"] & (frame["error"] == "")]
    rows = [
        {
            **dict(zip(CURVE, curve, strict=True)),
            **{name: _mean(group[name]) for name in MEANS},
            "images": int(group["psnr"].count()),
        }
        for curve, group in good.groupby(list(CURVE), sort=False)
    ]
    return pd.DataFrame(rows, columns=[*CURVE, *MEANS, "images"])


def _mean(column: pd.Series) -> float:
    present = column.dropna()
    return float(present.mean()) if len(present) else math.nan


def pareto(cost: Sequence[float], quality: Sequence[float]) -> list[bool]:
    """Which points are on the Pareto front: those that no other point beats.

    A point is beaten by one that costs no more, is no worse, and differs. Equal points are on the front together, a
    point with a NaN never is. Raises ValueError if there are not as many costs as qualities.
    """
    costs, qualities = np.asarray(cost, float), np.asarray(quality, float)
    if costs.shape != qualities.shape:
        raise ValueError(f"There are {len(costs)} costs and {len(qualities)} qualities.")
    no_dearer = costs[None, :] <= costs[:, None]
    no_worse = qualities[None, :] >= qualities[:, None]
    differs = (costs[None, :] != costs[:, None]) | (qualities[None, :] != qualities[:, None])
    beaten = (no_dearer & no_worse & differs).any(axis=1)
    front: list[bool] = (~beaten & ~np.isnan(costs) & ~np.isnan(qualities)).tolist()
    return front


def csv_text(frame: pd.DataFrame) -> str:
    """A table as the text of a CSV file.

    Texts are written as they are, so that what is read back is what was asked: a prompt that starts with = + - @ is a
    formula to a spreadsheet, which must import the file's columns as text.
    """
    # these ends of lines have csv quote both of their characters
    text: str = frame.to_csv(index=False, lineterminator="\r\n")
    return text


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as a CSV file in UTF-8, making the folder where it is missing.

    Half a surrogate pair, which is no UTF-8, is written as its number.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(csv_text(frame).encode(errors="backslashreplace"))
