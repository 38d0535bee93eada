"""From a script's arguments to settings: from the API as a dict, from the UI and the API as a list."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lib_fewstep.highres import HighResSettings
from lib_fewstep.options import Option, SettingError, options_of, shown

ALWAYS_READ = ("enabled", "method", "preset", "passes", "trained_size")


def highres_settings(args: Sequence[Any], passes: Callable[[], str] = lambda: "Auto") -> HighResSettings:
    """The settings that a script's arguments mean.

    A dict as the first argument holds settings by name. Otherwise the arguments are the settings in their order;
    missing ones keep their defaults, and those of the presets' matter are read under "Manual" only. `passes` is asked
    where the arguments do not say and are not switched off. Raises SettingError with a sentence.
    """
    first = args[0] if args else False
    if isinstance(first, Mapping):
        silent = first.get("enabled") is not False and not first.keys() & {"passes", "only_one_pass"}
        return HighResSettings.from_dict({**first, "passes": passes()} if silent else first)
    if not isinstance(first, bool):
        raise SettingError(
            f"args[0] = {shown(first)} is not allowed: it must be a dict of settings, or true or false followed by the "
            "other settings in their order."
        )
    options = options_of(HighResSettings)
    if len(args) > len(options):
        raise SettingError(f"args has {len(args)} values, but there are only {len(options)} settings.")
    values = {name: from_ui(value, options[name]) for name, value in zip(options, args, strict=False)}
    if first and "passes" not in values:
        values["passes"] = passes()
    settings = HighResSettings(**{"enabled": False, **values})
    return _without_idle_values(settings)


def ui_value(name: str) -> Any:
    """What the UI shows first for a setting: switched off, with the preset's usual values."""
    if name == "enabled":
        return False
    default = getattr(HighResSettings(), name)
    return options_of(HighResSettings)[name].manual if default is None else default


def from_ui(value: Any, option: Option) -> Any:
    """Sliders give whole numbers as floats, and 0 where the model decides."""
    if option.manual == 0 and option.low and value == 0 and not isinstance(value, bool):
        return None
    whole = isinstance(value, float) and value.is_integer() and isinstance(option.step, int)
    return int(value) if whole else value


def _without_idle_values(settings: HighResSettings) -> HighResSettings:
    """What the page shows but does not use is not given: under other presets than Manual, and of the other method."""
    used = settings.method if settings.preset == "Manual" else None
    idle = [name for name, option in options_of(HighResSettings).items() if option.group not in ("", used)]
    return dataclasses.replace(settings, **{name: getattr(HighResSettings(), name) for name in idle})
