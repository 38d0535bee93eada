"""Self-attention guidance (Hong et al. 2023, arXiv 2210.00939): away from an image with blurred details.

The unconditional image is blurred where the model attends most, the model is evaluated again with that, and the guided
image is moved away from what it sees there. Images are (n, c, h, w), at the noise level of `x`:

    with attention_watched(attention, unconditional) as watched:
        ...  # the model, at x
    worse = degraded(uncond, watched.map(), size)
    again = ...  # what the model sees in noisy_again(x, uncond, worse), without a prompt
    image = moved(image, worse, again)

This is what diffusers 0.35 does (`StableDiffusionSAGPipeline`) for models that predict noise. The map is that of the
self-attention of the middle block's first transformer, for the unconditional rows alone (the paper's equation 25); in
a run without CFG it is that of the prompt's rows, and their image takes the place of the unconditional one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib_fewstep.guidance.attention import Rows, Size
from lib_fewstep.guidance.blur import blurred

SCALE = 0.75
"""Strength, by default: diffusers' value."""

DEVIATION, REACH = 1.0, 4
"""Of the blur: its deviation and its places to each side, of the latent."""

THRESHOLD = 1.0
"""Above it a place is attended to: what each gets from all queries together if they attend everywhere alike."""


class Watched:
    """The queries and keys of an attention's chosen rows."""

    def __init__(self, heads: int, scale: float | None) -> None:
        """Of so many heads; `scale` multiplies their products, and None is the usual 1 / sqrt(width of a head)."""
        self._heads, self._scale = heads, scale
        self.queries: list[Tensor] = []
        self.keys: list[Tensor] = []

    def map(self) -> Tensor | None:
        """What each place gets from all queries, as the mean over the heads: (rows, tokens), in float32 at least.

        It has the chosen rows of all calls since it was last asked for, in their order, and is None if there were none.
        """
        if not self.queries:
            return None
        queries, keys = torch.cat(self.queries), torch.cat(self.keys)
        self.forget()
        with _no_autocast(queries.device.type):
            return _received(queries, keys, self._heads, self._scale)

    def forget(self) -> None:
        """As if nothing had been seen."""
        self.queries.clear()
        self.keys.clear()


@contextmanager
def attention_watched(attention: Any, rows: Rows) -> Iterator[Watched]:
    """See what the chosen rows of a self-attention attend to, by its `to_q` and `to_k`; its output stays as it is.

    `attention` has `heads`, and a `scale` if that is not the usual one.
    """
    watched = Watched(attention.heads, getattr(attention, "scale", None))

    def keep(where: list[Tensor]) -> Any:
        def hook(_: nn.Module, __: Any, projected: Tensor) -> None:
            chosen = rows(len(projected))
            if chosen.any():
                where.append(projected[chosen].detach())

        return hook

    handles = [
        attention.to_q.register_forward_hook(keep(watched.queries)),
        attention.to_k.register_forward_hook(keep(watched.keys)),
    ]
    try:
        yield watched
    finally:
        for handle in handles:
            handle.remove()


def degraded(uncond: Tensor, attended: Tensor, size: Size) -> Tensor:
    """The unconditional image (n, c, h, w), blurred where the model attends to it.

    `attended` (n, tokens) is what `map` gives, and `size` the height and width of a map of so many tokens. It is
    enlarged to the image's size, place by place.
    """
    share = functional.interpolate(attended.reshape(-1, 1, *size), uncond.shape[2:])
    return torch.where(share > THRESHOLD, blurred(uncond, DEVIATION, REACH), uncond)


def noisy_again(x: Tensor, uncond: Tensor, worse: Tensor) -> Tensor:
    """The degraded image with the noise that the model has seen in `x` beside the unconditional image."""
    return worse + (x - uncond)


def moved(image: Tensor, worse: Tensor, again: Tensor, scale: float = SCALE) -> Tensor:
    """The guided image with self-attention guidance; `again` is what the model sees in `noisy_again`.

    The paper moves predicted noise away from what is predicted for the degraded image (equation 16). The two noises
    are of different noisy images, and their difference is `(again - worse) / sigma`: a model that sees the degraded
    image as it is changes nothing.
    """
    return image + scale * (worse - again)


def _received(queries: Tensor, keys: Tensor, heads: int, scale: float | None) -> Tensor:
    """Head by head: with a map of 64x64 each of them takes 64 MiB a row."""
    precise = torch.promote_types(queries.dtype, torch.float32)
    factor = (queries.shape[2] / heads) ** -0.5 if scale is None else scale
    pairs = zip(queries.to(precise).chunk(heads, 2), keys.to(precise).chunk(heads, 2), strict=True)
    received = [(factor * query @ key.transpose(1, 2)).softmax(-1).sum(1) for query, key in pairs]
    return torch.stack(received).mean(0)


def _no_autocast(device: str) -> AbstractContextManager[Any]:
    """Products in the tensors' own precision."""
    return torch.autocast(device, enabled=False) if device in ("cpu", "cuda") else nullcontext()
