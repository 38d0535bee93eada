"""The settings of how a model is sampled in the image's infotext."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lib_fewstep.models import ModelSettings
from lib_fewstep.models.settings import SIZES, pixels
from lib_fewstep.webui.common.infotext import differing


def infotext(settings: ModelSettings) -> dict[str, Any]:
    """What the infotext says of settings."""
    sizes: dict[str, Any] = {name: _spaced(getattr(settings, name)) for name in SIZES}
    return differing(replace(settings, **sizes))


def _spaced(size: str) -> str:
    """Two numbers with spaces between them: of "512x256" the host makes two parameters when it reads an infotext."""
    sides = pixels(size)
    return size if sides is None else "{} x {}".format(*sides)
