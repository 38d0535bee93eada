"""Other extensions that work on the same UNet, each as small as it can be, and the same effect in another way."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from ldm.modules.attention import CrossAttention
from ldm.modules.diffusionmodules import openaimodel
from ldm.modules.diffusionmodules.util import timestep_embedding
from torch import Tensor, nn
from torch.nn import functional

from bench.methods import token_merging as merged_tokens

Size = tuple[int, int]
Patch = Callable[[nn.Module, Size], AbstractContextManager[object]]
LATENT, ODD = (16, 24), (17, 13)


@dataclass(frozen=True)
class Neighbour:
    """`patch` and `twin` change a UNet at a latent size; `twin` has the same effect in a way that nobody can miss.

    `yields` says by method which settings of ours give way, and what the note about it says.
    """

    patch: Patch
    twin: Patch
    size: Size = LATENT
    neutral: bool = False
    yields: Mapping[str, tuple[Mapping[str, Any], str]] = field(default_factory=dict)


@contextmanager
def own_attribute(modules: list[Any], name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """An attribute put on each instance, over that of its class."""
    for module in modules:
        vars(module)[name] = make(module)
    try:
        yield
    finally:
        for module in modules:
            vars(module).pop(name, None)


@contextmanager
def subclassed(modules: list[Any], forward: Callable[..., Tensor]) -> Iterator[None]:
    """Attention of a class of its own."""
    for module in modules:
        module.__class__ = type("Attention", (type(module),), {"forward": forward})
    try:
        yield
    finally:
        for module in modules:
            module.__class__ = type(module).__base__


@contextmanager
def hooked(modules: list[nn.Module], hook: Callable[..., Tensor]) -> Iterator[None]:
    """A forward hook on each of the modules."""
    with ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_hook(hook).remove)
        yield


def transformers(unet: nn.Module) -> list[Any]:
    return [module for module in unet.modules() if hasattr(module, "attn1")]


def convolutions(unet: nn.Module) -> list[nn.Conv2d]:
    return [module for module in unet.modules() if isinstance(module, nn.Conv2d)]


# token merging, by the package that the WebUI uses


@contextmanager
def token_merging(unet: nn.Module, _size: Size) -> Iterator[None]:
    """Also what the package leaves behind is taken away: it is not ours."""
    try:
        with merged_tokens(unet, max_downsample=4):
            yield
    finally:
        for module in unet.modules():
            vars(module).pop("_tome_info", None)


# HyperTile: self-attention in tiles, whose shape follows from the image's aspect and the number of tokens


def _grid(tokens: int, size: Size) -> Size:
    rows = round(math.sqrt(tokens * size[0] / size[1]))
    assert tokens % rows == 0, f"{tokens} tokens have no {rows} rows"
    return rows, tokens // rows


def _tile_of_each(tokens: int, size: Size) -> Tensor:
    """The number of each token's tile: halves of each side that is even."""
    rows, columns = _grid(tokens, size)
    down = torch.arange(rows) // (rows // 2 if rows % 2 == 0 else rows)
    right = torch.arange(columns) // (columns // 2 if columns % 2 == 0 else columns)
    return (2 * down[:, None] + right).flatten()


def tiles(unet: nn.Module, size: Size) -> AbstractContextManager[None]:
    def made(attention: Any) -> Callable[..., Tensor]:
        original = attention.forward

        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            out, numbers = torch.empty_like(x), _tile_of_each(x.shape[1], size)
            for number in numbers.unique():
                out[:, numbers == number] = original(x[:, numbers == number], *args, **kwargs)
            return out

        return forward

    return own_attribute([transformer.attn1 for transformer in transformers(unet)], "forward", made)


def tiles_by_mask(unet: nn.Module, size: Size) -> AbstractContextManager[None]:
    def forward(self: Any, x: Tensor, context: Any = None, mask: Any = None) -> Tensor:
        numbers = _tile_of_each(x.shape[1], size)
        query, key, value = (
            projected.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projected in (self.to_q(x), self.to_k(x), self.to_v(x))
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=numbers[:, None] == numbers)
        return self.to_out(mixed.transpose(1, 2).flatten(2))

    return subclassed([transformer.attn1 for transformer in transformers(unet)], forward)


# regional prompting: the right half of the picture sees another text; the half is found by the number of tokens


def _regions(attend: Callable[..., Tensor], x: Tensor, context: Tensor, size: Size) -> Tensor:
    left = (torch.arange(size[1]) < size[1] // 2).expand(size).reshape(1, size[0] * size[1], 1)
    return torch.where(left, attend(x, context), attend(x, context.flip(-1)))


def _halved(side: int, times: int) -> int:
    return -(-side // 2**times)


def regions(unet: nn.Module, size: Size) -> AbstractContextManager[None]:
    def made(attention: Any) -> Callable[..., Tensor]:
        original = attention.forward

        def forward(x: Tensor, context: Any = None, mask: Any = None) -> Tensor:
            times = math.ceil(math.log2(math.sqrt(size[0] * size[1] / x.shape[1])))
            return _regions(original, x, context, (_halved(size[0], times), _halved(size[1], times)))

        return forward

    return own_attribute([transformer.attn2 for transformer in transformers(unet)], "forward", made)


@contextmanager
def regions_by_size(unet: nn.Module, _size: Size) -> Iterator[None]:
    sizes = {}

    def forward(self: Any, x: Tensor, context: Any = None, mask: Any = None) -> Tensor:
        return _regions(lambda *args: CrossAttention.forward(self, *args), x, context, sizes["latest"])

    with ExitStack() as stack:
        for module in unet.modules():
            if hasattr(module, "transformer_blocks"):
                see = module.register_forward_pre_hook(lambda _, args: sizes.update(latest=args[0].shape[-2:]))
                stack.callback(see.remove)
        stack.enter_context(subclassed([transformer.attn2 for transformer in transformers(unet)], forward))
        yield


# an image as a part of the prompt: cross-attention attends to its tokens as well, and asks for no positions


def _image_tokens(attention: Any, rows: int) -> Tensor:
    return torch.linspace(-1, 1, 4 * attention.to_k.in_features).reshape(1, 4, -1).repeat(rows, 1, 1)


def image_prompt(unet: nn.Module, _size: Size) -> AbstractContextManager[None]:
    def made(attention: Any) -> Callable[..., Tensor]:
        original = attention.forward

        def forward(x: Tensor, context: Any = None, mask: Any = None) -> Tensor:
            rows, _tokens, _channels = x.shape
            return original(x, context) + 0.5 * original(x, _image_tokens(attention, rows))

        return forward

    return own_attribute([transformer.attn2 for transformer in transformers(unet)], "forward", made)


def image_prompt_by_class(unet: nn.Module, _size: Size) -> AbstractContextManager[None]:
    def forward(self: Any, x: Tensor, context: Any = None, mask: Any = None) -> Tensor:
        image = CrossAttention.forward(self, x, _image_tokens(self, x.shape[0]))
        return CrossAttention.forward(self, x, context) + 0.5 * image

    return subclassed([transformer.attn2 for transformer in transformers(unet)], forward)


# ControlNet runs the blocks itself and adds to the skips; FreeU changes what is joined, in the library's `cat`

Join = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def _by_hand(unet: Any, join: Join, middle: Callable[[Tensor], Tensor]) -> AbstractContextManager[None]:
    """The model's forward exchanged for one that runs the blocks; `join` gets what is joined, and how often before."""

    def forward(h: Tensor, timesteps: Tensor, context: Any) -> Tensor:
        emb, skips = unet.time_embed(timestep_embedding(timesteps, unet.model_channels)), []
        for block in unet.input_blocks:
            h = block(h, emb, context)
            skips.append(h)
        h = middle(unet.middle_block(h, emb, context))
        for index, block in enumerate(unet.output_blocks):
            h = block(openaimodel.th.cat(join(h, skips.pop(), index), dim=1), emb, context)
        return unet.out(h)

    return own_attribute([unet], "forward", lambda _: forward)


@contextmanager
def _by_cat(unet: nn.Module, join: Join) -> Iterator[None]:
    """The library's `cat` exchanged for one that changes what it joins."""
    below = openaimodel.th
    calls = iter(())

    class Torch:
        def __getattr__(self, name: str) -> Any:
            return getattr(below, name)

        def cat(self, tensors: list[Tensor], *args: Any, **kwargs: Any) -> Tensor:
            return below.cat(list(join(*tensors, next(calls))), *args, **kwargs)

    def begin(*_: Any) -> None:
        nonlocal calls
        calls = iter(range(len(unet.output_blocks)))

    hook = unet.register_forward_pre_hook(begin)
    try:
        with patch.object(openaimodel, "th", Torch()):
            yield
    finally:
        hook.remove()


def _hint(like: Tensor, size: Size, strength: float) -> Tensor:
    ramp = torch.linspace(-1, 1, size[0])[:, None] * torch.linspace(1, 2, size[1])
    return strength * functional.interpolate(ramp[None, None], size=like.shape[-2:], mode="nearest")


def _hinted(size: Size) -> Join:
    return lambda h, skip, index: (h, skip + _hint(skip, size, 0.1 + 0.05 * index))


def controlnet(unet: nn.Module, size: Size) -> AbstractContextManager[None]:
    return _by_hand(unet, _hinted(size), lambda h: h + _hint(h, size, 0.3))


@contextmanager
def controlnet_by_cat(unet: Any, size: Size) -> Iterator[None]:
    hook = unet.middle_block.register_forward_hook(lambda _, __, h: h + _hint(h, size, 0.3))
    try:
        with _by_cat(unet, _hinted(size)):
            yield
    finally:
        hook.remove()


def _freer(h: Tensor, skip: Tensor, _index: int) -> tuple[Tensor, Tensor]:
    half = h.shape[1] // 2
    waves = torch.fft.fftn(skip, dim=(-2, -1))
    waves[..., 0, 0] *= 0.7
    return torch.cat([1.2 * h[:, :half], h[:, half:]], 1), torch.fft.ifftn(waves, dim=(-2, -1)).real


def freeu(unet: nn.Module, _size: Size) -> AbstractContextManager[None]:
    return _by_cat(unet, _freer)


def freeu_by_hand(unet: nn.Module, _size: Size) -> AbstractContextManager[None]:
    return _by_hand(unet, _freer, lambda h: h)


# LoRA: the class's forward adds the weights when a module is called for the first time

LAYERS = (nn.Conv2d, nn.Linear)


def _change(weight: Tensor) -> Tensor:
    return 0.1 * weight.flip(0)


@contextmanager
def lora(unet: nn.Module, _size: Size) -> Iterator[None]:
    layers, before = set(unet.modules()), {}

    def lazily(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def forward(self: Any, h: Tensor) -> Tensor:
            if self in layers and self not in before:
                before[self] = self.weight.clone()
                self.weight += _change(self.weight)
            return original(self, h)

        return forward

    try:
        with ExitStack() as stack:
            for layer in LAYERS:
                stack.enter_context(patch.object(layer, "forward", lazily(layer.forward)))
            yield
    finally:
        for module, weight in before.items():
            module.weight.copy_(weight)


@contextmanager
def lora_merged(unet: nn.Module, _size: Size) -> Iterator[None]:
    for module in unet.modules():
        if isinstance(module, LAYERS):
            module.weight += _change(module.weight)
    yield


# tiling: convolutions that pad around the edges


@contextmanager
def circular(unet: nn.Module, _size: Size) -> Iterator[None]:
    for convolution in convolutions(unet):
        convolution.padding_mode = "circular"
    try:
        yield
    finally:
        for convolution in convolutions(unet):
            convolution.padding_mode = "zeros"


def circular_by_forward(unet: nn.Module, _size: Size) -> AbstractContextManager[None]:
    """The padding is read when the patch is put on."""

    def made(convolution: nn.Conv2d) -> Callable[..., Tensor]:
        padding = list(convolution._reversed_padding_repeated_twice)

        def forward(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            padded = functional.pad(h, padding, mode="circular")
            return functional.conv2d(padded, weight, bias, convolution.stride, 0, convolution.dilation)

        return forward

    return own_attribute(convolutions(unet), "_conv_forward", made)


@contextmanager
def built_circular(unet: nn.Module, _size: Size) -> Iterator[None]:
    for parent in list(unet.modules()):
        for name, old in list(parent.named_children()):
            if isinstance(old, nn.Conv2d):
                geometry = (old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding)
                new = nn.Conv2d(*geometry, padding_mode="circular").requires_grad_(False)
                new.load_state_dict(old.state_dict())
                setattr(parent, name, new)
    yield


# a compiled block, inside of which HiDiffusion and before which Deep Shrink change something


@contextmanager
def always_compiled() -> Iterator[None]:
    """Fails where torch has given up on compiling, as it does at its limit, and has run the code as it is written."""
    given_up: list[str] = []

    def note(record: logging.LogRecord) -> bool:
        given_up.extend([record.getMessage()] if "hit config." in str(record.msg) else [])
        return True

    log = logging.getLogger("torch._dynamo.convert_frame")
    log.addFilter(note)
    try:
        yield
    finally:
        log.removeFilter(note)
    assert not given_up


@contextmanager
def compiled(unet: Any, _size: Size) -> Iterator[None]:
    blocks = unet.input_blocks
    blocks[2] = torch.compile(blocks[2], backend="eager")
    try:
        with always_compiled():
            yield
    finally:
        blocks[2] = blocks[2]._orig_mod
        vars(blocks[2]).pop("_is_torch_compile", None)


@contextmanager
def compiled_in_place(unet: Any, _size: Size) -> Iterator[None]:
    block = unet.input_blocks[2]
    block.compile(backend="eager")
    try:
        with always_compiled():
            yield
    finally:
        vars(block).pop("_compiled_call_impl", None)


# low VRAM: one block at a time has its weights; the hook that runs before a block brings them


@contextmanager
def low_vram(unet: Any, _size: Size) -> Iterator[None]:
    kept = {weight: weight.clone() for weight in unet.parameters()}
    present: list[nn.Module] = []

    def fetch(module: nn.Module, _args: Any) -> None:
        for block in present:
            for weight in block.parameters():
                weight.fill_(torch.nan)
        present[:] = [module]
        for weight in module.parameters():
            weight.copy_(kept[weight])

    blocks = [*unet.input_blocks, unet.middle_block, *unet.output_blocks]
    hooks = [block.register_forward_pre_hook(fetch) for block in blocks]
    for block in blocks:
        for weight in block.parameters():
            weight.fill_(torch.nan)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for weight, value in kept.items():
            weight.copy_(value)


def nothing(_unet: nn.Module, _size: Size) -> AbstractContextManager[None]:
    return nullcontext()


# a `forward` of a block's own, set and deleted on whatever stands in its place


PATCHED = (("input_blocks", 1), ("output_blocks", 7))


def _louder(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *args: 1.5 * original(*args)


@contextmanager
def louder(unet: nn.Module, _size: Size) -> Iterator[None]:
    for side, index in PATCHED:
        block = getattr(unet, side)[index]
        block.forward = _louder(block.forward)
    try:
        yield
    finally:
        for side, index in PATCHED:
            del getattr(unet, side)[index].forward


@contextmanager
def louder_by_hook(unet: nn.Module, _size: Size) -> Iterator[None]:
    with hooked([getattr(unet, side)[index] for side, index in PATCHED], lambda _block, _args, out: 1.5 * out):
        yield


# a map that a hook adds to what self-attention gives, a number for each token


def _ramp(tokens: Tensor) -> Tensor:
    return torch.linspace(0, 1, tokens.shape[1])[None, :, None]


@contextmanager
def ramps(unet: nn.Module, _size: Size) -> Iterator[None]:
    attentions = [block.attn1 for block in transformers(unet)]
    with hooked(attentions, lambda _attention, _args, out: out + _ramp(out)):
        yield


@contextmanager
def ramps_by_block(unet: nn.Module, _size: Size) -> Iterator[None]:
    def make(block: Any) -> Callable[..., Tensor]:
        def forward(x: Tensor, context: Tensor | None = None) -> Tensor:
            x = block.attn1(block.norm1(x)) + _ramp(x) + x
            x = block.attn2(block.norm2(x), context=context) + x
            return block.ff(block.norm3(x)) + x

        return forward

    with own_attribute(transformers(unet), "_forward", make):
        yield


WITHOUT_SMOOTHING = {"smooth_scaling": False}
NEIGHBOURS = {
    "token merging": Neighbour(
        token_merging,
        token_merging,
        yields={
            "HiDiffusion": ({"window_attention": False}, "another extension gives it"),
            "Deep Shrink": (WITHOUT_SMOOTHING, "smooth scaling is off, because token merging (tomesd)"),
        },
    ),
    "HyperTile": Neighbour(tiles, tiles_by_mask),
    "regional prompting": Neighbour(
        regions,
        regions_by_size,
        yields={"Deep Shrink": (WITHOUT_SMOOTHING, f"smooth scaling is off, because {__name__} (which")},
    ),
    "image prompt": Neighbour(image_prompt, image_prompt_by_class, size=ODD),
    "ControlNet": Neighbour(controlnet, controlnet_by_cat, size=ODD),
    "FreeU": Neighbour(freeu, freeu_by_hand),
    "a block's own forward": Neighbour(louder, louder_by_hook, size=ODD),
    "hooks on attention": Neighbour(ramps, ramps_by_block),
    "LoRA": Neighbour(lora, lora_merged, size=ODD),
    "tiling": Neighbour(circular, built_circular, size=ODD),
    "tiling by _conv_forward": Neighbour(circular_by_forward, built_circular),
    "compiled block": Neighbour(compiled, nothing, neutral=True),
    "block compiled in place": Neighbour(compiled_in_place, nothing, neutral=True),
    "low VRAM": Neighbour(low_vram, nothing, neutral=True),
}
