"""Prompt sets as they are published, and files that are none."""

from __future__ import annotations

import importlib
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib_fewstep.compare.prompts import Prompt, read_prompts
from lib_fewstep.options import SettingError

PARTI = (
    "Prompt\tCategory\tChallenge\tNote\n"
    "bond\tAbstract\tBasic\tBiology-inspired concepts with multiple meanings\n"
    'A robot painted as graffiti. The words "Fly an airplane" are written on the wall.\tOutdoor Scenes\tComplex\t\n'
    '"quoted at its start\tArts\tBasic\t\n'
    "42\tAbstract\t\t\n"
    "\tAbstract\tBasic\t\n"
    "infinity\n"
)


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def diffusion_db(path, **columns):
    frame = pd.DataFrame(
        {
            "image_name": ["a.png", "b.png", "c.png"],
            "prompt": ["a small liquid sculpture, 4 k, ", None, "a portrait"],
            "seed": pd.array([2026845913, 1, 4294967295], "uint32"),
            "step": pd.array([50, 50, 25], "uint16"),
            "cfg": pd.array([7.1, 7, 12], "float32"),
            "sampler": pd.array([8, 1, 4], "uint8"),
            **columns,
        }
    )
    frame.to_parquet(path)
    return path


def texts(path, *more):
    return [prompt.text for prompt in read_prompts(path, *more)]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_lines_of_a_text(file, ends):
    path = file("set.txt", ends.join(["\ufeffa cat", "", "  a dog, a hat\t", "\u2028a line \u2028 separator", "   "]))
    assert read_prompts(path) == [Prompt("a cat"), Prompt("a dog, a hat"), Prompt("a line \u2028 separator")]


def test_parti_prompts(file):
    assert read_prompts(file("PartiPrompts.TSV", PARTI)) == [
        Prompt("bond", "Abstract", "Basic"),
        Prompt(
            'A robot painted as graffiti. The words "Fly an airplane" are written on the wall.',
            "Outdoor Scenes",
            "Complex",
        ),
        Prompt('"quoted at its start', "Arts", "Basic"),
        Prompt("42", "Abstract", None),
        Prompt("infinity"),
    ]


def test_csv_knows_quotes(file):
    path = file("set.csv", 'SEED,p,Step,CFG,Sampler\n12,"a cat, ""big""\nand wide",8,7.5,8\n,a dog,,,k_euler\n')
    cat = Prompt('a cat, "big"\nand wide', seed=12, steps=8, cfg=7.5, sampler="LMS")
    assert read_prompts(path) == [cat, Prompt("a dog", sampler="k_euler")]


def test_diffusion_db(tmp_path):
    path = diffusion_db(tmp_path / "metadata.parquet")
    assert read_prompts(path) == [
        Prompt("a small liquid sculpture, 4 k,", seed=2026845913, steps=50, cfg=7.1, sampler="LMS"),
        Prompt("a portrait", seed=4294967295, steps=25, cfg=12, sampler="Euler a"),
    ]


def test_missing_cells_of_parquet(tmp_path):
    path = diffusion_db(tmp_path / "set.parquet", seed=[None, 1, 5], cfg=[None] * 3, sampler=["DDIM", "", None])
    assert read_prompts(path) == [
        Prompt("a small liquid sculpture, 4 k,", steps=50, sampler="DDIM"),
        Prompt("a portrait", seed=5, steps=25),
    ]


def test_diffusion_db_numbers_of_samplers(file):
    """The mapping of DiffusionDB's README, in the WebUI's names for k-diffusion's."""
    path = file("set.csv", "prompt,sampler\n" + "".join(f"p,{code}\n" for code in range(1, 10)))
    names = ["DDIM", "PLMS", "Euler", "Euler a", "Heun", "DPM2", "DPM2 a", "LMS", None]
    assert [prompt.sampler for prompt in read_prompts(path)] == names


def test_prompt_goes_before_p(file):
    assert texts(file("set.csv", "p,prompt\nshort,long\n")) == ["long"]


@pytest.mark.parametrize(
    ("names", "text"),
    [(["prompt", "prompt"], "a"), (["Prompt", "prompt", "p"], "a"), (["p", "prompt", "prompt"], "b")],
)
def test_of_columns_that_mean_the_same_the_first_counts(tmp_path, names, text):
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table([["a"], ["b"], ["c"]][: len(names)], names=names), path)
    assert texts(path) == [text]
    path = tmp_path / "set.csv"
    path.write_text(",".join(names) + "\n" + ",".join("abc"[: len(names)]) + "\n")
    assert texts(path) == [text]


def test_columns_twice_beside_prompts(tmp_path):
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table([["a"], [1], [2], [[3]]], names=["prompt", "seed", "seed", "other"]), path)
    assert read_prompts(path) == [Prompt("a", seed=1)]


def test_what_is_a_list_in_parquet_is_refused(tmp_path):
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table([["a"], [[1, 2]]], names=["prompt", "seed"]), path)
    with pytest.raises(SettingError, match=r"seed = .* is not allowed: it must be a whole number from 0"):
        read_prompts(path)


def test_the_limits_of_a_rows_values(file):
    path = file("set.csv", "p,seed,step,cfg\na,0,1,0\nb,4294967295,1000,100\nc,-1,,\nd,-1.0,1.0,0.5\n")
    assert read_prompts(path) == [
        Prompt("a", seed=0, steps=1, cfg=0),
        Prompt("b", seed=4294967295, steps=1000, cfg=100),
        Prompt("c"),
        Prompt("d", steps=1, cfg=0.5),
    ]


def test_a_prompt_is_there_once(file):
    lines = ["a,1,,Euler,x", "a,2,,Euler,x", " a ,1,,3,y", "a,1,,Euler,z", "b,,7,,x", "b,-1,7.0,,x", "b,,8,,x"]
    path = file("set.csv", "p,seed,cfg,sampler,category\n" + "\n".join(lines) + "\n")
    assert read_prompts(path) == [
        Prompt("a", "x", seed=1, sampler="Euler"),
        Prompt("a", "x", seed=2, sampler="Euler"),
        Prompt("b", "x", cfg=7),
        Prompt("b", "x", cfg=8),
    ]


def test_limit_counts_a_prompt_once(file):
    path = file("set.txt", "a\na\n a\na\nb\n")
    assert {tuple(texts(path, 2, seed)) for seed in range(20)} == {("a", "b")}


def test_limit_draws_a_sample_in_the_order_of_the_file(file):
    lines = [f"prompt {index:03}" for index in range(100)]
    path = file("set.txt", "\n".join(lines))
    drawn = texts(path, 10, 1)
    assert len(set(drawn)) == 10
    assert set(drawn) <= set(lines)
    assert drawn == sorted(drawn) != lines[:10]
    assert texts(path, 10, 1) == drawn != texts(path, 10, 2)
    assert texts(path, 100) == texts(path, 101) == texts(path) == lines


def test_limit_counts_only_prompts(file):
    path = file("set.csv", "prompt,seed\na,1\n,2\n,3\n,4\nb,5\n")
    assert {tuple(texts(path, 2, seed)) for seed in range(20)} == {("a", "b")}
    assert {tuple(texts(path, 1, seed)) for seed in range(20)} == {("a",), ("b",)}


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt"])
def test_a_nul_is_a_character(file, ending):
    """Also on Python 3.10, whose csv reads none."""
    assert texts(file(f"set.{ending}", "prompt\na\0cat\n"))[-1] == "a\0cat"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("set.json", "[]", ".txt, .tsv, .csv, .parquet"),
        ("set", "a cat", ".txt, .tsv, .csv, .parquet"),
        ("set.pickle", b"cos\nsystem\n", ".txt, .tsv, .csv, .parquet"),
        ("set.txt", b"\xff\xfe\x00", "not in UTF-8"),
        ("set.tsv", "Prompt\n\u00e9".encode("latin-1"), "not in UTF-8"),
        ("set.txt", "\n \n", "no prompt"),
        ("set.tsv", "Prompt\tCategory\n\tArts\n", "no prompt"),
        (
            "set.csv",
            "Text,Category\na,b\n",
            "its columns are Text, Category; a prompt set can have prompt, p,",
        ),
        ("set.csv", "", "it has no columns"),
        ("set.csv", 'prompt\n"a cat', "unexpected end of data"),
        ("set.csv", "prompt,seed\na cat, in a hat,1\n", "line 2 has more cells"),
        ("set.csv", "prompt,seed\na cat,many\n", "seed = 'many' of the prompt 'a cat'"),
        ("set.csv", "prompt,step\na cat,1.5\n", "step = '1.5' of the prompt 'a cat' is not allowed"),
        ("set.csv", "prompt,cfg\na cat,inf\n", "cfg = 'inf'"),
        ("set.csv", "prompt,cfg\na dog,7\na cat,-0.5\n", "set.csv, row 2: cfg = '-0.5' of the prompt 'a cat'"),
        ("set.csv", "prompt,cfg\na cat,100.5\n", "is not allowed: it must be a number from 0 to 100."),
        ("set.csv", "prompt,step\n,1\n\na cat,0\n", "set.csv, row 3: step = '0' of"),
        ("set.csv", "prompt,step\na cat,1001\n", "is not allowed: it must be a whole number from 1 to 1000."),
        ("set.csv", "prompt,seed\na cat,-2\n", "set.csv, row 1: seed = '-2'"),
        ("set.csv", "prompt,seed\na cat,4294967296\n", "a whole number from 0 to 4294967295, or -1 for none."),
        ("set.csv", "prompt,seed\na cat,1e300\n", "seed = '1e300'"),
        ("set.csv", "prompt,sampler\na cat,10\n", "a name or 1 to 9"),
        ("set.parquet", b"", "cannot be read"),
        ("set.parquet", b"PAR1 and no more", "cannot be read"),
    ],
)
def test_what_is_no_prompt_set(file, name, content, words):
    path = file(name, content)
    with pytest.raises(SettingError) as caught:
        read_prompts(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.99])
def test_truncated_parquet(tmp_path, kept):
    path = diffusion_db(tmp_path / "set.parquet")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(SettingError, match="cannot be read"):
        read_prompts(path)


def test_parquet_without_prompts(tmp_path):
    path = tmp_path / "set.parquet"
    pd.DataFrame({"text": ["a"]}).to_parquet(path)
    with pytest.raises(SettingError, match="its columns are text"):
        read_prompts(path)


@pytest.mark.parametrize("name", ["set.txt", "set.parquet"])
def test_no_file(tmp_path, name):
    with pytest.raises(SettingError, match="There is no file"):
        read_prompts(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(SettingError, match="There is no file"):
        read_prompts(tmp_path / name)


def test_parquet_without_pyarrow(tmp_path, monkeypatch, file):
    path = diffusion_db(tmp_path / "set.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError):
        importlib.import_module("pyarrow")
    with pytest.raises(SettingError, match=r"set\.parquet.*pip install pyarrow"):
        read_prompts(path)
    assert texts(file("set.txt", "a cat")) == ["a cat"]
