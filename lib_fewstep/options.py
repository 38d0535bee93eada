"""One source for each setting: a dataclass field that carries its default, range, label, help and infotext name."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass
from typing import Any, TypeVar

_METADATA = "fewstep"
_CHECKED = (bool, int, float, str)


class SettingError(ValueError):
    """A setting that cannot be used; the message names the setting, its value and what is allowed."""


@dataclass(frozen=True)
class Option:
    """What a setting is called, what it means and what it may be.

    `None` in `low` or `high` means no limit. `group` names the method that alone uses the setting, `unset` whose value
    None stands for, `values` what is allowed, in words, where a class checks its own field. `infotext` is the key in
    an image's infotext, empty for what is not written there.

    On the page: `manual` is what a setting whose default is None shows first; `blank` what stands for the default
    where the default itself cannot be shown (0 on a slider, an empty text). `on_page` is False for what the API alone
    has. `parts` is the class of a setting that is made of several; with `switch` a checkbox of its own switches it on,
    else any of its parts does. A list of settings has them by `added`: a setting that comes after a release takes the
    next number, and its place is behind all others.
    """

    label: str
    help: str
    infotext: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    step: float | None = None
    group: str = ""
    manual: Any = None
    unset: str = "the preset's value"
    values: str = ""
    blank: Any = None
    on_page: bool = True
    parts: type[Any] | None = None
    switch: bool = False
    added: int = 0

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        if self.values:
            return self.values
        if self.choices:
            return " or ".join(f'"{choice}"' for choice in self.choices)
        if self.low is not None and self.high is not None:
            return f"{self.low:.12g} to {self.high:.12g}"
        return "true or false"


@dataclass(frozen=True)
class PageField:
    """A component of the page: the setting behind it, whose part it is, what it shows first, whether it is a switch."""

    name: str
    option: Option
    shown: Any
    whole: str = ""
    switch: bool = False


def page_fields(settings: type[Any]) -> dict[str, PageField]:
    """The components that a settings class has on the page, by name and in order; of parts, "whole_part"."""
    return {field.name: field for field in sorted(_page_fields(settings), key=lambda field: field.option.added)}


def _page_fields(settings: type[Any]) -> Iterator[PageField]:
    for field in dataclasses.fields(settings):
        described = option_of(field)
        if described.parts is None and described.on_page:
            yield PageField(field.name, described, _shown_first(field))
        if described.switch:
            yield PageField(field.name, described, shown=False, switch=True)
        for part in dataclasses.fields(described.parts) if described.parts else ():
            yield PageField(f"{field.name}_{part.name}", option_of(part), _shown_first(part), whole=field.name)


def _shown_first(field: Field[Any]) -> Any:
    described = option_of(field)
    if field.name == "enabled":
        return False
    if described.blank is not None:
        return described.blank
    return described.manual if field.default is None else field.default


def from_page(settings: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that components of the page hold, as the API's dict has them; blank ones are left out."""
    given: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, field in page_fields(settings).items():
        value = _whole(values.get(name), field.option)
        if name not in values or _is_blank(value, field):
            continue
        if field.whole:
            parts.setdefault(field.whole, {})[name.removeprefix(f"{field.whole}_")] = value
        else:
            given[name] = value
    for whole, inside in parts.items():
        if given.get(whole, True) is True:  # its switch is on, or it has none
            given[whole] = inside
    return given


def _whole(value: Any, described: Option) -> Any:
    """Sliders give whole numbers as floats."""
    whole = isinstance(value, float) and value.is_integer() and isinstance(described.step, int)
    return int(value) if whole else value


def _is_blank(value: Any, field: PageField) -> bool:
    """Whether a component holds nothing: what is blank for it, None or no text; of a part anything that is empty."""
    blank = field.option.blank
    if blank is None:
        return False
    empty = not value if field.whole else value is None or value == ""
    return empty or (isinstance(value, bool) == isinstance(blank, bool) and bool(value == blank))


def option(default: Any, label: str, help: str, infotext: str, **limits: Any) -> Any:  # noqa: A002
    """A dataclass field with its `Option`, in the way of `dataclasses.field`."""
    return field_with(Option(label, help, infotext, **limits), default)


def field_with(described: Option, default: Any) -> Any:
    """A dataclass field with an `Option` that there is already."""
    return dataclasses.field(default=default, metadata={_METADATA: described})


def option_of(field: Field[Any]) -> Option:
    """The `Option` of a field made by `option`."""
    described: Option = field.metadata[_METADATA]
    return described


def options_of(settings: type[Any]) -> dict[str, Option]:
    """The options of a settings class by field name, in order."""
    return {field.name: option_of(field) for field in dataclasses.fields(settings)}


def check(settings: object) -> None:
    """Raise SettingError for the first field of a settings object whose type or value is not allowed.

    Fields that are more than one number, word or truth value are left to their class.
    """
    settings_class: Any = type(settings)
    hints = _hints(settings_class)
    for name, described in options_of(settings_class).items():
        kind, optional = hints[name]
        value = getattr(settings, name)
        if kind not in _CHECKED or (value is None and optional):
            continue
        if not (_has_type(value, kind) and _in_range(value, described)):
            unless_none = f" (or null for {described.unset})" if optional else ""
            raise SettingError(f"{name} = {shown(value)} is not allowed: it must be {described.allowed}{unless_none}.")


S = TypeVar("S")


def from_mapping(settings: type[S], values: object, aliases: Mapping[str, Any] | None = None) -> S:
    """A settings object from a dict of its field names.

    `aliases` maps a foreign name to a function that turns its value into a dict of fields. Raises SettingError for
    anything that is no dict, for a name that is no field, and for values that `check` refuses.
    """
    if not isinstance(values, Mapping):
        raise SettingError(f"The settings must be a dict of names and values, not {shown(values)}.")
    options = options_of(settings)
    fields: dict[str, Any] = {}
    for name, value in values.items():
        new = aliases[name](value) if aliases and name in aliases else {name: value}
        if not isinstance(name, str) or not new.keys() <= options.keys():
            raise SettingError(_unknown(name, list({**options, **(aliases or {})})))
        twice = new.keys() & fields.keys()
        if twice:
            raise SettingError(f"{name} = {shown(value)} sets {', '.join(twice)} a second time: give only one of them.")
        fields |= new
    return settings(**fields)


def _unknown(name: object, names: list[str]) -> str:
    return f"{shown(name)} is not a setting; the settings are {', '.join(names)}.{guess(str(name), names)}"


def guess(name: str, names: Sequence[str]) -> str:
    """The end of an error's sentence that asks for the name that is most like a wrong one; may be empty."""
    close = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {close[0]}?" if close else ""


@functools.cache
def _hints(settings: Any) -> dict[str, tuple[type[Any], bool]]:
    """Type of each field of a settings class, and whether it may be None."""
    return {name: _kind(hint) for name, hint in typing.get_type_hints(settings).items()}


def _kind(hint: Any) -> tuple[type[Any], bool]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (kind,) = (arm for arm in typing.get_args(hint) if arm is not types.NoneType)
        return kind, True
    return hint, False


def _has_type(value: object, kind: type[Any]) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind


def _in_range(value: Any, described: Option) -> bool:
    if described.choices:
        return value in described.choices
    if described.low is None or described.high is None:
        return True
    return bool(described.low <= value <= described.high)


def shown(value: object) -> str:
    """A value as it appears in an error's sentence: its representation, cut to 60 characters."""
    try:
        text = repr(value)
    except ValueError:  # a number of thousands of digits
        text = "a huge number"
    except RecursionError:
        text = "a deeply nested list"
    return text if len(text) <= 60 else text[:57] + "..."


def on_one_line(text: str) -> str:
    """A text in which line breaks, control characters and whatever else does not show are escaped, as `repr` does."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )
