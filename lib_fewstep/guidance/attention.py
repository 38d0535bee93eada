"""What guidance changes inside of attention, for some rows of the batch, while a context is open.

The modules are those of Stable Diffusion's UNets: `to_q`, `to_k`, `to_v`, and `to_out`, a sequence that begins with a
linear layer. Only these layers are hooked, so whoever has replaced the computation between them is used as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from lib_fewstep.guidance.blur import blurred
from lib_fewstep.guidance.nag import nag

Rows = Callable[[int], Tensor]
"""Which rows of a call's batch of that many are meant, as a mask (n,) on the CPU."""

Size = tuple[int, int]


@contextmanager
def values_alone(attention: Any, rows: Rows) -> Iterator[None]:
    """Perturbed attention (Ahn et al. 2024, arXiv 2403.17377, section 4.1): every token sees itself alone."""
    values: list[Tensor] = []

    def remember(_: nn.Module, __: Any, output: Tensor) -> None:
        values[:] = [output]

    def replace(_: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
        chosen = rows(len(args[0]))
        return (_with(args[0], chosen, values[0][chosen]),)

    with hooked(attention.to_v.register_forward_hook(remember), _first(attention).register_forward_pre_hook(replace)):
        yield


@contextmanager
def blurred_queries(attention: Any, rows: Rows, sigma: float, size: Callable[[int], Size]) -> Iterator[None]:
    """Smoothed energy guidance (Hong 2024, arXiv 2408.00760, section 4.3): queries blurred over the map.

    `sigma` is the blur's deviation in places of the map; infinity means that every query is their mean. `size` gives
    the height and width of a map of so many tokens.
    """

    def blur(_: nn.Module, __: Any, queries: Tensor) -> Tensor:
        chosen = rows(len(queries))
        return _with(queries, chosen, _blurred(queries[chosen], sigma, size(queries.shape[1])))

    with hooked(attention.to_q.register_forward_hook(blur)):
        yield


@contextmanager
def against(
    attention: Any, rows: Rows, negative: Callable[[], Tensor], scale: float, tau: float, alpha: float
) -> Iterator[None]:
    """NAG in a cross-attention, whose call gets a `context`; see `nag` for the numbers.

    `negative` gives the negative prompt's embedding for the rows that are meant, (rows, tokens, channels); its number
    of tokens need not be the prompt's.
    """
    seen: list[Tensor] = []
    asking = False

    def ask(_: nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal asking
        if asking:
            return
        seen.clear()
        chosen = rows(len(args[0]))
        if chosen.any():
            asking = True
            try:
                attention(args[0][chosen], context=negative().to(args[0]))
            finally:
                asking = False

    def move(_: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor] | None:
        if asking:
            seen[:] = args[:1]
            return None
        if not seen:
            return None
        chosen = rows(len(args[0]))
        return (_with(args[0], chosen, nag(args[0][chosen], seen[0], scale, tau, alpha)),)

    with hooked(attention.register_forward_pre_hook(ask), _first(attention).register_forward_pre_hook(move)):
        yield


def _first(attention: Any) -> nn.Module:
    """The linear layer of `to_out`, which some call without the rest of it."""
    layer: nn.Module = attention.to_out[0]
    return layer


def _with(whole: Tensor, chosen: Tensor, rows: Tensor) -> Tensor:
    """The tensor with other rows in the chosen places."""
    changed = whole.clone()
    changed[chosen] = rows.to(whole)
    return changed


def _blurred(queries: Tensor, sigma: float, size: Size) -> Tensor:
    """Queries (n, tokens, channels) after a Gaussian of six deviations' width, mirrored at the map's edges."""
    if math.isinf(sigma):
        return queries.mean(dim=1, keepdim=True).expand_as(queries)
    maps = queries.transpose(1, 2).reshape(len(queries), queries.shape[2], *size)
    return blurred(maps, sigma, math.ceil(6 * sigma) // 2).flatten(2).transpose(1, 2)


@contextmanager
def hooked(*handles: Any) -> Iterator[None]:
    """The hooks are gone afterwards."""
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield
