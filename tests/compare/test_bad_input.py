"""Files that are no prompt sets, and places where no record can be: one sentence, and nothing is waited for."""

from __future__ import annotations

import io
import os
import pickle
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_fewstep.compare.prompts import LARGEST_FILE, MOST_CFG, MOST_SEED, MOST_STEPS, read_prompts
from lib_fewstep.compare.record import COLUMNS, Record, append
from lib_fewstep.options import SettingError

FUZZED = settings(max_examples=150)
FRAME = pd.DataFrame({"prompt": ["a cat", "a dog"], "seed": [1, 2], "cfg": [7.5, 8], "sampler": ["Euler", "8"]})
COLUMNS_OF_SETS = list(FRAME)


def parquet():
    file = io.BytesIO()
    FRAME.to_parquet(file)
    return file.getvalue()


CONTENTS = {
    ".txt": b"a cat\na dog\n",
    ".csv": FRAME.to_csv(index=False).encode(),
    ".tsv": FRAME.to_csv(index=False, sep="\t").encode(),
    ".parquet": parquet(),
}


def read(path):
    """The prompts, each with values in their range, or the sentence that refuses the file."""
    try:
        prompts = read_prompts(path)
    except SettingError as refusal:
        assert str(path) in str(refusal)
        assert str(refusal).endswith(".")
        return str(refusal)
    for prompt in prompts:
        assert prompt.text.strip() == prompt.text != ""
        assert prompt.seed is None or 0 <= prompt.seed <= MOST_SEED
        assert prompt.steps is None or 1 <= prompt.steps <= MOST_STEPS
        assert prompt.cfg is None or 0 <= prompt.cfg <= MOST_CFG
    return prompts


@pytest.mark.parametrize("ending", CONTENTS)
@FUZZED
@given(draw=st.data())
def test_a_damaged_file(tmp_path, ending, draw):
    content = bytearray(CONTENTS[ending])
    for _ in range(draw.draw(st.integers(0, 3))):
        content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    path = tmp_path / f"x{ending}"
    path.write_bytes(content[: draw.draw(st.integers(0, len(content)))])
    read(path)


CELLS = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["nan", "1e999", "-1", "٣", "=1+1", "\x1b[2J"]
)


@FUZZED
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS), min_size=1, max_size=4), names=st.permutations(COLUMNS_OF_SETS)
)
def test_any_cells(tmp_path, rows, names):
    """Written by hand: the csv of Python 3.10 writes no NUL."""
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in (names, *rows)]
    path = tmp_path / "x.csv"
    path.write_bytes("\r\n".join(quoted).encode())
    read(path)


INVALID = pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"\xff\xfe"]).buffers())
KINDS = {
    "times": pa.array([0, 2**62], pa.timestamp("ms")),
    "dates": pa.array([0, 2**31 - 1], pa.date32()),
    "durations": pa.array([0, 2**62], pa.duration("ms")),
    "truths": pa.array([True, None]),
    "bytes": pa.array([b"a", b"\xff"]),
    "no UTF-8": INVALID,
    "floats": pa.array([float("nan"), 1.5], pa.float32()),
    "whole": pa.array([2**64 - 1, None], pa.uint64()),
    "decimals": pa.array([Decimal("1e30"), Decimal(1)], pa.decimal128(38, 2)),
    "lists": pa.array([[1], []]),
    "structs": pa.array([{"a": 1}, {"a": 2}]),
    "maps": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    "words": pa.array(["a", "b"]).dictionary_encode(),
    "nothing": pa.nulls(2),
}


@FUZZED
@given(kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=4, max_size=4))
def test_any_kinds_of_columns(tmp_path, kinds):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table([KINDS[kind] for kind in kinds], names=COLUMNS_OF_SETS), path)
    read(path)


class Planted:
    """Unpickling it would make a folder."""

    def __reduce__(self):
        return os.mkdir, ("planted",)


@pytest.mark.parametrize("ending", CONTENTS)
def test_a_pickle_is_not_opened(tmp_path, ending, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"x{ending}"
    path.write_bytes(pickle.dumps(Planted()))
    read(path)
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("ending", [".txt", ".csv", ".tsv"])
def test_a_huge_file_is_not_read(tmp_path, ending, monkeypatch):
    path = tmp_path / f"x{ending}"
    with path.open("wb") as file:
        file.truncate(2**40)
    monkeypatch.setattr(type(path), "read_bytes", lambda _: pytest.fail("it is read"))
    assert f"at most {LARGEST_FILE} bytes" in read(path)


def test_more_rows_than_are_read_at_once(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    path.write_bytes(CONTENTS[".parquet"])
    assert len(read(path)) == len(FRAME)
    monkeypatch.setattr("lib_fewstep.compare.prompts.MOST_ROWS", len(FRAME) - 1)
    assert "at most 1 rows" in read(path)


@pytest.mark.parametrize("ending", CONTENTS)
def test_a_pipe_and_a_device_are_not_waited_for(tmp_path, ending):
    os.mkfifo(tmp_path / f"pipe{ending}")
    (tmp_path / f"device{ending}").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        assert "There is no file" in read(tmp_path / f"{name}{ending}")


RECORD = Record(*("x" if name in ("time", "model", "sampler", "schedule", "method") else 1 for name in COLUMNS))


class TestRecord:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "fewstep-record.csv"

    def refused(self, path):
        with pytest.raises(SettingError, match="it must be a file, not a link"):
            append([RECORD], path)

    def test_a_link_is_not_followed(self, path, tmp_path):
        target = tmp_path / "other.csv"
        for content in ("", "a text", ",".join(COLUMNS) + "\n"):
            target.write_text(content)
            path.symlink_to(target)
            self.refused(path)
            assert target.read_text() == content
            path.unlink()
        path.symlink_to(tmp_path / "new.csv")
        self.refused(path)
        assert not (tmp_path / "new.csv").exists()

    def test_a_pipe_is_not_waited_for(self, path):
        os.mkfifo(path)
        self.refused(path)

    def test_a_folder_and_a_device(self, path):
        path.mkdir()
        self.refused(path)
        path.rmdir()
        path.symlink_to("/dev/null")
        self.refused(path)

    @pytest.mark.parametrize("head", ["time,\0", "x" * 200_000, '"'])
    def test_a_file_that_is_no_table_is_refused(self, path, head):
        path.write_text(head)
        with pytest.raises(SettingError, match="has other columns than the record"):
            append([RECORD], path)
        assert path.read_text() == head

    def test_a_name_with_line_breaks_stays_in_its_cell(self, path):
        hostile = 'a\n"b",\r\x1b[2J\ud800\0'
        append([Record(**(vars(RECORD) | {"model": hostile}))] * 2, path)
        with path.open(newline="", encoding="utf-8") as file:
            table = pd.read_csv(file)
        assert len(table) == 2
        assert list(table["model"]) == [hostile.replace("\ud800\0", "\\ud800\\x00")] * 2
