"""Kohya's Deep Shrink: smaller feature maps inside the UNet for the first steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from lib_fewstep.highres.methods.base import Aliases, Method, Moment, Part, Parts, Target, preset_option
from lib_fewstep.highres.resize import Size, resize, size_of
from lib_fewstep.highres.token_counts import merging_tokens, replaced_attention
from lib_fewstep.options import SettingError, shown
from lib_fewstep.sentences import Sentence
from lib_fewstep.unet import Place, Scaling, Topology

SCALERS = ("bicubic", "bilinear", "area", "nearest", "nearest-exact")


@dataclass(frozen=True)
class DeepShrinkSettings:
    """Where, until when and how feature maps shrink."""

    d1: int = preset_option(
        3,
        "Depth 1",
        "Input block, counted from 1, whose input is shrunk until Stop 1. Default: 3.",
        "HiDiffusion depth 1",
        low=1,
        high=12,
        step=1,
    )
    d2: int = preset_option(
        4,
        "Depth 2",
        "Input block, counted from 1, whose input is shrunk from Stop 1 to Stop 2. Default: 4.",
        "HiDiffusion depth 2",
        low=1,
        high=12,
        step=1,
    )
    s1: float = preset_option(
        0.15,
        "Stop 1",
        "Share of the steps after which the shrinking at Depth 1 stops. Default: 0.15.",
        "HiDiffusion stop 1",
        low=0.0,
        high=1.0,
        step=0.01,
    )
    s2: float = preset_option(
        0.3,
        "Stop 2",
        "Share of the steps after which the shrinking at Depth 2 stops. Default: 0.3.",
        "HiDiffusion stop 2",
        low=0.0,
        high=1.0,
        step=0.01,
    )
    scaler: str = preset_option(
        "bicubic", "Scaler", "How feature maps are resized. Default: bicubic.", "HiDiffusion scaler", choices=SCALERS
    )
    downscale: float = preset_option(
        0.5,
        "Downscale",
        "Shrinking multiplies width and height by this. Default: 0.5.",
        "HiDiffusion downscale",
        low=0.1,
        high=1.0,
        step=0.05,
    )
    upscale: float = preset_option(
        2.0,
        "Upscale",
        "Enlarging again multiplies them by this. 1 / Downscale restores the exact size. Default: 2.",
        "HiDiffusion upscale",
        low=1.0,
        high=4.0,
        step=0.1,
    )
    smooth_scaling: bool = preset_option(
        True,
        "Smooth scaling",
        "The shrinking gets weaker from step to step until it stops, instead of ending suddenly. Default: on.",
        "HiDiffusion smooth scaling",
    )
    early_out: bool = preset_option(
        False,
        "Early out",
        "Enlarges feature maps earlier: Depth 3 on SD1.5 enlarges at output_blocks[2] instead of output_blocks[9]. "
        "Default: off.",
        "HiDiffusion early out",
    )


@dataclass(frozen=True)
class Shrink(Part):
    """The shrinking on one step: the depth (1 is the first input block), the factors and how to resize.

    `fade` is the share of its way to no shrinking at all; it is 0 without smooth scaling.
    """

    depth: int
    fade: float
    downscale: float
    upscale: float
    scaler: str
    early_out: bool

    label = "shrinking"
    title = "Deep Shrink"

    @property
    def down(self) -> float:
        """The factor on the way down."""
        return min((1.0 - self.downscale) * self.fade + self.downscale, 1.0)

    @property
    def up(self) -> float:
        """The factor on the way back."""
        return self.upscale * self.downscale / self.down

    @property
    def restores(self) -> bool:
        """Whether the way up undoes the way down, so that the size is restored exactly."""
        return abs(self.down * self.up - 1.0) < 1e-6

    def halves(self, size: Size) -> bool:
        """Whether a feature map of this size gets the size that a downsampler gives it, and its own again."""
        halved = all(int(side * self.down) == (side + 1) // 2 for side in size)
        return halved and self.restores and not self.early_out

    @property
    def skip_mode(self) -> str:
        """As the setting says."""
        return self.scaler

    def places(self, topology: Topology) -> tuple[Place, ...]:
        """The block whose input is made smaller, and the one whose input is made larger."""
        down = self.depth - 1
        return Place("input", down), Place("output", down if self.early_out else topology.partner(down))

    def scalings(self, moment: Moment) -> dict[Place, Scaling]:
        """Down before the one, up before the other."""
        inward, outward = self.places(moment.topology)
        downsamples = inward.index in moment.topology.downsamplers
        shrinker = Shrinker(lambda h: self._beside_replaced(h, moment), downsamples=downsamples)
        return {inward: Scaling(before=(shrinker.down,)), outward: Scaling(before=(shrinker.up,))}

    def beside_others(self, moment: Moment) -> Shrink | None:
        """Where another extension merges tokens, a feature map may only be halved."""
        size = moment.topology.size_at(self.places(moment.topology)[0], moment.latent_size)
        neighbour = None if self.halves(size) else merging_tokens(moment.blocks.values())
        return self if neighbour is None else self._halving(size, neighbour, moment)

    def _beside_replaced(self, h: Tensor, moment: Moment) -> Shrink | None:
        """The same where another extension counts tokens in cross-attention, which `h`, the block's input, tells."""
        if self.halves(size_of(h)):
            return self
        for found in replaced_attention(self._resized(moment)):
            if found.counts_tokens(self._token_numbers(found.place, size_of(h), moment), like=h):
                left = self._halving(size_of(h), found.name, moment)
                if left is None:
                    moment.idle()
                return left
        return self

    def _resized(self, moment: Moment) -> Iterator[tuple[Place, nn.Module]]:
        """The blocks that run at another size than without it; the middle one has the size of the last input block."""
        inward, outward = self.places(moment.topology)
        to_the_end = self.early_out or not self.restores
        for place, block in moment.blocks.items():
            if place.index >= inward.index if place.side == "input" else to_the_end or place.index < outward.index:
                yield place, block
        yield Place("input", moment.topology.blocks - 1), moment.middle

    def _token_numbers(self, place: Place, size: Size, moment: Moment) -> tuple[int, int]:
        """How many tokens a block has without the shrinking, and with it."""
        height, width = moment.topology.size_at(place, moment.latent_size)
        deeper = moment.topology.level(place) - moment.topology.level(self.places(moment.topology)[0])
        return height * width, math.prod(-(-side // 2 ** max(deeper, 0)) for side in _scaled(size, self.down))

    def _halving(self, size: Size, neighbour: str, moment: Moment) -> Shrink | None:
        """What is left of one that does not halve, beside one who does, and a note; None where nothing is."""
        why = f"because {neighbour} computes a feature map's size from its number of tokens"
        constant = replace(self, fade=0.0)
        if constant.halves(size):
            moment.note(f"smooth scaling is off, {why}")
            return constant
        moment.note(f"shrinking is off, {why}")
        return None


class Shrinker:
    """The input of one input block, made smaller, and the input of one output block, made larger again."""

    def __init__(self, choose: Callable[[Tensor], Shrink | None], *, downsamples: bool) -> None:
        """`choose` says how to shrink a feature map, if at all; `downsamples` whether the block halves its input."""
        self._choose = choose
        self._downsamples = downsamples
        self._shrink: Shrink | None = None
        self._restored: Size | None = None

    def down(self, h: Tensor) -> Tensor:
        """The feature map times `down`; keeps the size that the block's output would have had without it."""
        self._shrink = self._choose(h)
        if self._shrink is None:
            return h
        height, width = size_of(h)
        self._restored = ((height + 1) // 2, (width + 1) // 2) if self._downsamples else (height, width)
        return resize(h, _scaled((height, width), self._shrink.down), self._shrink.scaler)

    def up(self, h: Tensor) -> Tensor:
        """Back to exactly that size where the factors undo each other in the partner block, else times `up`."""
        if self._shrink is None:
            return h
        exact = self._shrink.restores and not self._shrink.early_out
        size = self._restored if exact and self._restored else _scaled(size_of(h), self._shrink.up)
        return resize(h, size, self._shrink.scaler)


def _scaled(size: Size, factor: float) -> Size:
    return (max(1, int(size[0] * factor)), max(1, int(size[1] * factor)))


def _only_one_pass(value: object) -> Mapping[str, Any]:
    if not isinstance(value, bool):
        raise SettingError(f"only_one_pass = {shown(value)} is not allowed: it must be true or false.")
    return {"passes": "First" if value else "All"}


class DeepShrink(Method[DeepShrinkSettings]):
    """Two depths, one after the other."""

    name = "Deep Shrink"
    help = "Deep Shrink prevents repeated subjects and has more to adjust"
    own = DeepShrinkSettings
    axes = ("downscale", "upscale", "d1", "d2", "s1", "s2", "scaler", "smooth_scaling")
    parts = (Shrink,)
    aliases: ClassVar[Aliases] = {"only_one_pass": _only_one_pass}

    def resolved(self, given: Mapping[str, Any], target: Target) -> DeepShrinkSettings:
        """As ever; the model must have the depths."""
        values = super().resolved(given, target)
        for name, depth in (("d1", values.d1), ("d2", values.d2)):
            if depth > target.topology.blocks:
                raise SettingError(
                    f"{name} = {depth} is not allowed: it must be 1 to {target.topology.blocks} with "
                    f"{target.topology.family}."
                )
        return values

    def parts_on(self, index: int, values: DeepShrinkSettings, target: Target) -> Parts:
        """The first depth until its stop, then the second until its own; nothing where it does not shrink."""
        stages = ((values.d1, target.steps * values.s1), (values.d2, target.steps * values.s2))
        for depth, stop in stages:
            if index < stop:
                fade = index / stop if values.smooth_scaling else 0.0
                shrink = Shrink(depth, fade, values.downscale, values.upscale, values.scaler, values.early_out)
                return (shrink,) if shrink.down < 1.0 else ()
        return ()

    def notes(
        self, given: Mapping[str, Any], values: DeepShrinkSettings, target: Target, steps: tuple[Parts, ...]
    ) -> Iterable[Sentence]:
        """A second stop that comes before the first."""
        if values.s2 <= values.s1:
            yield Sentence("s2 has no effect unless it is above s1")
