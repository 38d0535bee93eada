"""A checkpoint whose answers are known, and requests to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from demo.sampling.denoiser import training_sigmas
from lib_fewstep.options import page_fields
from tests.unets import describe
from tests.webui import standin
from tests.webui.standin import infotext
from tests.webui.standin.checkpoints import Recipe

SCRIPTS = Path(__file__).parents[2] / "scripts"
BASE = {"prompt": "a cat", "width": 32, "height": 24, "steps": 4, "seed": 1, "sampler_name": "Euler", "cfg_scale": 3.0}
CFGPP = ["Euler CFG++", "Euler a CFG++", "DPM++ 2M CFG++", "DPM++ 2S a CFG++", "DPM++ 2M SDE CFG++"]
OURS = [*CFGPP, "TCD", "LCM (reference grid)", "SA-Solver"]
SCHEDULES = ["Trailing", "LCM grid", "AYS (exact)", "Beta (timesteps)"]

SIGMAS = training_sigmas()


class UnitData(nn.Module):
    """The UNet of latents of variance 1 around a mean that the text sets: all samplers are linear on it.

    `seen` holds (input, timesteps, mean of each row) of every evaluation.
    """

    def __init__(self, gain: float = 1.0, *, velocity: bool = False) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain), requires_grad=False)
        self.velocity = velocity
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, x: Tensor, timesteps: Tensor, context: Any = None) -> Tensor:
        mean = self.gain * context[0][:, 0, 0]
        self.seen.append((x.clone(), timesteps.double(), mean))
        low = timesteps.double().floor().long()
        part = timesteps.double() - low
        log_sigma = SIGMAS.log()[low].lerp(SIGMAS.log()[(low + 1).clamp(max=999)], part)
        alpha = (1 / (1 + (2 * log_sigma).exp())).float()[:, None, None, None]
        noise = (1 - alpha).sqrt() * x - (alpha * (1 - alpha)).sqrt() * mean[:, None, None, None]
        if not self.velocity:
            return noise
        return (noise - (1 - alpha).sqrt() * x) / alpha.sqrt()


CHECKPOINTS = {
    "unit": Recipe(UnitData, "unit", "sd1"),
    "unit-other": Recipe(partial(UnitData, 2.0), "unit", "sd1"),
    "unit-v": Recipe(partial(UnitData, velocity=True), "unit-v", "sd2", parameterization="v"),
    "unit-xl": Recipe(UnitData, "unit-xl", "sdxl"),
}


def page_values(settings: type[Any]) -> list[Any]:
    """What the components of a settings class show first, in their order."""
    return [field.shown for field in page_fields(settings).values()]


def passes_of(p: Any) -> list[Any]:
    """The passes that a job's state still has; each goes with its end."""
    around = sys.modules["lib_fewstep.webui.common.launch"].AroundPass
    return [entry for entry in vars(p).get("fewstep", {}).values() if isinstance(entry, around)]


def request(settings: Any = None, **fields: Any) -> dict[str, Any]:
    """A request; `settings` are the dict of Few-Step."""
    scripts = {} if settings is None else {"alwayson_scripts": {"Few-Step": {"args": [settings]}}}
    return BASE | fields | scripts


def answer(host: standin.Host, settings: Any = None, **fields: Any) -> standin.Result:
    """What came of a request; with `init_images` it is one of img2img."""
    if hasattr(host.unet, "seen"):
        host.unet.seen.clear()
    tab = host.api.img2img if "init_images" in fields else host.api.txt2img
    return tab(request(settings, **fields))


def made(host: standin.Host, settings: Any = None, **fields: Any) -> standin.Result:
    """What came of a request that must succeed."""
    result = answer(host, settings, **fields)
    assert result.status == 200, result.message
    assert not host.errors
    return result


def refused(host: standin.Host, settings: Any = None, **fields: Any) -> str:
    """The sentence that refuses a request, before any evaluation."""
    result = answer(host, settings, **fields)
    assert result.status == 422, (result.status, result.message)
    assert not host.probe.calls
    assert not host.errors
    return result.message


def pasted(host: standin.Host, tab: str, text: str, **fields: Any) -> standin.Result:
    """What the page makes after an infotext has been pasted into it; `fields` are what that does not say."""
    page = host.tabs[tab]
    page.changed.clear()
    try:
        for component, value in infotext.paste(text, page.fields):
            whole = isinstance(value, float) and value.is_integer()  # a number of the browser's has no type
            page._take(component, int(value) if whole else value)
        return getattr(host, tab)(**fields)
    finally:
        page.changed.clear()


def timesteps(host: standin.Host) -> list[float]:
    """The timesteps of all evaluations of the latest run, to a hundredth."""
    return [round(call.timestep, 2) for call in host.probe.calls]


@contextmanager
def settings_of(host: standin.Host, **values: Any) -> Iterator[None]:
    """Settings of the host, changed for a while; afterwards `config.json` is as it was."""
    data = host.shared.opts.data
    before = dict(data)
    data.update(values)
    try:
        yield
    finally:
        data.clear()
        data.update(before)


def same(a: standin.Result, b: standin.Result) -> bool:
    return torch.equal(a.latents, b.latents)


def off(a: standin.Result | Tensor, b: standin.Result | Tensor) -> float:
    """How far two results are apart, in standard deviations."""
    first, second = (getattr(x, "latents", x) for x in (a, b))
    return float((first - second).abs().max() / second.std())


def mean_of(host: standin.Host, text: str) -> float:
    """What `UnitData` takes a text for."""
    encoded = host.shared.sd_model.get_learned_conditioning([text])
    return float(getattr(encoded, "get", lambda _: encoded)("crossattn")[0, 0, 0])


def registered(host: standin.Host) -> dict[str, list[str]]:
    """The callbacks of each kind, by the names of their functions: others' in their order, then ours.

    One of ours takes its place behind others'.
    """
    functions = {kind: [entry.callback for entry in entries] for kind, entries in host.callbacks.kinds.items()}
    named = {kind: [f"{each.__module__}.{each.__qualname__}" for each in found] for kind, found in functions.items()}
    return {kind: sorted(found, key=_ours_last) for kind, found in named.items()}


def _ours_last(name: str) -> str:
    return name if name.startswith("lib_fewstep") else ""


@contextmanager
def unchanged(host: standin.Host) -> Iterator[None]:
    """Afterwards the model, its hooks, the settings and the callbacks are as they were."""
    before, unet, settings, callbacks = describe(host.unet), host.unet, dict(host.shared.opts.data), registered(host)
    yield
    assert describe(unet) == before
    assert not unet._forward_hooks
    assert not unet._forward_pre_hooks
    assert host.shared.opts.data == settings
    assert registered(host) == callbacks


@contextmanager
def listening(host: standin.Host) -> Iterator[Callable[..., list[Any]]]:
    """A function that lists what the host's callbacks of a kind get, or what a function makes of it."""
    kinds = host.callbacks.kinds
    before = {kind: list(entries) for kind, entries in kinds.items()}

    def add(function: Callable[[Any], Any] | None = None, kind: str = "cfg_denoiser") -> list[Any]:
        seen: list[Any] = []
        register = getattr(sys.modules["modules.script_callbacks"], f"on_{kind}")
        register(lambda params: seen.append(function(params) if function else params))
        return seen

    try:
        yield add
    finally:
        for kind, entries in before.items():
            kinds[kind][:] = entries
