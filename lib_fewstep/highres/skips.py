"""Exact skips: while a method acts, each output block ends at the size of the skip that it will meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from lib_fewstep.highres.methods.base import Moment, Parts
from lib_fewstep.highres.resize import Size, resize, size_of
from lib_fewstep.unet import Place, Scaling
from lib_fewstep.unet.topology import upsampler_of

UNET_INPUT = -1
"""Where the size of the UNet's own input is kept, beside those of the skips, which are counted from 0."""


def scalings(parts: Parts, moment: Moment) -> dict[Place, Scaling]:
    """A `Scaling` for every one of the UNet's blocks, on a step on which there are parts that act.

    Besides what these do, every input block records the size of its skip, and every output block ends at exactly the
    size of the skip that it will meet.
    """
    skips = _Skips(moment)
    moment = replace(moment, idle=skips.stop)
    found: dict[Place, Scaling] = {Place("input", 0): Scaling(before=(skips.begin,))}
    acting = Scaling(before=(skips.act,))
    changed = [{place: own + acting for place, own in part.scalings(moment).items()} for part in parts]
    for changes in (*changed, skips.recorders(), skips.resizers(parts[0].skip_mode)):
        for place, scaling in changes.items():
            found[place] = found.get(place, Scaling()) + scaling
    return found


class _Skips:
    """The sizes of the skips of one call of the UNet, and of its own input."""

    def __init__(self, moment: Moment) -> None:
        self._moment, self._topology = moment, moment.topology
        self._sizes: dict[int, Size] = {}
        self._stopped = False

    def begin(self, h: Tensor) -> Tensor:
        """A call of the UNet begins, with its own input."""
        self._stopped = False
        return self.record(UNET_INPUT)(h)

    def stop(self) -> None:
        """Nothing acts in this call after all: the rest of it runs as without a method."""
        self._stopped = True
        self._moment.idle()

    def act(self, h: Tensor) -> Tensor:
        """A block that a part changes is about to run."""
        if not self._stopped:
            self._moment.act()
        return h

    def recorders(self) -> dict[Place, Scaling]:
        return {Place("input", i): Scaling(after=(self.record(i),)) for i in range(self._topology.blocks)}

    def resizers(self, mode: str) -> dict[Place, Scaling]:
        return {Place("output", j): self._resizer(j, mode) for j in range(self._topology.blocks)}

    def record(self, index: int) -> Callable[[Tensor], Tensor]:
        def change(h: Tensor) -> Tensor:
            self._sizes[index] = size_of(h)
            return h

        return change

    def _resizer(self, index: int, mode: str) -> Scaling:
        note, skip = self._moment.note, self._topology.partner(index) - 1
        upsampler = upsampler_of(self._moment.blocks[Place("output", index)])

        def unused() -> None:
            note(f"another extension runs something other than the upsampler of {Place('output', index)}")

        def size() -> Size | None:
            return None if self._stopped else self._sizes.get(skip)

        def fit(h: Tensor) -> Tensor:
            if self._stopped:
                return h
            if skip not in self._sizes:
                note(f"another extension has replaced {Place('input', max(skip, 0))} in the middle of a step")
                return h
            return resize(h, self._sizes[skip], mode)

        if upsampler is None:
            if index in self._topology.upsamplers:
                unused()
            return Scaling(after=(fit,))
        return Scaling(around=(_upsampling(upsampler, size, unused),), after=(fit,))


def _upsampling(
    upsampler: nn.Module, size: Callable[[], Size | None], unused: Callable[[], None]
) -> Callable[[Tensor], AbstractContextManager[None]]:
    return lambda _: upsampling_to(upsampler, size, unused)


@contextmanager
def upsampling_to(upsampler: nn.Module, size: Callable[[], Size | None], unused: Callable[[], None]) -> Iterator[None]:
    """The upsampler's convolution gets one nearest resize straight to `size`, in place of the fixed factor 2.

    The upsampler runs as it is, whoever has changed it: the nearest resize of what it has doubled is the same, to the
    bit, as that of its input. Where the size is not known (None), the factor stays. `unused` is called where the
    convolution has not run.
    """
    ran = False

    def resize_input(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal ran
        ran, target = True, size()
        return args if target is None else (resize(args[0], target, "nearest"), *args[1:])

    handle = upsampler.conv.register_forward_pre_hook(resize_input)  # type: ignore[union-attr]
    try:
        yield
    finally:
        handle.remove()
    if not ran:
        unused()
