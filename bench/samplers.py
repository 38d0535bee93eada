"""`python -m bench.samplers`: error against evaluations of every sampler here and in k-diffusion.

Samplers without noise are measured by where they end: on Gaussian mixtures against the exact flow, on the embedded
checkpoint against very many evaluations. Samplers with noise end elsewhere by design. On mixtures their distribution is
compared with the exact one; on the checkpoint, whose distribution only thousands of images would show, each thing with
the silhouette of its kind, a measure that sees neither a lack of variety nor burnt colours.

Without guidance a CFG++ sampler is its base, and its ratio is 1. With guidance both are run at the same strength, CFG
as it is and lambda by `calibrated`, and are compared with the exact conditional distribution. Nothing converges to
that: ordinary guidance passes beyond it too, and the error of a coarse base can happen to cancel the overshoot.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.sampler_checkpoint import checkpoint_sections
from bench.sampler_list import BUDGETS
from bench.sampler_mixtures import mixture_sections
from bench.sampler_picture import sampler_picture
from bench.sampler_report import Section, sampler_table
from demo.model import checkpoint as checkpoints
from demo.model.layouts import LAYOUTS

__all__ = ["measure_samplers", "sampler_picture", "sampler_table"]

SAMPLES = 4000
THREADS = 2


def measure_samplers(
    budgets: tuple[int, ...] = BUDGETS, samples: int = SAMPLES, *, checkpoint: bool = True
) -> dict[str, Any]:
    """Every section at these evaluations; `samples` is how many a seed has on mixtures."""
    started = time.perf_counter()
    measures = checkpoint_sections(checkpoints.load(LAYOUTS["sd15"]), budgets) if checkpoint else []
    measures += mixture_sections(budgets, samples)

    def run(measure: Callable[[], Section]) -> dict[str, Any]:
        return measure().as_dict()

    with ThreadPoolExecutor(THREADS) as pool:
        sections = list(tqdm(pool.map(run, measures), total=len(measures), desc="samplers", unit="section"))
    return {"budgets": list(budgets), "seconds": time.perf_counter() - started, "sections": sections}


def main() -> None:
    """Read the command line, measure, print the table, write report and picture."""
    parser = argparse.ArgumentParser(prog="python -m bench.samplers", description=__doc__)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="of each seed on mixtures (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("bench/out/samplers.json"))
    parser.add_argument("--picture", type=Path, default=Path("bench/out/samplers.png"))
    arguments = parser.parse_args()
    report = measure_samplers(samples=arguments.samples)
    print(sampler_table(report))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sampler_picture(report, arguments.picture)


if __name__ == "__main__":
    main()
