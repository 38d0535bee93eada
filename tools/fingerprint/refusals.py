"""Wrong settings: the status of the answer, and the settings and values that its sentence names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from fastapi import HTTPException

from tests.webui import standin
from tools.fingerprint.standin import HIRES, SMALL, ask, few_step, hidiffusion, picture, webui
from tools.fingerprint.table import Generation

EULER = {"sampler_name": "Euler CFG++"}
ONE = {"steps": 1}
HIDIFFUSION: dict[str, list[Any]] = {
    "method": [{"method": "Kohya"}],
    "preset": [{"preset": None}],
    "t1 too high": [{"t1": 1.5}],
    "t2 negative": [{"t2": -0.1}],
    "d1 too deep": [{"d1": 40}],
    "d2 no whole number": [{"d2": 2.5}],
    "trained size": [{"trained_size": 8}],
    "scaler": [{"scaler": "lanczos"}],
    "downscale": [{"downscale": 0}],
    "upscale": [{"upscale": "2"}],
    "truth value": [{"raunet": 1}],
    "enabled": [{"enabled": "yes"}],
    "passes": [{"passes": "Both"}],
    "unknown name": [{"windows": True}],
    "only one pass": [{"only_one_pass": "no"}],
    "twice": [{"only_one_pass": True, "passes": "All"}],
    "no dict": [["Paper"]],
    "list": [True, "Magic"],
    "list of a wrong place": [True, "HiDiffusion", "Manual", True, True, True, "high"],
}
FEW_STEP: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gamma too high": ({"gamma": 1.5}, {}),
    "gamma no number": ({"gamma": True}, {}),
    "timesteps rising": ({"timesteps": [249, 499]}, {}),
    "timesteps out of range": ({"timesteps": [1000, 999]}, {}),
    "timesteps no list": ({"timesteps": 999}, {}),
    "timesteps with DDIM": ({"timesteps": [999, 499]}, {"sampler_name": "DDIM"}),
    "timesteps with DPM adaptive": ({"timesteps": [999]}, {"sampler_name": "DPM adaptive"}),
    "timesteps of img2img": ({"timesteps": [999, 499]}, picture() | {"denoising_strength": 0.4}),
    "timesteps of a hires pass": ({"timesteps": [999, 499]}, HIRES | {"denoising_strength": 0.3}),
    "preset": ({"preset": "Magic"}, {}),
    "guidance": ({"guidance": "strong"}, {}),
    "keep": ({"keep": ["colour"]}, {}),
    "keep no list": ({"keep": "steps"}, {}),
    "unknown name": ({"gama": 0.5}, {}),
    "enabled": ({"enabled": 1}, {}),
    "prior missing": ({"prior": {"statistics": "none-such"}}, ONE),
    "prior twice": ({"prior": {"statistics": "a", "images": ["b"]}}, ONE),
    "prior empty": ({"prior": {}}, ONE),
    "prior path": ({"prior": {"statistics": "../a"}}, ONE),
    "prior save": ({"prior": {"images": ["x"], "save": ".."}}, ONE),
    "prior image": ({"prior": {"images": ["abc"]}}, ONE),
    "prior no dict": ({"prior": True}, ONE),
    "prior unknown name": ({"prior": {"file": "a"}}, ONE),
    "prior of many steps": ({"prior": {"images": [standin.as_base64(standin.picture(32, 24))]}}, {"steps": 3}),
    "prior in img2img": ({"prior": {"images": [standin.as_base64(standin.picture(32, 24))]}}, picture()),
    "invert in txt2img": ({"invert": True}, EULER),
    "invert with Euler": ({"invert": True}, picture()),
    "invert with a noisy sampler": ({"invert": True}, picture() | {"sampler_name": "Euler a CFG++"}),
    "invert steps": ({"invert": {"steps": 21}}, picture() | EULER),
    "invert prompt": ({"invert": {"prompt": 3}}, picture() | EULER),
    "invert no dict": ({"invert": "yes"}, picture() | EULER),
}
LISTS: dict[str, list[Any]] = {
    "no dict": [["TCD"]],
    "no truth value": [1],
    "wrong place": [True, "TCD", "calibrated", "high"],
}
GRIDS: dict[str, dict[str, Any]] = {
    "LCM grid of many steps": {"scheduler": "LCM grid", "steps": 60},
    "Trailing of too many steps for a hires pass": HIRES | {"scheduler": "LCM grid", "steps": 40},
}
COMPARISON: dict[str, list[Any]] = {
    "steps": [{"steps": [0]}],
    "cfg": [{"cfg": ["high"]}],
    "sampler": [{"samplers": ["Eular"]}],
    "reference sampler": [{"reference_sampler": "Eular"}],
    "method": [{"methods": ["Kohya"]}],
    "seeds": [{"seeds": 0}],
    "prompts missing": [{"prompts": "nowhere.tsv"}],
    "prompts path": [{"prompts": "../secret.txt"}],
    "unknown name": [{"step": [1]}],
    "short list": ["1, 2", "3"],
}
AXES = {
    "[HiDiffusion] Method": "HiDiffusion, Kohya",
    "[HiDiffusion] T1": "0.2, 3",
    "[HiDiffusion] Depth 1": "3, 40",
    "[HiDiffusion] RAU-Net": "True, maybe",
    "[HiDiffusion] Scaler": "",
    "[Few-Step] Preset": "None, Thunder",
    "[Few-Step] Guidance": "calibrated, strong",
    "[Few-Step] Gamma": "0.5, 2",
    "[Few-Step] Timesteps": '"999, 1200"',
    "[Few-Step] Prior": "None, nowhere",
    "[Few-Step] Prompts": "../secret.txt",
}
_NESTED = re.compile(r" (has .*|= \w+Settings\(.*\))$")
MODELS = ("dit", "sd3", "sdxl-refiner")


def generations() -> Iterator[Generation]:
    """All of them."""
    with webui("sd1") as host:
        for name, args in HIDIFFUSION.items():
            yield f"refused HiDiffusion {name}", partial(_refused, host, hidiffusion(*args))
        yield "refused HiDiffusion depth beyond SDXL", partial(_beyond_sdxl, host)
        for label, values in AXES.items():
            yield f"refused axis {label}", partial(_refused_axes, host, {"Steps": "2", label: values})
        both = {"[HiDiffusion] T1": "0.5", "[HiDiffusion] Depth 1": "3"}
        yield "refused axes of both methods", partial(_refused_axes, host, both)
        beside = {"Steps": "2, 3", "[Few-Step] Timesteps": '"999, 499"'}
        yield "refused axes of steps and timesteps", partial(_refused_axes, host, beside)
    with webui("unit") as host:
        for name, (settings, fields) in FEW_STEP.items():
            yield f"refused Few-Step {name}", partial(_refused, host, fields | few_step(settings))
        for name, args in LISTS.items():
            yield f"refused Few-Step list {name}", partial(_refused, host, few_step(*args))
        for name, fields in GRIDS.items():
            yield f"refused {name}", partial(_refused, host, fields)
        for name, args in COMPARISON.items():
            sent = {"script_name": "Few-step comparison", "script_args": args}
            yield f"refused comparison {name}", partial(_refused, host, sent)
    for model in MODELS:
        with webui(model) as host:
            fields = hidiffusion({"preset": "Paper"})
            yield f"answered by {model} to HiDiffusion", partial(_status, host, fields)
            for sampler in ("Euler CFG++", "TCD"):
                yield f"answered by {model} to {sampler}", partial(_status, host, {"sampler_name": sampler})


def _refused(host: standin.Host, fields: dict[str, Any]) -> list[Any]:
    """Raises RuntimeError for an answer that is no refusal."""
    result = ask(host, SMALL | fields)
    if result.status != 422 or host.probe.calls:
        raise RuntimeError(f"{result.status} {result.message}")
    return [result.status, _named(result.message)]


def _beyond_sdxl(host: standin.Host) -> list[Any]:
    host.load_model("sdxl")
    try:
        return _refused(host, hidiffusion({"method": "Deep Shrink", "preset": "Paper", "d1": 11}))
    finally:
        host.load_model("sd1")


def _refused_axes(host: standin.Host, axes: dict[str, str]) -> list[Any]:
    """Raises RuntimeError where a plot begins."""
    try:
        host.xyz(axes, **SMALL)
    except HTTPException as refusal:
        if not host.probe.calls:
            return [refusal.status_code, _named(str(refusal.detail))]
    raise RuntimeError("the plot has begun")


def _status(host: standin.Host, fields: dict[str, Any]) -> list[Any]:
    """Of a model that the library may leave alone or refuse."""
    result = ask(host, SMALL | fields)
    return [result.status, result.latents, _named(result.message)]


def _named(sentence: str) -> str:
    """The settings and values that a refusal names; nothing of one that has other words.

    Nested settings are not hashed as they are written in the code, nor what a list of images has in it.
    """
    named, allowed, _ = sentence.partition(" is not allowed")
    return _NESTED.sub("", named) if allowed else ""
