"""`python -m demo.mini.live URL`: the demo's counts in a running WebUI, over its API.

The WebUI needs --api, this extension, and the checkpoints of `python -m demo.install`. A picture that is already in the
folder, of the same request and checkpoint, is not made again.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image as PilImage
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from demo.mini import report
from demo.mini.compare import Result, Task, judged, tasks_for
from demo.mini.edit import WAYS as ALL_EDITS
from demo.mini.edit import Edit, Edited, EditWay, add_edit, edits_for
from demo.mini.ways import DISTILLED_STEPS, DOUBLE, FEW_STEPS, NATIVE, PAIRS, SIZES, Way, guided
from demo.model.layouts import LAYOUTS, Layout
from demo.numbers import positive
from demo.pictures.scenes import Picture, as_bytes
from demo.sampling.generate import GUIDANCE, STEPS
from lib_fewstep.compare.grid import counted
from lib_fewstep.highres import HighResSettings

TIMEOUT = 600
HIRES_STRENGTH = 0.7
GUIDED_STEPS = (4, 8, 20)
LIBRARY = Path("demo/out/quality/report.json")
PLOT_AXIS, PLOTTED = "[HiDiffusion] Method", ("plain_2x", "hidiffusion_2x", "deep_shrink_2x")
PLOT_VALUES = "None, HiDiffusion, Deep Shrink"
PLOTS = 4
"""X/Y/Z plots of methods for each checkpoint, whose cells must be the pictures of single requests."""

PINNED = {"CLIP_stop_at_last_layers": 1, "img2img_fix_steps": False, "initial_noise_multiplier": 1.0}
"""Settings of the WebUI on which the counts depend, for these requests alone."""

_HOSTS_LCM = tuple(
    Way(f"hosts_lcm_{steps}", f"WebUI's LCM, {counted(steps)}", NATIVE, None, "LCM", "Automatic", steps, 1.0, "lcm")
    for steps in DISTILLED_STEPS
)
_SCHEDULES = tuple(
    Way(f"{name.lower().replace(' ', '_')}_{steps}", f"Euler, {name}, {counted(steps)}", schedule=name, steps=steps)
    for name in ("SGM Uniform", "Karras")
    for steps in DISTILLED_STEPS
)
_HIRES = (
    Way("hires_plain", "hires fix, plain", DOUBLE),
    Way("hires_hidiffusion", "hires fix, HiDiffusion", DOUBLE, HighResSettings(method="HiDiffusion", preset="Auto")),
)
WAYS = (
    *SIZES,
    *_HIRES,
    *FEW_STEPS,
    *_HOSTS_LCM,
    *_SCHEDULES,
    *(way for steps in GUIDED_STEPS for way in guided(steps)),
)
LIVE_PAIRS = (
    *PAIRS,
    ("hires_plain", "hires_hidiffusion"),
    *((f"hosts_lcm_{steps}", f"lcm_{steps}") for steps in DISTILLED_STEPS),
    *((f"{name}_{steps}", f"euler_{steps}") for name in ("sgm_uniform", "karras") for steps in DISTILLED_STEPS),
)
EDITS = tuple(way for way in ALL_EDITS if way.refinements is None or way.sampler == "Euler CFG++")
"""The WebUI has no inversion but that of this extension."""


class HostError(Exception):
    """The WebUI does not do what is asked; the sentence says why."""


@dataclass(frozen=True)
class Host:
    """A running WebUI, and the folder of its pictures."""

    url: str
    folder: Path

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer of the API, GET without a body. Raises HostError for a refusal and where nobody answers."""
        address = f"{self.url}/sdapi/v1/{path}"
        try:
            answer = requests.request("GET" if body is None else "POST", address, json=body, timeout=TIMEOUT)
            if answer.status_code != requests.codes.ok:
                raise HostError(f"{path}: {answer.status_code} {answer.text[:500]}")
            return answer.json()
        except requests.RequestException as error:
            raise HostError(f"{self.url} does not answer: start the WebUI with --api ({error})") from error

    @contextmanager
    def using(self, layout: Layout) -> Iterator[str]:
        """A checkpoint is loaded meanwhile; its title. Raises HostError where it is not installed."""
        titles = [one["title"] for one in self.ask("sd-models") if one["model_name"].endswith(layout.path.stem)]
        if not titles:
            raise HostError(f"{self.url} has no {layout.path.name}: put it there with: python -m demo.install WEBUI")
        before = self.ask("options")["sd_model_checkpoint"]
        self.ask("options", {"sd_model_checkpoint": titles[0]})
        try:
            yield titles[0]
        finally:
            self.ask("options", {"sd_model_checkpoint": before})

    def pictures(self, path: str, body: dict[str, Any]) -> list[Picture]:
        """The pictures of a request, (h, w, 3), values from 0 to 1."""
        answer = self.ask(path, body | {"override_settings": PINNED})
        files = [io.BytesIO(base64.b64decode(image)) for image in answer["images"]]
        return [np.asarray(PilImage.open(file).convert("RGB"), np.float32) / 255 for file in files]

    def picture(self, title: str, key: str, path: str, body: dict[str, Any]) -> tuple[Picture, float]:
        """The one picture of a request to a checkpoint, and its seconds; from the folder if it is there."""
        request = json.dumps([title, path, body], sort_keys=True)
        place = self.folder / key / f"{body['seed']}-{hashlib.sha256(request.encode()).hexdigest()[:12]}.png"
        if not place.is_file():
            started = time.perf_counter()
            (found,) = self.pictures(path, body)
            said = PngInfo()
            said.add_text("seconds", f"{time.perf_counter() - started:.3f}")
            place.parent.mkdir(parents=True, exist_ok=True)
            PilImage.fromarray(as_bytes(found)).save(place, pnginfo=said)
        with PilImage.open(place) as kept:
            kept.load()
            return np.asarray(kept, np.float32) / 255, float(kept.info["seconds"])


def request_of(layout: Layout, way: Way, task: Task) -> dict[str, Any]:
    """What txt2img is asked for."""
    lora = f" <lora:{layout.lora_path(way.lora).stem}:1>" if way.lora else ""
    hires = way in _HIRES
    height, width = NATIVE if hires else way.size
    body: dict[str, Any] = {
        "prompt": task.prompt + lora,
        "seed": task.seed,
        "steps": way.steps,
        "width": width,
        "height": height,
        "sampler_name": way.sampler,
        "scheduler": way.schedule,
        "cfg_scale": way.cfg,
    }
    if way.method is not None:
        given = {name: value for name, value in asdict(way.method).items() if value is not None}
        body["alwayson_scripts"] = {"HiDiffusion": {"args": [given]}}
    if hires:
        body |= {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": HIRES_STRENGTH}
    return body


def edit_request(way: EditWay, edit: Edit) -> dict[str, Any]:
    """What img2img is asked for: an inversion, or ordinary img2img."""
    file = io.BytesIO()
    PilImage.fromarray(as_bytes(edit.picture)).save(file, "PNG")
    body: dict[str, Any] = {
        "init_images": [base64.b64encode(file.getvalue()).decode()],
        "prompt": edit.target.prompt,
        "seed": edit.target.seed,
        "steps": STEPS,
        "width": NATIVE[1],
        "height": NATIVE[0],
        "sampler_name": way.sampler,
        "scheduler": "Trailing",
        "cfg_scale": GUIDANCE,
        "denoising_strength": way.strength,
    }
    if way.refinements is not None:
        body["alwayson_scripts"] = {"Few-Step": {"args": [{"invert": {"prompt": edit.source.prompt}}]}}
    return body


def measure(host: Host, layout: Layout, tasks: Sequence[Task]) -> dict[str, Any]:
    """Every way on every task, every edit, and plots; prints the tables."""
    results, edited = [Result(way) for way in WAYS], [Edited(way) for way in EDITS]
    with (
        host.using(layout) as title,
        tqdm(total=len(tasks) * (len(WAYS) + len(EDITS)), unit="picture", mininterval=1.0) as progress,
    ):
        for task, edit in zip(tasks, edits_for(len(tasks), tasks[0].seed), strict=True):
            for result in results:
                progress.set_description(f"{layout.title}: {result.way.title}", refresh=False)
                body = request_of(layout, result.way, task)
                picture, seconds = host.picture(title, f"{layout.name}/{result.way.key}", "txt2img", body)
                result.images.append(judged(task, picture))
                result.seconds += seconds
                progress.update()
            for one in edited:
                progress.set_description(f"{layout.title}: {one.way.title}", refresh=False)
                body = edit_request(one.way, edit)
                picture, _ = host.picture(title, f"{layout.name}/{one.way.key}", "img2img", body)
                add_edit(one, edit, picture)
                progress.update()
        apart = plots_apart(host, layout, tasks, results)
    print(f"\n{report.table(layout.title, results)}\n\n{report.pair_table(results, LIVE_PAIRS)}\n")
    print(f"{report.edit_table(layout.title, edited)}\n\nLargest difference of a plot's cell: {apart} of 255 levels\n")
    return {
        "ways": report.of_results(results),
        "pairs": report.of_pairs(results, LIVE_PAIRS),
        "edits": report.of_edits(edited),
        "plots_apart": apart,
    }


def plots_apart(host: Host, layout: Layout, tasks: Sequence[Task], results: Sequence[Result]) -> int:
    """The largest difference, in levels of 255, of a plot's cells from the pictures that were made one by one."""
    single = {result.way.key: result for result in results}
    script = next(one for one in host.ask("script-info") if one["name"] == "x/y/z plot" and not one["is_img2img"])
    axes = [script["args"][0]["choices"].index(PLOT_AXIS), PLOT_VALUES, [], 0, "", [], 0, "", []]
    options = [False, True, False, False, False, False, False, 0, True]  # no legend, single pictures, values as text
    apart = 0
    for index, task in enumerate(tasks[:PLOTS]):
        body = request_of(layout, single[PLOTTED[1]].way, task)
        cells = host.pictures("txt2img", body | {"script_name": "x/y/z plot", "script_args": [*axes, *options]})[1:]
        for key, cell in zip(PLOTTED, cells, strict=True):
            apart = max(apart, round(255 * float(np.abs(cell - single[key].images[index].picture).max())))
    return apart


def compare_with_library(found: dict[str, Any], library: Path) -> dict[str, dict[str, bool]]:
    """By checkpoint and way, whether the intervals of the WebUI's share and of the library's overlap."""
    if not library.is_file():
        print(f"{library} is not there to compare with: make quality writes it")
        return {}
    expected = json.loads(library.read_text(encoding="utf-8"))
    agree = {
        name: report.agreement(figures["ways"], expected[name]["ways"])
        | report.agreement(figures["edits"], expected[name]["edits"])
        for name, figures in found.items()
    }
    for name, by_way in agree.items():
        others = [key for key, same in by_way.items() if not same]
        print(f"{name}: {len(by_way) - len(others)} of {len(by_way)} agree with {library}; not: {others or 'none'}")
    return agree


def main() -> int:
    """Read the command line, measure each checkpoint, write the report; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo.mini.live", description=__doc__)
    parser.add_argument("url", help="of the WebUI, such as http://127.0.0.1:7860")
    parser.add_argument("--images", type=positive, default=64, help="pictures of each way (default: 64)")
    parser.add_argument("--out", type=Path, default=Path("demo/out/live"), help="folder (default: demo/out/live)")
    parser.add_argument("--layouts", nargs="+", choices=list(LAYOUTS), default=list(LAYOUTS), help="default: all")
    parser.add_argument("--library", type=Path, default=LIBRARY, help=f"the library's figures (default: {LIBRARY})")
    arguments = parser.parse_args()
    host, tasks = Host(arguments.url.rstrip("/"), arguments.out), tasks_for(arguments.images)
    try:
        found = {name: measure(host, LAYOUTS[name], tasks) for name in arguments.layouts}
    except HostError as error:
        print(error, file=sys.stderr)
        return 1
    agree = compare_with_library(found, arguments.library)
    report.write({"images": len(tasks), "agree": agree} | found, arguments.out / "report.json")
    print(f"figures: {arguments.out / 'report.json'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
