"""Files that are no statistics of a prior: one sentence, without running, waiting or reading it all."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from lib_fewstep.options import SettingError
from lib_fewstep.sampling.prior import LARGEST_FILE, Prior, load
from lib_fewstep.sampling.prior import save as save_prior

GOOD = save({"mean": torch.zeros(4), "std": torch.ones(4)})
PRIOR = Prior(torch.zeros(4), torch.ones(4))
FUZZED = settings(max_examples=200)


def read(path):
    """The prior, or the sentence that refuses its file."""
    try:
        return load(path)
    except SettingError as refusal:
        assert str(refusal).startswith("prior = x.safetensors is not allowed: ")
        assert str(refusal).endswith(".")
        return str(refusal)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.safetensors"


@FUZZED
@given(draw=st.data())
def test_a_damaged_file(path, draw):
    content = bytearray(GOOD)
    for _ in range(draw.draw(st.integers(0, 3))):
        content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    path.write_bytes(content[: draw.draw(st.integers(0, len(content)))])
    found = read(path)
    assert isinstance(found, str) or found.mean.isfinite().all()


@pytest.mark.parametrize("kept", range(0, len(GOOD), 7))
def test_a_truncated_file(path, kept):
    path.write_bytes(GOOD[:kept])
    assert isinstance(read(path), str)


NAMES = st.sampled_from(["mean", "std", "__metadata__", "a\nb"])
VALUES = st.none() | st.integers(-3, 2**64) | st.text(max_size=3) | st.lists(st.integers(-1, 40), max_size=3)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F64", "I64", "BOOL", "F8_E4M3", "F4", "C64", "X"]) | VALUES,
        "shape": st.sampled_from([[4], [], [2**40], [0]]) | VALUES,
        "data_offsets": st.sampled_from([[0, 16], [16, 32], [0, 2**50]]) | VALUES,
    }
)


@FUZZED
@given(head=st.dictionaries(NAMES, ENTRIES | VALUES, max_size=3), size=st.integers(0, 64))
def test_a_head_that_does_not_fit(path, head, size):
    text = json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))
    read(path)


class Planted:
    """Unpickling it would make a folder."""

    def __reduce__(self):
        return os.mkdir, ("planted",)


@pytest.mark.parametrize(
    "write",
    [lambda path: path.write_bytes(pickle.dumps(Planted())), lambda path: torch.save({"mean": Planted()}, path)],
)
def test_a_pickle_is_not_opened(path, write, monkeypatch):
    monkeypatch.chdir(path.parent)
    write(path)
    assert "it is not a safetensors file" in read(path)
    assert not (path.parent / "planted").exists()


def test_a_pipe_is_not_waited_for(path):
    os.mkfifo(path)
    assert "there is no such file" in read(path)
    with pytest.raises(SettingError, match=r"it cannot be written \(it is not a file\)"):
        save_prior(PRIOR, path)


def test_a_device(path):
    path.symlink_to("/dev/zero")
    assert "there is no such file" in read(path)
    with pytest.raises(SettingError, match="it is not a file"):
        save_prior(PRIOR, path)


def test_a_huge_file_is_not_read(path, monkeypatch):
    with path.open("wb") as file:
        file.truncate(2**40)
    monkeypatch.setattr("lib_fewstep.sampling.prior.load_file", lambda _: pytest.fail("it is read"))
    assert f"at most {LARGEST_FILE} bytes" in read(path)


def test_a_name_that_no_file_can_have(tmp_path):
    with pytest.raises(SettingError, match="is not allowed"):
        load(tmp_path / ("日" * 100))
