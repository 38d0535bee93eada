"""Other extensions that tell the size of a feature map from the number of its tokens."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CellType, ModuleType
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
        return f"{_module_of(_function(self.attention))} (which replaces the forward of cross-attention)"

    def counts_tokens(self, numbers: Iterable[int], like: Tensor) -> bool:
        """Whether it treats tokens by their position or their number; `numbers` are those that it would meet.

        It is called with equal tokens in each of these numbers. Plain cross-attention, also one with more to attend to,
        makes the same of each of them. It runs for as many rows as the feature map `like`, in the middle of the UNet's
        call, because what such a function needs may be set only there. What it has set itself is set back.
        """
        try:
            with _as_before(self.attention, like.device):
                outputs = [self._output(number, like) for number in numbers]
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


def replaced_attention(blocks: Iterable[tuple[Place, nn.Module]]) -> tuple[Replaced, ...]:
    """Every cross-attention in some blocks that a function replaces; it may do another thing in each of them."""
    return tuple(
        Replaced(place, attention) for place, block in blocks for attention, _ in _own_forwards("attn2", _inside(block))
    )


def reading_attention(middle: nn.Module, blocks: Iterable[nn.Module]) -> str | None:
    """The name of whoever replaces self-attention in the middle block alone, as one does that reads its map, or None.

    Those who replace it in the other blocks, too (HyperTile), work on whatever map each of them gets.
    """
    elsewhere = {_code(function) for block in blocks for _, function in _own_forwards("attn1", block.modules())}
    alone = [function for _, function in _own_forwards("attn1", middle.modules()) if _code(function) not in elsewhere]
    return _module_of(alone[0]) if alone else None


def replacing(unet: nn.Module) -> str | None:
    """The name of whoever has replaced a UNet's `forward`, or None."""
    return _module_of(_function(unet)) if "forward" in vars(unet) else None


def _module_of(function: Any) -> str:
    """Where it is written; a decorated function has the `__module__` of the one that it decorates."""
    return str(getattr(function, "__globals__", {}).get("__name__") or function.__module__)


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


def _function(module: nn.Module) -> Any:
    """The function behind an instance's `forward`, whatever is bound to it."""
    function = vars(module)["forward"]
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__func__", function)


@contextmanager
def _as_before(attention: nn.Module, device: torch.device) -> Iterator[None]:
    """What a call of its `forward` may set or fill is set back.

    That is what functions keep in cells, attributes of what they hold, the lists, dicts, sets and tensors in these,
    names of their modules, the lists, dicts and sets that have such a name, and torch's random numbers.
    """
    functions = _called(vars(attention)["forward"])
    cells = [(cell, cell.cell_contents) for function in functions for cell in _filled_cells(function)]
    held = [each for function in functions for each in (function, *_held(function))]
    spaces = [vars(each) for each in held if isinstance(getattr(each, "__dict__", None), dict)]
    modules = [getattr(function, "__globals__", {}) for function in functions]
    named = [value for names in modules for value in names.values() if type(value) in _CONTAINERS]
    before = [(each, _copied(each)) for each in [*_fillable([*held, *spaces]), *modules, *named]]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            for cell, contents in cells:
                cell.cell_contents = contents
            for each, copy in before:
                _refill(each, copy)


_CONTAINERS = (list, dict, set)
"""These exactly: a class that is made from them may have an `update` of its own."""


def _called(forward: Any) -> list[Any]:
    """A function, and those that it holds and may call."""
    found: list[Any] = []
    waiting = [forward]
    while waiting:
        function = waiting.pop()
        if (
            callable(function)
            and not isinstance(function, (type, nn.Module))
            and not any(function is each for each in found)
        ):
            found.append(function)
            waiting += _held(function)
    return found


def _held(function: Any) -> list[Any]:
    """What a function holds in its cells, as a partial or as a method; a Python module is nobody's own."""
    if isinstance(function, functools.partial):
        held = [function.func, *function.args, *function.keywords.values()]
    else:
        bound = [getattr(function, name, None) for name in ("__func__", "__self__")]
        held = [*bound, *(cell.cell_contents for cell in _filled_cells(function))]
    return [each for each in held if each is not None and not isinstance(each, ModuleType)]


def _filled_cells(function: Any) -> list[Any]:
    """The cells of a closure; one may still be empty."""
    return [cell for cell in getattr(function, "__closure__", None) or () if cell != CellType()]


def _fillable(held: Iterable[Any]) -> list[Any]:
    """The lists, dicts, sets and tensors among some values, and inside of these."""
    found: dict[int, Any] = {}
    waiting = list(held)
    while waiting:
        each = waiting.pop()
        if id(each) not in found and (type(each) in _CONTAINERS or _is_filled_tensor(each)):
            found[id(each)] = each
            waiting += () if isinstance(each, Tensor) else each.values() if isinstance(each, dict) else each
    return list(found.values())


def _is_filled_tensor(value: Any) -> bool:
    """Whether somebody may write into it: not to one that repeats itself, nor to weights."""
    is_tensor = isinstance(value, Tensor) and not isinstance(value, nn.Parameter)
    return is_tensor and 0 not in value.stride() and value.is_inference() == torch.is_inference_mode_enabled()


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value.copy()


def _refill(held: Any, before: Any) -> None:
    """With what was in it before; nothing of that is missing meanwhile, for another thread may read it."""
    if isinstance(held, Tensor):
        held.detach().copy_(before)
    elif isinstance(held, list):
        held[:] = before
    elif isinstance(held, set):
        held &= before
        held |= before
    else:
        for added in held.keys() - before.keys():
            del held[added]
        held.update(before)
