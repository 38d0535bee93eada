"""What the accordions consist of, by their ids."""

from __future__ import annotations

from typing import Any

import pytest

from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.guidance.settings import GROUPS
from lib_fewstep.highres import HighResSettings
from lib_fewstep.models import ModelSettings
from lib_fewstep.options import options_of
from tests.browser.page import WebUI

TABS = ("txt2img", "img2img")
BOTH_TABS = pytest.mark.parametrize("tab", TABS)
HIRES = options_of(HighResSettings)
METHODS = HIRES["method"].choices
OF_METHOD = {method: [name for name, option in HIRES.items() if option.group == method] for method in METHODS}
GUIDANCE = options_of(GuidanceSettings)
OF_GROUP = [[name for name, option in GUIDANCE.items() if option.group == group] for group in GROUPS]
MODELS = options_of(ModelSettings)
SAMPLING = ("preset", "guidance", "gamma", "timesteps", "prior_statistics", "prior_save", "prior_share")
INVERSION = ("invert", "invert_prompt", "invert_negative_prompt", "invert_steps")


def hires(tab: str, name: str = "enabled") -> str:
    """The id of a part of HiDiffusion's accordion."""
    return f"fewstep_hires_{tab}_{name}"


def sampling(tab: str, name: str = "enabled") -> str:
    """The id of a part of Few-Step's accordion."""
    return f"fewstep_sampling_{tab}_{name}"


def guidance(tab: str, name: str = "enabled") -> str:
    """The id of a part of Guidance's accordion."""
    return f"fewstep_guidance_{tab}_{name}"


def models(tab: str, name: str = "enabled") -> str:
    """The id of a part of Model sampling's accordion."""
    return f"fewstep_models_{tab}_{name}"


ACCORDIONS = (hires, sampling, guidance, models)


def line(ui: WebUI, tab: str) -> str:
    """What the page says that HiDiffusion will do."""
    return ui.text(hires(tab, "line"))


def steps_and_rows(ui: WebUI, tab: str) -> str:
    """What the page says of guidance."""
    return ui.text(guidance(tab, "line"))


def shown(ui: WebUI, tab: str) -> dict[str, Any]:
    """What every control of the accordions holds, folded away or not."""
    names = [hires(tab, name) for name in HIRES if name != "enabled"]
    names += [guidance(tab, name) for name in GUIDANCE if name != "enabled"]
    names += [models(tab, name) for name in MODELS if name != "enabled"]
    names += [sampling(tab, name) for name in (*SAMPLING, *INVERSION)]
    held = {name: ui.held(name) for name in names}
    return {name.replace(tab, ""): value for name, value in held.items()} | {
        "hires": ui.is_on(hires(tab)),
        "sampling": ui.is_on(sampling(tab)),
        "guidance": ui.is_on(guidance(tab)),
        "models": ui.is_on(models(tab)),
    }


def filled(ui: WebUI, tab: str) -> tuple[str, str, float, float]:
    """Sampler, schedule, steps and CFG of a tab."""
    lists = (ui.chosen(f"{tab}_{name}") for name in ("sampling", "scheduler"))
    return (*lists, *(ui.number(f"{tab}_{name}") for name in ("steps", "cfg_scale")))  # type: ignore[return-value]


def size(ui: WebUI, tab: str, width: int, height: int) -> None:
    """Another size of the tab's images."""
    ui.set_number(f"{tab}_width", width)
    ui.set_number(f"{tab}_height", height)


def small(ui: WebUI, tab: str, seed: int = 7) -> None:
    """What makes an image in no time."""
    with ui.hastily():
        ui.set_number(f"{tab}_steps", 3)
        ui.set_number(f"{tab}_seed", seed)
    size(ui, tab, 128, 128)


def trained(ui: WebUI) -> int:
    """The side of the images that the loaded model was trained for, as the line says it of a small one."""
    size(ui, "txt2img", 256, 256)
    words = line(ui, "txt2img")
    side = int(words.partition("trained for (")[2].partition("x")[0] or 0)
    assert side, words
    return side
