"""The record: what one image cost, as a line of infotext and as a row of a CSV file."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lib_fewstep.compare.csv_nul import spelled
from lib_fewstep.options import SettingError, shown

_SHORT = re.compile(r"([0-9]{1,9}) evals, ([0-9]{1,9}(?:\.[0-9]+)?) s")


@dataclass(frozen=True)
class Record:
    """What one image cost; the passes of a hires fix are added up.

    `evaluations` are the denoiser's calls in the image's batch, `unet_calls` those of the UNet (more where conditional
    and unconditional are split). `unet_rows`, `seconds` (of sampling) and `unet_seconds` are the image's share of its
    batch, so that the rows of a file add up. `active_steps` are the steps on which the high-resolution method acted,
    such as "1-12", of each pass. `peak_memory_mib` is the most that the batch's whole job had allocated on CUDA;
    elsewhere it is None.
    """

    time: str
    model: str
    width: int
    height: int
    batch: int
    sampler: str
    schedule: str
    steps: int
    evaluations: int
    unet_calls: int
    unet_rows: float
    cfg: float
    method: str
    active_steps: str
    seconds: float
    unet_seconds: float
    seconds_per_step: float
    peak_memory_mib: float | None
    seed: int

    @property
    def short(self) -> str:
        """The line in the infotext, such as "8 evals, 1.92 s"; below a second with three digits that count."""
        return f"{self.evaluations} evals, {self.seconds:.{_decimals(self.seconds)}f} s"


COLUMNS = tuple(field.name for field in dataclasses.fields(Record))


def _decimals(seconds: float) -> int:
    """How many decimals show three digits that count, but at least two."""
    return max(2, 2 - math.floor(math.log10(seconds))) if seconds > 0 else 2


def cost_from(short: str) -> tuple[int, float]:
    """Evaluations and seconds from the line in an infotext. Raises SettingError for another text or longer numbers."""
    match = _SHORT.fullmatch(short.strip())
    if match is None:
        raise SettingError(
            f"Few-Step cost = {shown(short)} is not allowed: it must be like '8 evals, 1.92 s', each below 1000000000."
        )
    return int(match[1]), float(match[2])


def append(records: Iterable[Record], path: Path) -> None:
    """Append rows to a CSV file, with a head where it is new.

    Raises SettingError, and writes nothing, if the file has other columns, is a link or no file.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise SettingError(f"{path} is not allowed: it must be a file, not a link.")
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists() or path.stat().st_size == 0
    if not new:
        _check_head(path)
        _close_torn_row(path)
    # a model's name may come from a file name that is no UTF-8
    with path.open("a", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        for record in records:
            writer.writerow({name: spelled(value) for name, value in dataclasses.asdict(record).items()})


def _close_torn_row(path: Path) -> None:
    """End a last line that was cut off, also within a quoted text or a character, so that it stays by itself."""
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() == b"\n":
            return
        file.seek(0)
        rows = file.read()
        row = rows[rows.rfind(b"\n") + 1 :]
        file.seek(len(rows) - len(row))
        file.truncate()
        file.write(row.decode("utf-8", errors="ignore").encode() + b'"' * (rows.count(b'"') % 2) + b"\r\n")


def _check_head(path: Path) -> None:
    with path.open(newline="", encoding="utf-8", errors="backslashreplace") as file:
        try:
            head = next(csv.reader(file), [])
        except csv.Error:  # no table
            head = []
    if tuple(head) != COLUMNS:
        raise SettingError(f"{path} has other columns than the record ({', '.join(COLUMNS)}): move it away.")
