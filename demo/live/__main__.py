"""`python -m demo.live URL`: the demo's counts in a running WebUI, over its API.

The WebUI needs --api, this extension, and the checkpoints of `python -m demo.install`. A picture that is already in the
folder, of the same request and weights, is not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from demo import report
from demo.compare import Result, Task, judged, tasks_for
from demo.edit import Edit, Edited, add_edit, edits_for
from demo.live.asked import EDITS, LIVE_PAIRS, WAYS, edit_request, request_of
from demo.live.host import Host, HostError
from demo.model.layouts import LAYOUTS, Layout
from demo.numbers import positive

LIBRARY = Path("demo/out/quality/report.json")
PLOT_AXIS, PLOTTED = "[HiDiffusion] Method", ("plain_2x", "hidiffusion_2x", "deep_shrink_2x")
PLOT_VALUES = "None, HiDiffusion, Deep Shrink"
PLOTS = 4
"""X/Y/Z plots of methods for each checkpoint, whose cells must be the pictures of single requests."""

SIGNIFICANT = 0.05
"""Chance, for all ways together, below which the WebUI and the library differ."""

APART = 1
"""Levels of 255 that two runs of the same arithmetic may differ by."""


def main() -> int:
    """Read the command line, measure each checkpoint, write the report; returns the exit status.

    It is 1 where the WebUI disagrees with the library or cannot be compared with it, and where a plot's cell is another
    picture than a request's.
    """
    arguments = parse()
    host, tasks = Host(arguments.url.rstrip("/"), arguments.out), tasks_for(arguments.images)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        found = {name: measure(host, LAYOUTS[name], tasks) for name in arguments.layouts}
    except (HostError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    figures = {"images": len(tasks), "seed": tasks[0].seed} | found
    agrees = agrees_with_library(figures, arguments.library)
    report.write(figures, arguments.out / "report.json")
    print(f"figures: {arguments.out / 'report.json'}")
    same = all(of_one["plots_apart"] <= APART for of_one in found.values())
    return 0 if same and agrees else 1


def parse() -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.live", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="of the WebUI, such as http://127.0.0.1:7860")
    parser.add_argument("--images", type=positive, default=64, help="pictures of each way (default: 64)")
    parser.add_argument("--out", type=Path, default=Path("demo/out/live"), help="folder (default: demo/out/live)")
    parser.add_argument("--layouts", nargs="+", choices=list(LAYOUTS), default=list(LAYOUTS), help="default: all")
    parser.add_argument("--library", type=Path, default=LIBRARY, help=f"the library's figures (default: {LIBRARY})")
    return parser.parse_args()


def measure(host: Host, layout: Layout, tasks: Sequence[Task]) -> dict[str, Any]:
    """Every way on every task, every edit, and plots; prints the tables."""
    with host.using(layout):
        results, edited = count(host, layout, tasks)
        apart = plots_apart(host, layout, tasks, results)
    print(f"\n{report.table(layout.title, results)}\n\n{report.pair_table(results, LIVE_PAIRS)}\n")
    print(f"{report.edit_table(layout.title, edited)}\n\nLargest difference of a plot's cell: {apart} of 255 levels\n")
    return {
        "ways": report.of_results(results),
        "pairs": report.of_pairs(results, LIVE_PAIRS),
        "edits": report.of_edits(edited),
        "plots_apart": apart,
    }


def count(host: Host, layout: Layout, tasks: Sequence[Task]) -> tuple[list[Result], list[Edited]]:
    """What comes of every way and of every way to edit. The ways take turns, task by task."""
    results, edited = [Result(way) for way in WAYS], [Edited(way) for way in EDITS]
    edits = edits_for(len(tasks), tasks[0].seed)
    with tqdm(total=len(tasks) * (len(WAYS) + len(EDITS)), unit="picture", mininterval=1.0) as progress:
        for task, edit in zip(tasks, edits, strict=True):
            for one in results:
                progress.set_description(f"{layout.title}: {one.way.title}", refresh=False)
                _add(one, host, layout, task)
                progress.update()
            for other in edited:
                progress.set_description(f"{layout.title}: {other.way.title}", refresh=False)
                _add_edit(other, host, layout, edit)
                progress.update()
    return results, edited


def _add(result: Result, host: Host, layout: Layout, task: Task) -> None:
    way = result.way
    picture, seconds = host.picture(layout, way.key, way.lora, "txt2img", request_of(layout, way, task))
    result.images.append(judged(task, picture))
    result.seconds += seconds


def _add_edit(result: Edited, host: Host, layout: Layout, edit: Edit) -> None:
    picture, _ = host.picture(layout, result.way.key, "", "img2img", edit_request(result.way, edit))
    add_edit(result, edit, picture)


def plots_apart(host: Host, layout: Layout, tasks: Sequence[Task], results: Sequence[Result]) -> int:
    """The largest difference, in levels of 255, of a plot's cells from the pictures that were made one by one."""
    single = {result.way.key: result for result in results}
    scripts = [one for one in host.ask("script-info") if one["name"] == "x/y/z plot" and not one["is_img2img"]]
    if not scripts or PLOT_AXIS not in scripts[0]["args"][0]["choices"]:
        raise HostError(f"{host.url} has no axis {PLOT_AXIS} in its X/Y/Z plot: is this extension switched on there?")
    script = scripts[0]
    axes = [script["args"][0]["choices"].index(PLOT_AXIS), PLOT_VALUES, [], 0, "", [], 0, "", []]
    options = [False, True, False, False, False, False, False, 0, True]  # no legend, single pictures, values as text
    apart = 0
    for index, task in enumerate(tasks[:PLOTS]):
        body = request_of(layout, single[PLOTTED[1]].way, task)
        cells = host.pictures("txt2img", body | {"script_name": "x/y/z plot", "script_args": [*axes, *options]})[1:]
        for key, cell in zip(PLOTTED, cells, strict=True):
            apart = max(apart, round(255 * float(np.abs(cell - single[key].images[index].picture).max())))
    return apart


def agrees_with_library(found: dict[str, Any], library: Path) -> bool:
    """Whether every way is as often right as in the library; puts the counts into the report, by checkpoint and way.

    The pictures are compared one by one, by prompt and seed. Of so many ways some differ by chance, so the level of
    significance is shared out among them.
    """
    expected = json.loads(library.read_text(encoding="utf-8")) if library.is_file() else {}
    names = [name for name in LAYOUTS if name in found and name in expected]
    if not names or expected.get("seed") != found["seed"]:
        print(f"{library} has nothing to compare with: make quality writes it")
        return False
    ways = {
        (name, key): agreement
        for name in names
        for part in ("ways", "edits")
        for key, agreement in report.agreement(found[name][part], expected[name][part]).items()
    }
    found["agreement"] = {f"{name} {key}": asdict(agreement) for (name, key), agreement in ways.items()}
    others = [f"{name} {key}" for (name, key), each in ways.items() if each.chance < SIGNIFICANT / len(ways)]
    apart = sum(each.only_here + each.only_there for each in ways.values())
    total = sum(each.pictures for each in ways.values())
    print(f"{len(ways) - len(others)} of {len(ways)} ways agree with {library}; not: {others or 'none'}")
    print(f"{apart} of {total} pictures are right in one of the two alone")
    return not others


if __name__ == "__main__":
    raise SystemExit(main())
