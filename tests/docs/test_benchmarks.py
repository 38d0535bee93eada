"""The figures of docs/benchmarks.md that `make bench` has measured are those of its report."""

from __future__ import annotations

import json
import re

import pytest

from tests.docs.pages import ROOT, read

TEXT = read(ROOT / "docs/benchmarks.md")
REPORT = json.loads(read(ROOT / "bench/report.json"))
MODELS = ("SD1.5", "SDXL")
THEIRS = "reference: "
ROWS = {
    "plain": "plain",
    "RAU-Net": "RAU-Net",
    "window attention": "MSW-MSA",
    "HiDiffusion (both)": "HiDiffusion",
    "Deep Shrink": "Deep Shrink",
    "token merging, ratio 0.5": "ToMe 0.5",
    "the authors' package on diffusers, plain": f"{THEIRS}plain",
    "the authors' package on diffusers, HiDiffusion": f"{THEIRS}HiDiffusion",
}
"""The rows of the table of seconds, as the report calls them."""


def table(head):
    """The rows of the table whose head begins like this, by their first cell."""
    rows = TEXT.split(f"\n{head}")[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {first: rest for first, *rest in cells}


def gain(costs, row, what):
    """How many times less than the plain model, as the page writes it."""
    if row in ("plain", f"{THEIRS}plain"):
        return "1" if row == "plain" else ""
    plain = costs[f"{THEIRS}plain" if row.startswith(THEIRS) else "plain"]
    return f"{plain[what] / costs[row][what]:.2f}x" if what in costs[row] else ""


def test_seconds_and_gains():
    rows = table("| | SD1.5 | gain |")
    assert rows.keys() == ROWS.keys()
    for shown, name in ROWS.items():
        expected = []
        for model in MODELS:
            costs = REPORT["models"][model]["sizes"]["1024"]
            expected += [f"{costs[name]['seconds']:.1f}", gain(costs, name, "seconds"), gain(costs, name, "tflop")]
        assert rows[shown] == expected, shown


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("method", ["HiDiffusion", "Deep Shrink"])
def test_gains_by_work(model, method):
    sizes = REPORT["models"][model]["sizes"]
    expected = [gain(sizes[size], method, "tflop") if size in sizes else "" for size in ("512", "1024", "1536", "2048")]
    assert table("| | 512x512 |")[f"{model}, {method}"] == expected


def test_memory():
    """That of the plain model, except for Deep Shrink on SD1.5."""
    for model in MODELS:
        for costs in REPORT["models"][model]["sizes"].values():
            more = {name: cost["mib"] / costs["plain"]["mib"] - 1 for name, cost in costs.items() if "mib" in cost}
            shrinks = more.pop("Deep Shrink")
            assert f"{shrinks:.0%}" == ("8%" if model == "SD1.5" else "0%")
            assert {name for name, share in more.items() if share > 0} <= {"ToMe 0.5"}
    assert "which needs 8% more" in TEXT


def test_what_a_pass_and_the_record_cost():
    milliseconds = [REPORT["models"][model]["session_ms"] for model in MODELS]
    least, most = (round(value) for value in (min(milliseconds), max(milliseconds)))
    assert f"costs {least} to {most} milliseconds a pass" in TEXT
    record = REPORT["record"]
    assert f"{record['evaluation_us']:.1f} microseconds for each evaluation" in TEXT
    assert f"{record['row_ms']:.1f} milliseconds for each image" in TEXT


def test_errors_of_samplers():
    (section,) = (found for found in REPORT["samplers"]["sections"] if found["title"] == "checkpoint, Trailing, CFG 8")
    head = re.search(r"^\| evaluations \| (.*) \|$", TEXT, re.MULTILINE)[1].split(" | ")
    errors = [{point["evaluations"]: point["error"] for point in section["samplers"][name]} for name in head]
    for evaluations, cells in table("| evaluations |").items():
        assert cells == [f"{of_sampler[int(evaluations)]:.2f}" for of_sampler in errors]


def test_who_is_behind_on_mixtures():
    """With guidance, which only CFG++ samplers and their bases are measured with."""
    sections = [found for found in REPORT["samplers"]["sections"] if found["cfg"] and "mixtures" in found["title"]]
    every = [one for section in sections for one in section["comparisons"]]

    def counts(of_sampler):
        behind = [one["ratio"] for one in of_sampler if one["behind"]]
        return len(behind), len(of_sampler), sum(ratio > 1.1 for ratio in behind)

    assert "in {} of {} comparisons on mixtures, by more than 10% in {}:".format(*counts(every)) in TEXT
    rows = table("| | behind |")
    assert set(rows) == {one["sampler"] for one in every}
    for name, cells in rows.items():
        mine = [one for one in every if one["sampler"] == name]
        behind, number, far = counts(mine)
        assert cells == [f"{behind} of {number}", f"{far}", f"{max(one['ratio'] for one in mine):.2f}x"]
