"""`python -m demo.guided sd15`: what each kind of guidance does to right pictures and to clipped colours.

Each is compared with ordinary guidance of the same CFG and steps, over the same prompts and seeds. `--nag` counts
houses of a colour instead, where the prompt is "a house" and the negative prompt that colour, at CFG 1 with the
LCM-LoRA. Without a colour in the prompt the small models draw green and blue houses, never red ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo import report
from demo.compare import chunks, difference, loaded, run, tasks_for
from demo.model.layouts import LAYOUTS, Layout
from demo.numbers import positive
from demo.pictures.judge import nearest_colour
from demo.sampling.generate import decoded, generate
from demo.sampling.named import schedule
from demo.ways import Way, distilled
from lib_fewstep.compare.grid import counted
from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.guidance.settings import PRESETS

CFGS, STEPS = (4.0, 8.0, 12.0), (4, 8, 20)
KINDS: dict[str, dict[str, Any]] = {
    "half of the steps": {"start": 0.25, "end": 0.75},
    "sigma 0.28 to 5.42": {"sigma_low": 0.28, "sigma_high": 5.42},
    "ramp from CFG 1": {"schedule": "Linear"},
    "CFG++": {"schedule": "CFG++"},
    "rescale 0.7": {"rescale": 0.7},
    "Anti-burn": PRESETS["Anti-burn"],
    "APG momentum -0.5": {"apg_eta": 0.0, "apg_threshold": 15.0, "apg_momentum": -0.5},
    "APG eta 0": {"apg_eta": 0.0},
    "APG threshold 15": {"apg_threshold": 15.0},
    "thresholding to 4": {"threshold_mimic": 4.0},
    "PAG 3": {"pag_scale": 3.0, "attention_blocks": "All"},
    "SEG 3": {"seg_scale": 3.0, "attention_blocks": "All"},
    "SAG 0.75": {"sag_scale": 0.75},
}
"""By their titles, the settings of each kind that is compared.

The maps of these small models' middle blocks have 2x2 places, and what is changed in them alone cannot be seen.
"""

HOUSE, NAG_COLOURS, NAG_STEPS = "a house", ("green", "red"), 4
SCALES = (0.0, 1.0, 2.0)
CHUNK = 24


def ways(cfg: float, steps: int, kinds: Sequence[str] = tuple(KINDS)) -> list[Way]:
    """Ordinary guidance, and some kinds with the same slider and steps."""
    ordinary = Way(f"cfg_{cfg:g}_{steps}", f"CFG {cfg:g}, {counted(steps)}", cfg=cfg, steps=steps)
    return [ordinary, *(_with(ordinary, title, KINDS[title]) for title in kinds)]


def _with(way: Way, title: str, values: dict[str, Any]) -> Way:
    key = f"{way.key}_{title.replace(' ', '_').lower()}"
    return Way(key, f"{way.title}, {title}", cfg=way.cfg, steps=way.steps, guidance=GuidanceSettings(**values))


def coloured_houses(layout: Layout, images: int, colour: str, scale: float) -> list[bool]:
    """Whether the hue of each picture's largest thing is nearest to a colour, of `images` seeds; `scale` is NAG's."""
    model, way = loaded(layout, "lcm"), distilled("lcm", NAG_STEPS)
    found: list[bool] = []
    for seeds in chunks(range(images), CHUNK):
        made = generate(
            model,
            [HOUSE] * len(seeds),
            list(seeds),
            sampler=way.sampler,
            cfg=1.0,
            sigmas=schedule(way.schedule, way.steps),
            guidance=GuidanceSettings(nag_scale=scale),
            negative=colour,
        )
        found += [nearest_colour(picture.clip(0, 1)) == colour for picture in decoded(model, made.latents)]
    return found


def nag_table(layout: Layout, images: int) -> str:
    """The share of houses of each colour that is not wanted, by scale, and how much it is more than without NAG."""
    lines = [f'{layout.title}: "{HOUSE}", CFG 1, LCM-LoRA, {NAG_STEPS} steps, {images} pictures']
    for colour in NAG_COLOURS:
        found = {scale: coloured_houses(layout, images, colour, scale) for scale in SCALES}
        for scale, houses in found.items():
            more = difference(found[0.0], houses)
            lines.append(
                f'negative prompt "{colour}", NAG {scale:g}: {100 * sum(houses) / images:.1f}% {colour}, '
                f"{100 * more.mean:+.1f} +- {100 * (more.standard_error or 0):.1f}"
            )
    return "\n".join(lines)


def main() -> int:
    """Read the command line, measure, print the tables and write the report; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.guided", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("layout", choices=list(LAYOUTS), help="which checkpoint")
    parser.add_argument("--images", type=positive, default=192, help="pictures of each (default: 192)")
    parser.add_argument("--cfg", type=float, nargs="+", default=CFGS, help="values of CFG (default: 4 8 12)")
    parser.add_argument("--steps", type=positive, nargs="+", default=STEPS, help="numbers of steps (default: 4 8 20)")
    parser.add_argument("--kinds", choices=list(KINDS), nargs="+", default=list(KINDS), help="of these (default: all)")
    parser.add_argument("--nag", action="store_true", help="count houses instead")
    parser.add_argument("--out", type=Path, default=Path("demo/out/guided"), help="folder (default: demo/out/guided)")
    arguments = parser.parse_args()
    layout = LAYOUTS[arguments.layout]
    try:
        if arguments.nag:
            print(nag_table(layout, arguments.images))
            return 0
        for cfg in arguments.cfg:
            for steps in arguments.steps:
                _compare(layout, ways(cfg, steps, arguments.kinds), arguments.images, arguments.out)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _compare(layout: Layout, compared: list[Way], images: int, out: Path) -> None:
    results = run(layout, compared, tasks_for(images), chunk=CHUNK)
    keys = [(compared[0].key, way.key) for way in compared[1:]]
    print(report.table(layout.title, results))
    print(report.pair_table(results, keys))
    found = report.of_results(results) | {"differences": report.of_pairs(results, keys)}
    report.write(found, out / f"{layout.name}_{compared[0].key}.json")


if __name__ == "__main__":
    raise SystemExit(main())
