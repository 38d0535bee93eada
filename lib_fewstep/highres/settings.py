"""The settings of the high-resolution methods: what they have in common, and each one's own."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass, make_dataclass, replace
from typing import Any

from lib_fewstep.highres.methods import METHODS
from lib_fewstep.highres.methods.base import Method
from lib_fewstep.options import check, field_with, from_mapping, option, option_of, options_of

PRESETS = ("Auto", "Paper", "Manual")
PASSES = ("Auto", "All", "First", "Hires")


@dataclass(frozen=True)
class _Choice:
    """Which method runs."""

    enabled: bool = option(True, "Enable", "Switches the method on.", "HiDiffusion enabled")
    method: str = option(
        METHODS[0].name,
        "Method",
        "; ".join(method.help for method in METHODS) + ".",
        "HiDiffusion method",
        choices=tuple(method.name for method in METHODS),
    )
    preset: str = option(
        "Auto",
        "Preset",
        "Auto acts only on images clearly larger than the trained size. Paper acts at any size. Manual acts at any "
        "size, with the values below.",
        "HiDiffusion preset",
        choices=PRESETS,
    )


@dataclass(frozen=True)
class _Limits:
    """In which passes it runs, and above which size."""

    passes: str = option(
        "Auto",
        "Passes",
        "All: every pass. First: only the first pass. Hires: only the hires pass. Auto: every pass, but hires, "
        "img2img and inpainting only at a denoising strength of 0.5 or more.",
        "HiDiffusion passes",
        choices=PASSES,
    )
    trained_size: int | None = option(
        None,
        "Trained size",
        "Side in pixels of the images that the model was trained on. On the page, 0 means what the checkpoint's header "
        "says, else the usual size for this kind of model.",
        "HiDiffusion trained size",
        low=64,
        high=8192,
        step=64,
        blank=0,
        unset="the model's usual size",
    )


def _fields(settings: type[Any], group: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Name, type and field of each setting, for `make_dataclass`.

    Those of a method (`group`) that have a value by the preset may be None, and are unless they are given.
    """
    kinds = typing.get_type_hints(settings)
    for name, described in options_of(settings).items():
        by_preset = group and described.manual is not None
        default = None if by_preset else getattr(settings, name)
        kind = kinds[name] | None if by_preset else kinds[name]
        yield name, kind, field_with(replace(described, group=group), default)


def _method_fields(method: Method[Any]) -> Iterator[tuple[str, Any, Any]]:
    return _fields(method.own, method.name)


def _place(field: tuple[str, Any, Any]) -> int:
    """Of one field in the list of all settings: a method that came after the first two is behind them."""
    described = option_of(field[2])
    return max(described.added, int(described.group in _LATER))


_FIRST, *_OTHERS = METHODS
_LATER = {method.name for method in METHODS[2:]}
_ALL = sorted(
    (
        *_fields(_Choice),
        *_method_fields(_FIRST),
        *_fields(_Limits),
        *(field for method in _OTHERS for field in _method_fields(method)),
    ),
    key=_place,
)
_Fields: Any = make_dataclass(
    "_Fields",
    _ALL,
    namespace={"__post_init__": check},
    frozen=True,
)
AXES = ("method", "preset", *_FIRST.axes, "passes", *(name for method in _OTHERS for name in method.axes))
"""The settings that are axes of the X/Y/Z plot, in their order."""


class HighResSettings(_Fields):  # type: ignore[misc]  # its fields are those of the methods that there are
    """Which method runs, when and how strongly.

    Besides the fields named here it has those of every method, in the order in which they may be sent as a list. There
    `None` stands for the preset's value. Every value is checked on construction; SettingError (a ValueError) names the
    setting, its value and what is allowed.
    """

    enabled: bool
    method: str
    preset: str
    passes: str
    trained_size: int | None

    @staticmethod
    def from_dict(values: object) -> HighResSettings:
        """Settings from the API's dict; a method's aliases are accepted.

        Raises SettingError for unknown names, for wrong values and for anything that is no dict.
        """
        aliases = {name: read for method in METHODS for name, read in method.aliases.items()}
        return from_mapping(HighResSettings, values, aliases)
