"""From the arguments of a script (one dict, or a list as the page sends it) to a dict for `from_dict`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lib_fewstep.options import SettingError, from_page, page_fields, shown


def given_settings(settings: type[Any], args: Sequence[Any]) -> dict[str, Any]:
    """The settings by name, as `from_dict` takes them; those that are not given keep their defaults.

    A dict of settings comes first and alone. Otherwise the arguments are the components of the page in their order; of
    a script that is switched off there (or has no arguments) nothing else is read. Raises SettingError.
    """
    first = args[0] if args else False
    if isinstance(first, Mapping):
        return dict(first)
    fields = page_fields(settings)
    if not isinstance(first, bool):
        raise SettingError(
            f"args[0] = {shown(first)} is not allowed: it must be a dict of settings, or true or false followed by the "
            "other settings in their order."
        )
    if len(args) > len(fields):
        raise SettingError(f"args has {len(args)} values, but there are only {len(fields)} settings.")
    return from_page(settings, dict(zip(fields, args, strict=False))) if first else {"enabled": False}
