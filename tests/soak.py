"""Many generations with random settings, sizes, samplers and faults; afterwards nothing may have grown.

    python -m tests.soak --generations 2000 --seed 0

They run in the stand-in of the WebUI. Each is drawn from the seed and its number alone.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch

from lib_fewstep.compare.settings import AS_SET, NO_METHOD
from lib_fewstep.highres import METHODS, HighResSettings
from lib_fewstep.options import Option, options_of
from lib_fewstep.sampling.settings import FewStepSettings
from tests.unets import describe
from tests.webui import standin
from tests.webui.exact import registered

WARM, EVERY, PLAIN, COMPARED = 200, 100, 50, 25
"""Generations before growth counts, and between two lines of the report, plain images and comparisons."""

GROWTH = 0.01
SIZES = range(32, 129, 8)
CALM = {"fewstep_log": "None", "fewstep_record": True}
BASE = {"prompt": "a red circle", "width": 64, "height": 64, "steps": 2, "sampler_name": "Euler", "cfg_scale": 4.0}
PLAIN_IMAGE = BASE | {"seed": 1}
TITLE = "Few-step comparison"

FAIL_AT_ONE_STEP = {"DPM fast", "DPM adaptive", "DPM++ 2M SDE", "DPM++ 2M SDE Heun"}
"""Samplers of k-diffusion: some of their passes of a single step end with an error of its own, which is an answer."""


class BrokenError(Exception):
    """A limit is broken; the message says which."""


@dataclass(frozen=True)
class Held:
    """What the process holds after a generation: memory in MiB, and numbers."""

    resident: float
    tensors: int
    tensor_memory: float
    objects: int
    callbacks: int
    hooks: int
    open_files: int
    files: int


class Soak:
    """A host and its first plain image; `run` makes one generation after another."""

    def __init__(self, host: standin.Host, seed: int) -> None:
        self.host, self.seed = host, seed
        self.samplers = [entry["name"] for entry in host.api.samplers()]
        self.schedules = [entry["label"] for entry in host.api.schedulers()]
        self.answers: Counter[int] = Counter()
        self.unet, self.model, self.callbacks = host.unet, describe(host.unet), registered(host)
        self.first = self._plain()

    def run(self, number: int) -> None:
        """Generation `number`, counted from 1; every 50th is plain. Raises BrokenError."""
        if number % PLAIN == 0:
            if not torch.equal(self._plain(), self.first):
                raise BrokenError(f"Generation {number}, a plain image, is not the first one.")
        else:
            self._random(number, Random(f"{self.seed}-{number}"))
        self._check(number)

    def held(self) -> Held:
        """What is held now, once what nobody uses is given back."""
        empty_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        objects = gc.get_objects()
        tensors = [found for found in objects if type(found) in (torch.Tensor, torch.nn.Parameter)]  # no stand-ins
        memory = sum(tensor.element_size() * tensor.nelement() for tensor in tensors)
        return Held(
            resident=int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20,
            tensors=len(tensors),
            tensor_memory=memory / 2**20,
            objects=len(objects),
            callbacks=sum(map(len, registered(self.host).values())),
            hooks=sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in self.unet.modules()),
            open_files=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 (a Path's own iterator holds one open)
            files=sum(path.is_file() for path in self.host.data_path.rglob("*")),
        )

    def _plain(self) -> torch.Tensor:
        result = self.host.api.txt2img(PLAIN_IMAGE)
        if result.status != 200:
            raise BrokenError(f"A plain image fails: {result.message}")
        return result.latents

    def _random(self, number: int, draw: Random) -> None:
        tab, request = drawn(draw, self.samplers, self.schedules)
        if number % COMPARED == 1:
            bases = [sampler for sampler in self.samplers if sampler not in FAIL_AT_ONE_STEP]
            request |= {"script_name": TITLE, "script_args": [comparison(draw, bases)]}
        planned = fault(draw)
        if planned:
            self.host.fault(**planned)
        result = getattr(self.host.api, tab)(request)
        self.host.probe.faults.clear()
        self.answers[result.status] += 1
        if result.status not in (200, 422) and not planned and not _fails_at_one_step(request, result.exception):
            raise BrokenError(f"Generation {number} ends with {result.error}: {result.message} ({request})")

    def _check(self, number: int) -> None:
        if self.host.errors:
            raise BrokenError(f"Generation {number} is swallowed by the WebUI: {self.host.errors[0]}")
        if self.host.unet is not self.unet or describe(self.unet) != self.model:
            raise BrokenError(f"Generation {number} leaves the model changed.")
        if registered(self.host) != self.callbacks:
            raise BrokenError(f"Generation {number} leaves other callbacks: {registered(self.host)}.")


def _fails_at_one_step(request: dict[str, Any], error: BaseException | None) -> bool:
    """Whether an error is raised by the code of such a sampler itself."""
    frames = traceback.extract_tb(error.__traceback__) if error else []
    raised_in = Path(frames[-1].filename).parts[-2:] if frames else ()
    return request["sampler_name"] in FAIL_AT_ONE_STEP and raised_in == ("k_diffusion", "sampling.py")


def empty_caches() -> None:
    """Empty what libraries keep up to a limit, such as the sizes of texts; a cache without one is what would grow."""
    for kept in [found for found in gc.get_objects() if type(found) is _Cache]:
        if kept.cache_parameters()["maxsize"] is not None:
            kept.cache_clear()


def value_of(option: Option, shown: Any, draw: Random) -> Any:
    """Any value that a setting of this kind may have."""
    if option.choices:
        return draw.choice(option.choices)
    if option.low is None or option.high is None:
        return draw.random() < 0.5
    whole = isinstance(option.step, int) and not isinstance(shown, float)
    return draw.randint(int(option.low), int(option.high)) if whole else draw.uniform(option.low, option.high)


def hires(draw: Random) -> dict[str, Any]:
    """Settings of HiDiffusion, mostly such that it acts at the small sizes."""
    options = options_of(HighResSettings)
    names = draw.sample([name for name in options if name not in ("enabled", "trained_size")], draw.randrange(4))
    drawn = {name: value_of(options[name], options[name].manual, draw) for name in names}
    return {"trained_size": 64, "preset": "Paper", **drawn}


def few_step(draw: Random, picture: str) -> dict[str, Any]:
    """Settings of Few-Step."""
    options = options_of(FewStepSettings)
    drawn = {name: value_of(options[name], None, draw) for name in draw.sample(["preset", "guidance", "gamma"], 2)}
    more = [
        {"timesteps": sorted(draw.sample(range(1000), draw.randint(1, 4)), reverse=True)},
        {"prior": {"images": [picture], "save": "soak"}},
        {"invert": {"prompt": "a blue circle", "steps": draw.randint(1, 3)}},
        {"keep": ["steps", "sampler"]},
    ]
    return drawn | draw.choice([*more, {}, {}])


def drawn(draw: Random, samplers: list[str], schedules: list[str]) -> tuple[str, dict[str, Any]]:
    """The tab and the request of a random generation."""
    size = draw.choice(SIZES), draw.choice(SIZES)
    picture = standin.picture(*size, seed=draw.randrange(5))
    encoded = standin.as_base64(picture)
    request: dict[str, Any] = {
        **BASE,
        **dict(zip(("width", "height"), size, strict=True)),
        "steps": draw.randint(1, 4),
        "seed": draw.randrange(1000),
        "cfg_scale": draw.choice([1, 4, 7.5]),
        "sampler_name": draw.choice(samplers),
        "scheduler": draw.choice(["Automatic", *schedules]),
        "batch_size": draw.choice([1, 1, 1, 2]),
        "n_iter": draw.choice([1, 1, 1, 2]),
        "alwayson_scripts": {},
    }
    for title, settings in (("HiDiffusion", hires(draw)), ("Few-Step", few_step(draw, encoded))):
        if draw.random() < 0.6:
            request["alwayson_scripts"][title] = {"args": [settings]}
    return draw.choice([plainly, plainly, twice, from_image, inpainted])(draw, request, picture)


def comparison(draw: Random, samplers: list[str]) -> dict[str, Any]:
    """Settings of a comparison of a few images."""
    return {
        "steps": [1, draw.randint(2, 3)],
        "samplers": draw.sample(samplers, 2),
        "methods": [draw.choice([AS_SET, NO_METHOD, *(method.name for method in METHODS)])],
        "reference_steps": 3,
        "strips": draw.random() < 0.5,
    }


def plainly(draw: Random, request: dict[str, Any], picture: Any) -> tuple[str, dict[str, Any]]:
    """From noise."""
    return "txt2img", request


def twice(draw: Random, request: dict[str, Any], picture: Any) -> tuple[str, dict[str, Any]]:
    """With a second pass."""
    second = {"enable_hr": True, "hr_scale": draw.choice([1.5, 2]), "hr_upscaler": "Latent"}
    return "txt2img", request | second | {"denoising_strength": draw.random(), "n_iter": 1}


def from_image(draw: Random, request: dict[str, Any], picture: Any) -> tuple[str, dict[str, Any]]:
    """From a picture."""
    return "img2img", request | {"init_images": [picture], "denoising_strength": draw.random()}


def inpainted(draw: Random, request: dict[str, Any], picture: Any) -> tuple[str, dict[str, Any]]:
    """From a picture with a mask."""
    tab, request = from_image(draw, request, picture)
    return tab, request | {"mask": standin.mask_picture(*picture.size)}


def fault(draw: Random) -> dict[str, Any]:
    """What goes wrong in a generation: in three of four nothing."""
    if draw.random() < 0.75:
        return {}
    kind, at = draw.choice(["interrupt", "skip", "nan", "block"]), draw.randrange(3)
    launch = {"launch": draw.choice([0, 0, 1])}
    return launch | ({"block": draw.randrange(20), "step": at} if kind == "block" else {kind: at})


_Cache = type(cache(lambda: None))


@contextmanager
def soaking(seed: int) -> Iterator[Soak]:
    """A host; without oneDNN, which keeps compiled code for each size that it meets."""
    with torch.backends.mkldnn.flags(enabled=False), standin.webui("sd1", config=CALM) as host:
        yield Soak(host, seed)


def soak(seed: int, generations: int, warm: int, say: Callable[[str], None] = print) -> tuple[Held, Held, Counter[int]]:
    """What is held after `warm` generations and after all, and the answers' statuses. Raises BrokenError."""
    with soaking(seed) as run:
        for number in range(1, generations + 1):
            run.run(number)
            if number == warm:
                start = run.held()
            if number % EVERY == 0:
                say(f"{number:6} generations: {run.held().resident:.1f} MiB resident, answers {dict(run.answers)}")
        return start, run.held(), run.answers


def grown(start: Held, end: Held, *, resident: bool = True) -> list[str]:
    """A sentence for each thing of which there is more at the end than is allowed."""
    found = []
    for name, value in asdict(end).items():
        before = getattr(start, name)
        limit = GROWTH if name in ("resident", "tensors", "tensor_memory", "objects") else 0
        if value > before * (1 + limit) and (resident or name != "resident"):
            found.append(f"{name} has grown from {before:.10g} to {value:.10g}, by more than {limit:.0%}.")
    return found


def table(start: Held, end: Held, warm: int, generations: int) -> str:
    """Both side by side."""
    rows = [
        f"{name.replace('_', ' '):16}{getattr(start, name):>16.10g}{value:>16.10g}"
        for name, value in asdict(end).items()
    ]
    return "\n".join([f"{'':16}{f'after {warm}':>16}{f'after {generations}':>16}", *rows])


def main() -> int:
    """The command: 0 if nothing has grown, 1 with a sentence otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warm = min(WARM, arguments.generations // 2)
    try:
        start, end, _ = soak(arguments.seed, arguments.generations, warm)
    except BrokenError as broken:
        print(broken)
        return 1
    print(table(start, end, warm, arguments.generations))
    broken = grown(start, end)
    print("\n".join(broken or ["Nothing has grown."]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
