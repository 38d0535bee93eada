"""`python -m demo.larger sdxl`: at twice the trained size, what SDXL is told of the size, and more noise.

With HiDiffusion and without. The WebUI tells SDXL the size of the image; "as trained" is the trained one. Noise times 2
is the ratio of the sides.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from demo import report
from demo.compare import run, tasks_for
from demo.model.layouts import LAYOUTS
from demo.numbers import positive
from demo.ways import NATIVE, SIZES, Way

BASES = SIZES[1:3]
"""Twice the trained size, plain and with HiDiffusion."""


def ways(*, sized: bool) -> list[tuple[Way, Way]]:
    """Each change beside the way that it changes; only a `sized` model is told a size."""
    return [(base, other) for base in BASES for other in _changed(base, sized=sized)]


def _changed(base: Way, *, sized: bool) -> Iterator[Way]:
    noisier = replace(base, key=f"{base.key}_noise", title=f"{base.title}, noise times 2", shift=2.0)
    yield noisier
    for way in (base, noisier) if sized else ():
        yield replace(way, key=f"{way.key}_trained", title=f"{way.title}, as trained", told=NATIVE)


def main() -> int:
    """Read the command line, measure, print the tables and write the report; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.larger", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("layout", choices=list(LAYOUTS), help="which checkpoint")
    parser.add_argument("--images", type=positive, default=96, help="pictures of each (default: 96)")
    parser.add_argument("--out", type=Path, default=Path("demo/out/larger"), help="folder (default: demo/out/larger)")
    arguments = parser.parse_args()
    layout = LAYOUTS[arguments.layout]
    compared = ways(sized=layout.sized)
    keys = [(base.key, other.key) for base, other in compared]
    try:
        results = run(
            layout, list(dict.fromkeys(way for pair in compared for way in pair)), tasks_for(arguments.images)
        )
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print(report.table(layout.title, results))
    print(report.pair_table(results, keys))
    found = report.of_results(results) | {"differences": report.of_pairs(results, keys)}
    report.write(found, arguments.out / f"{layout.name}.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
