"""What a high-resolution method is: its settings, and its parts, which act on some steps and on some blocks."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args

from torch import nn

from lib_fewstep.highres.resize import Size
from lib_fewstep.options import SettingError, option
from lib_fewstep.sentences import Sentence
from lib_fewstep.unet import Place, Scaling, Topology

V = TypeVar("V")
"""A method's own settings, a frozen dataclass."""


Pass = Literal["first", "hires", "img2img", "inpaint"]


@dataclass(frozen=True)
class ModelHints:
    """What the UNet's structure cannot tell.

    `trained_size` is a side in pixels, `pass_` the kind of sampling pass, `denoise` its denoising strength, `rival`
    the name of another extension that rearranges the tokens of self-attention (HyperTile, token merging).
    Raises SettingError for values out of range.
    """

    trained_size: int | None = None
    turbo: bool = False
    playground: bool = False
    controlnet: bool = False
    pass_: Pass = "first"
    denoise: float = 1.0
    rival: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is not allowed."""
        passes = get_args(Pass)
        if self.pass_ not in passes:
            raise SettingError(f"pass_ = {self.pass_!r} is not allowed: it must be one of {', '.join(passes)}.")
        if not 0.0 <= self.denoise <= 1.0:
            raise SettingError(f"denoise = {self.denoise!r} is not allowed: it must be 0 to 1.")
        if self.trained_size is not None and self.trained_size < 64:
            raise SettingError(f"trained_size = {self.trained_size!r} is not allowed: it must be at least 64 pixels.")


@dataclass(frozen=True)
class Target:
    """What a method is to work on: a model at a latent size (height, width), in a pass of so many steps."""

    topology: Topology
    latent_size: Size
    steps: int
    hints: ModelHints


@dataclass(frozen=True)
class Moment:
    """The UNet on the step `index`: its own blocks, whatever stands in their places now.

    `note` is given a sentence where something has to be left alone; `act` is called where a block that a part changes
    runs, and `idle` where a part finds out in the middle of a call of the UNet that nothing is left of it.
    """

    blocks: Mapping[Place, nn.Module]
    middle: nn.Module
    topology: Topology
    latent_size: Size
    index: int
    note: Callable[[str], None]
    act: Callable[[], None]
    idle: Callable[[], None]


class Part(ABC):
    """One part of a method, with all that it needs for one step. A frozen dataclass: equal ones do the same."""

    label: ClassVar[str]
    """What the log calls it."""
    title: ClassVar[str]
    """What the page calls it; parts with the same title are one there."""
    shrinks: ClassVar[bool] = True
    """Whether the deeper blocks get smaller feature maps."""

    @abstractmethod
    def places(self, topology: Topology) -> tuple[Place, ...]:
        """The blocks that it changes."""

    @abstractmethod
    def scalings(self, moment: Moment) -> dict[Place, Scaling]:
        """What it does to each of them."""

    @property
    def skip_mode(self) -> str:
        """How a feature map is resized to the skip that it meets, where its size differs."""
        return "bicubic"

    def beside_others(self, moment: Moment) -> Part | None:
        """What is left of it beside other extensions that are in the UNet now; None where it yields altogether."""
        return self

    def extent(self, topology: Topology, places: tuple[Place, ...]) -> str:
        """Where it acts, for the log: in the `places` that it changes during the whole pass."""
        return f"at {' and '.join(map(str, places))}" if len(places) <= 2 else f"in {len(places)} blocks"

    def summary(self, topology: Topology, when: tuple[int, ...], steps: int) -> Sentence:
        """What the page says of it, which acts on the steps `when`, counted from 0, of so many."""
        values = {"method": self.title, "first": when[0] + 1, "last": when[-1] + 1, "steps": steps}
        if len(when) == 1:
            return Sentence("{method} on step {first} of {steps}", **values)
        return Sentence("{method} on steps {first}-{last} of {steps}", **values)


Parts = tuple[Part, ...]
"""What acts on one step; empty where nothing does."""


Aliases = Mapping[str, Callable[[Any], Mapping[str, Any]]]


class Method(ABC, Generic[V]):
    """A method for images that are larger than the model was trained for."""

    name: ClassVar[str]
    help: ClassVar[str]
    """What it does, in one clause, for the page."""
    own: type[V]
    """Its own settings, a frozen dataclass of `option` and `preset_option`. Each name, label and infotext key must be
    new among all methods. Settings may be sent as a list: one that comes later has the next number as `added`."""
    axes: ClassVar[tuple[str, ...]] = ()
    """Which of them are axes of the X/Y/Z plot."""
    parts: ClassVar[tuple[type[Part], ...]]
    """All of its parts, in the order of the report."""
    aliases: ClassVar[Aliases] = {}
    """Names that others give to settings, each with a function from its value to settings."""

    def preset(self, target: Target) -> V:
        """The values of its settings where none are given."""
        return self.own()

    def resolved(self, given: Mapping[str, Any], target: Target) -> V:
        """The values of its settings in a pass. Raises SettingError for those that the model cannot follow."""
        preset: Any = self.preset(target)
        values: V = dataclasses.replace(preset, **given)
        return values

    @abstractmethod
    def parts_on(self, index: int, values: V, target: Target) -> Parts:
        """What acts on the step `index`, counted from 0: arithmetic, without a model."""

    def notes(
        self, given: Mapping[str, Any], values: V, target: Target, steps: tuple[Parts, ...]
    ) -> Iterable[Sentence]:
        """A sentence for each setting that was given and sets nothing, and for what is left out."""
        return ()


def preset_option(value: Any, label: str, help: str, infotext: str, **limits: Any) -> Any:  # noqa: A002
    """An `option` of a method that a preset sets unless it is given; `value` is what the page shows first.

    In `HighResSettings` its default is None, which stands for the preset's value.
    """
    return option(value, label, help, infotext, manual=value, **limits)
