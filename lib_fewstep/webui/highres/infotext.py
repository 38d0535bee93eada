"""HiDiffusion's settings in the image's infotext, and back into the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lib_fewstep.highres import HighResSettings
from lib_fewstep.options import options_of, page_fields
from lib_fewstep.webui.common.infotext import pasted_value, pasting
from lib_fewstep.webui.highres.kohya_infotext import as_own_parameters

_OPTIONS = options_of(HighResSettings)
_BY_SIZE = {"t1": "T1", "t2": "T2"}
"""The values of a preset that depend on the size of a pass, and what `by_size` calls them."""

_MARK = _OPTIONS["method"].infotext
"""The key that is always there when the method ran."""


def infotext(
    settings: HighResSettings, resolved: HighResSettings | None = None, *, only: str | None = None
) -> dict[str, str]:
    """What the infotext says of enabled settings: the method, and whatever is not at its default.

    Where values of a method were given, the preset is called Manual, because the page reads such values under it
    alone, and they are those of `resolved`: what the pass really used in the place of None. Manual acts at any size, so
    where one of two passes has acted, `only` names it, and so does the infotext.
    """
    defaults = HighResSettings()
    own = _own_names(settings)
    common = [name for name, option in _OPTIONS.items() if not option.group and name != "enabled"]
    manual = settings.preset == "Manual" or _has_own_values(settings)
    values = {name: getattr(settings, name) for name in common} | ({"preset": "Manual"} if manual else {})
    if manual and only:
        values["passes"] = only
    parameters = {name: value for name, value in values.items() if name == "method" or value != getattr(defaults, name)}
    if manual:
        fields, used = page_fields(HighResSettings), {name: getattr(resolved or settings, name) for name in own}
        parameters |= {name: value for name, value in used.items() if value not in (None, fields[name].shown)}
    return {_OPTIONS[name].infotext: str(value) for name, value in parameters.items()}


def used_in_both(given: HighResSettings, first: HighResSettings, second: HighResSettings) -> HighResSettings:
    """What two passes have used, such that it means the same for both again when it is pasted.

    Where they differ, it is what was given. Of what was left to the preset, a switch is on: the pass that had to leave
    it off (aggressive mode at a large size, windows beside HyperTile) will do so again. T1 and T2 that were left to the
    preset are by size, and have no value.
    """
    differing = {name: getattr(given, name) for name in _OPTIONS if getattr(first, name) != getattr(second, name)}
    left = [name for name, value in differing.items() if value is None]
    switches = {name: True for name in left if isinstance(getattr(second, name), bool)}
    differing_sizes = left if second.raunet else ()
    by_size = {name: label for name, label in _BY_SIZE.items() if name in differing_sizes or label in given.by_size}
    values = differing | switches | dict.fromkeys(by_size)
    return replace(second, **values, by_size=" and ".join(by_size.values()) or "Off")


def _has_own_values(settings: HighResSettings) -> bool:
    """Whether the infotext has to tell values of the method."""
    defaults = HighResSettings()
    return any(getattr(settings, name) != getattr(defaults, name) for name in _own_names(settings))


def _own_names(settings: HighResSettings) -> list[str]:
    return [name for name, option in _OPTIONS.items() if option.group == settings.method]


def pasted(name: str, parameters: Mapping[str, str]) -> Any:
    """What a pasted infotext makes of a component; without the method's key the image was made without it."""
    parameters = as_own_parameters(parameters)
    return pasted_value(HighResSettings, name, parameters, marked=_MARK in parameters)


PASTING = pasting(HighResSettings, pasted)
