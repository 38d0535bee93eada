"""What the WebUI is asked for: the demo's ways, those that it alone has, and each as a request."""

from __future__ import annotations

import base64
import io
from dataclasses import asdict, replace
from typing import Any

from PIL import Image as PilImage

from demo.compare import Task
from demo.edit import WAYS as ALL_EDITS
from demo.edit import Edit, EditWay
from demo.model.layouts import Layout
from demo.pictures.scenes import as_bytes
from demo.sampling.generate import STEPS
from demo.sampling.named import SCHEDULE
from demo.ways import BURNING_STEPS, DISTILLED_STEPS, DOUBLE, FEW_STEPS, NATIVE, PAIRS, SIZES, Way, distilled, guided
from lib_fewstep.compare.grid import counted
from lib_fewstep.highres import HighResSettings

HIRES_STRENGTH = 0.7

_HOSTS_LCM = tuple(
    replace(
        distilled("lcm", steps),
        key=f"hosts_lcm_{steps}",
        title=f"WebUI's LCM, {counted(steps)}",
        sampler="LCM",
        schedule="Automatic",
    )
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
    *(way for steps in BURNING_STEPS for way in guided(steps)),
)
LIVE_PAIRS = (
    *PAIRS,
    ("hires_plain", "hires_hidiffusion"),
    *((f"hosts_lcm_{steps}", f"lcm_{steps}") for steps in DISTILLED_STEPS),
    *((f"{name}_{steps}", f"euler_{steps}") for name in ("sgm_uniform", "karras") for steps in DISTILLED_STEPS),
)
EDITS = tuple(way for way in ALL_EDITS if way.refinements is None or way.sampler == "Euler CFG++")
"""The WebUI has no inversion but that of this extension."""


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
        "scheduler": SCHEDULE,
        "cfg_scale": way.cfg,
        "denoising_strength": way.strength,
    }
    if way.refinements is not None:
        body["alwayson_scripts"] = {"Few-Step": {"args": [{"invert": {"prompt": edit.source.prompt}}]}}
    return body
