"""The settings of how a model is sampled in the image's infotext, and back into the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_fewstep.models import ModelSettings
from lib_fewstep.models.settings import SIZES, pixels
from lib_fewstep.options import options_of
from lib_fewstep.webui.common.infotext import keys_of, pasted_value, pasting

_MARKS = set(keys_of(ModelSettings).values())


def infotext(settings: ModelSettings) -> dict[str, Any]:
    """What the infotext says of settings: whatever is not at its default."""
    neutral, options = ModelSettings(), options_of(ModelSettings)
    values = {name: getattr(settings, name) for name in options if name != "enabled"}
    values |= {name: _spaced(values[name]) for name in SIZES}
    return {options[name].infotext: value for name, value in values.items() if value != getattr(neutral, name)}


def _spaced(size: str) -> str:
    """Two numbers with spaces between them: of "512x256" the host makes two parameters when it reads an infotext."""
    sides = pixels(size)
    return size if sides is None else "{} x {}".format(*sides)


def pasted(name: str, parameters: Mapping[str, str]) -> Any:
    """What a pasted infotext makes of a component; any of the script's keys says that the image was made with it."""
    return pasted_value(ModelSettings, name, parameters, marked=not _MARKS.isdisjoint(parameters))


PASTING = pasting(ModelSettings, pasted)
