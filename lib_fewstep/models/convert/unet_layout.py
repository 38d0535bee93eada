"""The weights that a UNet of diffusers has, from what decides its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib_fewstep.models.convert.shapes import Shapes, layer, residual


@dataclass(frozen=True)
class Layout:
    """What a UNet is made of; each list is of its levels, from the largest feature maps down.

    `attended` levels have transformers, with a first attention that reads the text where it is `crossed`. `context` is
    the width of the text, `guidance` that of an embedded guidance scale.
    """

    channels: Sequence[int]
    layers: int
    attended: Sequence[bool]
    crossed: Sequence[bool]
    context: int
    linear: bool
    middle: bool
    guidance: int | None

    @property
    def embedded(self) -> int:
        """The width of the embedded times."""
        return 4 * self.channels[0]

    def shapes(self) -> Shapes:
        """The shapes of all weights."""
        return {**self._ends(), **self._down(), **(self._middle() if self.middle else {}), **self._up()}

    def _ends(self) -> Shapes:
        first = self.channels[0]
        found = {
            **layer("time_embedding.linear_1", self.embedded, first),
            **layer("time_embedding.linear_2", self.embedded, self.embedded),
            **layer("conv_in", first, 4, 3, 3),
            **layer("conv_norm_out", first),
            **layer("conv_out", 4, first, 3, 3),
        }
        return found if self.guidance is None else {**found, "time_embedding.cond_proj.weight": (first, self.guidance)}

    def _down(self) -> Shapes:
        found: Shapes = {}
        width = self.channels[0]
        for level, outer in enumerate(self.channels):
            for number in range(self.layers):
                found |= self._block(f"down_blocks.{level}", number, level, width)
                width = outer
            if level < len(self.channels) - 1:
                found |= layer(f"down_blocks.{level}.downsamplers.0.conv", outer, outer, 3, 3)
        return found

    def _middle(self) -> Shapes:
        last = self.channels[-1]
        return {
            **residual("mid_block.resnets.0", last, last, self.embedded),
            **self._transformer("mid_block.attentions.0", last, last),
            **residual("mid_block.resnets.1", last, last, self.embedded),
        }

    def _up(self) -> Shapes:
        found: Shapes = {}
        skipped = self._skipped()
        width = self.channels[-1]
        for block, level in enumerate(reversed(range(len(self.channels)))):
            outer = self.channels[level]
            for number in range(self.layers + 1):
                found |= self._block(f"up_blocks.{block}", number, level, width + skipped.pop())
                width = outer
            if level:
                found |= layer(f"up_blocks.{block}.upsamplers.0.conv", outer, outer, 3, 3)
        return found

    def _skipped(self) -> list[int]:
        """The channels of the feature maps that go from the way down to the way up."""
        resampled = [width for width in self.channels for _ in range(self.layers + 1)]
        return [self.channels[0], *resampled[:-1]]

    def _block(self, name: str, number: int, level: int, inner: int) -> Shapes:
        outer = self.channels[level]
        found = residual(f"{name}.resnets.{number}", inner, outer, self.embedded)
        if self.attended[level]:
            first = self.context if self.crossed[level] else outer
            found |= self._transformer(f"{name}.attentions.{number}", outer, first)
        return found

    def _transformer(self, name: str, width: int, first: int) -> Shapes:
        """A transformer of one block, whose first attention reads what is `first` wide."""
        block, pixel = f"{name}.transformer_blocks.0", () if self.linear else (1, 1)
        found = {
            **layer(f"{name}.norm", width),
            **layer(f"{name}.proj_in", width, width, *pixel),
            **layer(f"{name}.proj_out", width, width, *pixel),
            **layer(f"{block}.ff.net.0.proj", 8 * width, width),
            **layer(f"{block}.ff.net.2", width, 4 * width),
        }
        for number in (1, 2, 3):
            found |= layer(f"{block}.norm{number}", width)
        for number, read in ((1, first), (2, self.context)):
            found[f"{block}.attn{number}.to_q.weight"] = (width, width)
            found[f"{block}.attn{number}.to_k.weight"] = (width, read)
            found[f"{block}.attn{number}.to_v.weight"] = (width, read)
            found |= layer(f"{block}.attn{number}.to_out.0", width, width)
        return found
