"""What is beside images: the page and what its events change, pasted infotexts, names, ids and keys."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from lib_fewstep.sampling.presets import PRESETS
from tests.webui import standin
from tools.fingerprint.standin import (
    HIRES,
    LARGE,
    ask,
    few_step,
    hidiffusion,
    inpainting,
    picture,
    webui,
    without_times,
)
from tools.fingerprint.table import Generation

TABS = ("txt2img", "img2img")
WORDS = ("html", "markdown", "button", "accordion")
"""Kinds of components whose label or value is text to read."""

MANUAL = {"method": "HiDiffusion", "preset": "Manual", "t1": 0.7, "t2": 0.4, "aggressive": False, "raunet": True}
SHRINK = {"method": "Deep Shrink", "preset": "Manual", "s1": 0.4, "d2": 5, "scaler": "area", "early_out": True}
RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "HiDiffusion": hidiffusion({"preset": "Paper", "passes": "All", "trained_size": 640}),
    "HiDiffusion Manual": hidiffusion(MANUAL | {"window_attention": False}),
    "Deep Shrink Manual": hidiffusion(SHRINK | {"smooth_scaling": False, "downscale": 0.4, "upscale": 2.5}),
    "guidance": few_step({"guidance": "lambda"}) | {"sampler_name": "Euler CFG++"},
    "gamma": few_step({"gamma": 0.6}) | {"sampler_name": "TCD"},
    "timesteps": few_step({"timesteps": [999, 500, 20]}),
    "preset": few_step({"preset": "Hyper-SD unified"}),
    "record": {"override_settings": {"fewstep_record": True}},
    "hires fix": HIRES | {"sampler_name": "Euler a CFG++", "hr_sampler_name": "TCD", "hr_scheduler": "LCM grid"},
    "inversion": picture(96, 80)
    | few_step({"invert": {"prompt": "a dog, big", "negative_prompt": "bad: x", "steps": 2}})
    | {"sampler_name": "Euler CFG++"},
    "inpainting": inpainting(96, 80) | hidiffusion({"preset": "Paper"}),
    "comparison": {
        "script_name": "Few-step comparison",
        "script_args": [{"steps": [1, 2], "cfg": [3, 4.5], "samplers": ["TCD"], "reference_steps": 1, "seeds": 2}],
    },
}
"""Requests whose infotexts are pasted."""

OTHERS = {
    "Kohya's extension": "DSHF_s1: 0.2, DSHF_d1: 2, DSHF_s2: 0.35, DSHF_d2: 5, DSHF_scaler: bilinear, DSHF_down: 0.6, "
    "DSHF_up: 1.7, DSHF_smooth: False, DSHF_early: True, DSHF_one: True",
    "a prior": "Schedule type: Trailing, Few-Step timesteps: 999 500, Few-Step prior: cats.safetensors",
    "values that are not allowed": "HiDiffusion method: Magic, HiDiffusion T1: 3, HiDiffusion depth 1: x, "
    "Few-Step gamma: nan, Few-Step guidance: strong, Few-Step invert steps: 99",
}
"""The last lines of infotexts that this version does not write."""

CLICKS: dict[str, tuple[str, dict[str, Any]]] = {
    "what is shown for HiDiffusion": ("hires_{tab}_refresh", {}),
    "what is shown for Deep Shrink": ("hires_{tab}_refresh", {"hires_{tab}_method": "Deep Shrink"}),
    "what is shown for Manual": ("hires_{tab}_refresh", {"hires_{tab}_preset": "Manual"}),
    "preset of a prompt": ("sampling_{tab}_use", {"prompt": "a cat <lora:lcm-lora-sdv1-5:1>"}),
    "what is shown for a prompt": ("sampling_{tab}_refresh", {"prompt": "a cat <lora:lcm-lora-sdv1-5:1>"}),
}
"""Buttons, and what else the page holds then."""


def generations() -> Iterator[Generation]:
    """All of them."""
    with webui("sd1") as host:
        yield from _names(host)
        yield from _events(host)
        yield from _pasted(host)


def _names(host: standin.Host) -> Iterator[Generation]:
    yield "page samplers with aliases", host.api.samplers
    yield "page schedules", host.api.schedulers
    yield "page settings", partial(_settings, host)
    yield "page values of settings", lambda: {key: getattr(host.shared.opts, key) for key in host.settings}
    for tab in TABS:
        page = host.tabs[tab]
        yield f"page {tab} titles", partial(_titles, page)
        yield f"page {tab} components", partial(_components, page)
        yield f"page {tab} ids", lambda page=page: [each for each in page.components_by_elem_id if _is_ours(each)]
        yield f"page {tab} arguments", partial(_arguments, page)


def _is_ours(elem_id: str) -> bool:
    return elem_id.startswith("fewstep_")


def _titles(page: Any) -> list[Any]:
    return [[script.title(), script.alwayson, script.name] for script in page.runner.scripts]


def _components(page: Any) -> dict[str, Any]:
    """Label and limits of every component of ours."""
    blocks = page.components_by_elem_id
    return {elem_id: _shown(block) for elem_id, block in blocks.items() if _is_ours(elem_id)}


def _shown(component: Any) -> list[Any]:
    """What a component is, without what is there to be read."""
    kind = component.get_block_name()
    if kind in WORDS or not hasattr(component, "value"):
        return [kind]
    limits = [getattr(component, name, None) for name in ("minimum", "maximum", "step")]
    return [kind, component.label, component.value, getattr(component, "choices", None), limits]


def _settings(host: standin.Host) -> dict[str, Any]:
    """The keys of the settings page with their components, whose labels nothing refers to."""
    shown = {key: _shown(component) for key, component in host.settings.items()}
    return {key: [kind, *limits] for key, (kind, _label, *limits) in shown.items()}


def _arguments(page: Any) -> dict[str, Any]:
    """Each script's arguments by their labels, in their order."""
    ours = [script for script in page.runner.scripts if script.title().startswith(("Few-", "HiDiffusion"))]
    return {script.title(): [[each.label, each.value] for each in script.controls or []] for script in ours}


def _events(host: standin.Host) -> Iterator[Generation]:
    """What a preset fills in, and what buttons change."""
    for tab in TABS:
        elem_id = f"fewstep_sampling_{tab}_preset"
        for name in ("None", *PRESETS):
            yield f"page {tab} preset {name}", partial(_event, host, tab, elem_id, "input", name)
        for name, (button, fields) in CLICKS.items():
            values = {_id(elem, tab): value for elem, value in fields.items()}
            yield f"page {tab} {name}", partial(_event, host, tab, _id(button, tab), "click", others=values)
    yield "page img2img prompts of a picture", partial(_read_picture, host)


def _id(elem: str, tab: str) -> str:
    return f"fewstep_{elem.format(tab=tab)}" if "{tab}" in elem else f"{tab}_{elem}"


def _event(
    host: standin.Host, tab: str, elem_id: str, event: str, value: Any = None, others: dict[str, Any] | None = None
) -> list[Any]:
    """What an event changes in other components, by id, but for lines to read; `others` have these values before it."""
    page = host.tabs[tab]
    try:
        for other, its_value in (others or {}).items():
            page.trigger(other, "change", its_value)
        updates = page.trigger(elem_id, event, value)
    finally:
        page.changed.clear()
    return [[key if isinstance(key, str) else "", _update(new)] for key, new in updates.items() if not _is_line(key)]


def _is_line(key: Any) -> bool:
    return isinstance(key, str) and key.endswith("_line")


def _update(new: Any) -> Any:
    """Of what gradio changes in a component, all but its words."""
    kept = ("visible", "interactive", "choices")
    return {key: new[key] for key in kept if key in new} if isinstance(new, dict) else new


def _read_picture(host: standin.Host) -> list[Any]:
    """What the inversion reads from an image of the host's own."""
    picture = ask(host, LARGE | {"prompt": "a dog, big", "negative_prompt": "bad: x", "steps": 2}).images[0]
    return _event(host, "img2img", "fewstep_sampling_img2img_invert_read", "click", others={"img2img_image": picture})


def _pasted(host: standin.Host) -> Iterator[Generation]:
    for name, fields in RUNS.items():
        yield f"page pasted {name}", partial(_paste_own, host, fields)
    for name, parameters in OTHERS.items():
        text = f"a cat\nSteps: 4, Sampler: Euler CFG++, CFG scale: 3, Seed: 1, {parameters}"
        yield f"page pasted {name}", lambda text=text: [host.paste(tab, text) for tab in TABS]


def _paste_own(host: standin.Host, fields: dict[str, Any]) -> list[Any]:
    """The infotext of a run, and the components that it changes in both tabs."""
    result = ask(host, LARGE | {"steps": 2} | fields)
    if result.status != 200:
        raise RuntimeError(result.message)
    text = result.infotexts[0]
    return [without_times(text), *(host.paste(tab, text) for tab in TABS)]
