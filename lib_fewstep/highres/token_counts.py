"""Other extensions that tell the size of a feature map from the number of its tokens."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lib_fewstep.unet import Place
from lib_fewstep.unet.compiled import uncompiled
from lib_fewstep.unet.topology import transformer_of

_TEXT_TOKENS = 77
_TOLERANCE = 0.02
"""Of the largest value; half precisions differ by less than that between numbers of tokens."""


def merging_tokens(blocks: Iterable[nn.Module]) -> str | None:
    """The name of whoever merges tokens in a UNet's blocks, which divides the sides of the image, or None."""
    classes = {type(module).__name__ for block in blocks for module in _inside(block)}
    return "token merging (tomesd)" if "ToMeBlock" in classes else None


@dataclass(frozen=True)
class Replaced:
    """A cross-attention whose `forward` another extension has replaced, and where it is."""

    place: Place
    attention: nn.Module

    @property
    def name(self) -> str:
        """Whose function it is."""
        return f"{_function(self.attention).__module__} (which replaces the forward of cross-attention)"

    def counts_tokens(self, number: int, like: Tensor) -> bool:
        """Whether it treats tokens by their position or their number; `number` is how many it would meet.

        It is called with so many equal tokens, and with one. Plain cross-attention, also one with more to attend to,
        makes the same of each of them. It runs for as many rows as the feature map `like`, in the middle of the UNet's
        call, because what such a function needs may be set only there. What it has set itself is set back.
        """
        try:
            with _as_before(self.attention):
                outputs = [self._output(tokens, like) for tokens in (number, 1)]
        except Exception:  # noqa: BLE001 (whatever it raises, it is not made for this number)
            return True
        first = outputs[0][:, :1]
        allowed = _TOLERANCE * float(first.abs().max())
        return not all(float((output - first).abs().max()) <= allowed for output in outputs)

    def _output(self, number: int, like: Tensor) -> Tensor:
        """What it makes of so many equal tokens and a made-up text: (rows, tokens, channels) in float32."""
        draw = torch.Generator().manual_seed(0)
        attention: Any = self.attention
        token = torch.randn(1, 1, attention.to_q.in_features, generator=draw).to(like)
        text = torch.randn(1, _TEXT_TOKENS, attention.to_k.in_features, generator=draw).to(like)
        rows = like.shape[0]
        output: Tensor = attention.forward(token.repeat(rows, number, 1), context=text.repeat(rows, 1, 1))
        if output.shape[:2] != (rows, number):
            raise ValueError(f"{tuple(output.shape)} for {number} tokens in {rows} rows")
        return output.float()


def replaced_attention(blocks: Mapping[Place, nn.Module]) -> tuple[Replaced, ...]:
    """Every cross-attention in a UNet's blocks that a function replaces; it may do another thing in each of them."""
    return tuple(
        Replaced(place, attention)
        for place, block in blocks.items()
        for attention, _ in _own_forwards("attn2", _inside(block))
    )


def reading_attention(middle: nn.Module, blocks: Iterable[nn.Module]) -> str | None:
    """The name of whoever replaces self-attention in the middle block alone, as one does that reads its map, or None.

    Those who replace it in the other blocks, too (HyperTile), work on whatever map each of them gets.
    """
    elsewhere = {_code(function) for block in blocks for _, function in _own_forwards("attn1", block.modules())}
    alone = [function for _, function in _own_forwards("attn1", middle.modules()) if _code(function) not in elsewhere]
    return str(alone[0].__module__) if alone else None


def _inside(block: nn.Module) -> Iterator[nn.Module]:
    transformer = transformer_of(block)
    return transformer.modules() if transformer is not None else iter(())


def _own_forward(attention: nn.Module) -> Any:
    """The function that an instance has as its `forward`, where it is not its class's."""
    if "forward" not in vars(attention):
        return None
    function = _function(attention)
    return None if function is type(attention).forward else function


def _code(function: Any) -> object:
    """The same for all functions that one line makes, each around another attention."""
    return getattr(function, "__code__", type(function))


def _own_forwards(name: str, modules: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, Any]]:
    """Each attention of this name whose `forward` is replaced, and the function that does."""
    for module in modules:
        attention = module._modules.get(name)
        if attention is not None and (function := _own_forward(uncompiled(attention))) is not None:
            yield uncompiled(attention), function


def _function(attention: nn.Module) -> Any:
    """The function behind an instance's `forward`, whatever is bound to it."""
    return _layers(attention)[-1]


def _layers(attention: nn.Module) -> list[Any]:
    """An instance's `forward`, and what it calls where it is a partial or a method."""
    layers: list[Any] = [vars(attention)["forward"]]
    while isinstance(layers[-1], functools.partial):
        layers.append(layers[-1].func)
    function = getattr(layers[-1], "__func__", None)
    return layers if function is None else [*layers, function]


@contextmanager
def _as_before(attention: nn.Module) -> Iterator[None]:
    """What a call of its `forward` may set or fill is set back: names of its module, attributes of what it holds."""
    restore = list(_restorers(list(_held(attention)), set()))
    try:
        yield
    finally:
        for set_back in restore:
            set_back()


def _held(attention: nn.Module) -> Iterator[Any]:
    for layer in _layers(attention):
        cells = [cell.cell_contents for cell in getattr(layer, "__closure__", None) or ()]
        yield cells
        for owner in (layer, getattr(layer, "__self__", None), *cells):
            yield getattr(owner, "__dict__", None)
        yield getattr(layer, "__globals__", None)


def _restorers(held: Any, seen: set[int]) -> Iterator[Callable[[], object]]:
    """How to set back a tensor, or a list, dict or set and whatever of these is inside."""
    if id(held) in seen:
        return
    seen.add(id(held))
    if isinstance(held, Tensor) and not isinstance(held, nn.Parameter) and 0 not in held.stride():
        yield functools.partial(held.detach().copy_, held.detach().clone())
    elif isinstance(held, (list, dict, set)):
        yield functools.partial(_refill, held, held.copy())
        for value in list(held.values() if isinstance(held, dict) else held):
            yield from _restorers(value, seen)


def _refill(held: Any, before: Any) -> None:
    """With what was in it before; nothing of that is missing meanwhile, for another thread may read it."""
    if isinstance(held, list):
        held[:] = before
        return
    for added in held - before if isinstance(held, set) else held.keys() - before.keys():
        held.remove(added) if isinstance(held, set) else held.pop(added)
    held.update(before)
