"""HiDiffusion (arXiv 2311.17528): RAU-Net against repeated subjects, windows of attention (MSW-MSA) for speed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from lib_fewstep.highres.methods.base import Method, Moment, Part, Parts, Target, preset_option
from lib_fewstep.highres.resize import halve, size_of
from lib_fewstep.highres.windows import shift_of, windowed
from lib_fewstep.options import option
from lib_fewstep.sentences import Sentence
from lib_fewstep.unet import Place, Scaling, Topology
from lib_fewstep.unet.topology import transformer_of

_AGGRESSIVE_SHARE = 8 / 50
_LARGE_SIDE = {"SD1": 256, "SD2": 256, "SDXL": 512}
_WINDOWED_DEPTH = 2
"""Of each stack of transformer blocks, the first two are windowed."""


@dataclass(frozen=True)
class HiDiffusionSettings:
    """Which parts act, and until when."""

    raunet: bool = option(
        True,
        "RAU-Net",
        "Prevents repeated subjects: in the first steps, feature maps are shrunk to the size that the deep blocks "
        "were trained on.",
        "HiDiffusion RAU-Net",
    )
    window_attention: bool = preset_option(
        True,
        "Window attention",
        "Saves time: on the largest feature maps, self-attention looks only within windows, which shift from step to "
        "step (MSW-MSA).",
        "HiDiffusion window attention",
    )
    aggressive: bool = preset_option(
        True,
        "Aggressive",
        "For SDXL below 4096x4096: fewer repeated subjects, but slightly softer images. The strided downsampler runs "
        "for the first 8/50 of the steps, then the pool runs until T1.",
        "HiDiffusion aggressive",
    )
    t1: float = preset_option(
        0.4,
        "T1",
        "Share of the steps after which one part of RAU-Net stops: the strided downsampler on SD1.5 and SD2, the "
        "pool on SDXL.",
        "HiDiffusion T1",
        low=0.0,
        high=1.0,
        step=0.01,
    )
    t2: float = preset_option(
        0.0,
        "T2",
        "For very large images: share of the steps after which the other part stops, the pool on SD1.5 and SD2, "
        "the strided downsampler on SDXL. With Aggressive it has no effect.",
        "HiDiffusion T2",
        low=0.0,
        high=1.0,
        step=0.01,
    )
    by_size: str = option(
        "Off",
        "By size",
        "For passes of different sizes: which of T1 and T2 have the value that Auto and Paper use for each pass's own "
        "size. What is set for them is then not used.",
        "HiDiffusion by size",
        choices=("Off", "T1", "T2", "T1 and T2"),
        added=1,
    )


def strided(h: Tensor) -> Tensor:
    """Every second row and column: on them a downsampler (stride 2, padding 1) gives an output side of ceil(side / 4).

    It is the same 3x3 convolution with stride 4, padding 2, dilation 2 on all of them. The module stays as it is, so
    that what other extensions do to it (LoRA, tiling) happens as ever.
    """
    return h[..., ::2, ::2]


@dataclass(frozen=True)
class StridedDownsampler(Part):
    """RAU-Net's resolution-aware downsampler (RAD): a downsampler that quarters the sides instead of halving them."""

    label = "strided downsampler"
    title = "RAU-Net"

    def places(self, topology: Topology) -> tuple[Place, ...]:
        """The first downsampler, on SDXL the second one."""
        return (Place("input", topology.downsamplers[1 if topology.family == "SDXL" else 0]),)

    def scalings(self, moment: Moment) -> dict[Place, Scaling]:
        """It gets every second row and column."""
        return {place: Scaling(before=(strided,)) for place in self.places(moment.topology)}


@dataclass(frozen=True)
class Pool(Part):
    """RAU-Net's pool: a block's output at half its size."""

    label = "pool"
    title = "RAU-Net"

    def places(self, topology: Topology) -> tuple[Place, ...]:
        """The block behind the first downsampler."""
        return (Place("input", topology.downsamplers[0] + 1),)

    def scalings(self, moment: Moment) -> dict[Place, Scaling]:
        """It is pooled before it is stored as a skip."""
        return {place: Scaling(after=(halve,)) for place in self.places(moment.topology)}


@dataclass(frozen=True)
class WindowAttention(Part):
    """MSW-MSA: self-attention of the largest feature maps looks at shifting windows."""

    label = "window attention"
    title = "window attention"
    shrinks = False

    def places(self, topology: Topology) -> tuple[Place, ...]:
        """The blocks with the largest feature maps that have attention."""
        return tuple(window_places(topology))

    def scalings(self, moment: Moment) -> dict[Place, Scaling]:
        """Windows while such a block runs, with another shift in each of its transformer blocks."""
        found: dict[Place, Scaling] = {}
        ordinal = 0
        for place, depth in window_places(moment.topology).items():
            stack: Any = getattr(transformer_of(moment.blocks[place]), "transformer_blocks", ())
            shifted = [
                (transformer.attn1, shift_of(moment.index, ordinal + i))
                for i, transformer in enumerate(list(stack)[:depth])
                if isinstance(getattr(transformer, "attn1", None), nn.Module)
            ]
            if len(shifted) < depth:
                moment.note(
                    f"window attention left a transformer block of {place} alone: another extension has replaced it"
                )
            found[place] = Scaling(around=(_windowing(shifted, moment.note),))
            ordinal += depth
        return found

    def extent(self, topology: Topology, places: tuple[Place, ...]) -> str:
        """What gets windows is a transformer block."""
        return f"in {_windowed_blocks(topology)} transformer blocks"

    def summary(self, topology: Topology, when: tuple[int, ...], steps: int) -> Sentence:
        """In how many of them; it acts on every step."""
        return Sentence("window attention in {count} transformer blocks", count=_windowed_blocks(topology))


def window_places(topology: Topology) -> dict[Place, int]:
    """The blocks of MSW-MSA, those with the largest feature maps, and how many transformer blocks are windowed."""
    largest = min(topology.level(attention.place) for attention in topology.attention)
    return {
        attention.place: min(attention.depth, _WINDOWED_DEPTH)
        for attention in topology.attention
        if topology.level(attention.place) == largest
    }


def _windowed_blocks(topology: Topology) -> int:
    return sum(window_places(topology).values())


def _windowing(
    shifted: list[tuple[nn.Module, int]], note: Callable[[str], None]
) -> Callable[[Tensor], AbstractContextManager[None]]:
    return lambda h: windowed(shifted, size_of(h), note)


class HiDiffusion(Method[HiDiffusionSettings]):
    """RAU-Net on the first steps, windows on all of them."""

    name = "HiDiffusion"
    help = "HiDiffusion prevents repeated subjects and saves time"
    own = HiDiffusionSettings
    axes = ("raunet", "window_attention", "t1", "t2", "aggressive")
    parts = (StridedDownsampler, Pool, WindowAttention)

    def preset(self, target: Target) -> HiDiffusionSettings:
        """The thresholds that the reference uses for this family, size and kind of model, as shares of the steps."""
        topology, hints = target.topology, target.hints
        if topology.family == "SDXL" and hints.turbo:
            return HiDiffusionSettings(t1=0.5, t2=0.0, aggressive=False)
        if _is_large(target):
            return HiDiffusionSettings(t1=0.7, t2=0.3, aggressive=False)
        if topology.family != "SDXL":
            return HiDiffusionSettings(t1=0.4, t2=0.0, aggressive=False)
        with_controlnet = hints.controlnet and hints.pass_ == "first"
        aggressive = not (topology.inpainting or hints.playground)
        return HiDiffusionSettings(t1=0.5 if with_controlnet else 0.4, t2=0.0, aggressive=aggressive)

    def resolved(self, given: Mapping[str, Any], target: Target) -> HiDiffusionSettings:
        """Aggressive only where that mode exists, windows only where no rival works on the same tokens."""
        values = super().resolved(_without_those_by_size(given), target)
        return replace(
            values,
            aggressive=values.aggressive and _has_aggressive_mode(target),
            window_attention=values.window_attention and target.hints.rival is None,
        )

    def parts_on(self, index: int, values: HiDiffusionSettings, target: Target) -> Parts:
        """RAU-Net by its thresholds, windows always."""
        strided_steps, pool_steps = _raunet_spans(values, target)
        acting: tuple[tuple[Part, bool], ...] = (
            (StridedDownsampler(), values.raunet and index in strided_steps),
            (Pool(), values.raunet and index in pool_steps),
            (WindowAttention(), values.window_attention),
        )
        return tuple(part for part, acts in acting if acts)

    def notes(
        self, given: Mapping[str, Any], values: HiDiffusionSettings, target: Target, steps: tuple[Parts, ...]
    ) -> Iterable[Sentence]:
        """Thresholds without effect, and windows that yield."""
        if values.raunet:
            used = _without_those_by_size(given)
            yield from _idle_thresholds(used, values, target, steps)
            by_size = [name for name in given if name not in used]
            if by_size:
                yield Sentence("not used because of by_size: {names}", names=", ".join(by_size))
        else:
            idle = [name for name in ("t1", "t2", "aggressive") if given.get(name)]
            if idle:
                yield Sentence("not used while raunet is off: {names}", names=", ".join(idle))
        if target.hints.rival is not None and given.get("window_attention", True):
            yield Sentence(
                "window attention is off, because {rival} works on the same blocks", rival=target.hints.rival
            )


def _without_those_by_size(given: Mapping[str, Any]) -> Mapping[str, Any]:
    by_size = given.get("by_size", "")
    return {name: value for name, value in given.items() if name.upper() not in by_size}


def _is_large(target: Target) -> bool:
    """Whether the size is in the reference's upper band."""
    return min(target.latent_size) >= _LARGE_SIDE[target.topology.family]


def _has_aggressive_mode(target: Target) -> bool:
    return target.topology.family == "SDXL" and not target.hints.turbo and not _is_large(target)


def _raunet_spans(values: HiDiffusionSettings, target: Target) -> tuple[range, range]:
    """The steps of the strided downsampler and those of the pool."""
    until_t1, until_t2 = int(target.steps * values.t1), int(target.steps * values.t2)
    if values.aggressive:
        until_strided = int(_AGGRESSIVE_SHARE * target.steps)
        return range(until_strided), range(until_strided, until_t1)
    if target.topology.family == "SDXL":
        return range(until_t2), range(until_t1)
    return range(until_t1), range(until_t2)


def _idle_thresholds(
    given: Mapping[str, Any], values: HiDiffusionSettings, target: Target, steps: tuple[Parts, ...]
) -> Iterable[Sentence]:
    acting = {type(part) for parts in steps for part in parts}
    if given.get("aggressive") and not values.aggressive and target.topology.family == "SDXL":
        yield Sentence("aggressive has no effect here: it needs SDXL (not Turbo) with a side below 4096 pixels")
    if values.aggressive and given.get("t2"):
        yield Sentence(
            "t2 has no effect in aggressive mode: there the strided downsampler always stops after 8/50 of the steps"
        )
    if values.aggressive and "t1" in given and Pool not in acting:
        yield Sentence(
            "t1 has no effect in aggressive mode unless it is above 8/50: until then the strided downsampler runs"
        )
    if not acting & {StridedDownsampler, Pool}:
        yield Sentence("RAU-Net runs on none of the {steps} steps: t1 and t2 are too small", steps=len(steps))
