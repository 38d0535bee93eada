"""Few-Step's settings in the image's infotext, and back into the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from lib_fewstep.options import options_of
from lib_fewstep.sampling.settings import GAMMA, MOST_INVERSION_STEPS, FewStepSettings, InvertSettings, PriorSettings
from lib_fewstep.webui.common import host
from lib_fewstep.webui.fewstep.arguments import PAGE
from lib_fewstep.webui.highres.infotext import parsed

_KEYS = {name: option.infotext for name, option in options_of(FewStepSettings).items()}
_INVERT = {name: option.infotext for name, option in options_of(InvertSettings).items()}
_OF_PAGE = {
    **{name: _KEYS[name] for name in ("preset", "guidance", "gamma", "timesteps")},
    "prior_statistics": _KEYS["prior"],
    "invert_prompt": _INVERT["prompt"],
    "invert_negative_prompt": _INVERT["negative_prompt"],
    "invert_steps": _INVERT["steps"],
}
_MARKS = set(_OF_PAGE.values())
_REFERENCE_IMAGES = "reference images"


def guided(samplers: Iterable[str]) -> bool:
    """Whether one of these samplers reads the guidance of CFG++."""
    return any(name.endswith("CFG++") and name != "DDIM CFG++" for name in samplers)


def infotext(settings: FewStepSettings, samplers: list[str], own_guidance: str) -> dict[str, Any]:
    """What the infotext says of settings: whatever these samplers use that is not at its default.

    Where `own_guidance`, the WebUI's setting, is another than the built-in one, the guidance is always said.
    """
    default = FewStepSettings()
    said_guidance = guided(samplers) and {settings.guidance, own_guidance} != {default.guidance}
    said: dict[str, Any] = {
        _KEYS["preset"]: settings.preset if settings.preset != default.preset else None,
        _KEYS["guidance"]: settings.guidance if said_guidance else None,
        _KEYS["gamma"]: settings.gamma if "TCD" in samplers and settings.gamma != GAMMA else None,
        _KEYS["timesteps"]: " ".join(map(str, settings.timesteps)) or None,
    }
    if settings.prior is not None:
        name = settings.prior.statistics or settings.prior.save
        said[_KEYS["prior"]] = PriorSettings.file(name) if name else _REFERENCE_IMAGES
    return {key: value for key, value in said.items() if value is not None}


def infotext_of_inversion(made: InvertSettings) -> dict[str, Any]:
    """What the infotext says of an inversion that has been done."""
    return {_INVERT[name]: value for name, value in vars(made).items() if value not in (None, "")}


def steps_said(parameters: Mapping[str, str]) -> int | None:
    """The steps that an infotext names, at most as many as an inversion has; None if it names no number of them."""
    text = parameters.get("Steps", "")
    return min(int(text), MOST_INVERSION_STEPS) if re.fullmatch("[1-9][0-9]{0,3}", text) else None


def forget(parameters: dict[str, Any]) -> None:
    """Take out of an infotext's parameters what an earlier cell of a plot has said there."""
    for key in _MARKS:
        parameters.pop(key, None)


def pasted(name: str, parameters: Mapping[str, str]) -> Any:
    """What a pasted infotext makes of a component of the page; None leaves it as it is.

    Without any of the script's keys the image was made without it: it is switched off, and nothing else changes, unless
    the WebUI's setting would then give a CFG++ sampler another guidance. Settings that the infotext does not name were
    at their defaults. What the page cannot show is left alone.
    """
    samplers = [parameters[key] for key in ("Sampler", "Hires sampler") if key in parameters]
    reread = guided(samplers) and host.options.setting_shown("guidance") != FewStepSettings().guidance
    marked = reread or not _MARKS.isdisjoint(parameters)
    if name == "enabled":
        return marked
    if not marked:
        return None
    if name == "invert":
        return _INVERT["steps"] in parameters
    if name not in _OF_PAGE:
        return None
    return _value(name, parameters.get(_OF_PAGE[name]))


PASTED: dict[str, Callable[[Mapping[str, str]], Any]] = {name: partial(pasted, name) for name in PAGE}
"""`pasted` for each component; the same functions in both tabs."""

SENT = tuple(PASTED[name] for name in PAGE if name != "prior_images")
"""What the WebUI takes along from tab to tab: all but uploaded files, which gradio cannot hand on."""


def _value(name: str, text: str | None) -> Any:
    """The component's value for a text; what it shows first for none, None for one that is not allowed."""
    if text is None:
        return PAGE[name]
    if name == "prior_statistics":
        return None if text == _REFERENCE_IMAGES else text
    option = options_of(FewStepSettings).get(name) or options_of(InvertSettings)[name.removeprefix("invert_")]
    free_text = not option.choices and isinstance(PAGE[name], str)
    return text if free_text else parsed(text, option, PAGE[name])
