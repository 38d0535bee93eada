"""From the arguments of the script "HiDiffusion" to its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lib_fewstep.highres import HighResSettings
from lib_fewstep.options import options_of
from lib_fewstep.webui.common.arguments import given_settings


def highres_settings(args: Sequence[Any], passes: Callable[[], str] = lambda: "Auto") -> HighResSettings:
    """The settings that a script's arguments mean; Deep Shrink's `only_one_pass` is accepted for `passes`.

    `passes` is asked where the arguments do not say and are not switched off. Raises SettingError with a sentence.
    """
    given = given_settings(HighResSettings, args)
    if given.get("enabled") is not False and not given.keys() & {"passes", "only_one_pass"}:
        given["passes"] = passes()
    settings = HighResSettings.from_dict(given)
    return settings if args and isinstance(args[0], Mapping) else _without_idle_values(settings)


def _without_idle_values(settings: HighResSettings) -> HighResSettings:
    """What the page shows but does not use is not given: under other presets than Manual, and of the other method."""
    used = settings.method if settings.preset == "Manual" else None
    idle = [name for name, option in options_of(HighResSettings).items() if option.group not in ("", used)]
    return dataclasses.replace(settings, **{name: getattr(HighResSettings(), name) for name in idle})
