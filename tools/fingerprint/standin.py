"""How the stand-in of the WebUI is asked here, and what of its answers is hashed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from tests.webui import standin
from tests.webui.exact import CHECKPOINTS, SCRIPTS

SMALL = {"prompt": "a cat", "width": 32, "height": 24, "steps": 4, "seed": 1, "sampler_name": "Euler", "cfg_scale": 3.0}
LARGE = SMALL | {"width": 96, "height": 80, "steps": 3}
HIRES = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.6, "hr_upscaler": "Latent"}
_SECONDS = re.compile(r"\d+\.\d+ s\b")


@contextmanager
def webui(model: str, **config: Any) -> Iterator[standin.Host]:
    """A host with a checkpoint, those with known answers ("unit") among them; `config` is its config.json."""
    with patch.dict(standin.RECIPES, CHECKPOINTS), standin.webui(model, SCRIPTS, config=config) as host:
        yield host


def picture(width: int = 32, height: int = 24) -> dict[str, Any]:
    """The fields of img2img for one image."""
    return {"init_images": [standin.picture(width, height)], "denoising_strength": 0.75}


def inpainting(width: int = 32, height: int = 24) -> dict[str, Any]:
    """The fields of inpainting: the image's left half is kept."""
    return picture(width, height) | {"mask": standin.mask_picture(width, height)}


def hidiffusion(*args: Any) -> dict[str, Any]:
    """The field of a request that has HiDiffusion's arguments."""
    return {"alwayson_scripts": {"HiDiffusion": {"args": list(args)}}}


def few_step(*args: Any) -> dict[str, Any]:
    """The field of a request that has Few-Step's arguments."""
    return {"alwayson_scripts": {"Few-Step": {"args": list(args)}}}


def both(hires: dict[str, Any], few: dict[str, Any]) -> dict[str, Any]:
    """The field of a request that has the arguments of both scripts."""
    return {"alwayson_scripts": {"HiDiffusion": {"args": [hires]}, "Few-Step": {"args": [few]}}}


def ask(host: standin.Host, fields: dict[str, Any]) -> standin.Result:
    """The API's answer, of img2img if there are `init_images`."""
    return (host.api.img2img if "init_images" in fields else host.api.txt2img)(fields)


def image(host: standin.Host, fields: dict[str, Any]) -> dict[str, Any]:
    """What is hashed of a request over the API that makes images."""
    return seen(host, ask(host, fields))


def from_page(host: standin.Host, ui: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """What is hashed of images from the page, where components were changed by label or id."""
    result = (host.img2img if "init_images" in fields else host.txt2img)(ui=ui, **fields)
    return seen(host, result)


def plot(host: standin.Host, axes: dict[str, Any], fields: dict[str, Any]) -> list[Any]:
    """What is hashed of the cells of an X/Y/Z plot."""
    cells = host.xyz(axes, **fields)
    return [[seen(host, cell), cell.labels] for cell in cells]


def seen(host: standin.Host, result: standin.Result) -> dict[str, Any]:
    """Latents, infotexts and the model's evaluations; raises RuntimeError if something went wrong."""
    errors = [str(error) for error in host.errors]
    host.errors.clear()
    if result.status != 200 or errors:
        raise RuntimeError(f"{result.status} {result.message} {errors}")
    calls = [[call.launch, call.rows, *call.size, call.timestep] for job in result.jobs for call in job.calls]
    return {"latents": result.latents, "infotexts": [without_times(text) for text in result.infotexts], "calls": calls}


def without_times(text: str) -> str:
    """An infotext without the seconds that the record has measured."""
    return _SECONDS.sub("some s", text)
