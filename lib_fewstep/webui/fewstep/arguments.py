"""From the arguments of the script "Few-Step" to its settings, and what a preset sets besides them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from lib_fewstep.sampling.cfgpp_guidance import LAMBDA
from lib_fewstep.sampling.settings import GUIDANCES, FewStepSettings
from lib_fewstep.webui.common.arguments import given_settings
from lib_fewstep.webui.common.host.protocols import Processing


def few_step_settings(
    args: Sequence[Any], guidance: str = GUIDANCES[0], plotted: Mapping[str, Any] | None = None
) -> FewStepSettings:
    """The settings that a script's arguments give; `guidance` is used where they give none, also when switched off.

    Lambda is kept only where it counts: under the guidance that the page or an axis (`plotted`) chooses, and not where
    the job's CFG is plotted.

    They name a preset, but do not apply it: for a dict `with_preset` does. On the page the preset has already filled in
    the tab's fields, which the user may have changed since. Raises SettingError.
    """
    given = {"guidance": guidance, **given_settings(FewStepSettings, args)}
    plotted = plotted or {}
    chosen = plotted.get("guidance", given["guidance"] if from_page(args) else LAMBDA)
    if chosen != LAMBDA or "cfg" in plotted.get("keep", ()):
        given.pop("cfgpp_lambda", None)
    elif "guidance" in plotted:
        given["guidance"] = chosen
    settings = FewStepSettings.from_dict(given)
    return settings if settings.enabled else FewStepSettings(enabled=False, guidance=guidance)


def from_page(args: Sequence[Any]) -> bool:
    """Whether a script's arguments are the components of the page, and not a dict."""
    return bool(args) and isinstance(args[0], bool)


def with_preset(p: Processing, settings: FewStepSettings) -> FewStepSettings:
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
