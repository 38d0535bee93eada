"""`python -m demo.v_prediction sd15`: a checkpoint that predicts v with zero terminal SNR, sampled as its file says.

Beside it, over the same prompts and seeds, are the project's checkpoint, which predicts noise, and the same file
sampled as what it is not. `python -m demo.training.v_prediction sd15` trains it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from demo import report
from demo.compare import Result, Task, add, chunks, difference, tasks_for
from demo.drawings import SEEN, block
from demo.edit import edits_for
from demo.model import checkpoint
from demo.model.checkpoint import MiniModel
from demo.model.layouts import LAYOUTS, Layout
from demo.numbers import positive
from demo.pictures.scenes import Picture
from demo.sampling.denoiser import HOST, planned
from demo.sampling.generate import generate
from demo.sheet import draw_sheet
from demo.training.v_prediction import OUT, file_in
from demo.ways import Way
from lib_fewstep.models import ModelDenoiser, ModelPlan, ModelSettings, plan_of, read
from lib_fewstep.models.kinds import NOISE
from lib_fewstep.models.settings import OFF, ON

CHUNK = 24


@dataclass(frozen=True)
class Sampled:
    """A way, and the checkpoint's file and the settings that it is sampled with."""

    way: Way
    path: Path
    settings: ModelSettings = field(default_factory=ModelSettings)

    @property
    def plan(self) -> ModelPlan:
        """What the extension does with this file and these settings."""
        return plan_of(self.settings, read(self.path), HOST)

    def denoiser(self, model: MiniModel) -> ModelDenoiser:
        """The images that the file's model sees, by that plan."""
        return planned(model.unet, self.plan)


def compared(layout: Layout, path: Path) -> list[Sampled]:
    """The project's checkpoint, then another file as it says, without what it says of zero terminal SNR, and as noise.

    The last way is that of a WebUI which knows of neither.
    """
    return [
        Sampled(Way("noise", "noise prediction"), layout.path),
        Sampled(Way("v", "v, as the file says"), path),
        Sampled(Way("v_not_from_noise", "v, no zero SNR"), path, ModelSettings(zero_snr=OFF)),
        Sampled(Way("v_as_noise", "v as noise"), path, ModelSettings(kind=NOISE, zero_snr=ON)),
        Sampled(Way("v_as_neither", "v as noise, no zero SNR"), path, ModelSettings(kind=NOISE, zero_snr=OFF)),
    ]


PAIRS = (("noise", "v"), *(("v", other) for other in ("v_not_from_noise", "v_as_noise", "v_as_neither")))


def run(layout: Layout, ways: Sequence[Sampled], tasks: list[Task]) -> list[Result]:
    """Make and judge every task in every way."""
    models = {path: checkpoint.load(layout, path=path) for path in {one.path for one in ways}}
    results = [Result(one.way) for one in ways]
    with tqdm(total=len(tasks) * len(ways), unit="picture", mininterval=1.0) as progress:
        for group in chunks(tasks, CHUNK):
            prompts, seeds = [task.prompt for task in group], [task.seed for task in group]
            for one, result in zip(ways, results, strict=True):
                model = models[one.path]
                add(result, layout, group, generate(model, prompts, seeds, denoiser=one.denoiser(model)))
                progress.update(len(group))
    return results


def brightness(pictures: Sequence[Picture]) -> list[float]:
    """The mean of each picture's values, from 0 to 1."""
    return [float(picture.mean()) for picture in pictures]


def brightness_table(results: Sequence[Result], drawn: Sequence[float]) -> str:
    """One line for drawn pictures, and one per way: mean and deviation of the brightness, darkest and lightest picture.

    At the end is how much lighter pictures are than the drawn ones of the same prompts, with two standard errors.
    """
    lines = [
        f"{'brightness':32}{'mean':>7}{'deviation':>11}{'darkest':>9}{'lightest':>10}{'minus drawn':>15}",
        _brightness_line("drawn", drawn),
    ]
    for result in results:
        found = _brightness(result)
        apart = difference(drawn, found)
        shown = f"{100 * apart.mean:+.1f} +- {200 * (apart.standard_error or 0):.1f}"
        lines.append(f"{_brightness_line(result.way.title, found)}{shown:>15}")
    return "\n".join(lines)


def _brightness_line(title: str, found: Sequence[float]) -> str:
    middle, deviation, low, high = (
        100 * float(value) for value in (np.mean(found), np.std(found), min(found), max(found))
    )
    return f"{title:32}{middle:>6.1f}%{deviation:>10.1f}%{low:>8.1f}%{high:>9.1f}%"


def _brightness(result: Result) -> list[float]:
    return brightness([image.picture for image in result.images])


def main() -> int:
    """Read the command line, count, print the tables, write report and picture; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.v_prediction", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("layout", choices=list(LAYOUTS), help="which checkpoint")
    parser.add_argument("--images", type=positive, default=192, help="pictures of each (default: 192)")
    parser.add_argument("--trained", type=Path, default=OUT, help=f"folder of the trained file (default: {OUT})")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of report and picture (default: {OUT})")
    arguments = parser.parse_args()
    layout = LAYOUTS[arguments.layout]
    path = file_in(arguments.trained, layout)
    if not path.is_file():
        print(f"{path} is missing: train it with: python -m demo.training.v_prediction {layout.name}", file=sys.stderr)
        return 1
    _compare(layout, compared(layout, path), arguments.images, arguments.out)
    return 0


def _compare(layout: Layout, ways: list[Sampled], images: int, out: Path) -> None:
    tasks = tasks_for(images)
    results = run(layout, ways, tasks)
    drawn = brightness([edit.picture for edit in edits_for(images)])
    print("\n".join(f"{one.way.title}: {one.plan.said or 'nothing is changed'}" for one in ways))
    print(report.table(layout.title, results))
    print(report.pair_table(results, PAIRS))
    print(brightness_table(results, drawn))
    report.write(_figures(results, drawn), out / f"{layout.name}.json")
    headline = "The same prompts and seeds: a model that predicts v, sampled as its file says and as what it is not"
    draw_sheet(headline, [block(layout.title, results, tasks)], (SEEN,), out / f"{layout.name}.png")


def _figures(results: list[Result], drawn: list[float]) -> dict[str, Any]:
    found = {result.way.key: _brightness(result) for result in results}
    return {
        **report.of_results(results),
        "differences": report.of_pairs(results, PAIRS),
        "brightness": found | {"drawn": drawn},
    }


if __name__ == "__main__":
    raise SystemExit(main())
