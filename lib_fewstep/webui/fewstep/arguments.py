"""From the Few-Step script's arguments to settings: from the API as a dict, from the page as a list."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from lib_fewstep.options import SettingError, options_of, shown
from lib_fewstep.sampling.settings import GAMMA, GUIDANCES, NO_PRESET, FewStepSettings, InvertSettings, timesteps_from
from lib_fewstep.webui.highres.arguments import from_ui

PAGE: dict[str, Any] = {
    "enabled": False,
    "preset": NO_PRESET,
    "guidance": FewStepSettings().guidance,
    "gamma": GAMMA,
    "timesteps": "",
    "prior_statistics": "None",
    "prior_images": None,
    "prior_save": "",
    "invert": False,
    "invert_prompt": "",
    "invert_negative_prompt": "",
    "invert_steps": 0,
}
"""The page's components in their order, with what they show first."""


def few_step_settings(args: Sequence[Any], guidance: str = GUIDANCES[0]) -> FewStepSettings:
    """The settings that a script's arguments mean; a dict comes first and alone. Raises SettingError.

    `guidance` holds where they do not say, also while they are switched off.

    A preset of a dict also sets sampler, schedule, steps and CFG (see `with_preset`), the page's has filled them in
    before, where the user may have changed them.
    """
    off = FewStepSettings(enabled=False, guidance=guidance)
    first = args[0] if args else False
    if isinstance(first, Mapping):
        settings = FewStepSettings.from_dict({"guidance": guidance, **first})
        return settings if settings.enabled else off
    if not isinstance(first, bool):
        raise SettingError(
            f"args[0] = {shown(first)} is not allowed: it must be a dict of settings, or true or false followed by the "
            "page's other values."
        )
    if len(args) > len(PAGE):
        raise SettingError(f"args has {len(args)} values, but the page has only {len(PAGE)}.")
    values = {**PAGE, "guidance": guidance, **dict(zip(PAGE, args, strict=False))}
    return _from_page(values) if first else off


def _from_page(values: Mapping[str, Any]) -> FewStepSettings:
    plain = {name: values[name] for name in ("enabled", "preset", "guidance", "gamma")}
    prior = {
        "statistics": "" if values["prior_statistics"] in ("None", None) else values["prior_statistics"],
        "images": values["prior_images"] or [],
        "save": values["prior_save"],
    }
    wanted = prior["statistics"] or prior["images"] or prior["save"]
    return FewStepSettings.from_dict(
        {
            **plain,
            "timesteps": timesteps_from(values["timesteps"]),
            "prior": prior if wanted else None,
            "invert": _invert(values) if values["invert"] is True else values["invert"],
        }
    )


def _invert(values: Mapping[str, Any]) -> dict[str, Any]:
    """An empty prompt and 0 steps on the page mean those of the image's own infotext."""
    return {
        "prompt": values["invert_prompt"] or None,
        "negative_prompt": values["invert_negative_prompt"] or None,
        "steps": from_ui(values["invert_steps"] or None, options_of(InvertSettings)["steps"]),
    }


def with_preset(p: Any, settings: FewStepSettings) -> FewStepSettings:
    """Set what a preset says on the processing object, except what `keep` names; returns the settings filled in."""
    preset = settings.chosen
    if preset is None:
        return settings
    own_grid = preset.timesteps and not {"schedule", "steps"} & set(settings.keep)
    values = {
        "sampler": ("sampler_name", preset.sampler),
        "schedule": ("scheduler", preset.schedule),
        "steps": ("steps", preset.steps),
        "cfg": ("cfg_scale", preset.cfg),
    }
    for part, (name, value) in values.items():
        if part not in settings.keep:
            setattr(p, name, value)
    return dataclasses.replace(
        settings,
        gamma=preset.gamma if settings.gamma is None else settings.gamma,
        timesteps=settings.timesteps or (preset.timesteps if own_grid and preset.timesteps else ()),
    )
