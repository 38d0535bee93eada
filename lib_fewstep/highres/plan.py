"""From what acts on a step to a `Scaling` for each block of the UNet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from lib_fewstep.highres.deep_shrink import Shrinker
from lib_fewstep.highres.raunet import strided, upsampling_to
from lib_fewstep.highres.resize import Size, halve, resize, size_of
from lib_fewstep.highres.schedule import Shrink, Step
from lib_fewstep.highres.windows import shift_of, windowed
from lib_fewstep.unet import Place, Scaling, Topology
from lib_fewstep.unet.topology import transformer_of, upsampler_of

Blocks = Mapping[Place, nn.Module]
"""The UNet's own blocks, whatever stands in their places now."""

_WINDOWED_DEPTH = 2
"""Of each stack of transformer blocks, the first two are windowed."""


def rad_place(topology: Topology) -> Place:
    """The strided convolution that RAU-Net replaces: the first one, on SDXL the second one."""
    return Place("input", topology.downsamplers[1 if topology.family == "SDXL" else 0])


def pool_place(topology: Topology) -> Place:
    """The block that RAU-Net pools after: the one behind the first downsampler."""
    return Place("input", topology.downsamplers[0] + 1)


def window_places(topology: Topology) -> dict[Place, int]:
    """The blocks of MSW-MSA, those with the largest feature maps, and how many transformer blocks are windowed."""
    largest = min(topology.level(attention.place) for attention in topology.attention)
    return {
        attention.place: min(attention.depth, _WINDOWED_DEPTH)
        for attention in topology.attention
        if topology.level(attention.place) == largest
    }


def shrink_places(topology: Topology, shrink: Shrink) -> tuple[Place, Place]:
    """The block whose input Deep Shrink makes smaller, and the one whose input it makes larger."""
    down = shrink.depth - 1
    return Place("input", down), Place("output", down if shrink.early_out else topology.partner(down))


def scalings(
    blocks: Blocks, topology: Topology, step: Step, index: int, note: Callable[[str], None]
) -> dict[Place, Scaling]:
    """A `Scaling` for every one of the UNet's blocks on the active step `index`.

    Besides the methods' own, every input block records the size of its skip, and every output block ends at exactly
    the size of the skip that it will meet. `note` receives a sentence when a block has to be left alone.
    """
    plan: dict[Place, Scaling] = {}
    for part in _parts(blocks, topology, step, index, note):
        for place, scaling in part.items():
            plan[place] = plan.get(place, Scaling()) + scaling
    return plan


Part = dict[Place, Scaling]


def _parts(blocks: Blocks, topology: Topology, step: Step, index: int, note: Callable[[str], None]) -> Iterator[Part]:
    skips = _Skips(topology, note)
    yield {Place("input", 0): Scaling(before=(skips.record(-1),))}
    if step.shrink:
        yield _deep_shrink(topology, step.shrink)
    if step.rad:
        yield {rad_place(topology): Scaling(before=(strided,))}
    if step.windows:
        yield _windows(blocks, topology, index, note)
    if step.pool:
        yield {pool_place(topology): Scaling(after=(halve,))}
    yield skips.recorded()
    yield skips.met(blocks, step.shrink.scaler if step.shrink else "bicubic")


class _Skips:
    """The sizes of the skips of one call of the UNet; -1 stands for the UNet's own input."""

    def __init__(self, topology: Topology, note: Callable[[str], None]) -> None:
        self._topology, self._note = topology, note
        self._sizes: dict[int, Size] = {}

    def recorded(self) -> Part:
        return {Place("input", i): Scaling(after=(self.record(i),)) for i in range(self._topology.blocks)}

    def met(self, blocks: Blocks, mode: str) -> Part:
        return {Place("output", j): self._meeting(blocks, j, mode) for j in range(self._topology.blocks)}

    def record(self, index: int) -> Callable[[Tensor], Tensor]:
        def change(h: Tensor) -> Tensor:
            self._sizes[index] = size_of(h)
            return h

        return change

    def _meeting(self, blocks: Blocks, index: int, mode: str) -> Scaling:
        skip = self._topology.partner(index) - 1

        def around(_: Tensor) -> AbstractContextManager[None]:
            return upsampling_to(upsampler, lambda: self._sizes.get(skip), unused)  # type: ignore[arg-type]

        def unused() -> None:
            self._note(f"another extension runs something else than the upsampler of {Place('output', index)}")

        def fit(h: Tensor) -> Tensor:
            if skip not in self._sizes:
                place = Place("input", max(skip, 0))
                self._note(f"another extension has exchanged {place} in the middle of a step")
                return h
            return resize(h, self._sizes[skip], mode)

        upsampler = upsampler_of(blocks[Place("output", index)])
        if upsampler is None and index in self._topology.upsamplers:
            unused()
        return Scaling(around=(around,) if upsampler is not None else (), after=(fit,))


def _deep_shrink(topology: Topology, shrink: Shrink) -> Part:
    inward, outward = shrink_places(topology, shrink)
    shrinker = Shrinker(shrink, downsamples=inward.index in topology.downsamplers)
    return {inward: Scaling(before=(shrinker.down,)), outward: Scaling(before=(shrinker.up,))}


def _windows(blocks: Blocks, topology: Topology, index: int, note: Callable[[str], None]) -> Part:
    part: Part = {}
    ordinal = 0
    for place, depth in window_places(topology).items():
        stack: Any = getattr(transformer_of(blocks[place]), "transformer_blocks", ())
        shifted = [
            (transformer.attn1, shift_of(index, ordinal + i))
            for i, transformer in enumerate(list(stack)[:depth])
            if isinstance(getattr(transformer, "attn1", None), nn.Module)
        ]
        if len(shifted) < depth:
            note(f"window attention left a transformer block of {place} alone: another extension has exchanged it")
        part[place] = Scaling(around=(_windowing(shifted, note),))
        ordinal += depth
    return part


def _windowing(
    shifted: list[tuple[nn.Module, int]], note: Callable[[str], None]
) -> Callable[[Tensor], AbstractContextManager[None]]:
    return lambda h: windowed(shifted, size_of(h), note)
