"""Few-Step's settings in the image's infotext, and back into the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lib_fewstep.options import options_of
from lib_fewstep.sampling.entries import entries_of
from lib_fewstep.sampling.settings import (
    GAMMA,
    MOST_INVERSION_STEPS,
    OF_SA_SOLVER,
    FewStepSettings,
    InvertSettings,
    PriorSettings,
)
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.infotext import keys_of, pasted_value, pasting

_KEYS = {name: option.infotext for name, option in options_of(FewStepSettings).items()}
_INVERT = {name: option.infotext for name, option in options_of(InvertSettings).items()}
_PRIOR = options_of(PriorSettings)
_MARKS = set(keys_of(FewStepSettings).values())
_REFERENCE_IMAGES = "reference images"
_LOST_WITH_IMAGES = {_PRIOR[part].infotext for part in ("statistics", "brightness")}


def guided(samplers: Iterable[str]) -> bool:
    """Whether one of these samplers reads the guidance of CFG++."""
    return any(entry.cfgpp for entry in entries_of(samplers))


def infotext(
    settings: FewStepSettings, samplers: list[str], own_guidance: str, *, has_hires: bool = False
) -> dict[str, Any]:
    """What the infotext says of settings: whatever these samplers and passes use that is not at its default.

    Where `own_guidance`, the WebUI's setting, is another than the built-in one, the guidance is always written.
    """
    default = FewStepSettings()
    taken = {name for entry in entries_of(samplers) for name in entry.takes.values()}
    writes_guidance = guided(samplers) and {settings.guidance, own_guidance} != {default.guidance}
    parameters: dict[str, Any] = {
        _KEYS["preset"]: settings.preset if settings.preset != default.preset else None,
        _KEYS["guidance"]: settings.guidance if writes_guidance else None,
        _KEYS["cfgpp_lambda"]: settings.cfgpp_lambda if writes_guidance else None,
        _KEYS["hires_cfg"]: settings.hires_cfg if has_hires else None,
        _KEYS["gamma"]: settings.gamma if "gamma" in taken and settings.gamma != GAMMA else None,
        _KEYS["timesteps"]: " ".join(map(str, settings.timesteps)) or None,
    }
    for name in taken & set(OF_SA_SOLVER):
        value = getattr(settings, name)
        parameters[_KEYS[name]] = None if value == getattr(default, name) else value
    if settings.prior is not None:
        parameters |= _of_prior(settings.prior)
    return {key: value for key, value in parameters.items() if value is not None}


def _of_prior(prior: PriorSettings) -> dict[str, Any]:
    """What an infotext says of a prior; a file says itself how its images were measured."""
    name, found = prior.statistics or prior.save, {}
    if name or prior.images:
        found[_KEYS["prior"]] = PriorSettings.file(name) if name else _REFERENCE_IMAGES
    for part in ("share", "brightness", *(() if name else ("mean", "deviation"))):
        described, value = _PRIOR[part], getattr(prior, part)
        if value != described.blank:
            found[described.infotext] = value
    return found


def infotext_of_inversion(originals: list[InvertSettings], batches: int) -> dict[str, Any]:
    """What the infotext says of an inversion with the values that it has used.

    Where the images of a batch had different ones, the WebUI takes each image's own from a list.
    """
    parameters: dict[str, Any] = {}
    for name, key in _INVERT.items():
        values = [getattr(original, name) or None for original in originals]
        if any(values):
            parameters[key] = values[0] if len(set(values)) == 1 else values * batches
    return parameters


def steps_in(parameters: Mapping[str, str]) -> int | None:
    """The steps that an infotext names, at most as many as an inversion has; None if it names no number of them."""
    text = parameters.get("Steps", "")
    return min(int(text), MOST_INVERSION_STEPS) if re.fullmatch("[1-9][0-9]{0,3}", text) else None


def pasted(name: str, parameters: Mapping[str, str]) -> Any:
    """What a pasted infotext makes of a component of the page; None leaves it as it is.

    Any of the script's keys says that the image was made with it; so does a CFG++ sampler whose guidance was the
    default, where the WebUI's setting would now give it another one.

    Reference images cannot be pasted. Without them there is neither a file nor a brightness, which would be another
    prior.
    """
    samplers = [parameters[key] for key in ("Sampler", "Hires sampler") if key in parameters]
    reread = guided(samplers) and host.options.setting_shown("guidance") != FewStepSettings().guidance
    marked = reread or not _MARKS.isdisjoint(parameters)
    if parameters.get(_KEYS["prior"]) == _REFERENCE_IMAGES:
        parameters = {key: value for key, value in parameters.items() if key not in _LOST_WITH_IMAGES}
    return pasted_value(FewStepSettings, name, parameters, marked=marked)


PASTING = pasting(FewStepSettings, pasted)
