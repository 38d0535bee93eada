"""`python -m demo.bands sd15`: HiDiffusion's thresholds and parts at twice the trained size, one by one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demo import report
from demo.compare import run, tasks_for
from demo.model.layouts import LAYOUTS
from demo.numbers import positive
from demo.ways import DOUBLE, SIZES, Way
from lib_fewstep.highres import HighResSettings

THRESHOLDS = (0.2, 0.3, 0.5, 0.6, 0.7, 0.8)
"""Beside the paper's 0.4."""


def ways(*, with_aggressive: bool) -> list[Way]:
    """Plain and the paper's values, then other thresholds, each part alone, and without the aggressive mode."""
    found = [SIZES[1], SIZES[2], *(_way(f"T1 {t1:g}", t1=t1) for t1 in THRESHOLDS)]
    found += [_way("RAU-Net alone", window_attention=False), _way("window attention alone", raunet=False)]
    if with_aggressive:
        strided = _way("strided downsampler alone", t1=0.0, window_attention=False)
        calm = ((0.4, 0.0), (0.4, 0.4), (0.7, 0.3), (0.0, 0.4))
        return [
            *found,
            strided,
            _way("pool alone", t1=0.4, t2=0.0, aggressive=False, window_attention=False),
            *(_way(f"T1 {t1:g}, T2 {t2:g}, not aggressive", t1=t1, t2=t2, aggressive=False) for t1, t2 in calm),
        ]
    return [*found, *(_way(f"T1 0.4, T2 {t2:g}", t1=0.4, t2=t2) for t2 in (0.2, 0.4))]


def _way(title: str, **values: float | bool) -> Way:
    settings = HighResSettings(method="HiDiffusion", preset="Manual", **values)
    return Way(title.replace(" ", "_").replace(",", "").lower(), title, DOUBLE, settings)


def main() -> int:
    """Read the command line, measure, print the table and write the report; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo.bands", description=__doc__)
    parser.add_argument("layout", choices=list(LAYOUTS), help="which checkpoint")
    parser.add_argument("--images", type=positive, default=24, help="pictures of each (default: 24)")
    parser.add_argument("--out", type=Path, default=Path("demo/out/bands"), help="folder (default: demo/out/bands)")
    arguments = parser.parse_args()
    layout = LAYOUTS[arguments.layout]
    try:
        results = run(layout, ways(with_aggressive=layout.sized), tasks_for(arguments.images))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print(report.table(layout.title, results))
    report.write(report.of_results(results), arguments.out / f"{layout.name}.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
