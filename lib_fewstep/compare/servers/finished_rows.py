"""What a comparison has on disk: a row for each finished image in rows.jsonl, and the images beside it."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from lib_fewstep.compare.grid import NOT_RUN
from lib_fewstep.compare.outcome import Outcome
from lib_fewstep.compare.settings import Cell
from lib_fewstep.options import SettingError

if sys.platform != "win32":
    import fcntl

_LOCK = "lock"


@dataclass(frozen=True)
class Row:
    """What came of one image; `image` is the name of its file, `error` the sentence that says why there is none."""

    key: str
    cell: dict[str, Any]
    evaluations: int | None = None
    seconds: float | None = None
    error: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    image: str = ""


_KINDS: dict[str, Any] = {
    "key": str,
    "cell": dict,
    "evaluations": int | None,
    "seconds": int | float | None,
    "error": str,
    "details": dict,
    "image": str,
}


class Rows:
    """The rows of a folder; of several with the same key the last counts.

    A row is on the disk, behind its image, when `add` returns: whatever ends the run after that, it is there. A line
    that is no whole row, as a killed run may leave one, is passed over. The folder belongs to the first process that
    takes it, until that ends or its Rows is collected; on Windows, and on disks that know no locks, nobody looks.
    """

    def __init__(self, folder: Path) -> None:
        """Read the rows in `folder`, which is made if it is missing.

        Raises OSError if it cannot be used, SettingError if another process works in it.
        """
        self._images = folder / "images"
        self._path = folder / "rows.jsonl"
        self._images.mkdir(parents=True, exist_ok=True)
        weakref.finalize(self, os.close, _locked(folder))
        text = self._path.read_text(encoding="utf-8", errors="replace") if self._path.exists() else ""
        self._torn = bool(text) and not text.endswith("\n")
        self._rows = {row.key: row for row in map(_row, text.splitlines()) if row is not None}

    def finished(self, key: str) -> bool:
        """Whether there is a row with an image. Errors do not count: a fault may have passed."""
        row = self._rows.get(key)
        return row is not None and bool(row.image) and (self._images / row.image).is_file()

    def add(self, row: Row, image: bytes = b"") -> None:
        """Keep a row, and before it its image, if it has one."""
        if row.image:
            self._write(self._images / row.image, image)
        line = json.dumps(dataclasses.asdict(row)) + "\n"
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n" + line if self._torn else line)
            file.flush()
            os.fsync(file.fileno())
        self._torn = False
        self._rows[row.key] = row

    def outcome(self, key: str, cell: Cell) -> Outcome:
        """What came of a cell, with its image."""
        row = self._rows.get(key)
        if row is None or not (row.error or self.finished(key)):
            return Outcome(cell, error=NOT_RUN)
        if row.error:
            return Outcome(cell, error=row.error, details=row.details)
        try:
            with Image.open(self._images / row.image) as image:
                image.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            return Outcome(cell, error=f"{row.image} cannot be read: {error}")
        return Outcome(cell, image, row.evaluations, row.seconds, details=row.details)

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        """Write a file that is there as a whole or not at all."""
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def _locked(folder: Path) -> int:
    """The descriptor of a file that this process has locked, with its number in it; it is unlocked when closed."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if sys.platform != "win32":
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        owner = os.read(descriptor, 20).decode(errors="replace").strip()
        os.close(descriptor)
        raise SettingError(
            f"--out = {str(folder)!r} cannot be used: another comparison (process {owner}) is running there; wait "
            "until it ends, or choose another folder."
        ) from error
    except OSError:
        return descriptor
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _row(line: str) -> Row | None:
    try:
        row = Row(**json.loads(line))
    except (TypeError, ValueError, RecursionError):
        return None
    good = all(isinstance(getattr(row, name), kinds) for name, kinds in _KINDS.items())
    return row if good and not isinstance(row.evaluations, bool) else None
