"""Prompts from files: a text, a TSV, a CSV or a Parquet file."""

from __future__ import annotations

import csv
import importlib
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib_fewstep.compare.csv_nul import hidden, restored
from lib_fewstep.options import SettingError, shown

_DELIMITERS = {".tsv": "\t", ".csv": ","}
ENDINGS = (".txt", *_DELIMITERS, ".parquet")

# The fields of a prompt and the columns that hold them: those of PartiPrompts and of DiffusionDB.
_COLUMNS = {
    "text": ("prompt", "p"),
    "category": ("category",),
    "challenge": ("challenge",),
    "seed": ("seed",),
    "steps": ("step",),
    "cfg": ("cfg",),
    "sampler": ("sampler",),
}
# DiffusionDB's numbers of samplers (its README, "Metadata Schema") as the WebUI's names; 9 stands for all others.
_SAMPLERS = {
    1: "DDIM",
    2: "PLMS",
    3: "Euler",
    4: "Euler a",
    5: "Heun",
    6: "DPM2",
    7: "DPM2 a",
    8: "LMS",
    9: None,
}
_CODE = re.compile(r"\d+(\.0)?")
MOST_SEED, MOST_STEPS, MOST_CFG = 2**32 - 1, 1000, 100
"""The largest values that a row may have."""
LARGEST_FILE, MOST_ROWS = 2**28, 2**24
"""Bytes of a text, TSV or CSV file, and rows of a Parquet file; all of them are read at once."""
_RANGES = {"seed": (0, MOST_SEED), "steps": (1, MOST_STEPS), "cfg": (0, MOST_CFG)}
_NO_SEED = -1
_SAME = ("text", "seed", "steps", "cfg", "sampler")


@dataclass(frozen=True)
class Prompt:
    """A prompt with what its file says about it; None where the file does not say."""

    text: str
    category: str | None = None
    challenge: str | None = None
    seed: int | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None


def read_prompts(path: Path, limit: int | None = None, seed: int = 0) -> list[Prompt]:
    """The prompts of a .txt (one a line), .tsv, .csv or .parquet file, in its order; rows without a prompt are skipped.

    A table has its prompts in the column "Prompt" or "p" and may have the columns of PartiPrompts (Category,
    Challenge) and of DiffusionDB (seed, step, cfg, sampler), in any case; of two columns of the same meaning the first
    counts, a seed of -1 is none, and a prompt that is there again with the same seed, steps, CFG and sampler is kept
    once. Where there are more than `limit` prompts, that many are drawn at random, by `seed`. Raises SettingError for a
    file that is missing, has another ending, cannot be read, has no column of prompts or no prompt, or, in a row that
    is drawn, a value that is not allowed; rows are counted from 1, without the head.
    """
    frame = _table(path)
    texts = frame["text"].astype(object).map(lambda cell: str(cell).strip(), na_action="ignore")
    frame = _once(frame.assign(text=texts)[texts.notna() & (texts != "")])
    if frame.empty:
        raise SettingError(f"There is no prompt in {path}.")
    if limit is not None and limit < len(frame):
        frame = frame.iloc[np.sort(np.random.default_rng(seed).choice(len(frame), limit, replace=False))]
    found: dict[tuple[Any, ...], Prompt] = {}
    for index, row in zip(frame.index, frame.to_dict("records"), strict=True):
        try:
            prompt = _prompt(row)
        except SettingError as error:
            raise SettingError(f"{path}, row {index + 1}: {error}") from error
        found.setdefault(tuple(getattr(prompt, name) for name in _SAME), prompt)
    return list(found.values())


def _once(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the rows whose cells say the same as those of one before; as texts, for Parquet's may be lists."""
    compared = frame[[name for name in _SAME if name in frame]]
    return frame[~compared.apply(lambda column: column.map(str)).duplicated()]


def _table(path: Path) -> pd.DataFrame:
    """The file's columns that a prompt has, under the names of its fields."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise SettingError(f"{path} is not allowed: the name of a prompt set must end in {', '.join(ENDINGS)}.")
    if not path.is_file():
        raise SettingError(f"There is no file {path}.")
    try:
        if ending == ".parquet":
            return _parquet(path)
        if path.stat().st_size > LARGEST_FILE:
            raise SettingError(f"{path} is not allowed: it must have at most {LARGEST_FILE} bytes.")
        text = path.read_bytes().decode("utf-8-sig")
        if ending == ".txt":
            return pd.DataFrame({"text": list(io.StringIO(text, newline=None))})
        return _delimited(path, text, _DELIMITERS[ending])
    except UnicodeError as error:
        raise SettingError(f"{path} cannot be read: it is not in UTF-8.") from error
    except (OSError, csv.Error) as error:
        raise SettingError(f"{path} cannot be read: {error}.") from error


def _delimited(path: Path, text: str, delimiter: str) -> pd.DataFrame:
    """A TSV or CSV file; PartiPrompts has bare quotes, so that a TSV file knows no quoting."""
    lines = io.StringIO(hidden(text), newline="")
    if delimiter == "\t":
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    else:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
    head = restored(next(reader, []))
    places = {field: head.index(column) for field, column in _chosen(path, head).items()}
    rows = list(_rows(path, reader, len(head)))
    cells = {field: [row[place] if place < len(row) else None for row in rows] for field, place in places.items()}
    return pd.DataFrame(cells)


def _rows(path: Path, reader: Any, columns: int) -> Iterator[list[str]]:
    for row in reader:
        if len(row) > columns:
            raise SettingError(f"{path} cannot be read: line {reader.line_num} has more cells than there are columns.")
        yield restored(row)


def _parquet(path: Path) -> pd.DataFrame:
    """A Parquet file; no other columns are read, for DiffusionDB has millions of rows."""
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise SettingError(f"{path} cannot be read without pyarrow ({error}): pip install pyarrow.") from error
    try:
        with parquet.ParquetFile(path) as file:
            _check_rows(path, file.metadata.num_rows)
            columns = _chosen(path, file.schema_arrow.names)
            read = file.read(columns=list(columns.values()))
            frame = read.cast(_as_text(arrow, read.schema)).to_pandas(ignore_metadata=True)
            frame = frame.loc[:, ~frame.columns.duplicated()]
    except SettingError:
        raise
    except (arrow.ArrowException, ValueError, OverflowError) as error:  # a date may be too large for Python
        raise SettingError(f"{path} cannot be read: {error}.") from error
    return pd.DataFrame({field: frame[column] for field, column in columns.items()})


def _check_rows(path: Path, rows: int) -> None:
    if rows > MOST_ROWS:
        raise SettingError(f"{path} is not allowed: it must have at most {MOST_ROWS} rows.")


def _as_text(arrow: Any, schema: Any) -> Any:
    """The schema with texts in the place of bytes, which some writers do not tell apart."""
    kinds = arrow.types
    return arrow.schema(
        [
            field.with_type(arrow.string())
            if kinds.is_binary(field.type) or kinds.is_large_binary(field.type)
            else field
            for field in schema
        ]
    )


def _chosen(path: Path, columns: Sequence[str]) -> dict[str, str]:
    """The column that holds each field, for the fields that the file has."""
    lower = {column.strip().lower(): column for column in reversed(columns)}
    chosen = {
        field: next(lower[name] for name in names if name in lower)
        for field, names in _COLUMNS.items()
        if not lower.keys().isdisjoint(names)
    }
    if "text" not in chosen:
        has = f"its columns are {', '.join(columns)}" if columns else "it has no columns"
        allowed = ", ".join(name for names in _COLUMNS.values() for name in names)
        raise SettingError(f"{path} has no column prompt or p: {has}; a prompt set can have {allowed}.")
    return chosen


def _prompt(row: Mapping[str, Any]) -> Prompt:
    cfg = _in_range(row, "cfg", _number(row, "cfg"))
    return Prompt(
        text=row["text"],
        category=_text(row.get("category")),
        challenge=_text(row.get("challenge")),
        seed=_seed(row),
        steps=_whole(row, "steps"),
        cfg=None if cfg is None else round(cfg, 4),  # DiffusionDB's are of 32 bits
        sampler=_sampler(row),
    )


def _text(cell: object) -> str | None:
    """The text of a cell; None where it is missing."""
    text = "" if cell is None else str(cell).strip()
    return None if text.lower() in {"", "nan"} else text


def _number(row: Mapping[str, Any], field: str) -> float | None:
    text = _text(row.get(field))
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise _refused(row, field, _allowed(field))
    return value


def _seed(row: Mapping[str, Any]) -> int | None:
    return None if _number(row, "seed") == _NO_SEED else _whole(row, "seed")


def _whole(row: Mapping[str, Any], field: str) -> int | None:
    value = _in_range(row, field, _number(row, field))
    if value is not None and not value.is_integer():
        raise _refused(row, field, _allowed(field))
    return None if value is None else int(value)


def _in_range(row: Mapping[str, Any], field: str, value: float | None) -> float | None:
    low, high = _RANGES[field]
    if value is not None and not low <= value <= high:
        raise _refused(row, field, _allowed(field))
    return value


def _allowed(field: str) -> str:
    """What a number of a row may be, in words."""
    low, high = _RANGES[field]
    kind = "a number" if field == "cfg" else "a whole number"
    return f"{kind} from {low} to {high}" + (f", or {_NO_SEED} for none" if field == "seed" else "")


def _sampler(row: Mapping[str, Any]) -> str | None:
    text = _text(row.get("sampler"))
    if text is None or not _CODE.fullmatch(text):
        return text
    code = int(float(text))
    if code not in _SAMPLERS:
        raise _refused(row, "sampler", f"a name or 1 to {max(_SAMPLERS)}")
    return _SAMPLERS[code]


def _refused(row: Mapping[str, Any], field: str, allowed: str) -> SettingError:
    column = _COLUMNS[field][0]
    return SettingError(
        f"{column} = {shown(row[field])} of the prompt {shown(row['text'])} is not allowed: it must be {allowed}."
    )
