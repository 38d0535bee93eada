"""Which rows of the UNet's batches are which, and what guidance changes inside of the UNet for some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from lib_fewstep.guidance.attention import Size, against, blurred_queries, hooked, values_alone
from lib_fewstep.guidance.self_attention import Watched, attention_watched
from lib_fewstep.guidance.settings import ALL, DOWN, MIDDLE, UP, GuidanceSettings
from lib_fewstep.options import SettingError

_PARTS: dict[str, tuple[str, ...]] = {
    MIDDLE: ("middle_block",),
    DOWN: ("input_blocks",),
    UP: ("output_blocks",),
    ALL: ("input_blocks", "middle_block", "output_blocks"),
}


class Row(Enum):
    """What a row of a batch is evaluated for."""

    PROMPT = "prompt"
    PERTURBED = "PAG"
    """With the prompt, and in some self-attentions every token alone."""
    SMOOTHED = "SEG"
    """With the prompt, and blurred queries in some self-attentions."""
    NEGATIVE = "negative prompt"
    DEGRADED = "SAG"
    """With the negative prompt, of latents in which something was blurred; an evaluation after the others."""


class RowsInUNet:
    """The rows of one evaluation, while it may reach the UNet in several calls; for each call, masks of its rows.

    A call with rows that nobody has announced (somebody cuts the image into tiles) is left as it is, and noted.
    """

    def __init__(self, unet: nn.Module, settings: GuidanceSettings, *, perturbing: bool) -> None:
        """Of a UNet in the layout of ldm and sgm; `perturbing` is whether PAG, SEG and SAG act in this pass.

        Raises SettingError where one of them has no self-attention to act in.
        """
        if perturbing:
            _check_self_attention(unet, settings)
        self._unet, self._settings, self._perturbing = unet, settings, perturbing
        self.strange_calls = 0
        self._watched: Watched | None = None
        self._middle = _MapSize()
        self._rows: list[Row] = []
        self._negative: Tensor | None = None
        self._size: Size | None = None
        self._call = slice(0, 0)

    def expect(self, rows: Sequence[Row], negative: Tensor | None = None, size: Size | None = None) -> None:
        """The rows of the evaluation that comes next, in the order in which they reach the UNet.

        `size` is the latents' height and width: a call of another size is not of these rows. `negative` is the
        embedding of the negative prompts for NAG, (rows, tokens, channels) with a row for each row.
        """
        self._rows, self._negative, self._size, self._call = list(rows), negative, size, slice(0, 0)
        if self._watched is not None:
            self._watched.forget()

    @contextmanager
    def changed(self) -> Iterator[None]:
        """The UNet with whatever the settings change in it; nothing is left of it afterwards."""
        settings = self._settings
        with ExitStack() as stack:
            stack.enter_context(hooked(self._unet.register_forward_pre_hook(self._begin_call)))
            for attention in _attentions(self._unet, "attn2") if settings.nag_scale > 0 else ():
                numbers = settings.nag_scale, settings.nag_tau, settings.nag_alpha
                stack.enter_context(against(attention, self._prompted, self._negatives, *numbers))
            if self._perturbing and settings.sag_scale > 0:
                stack.enter_context(self._watching())
            if self._perturbing and (settings.pag_scale > 0 or settings.seg_scale > 0):
                for transformer, attention in _self_attentions(self._unet, settings.attention_blocks):
                    stack.enter_context(self._perturbed(transformer, attention))
            yield

    def attended(self) -> tuple[Tensor, Size] | None:
        """What the negative prompt's rows attended to in the middle block, (rows, tokens), and the size of the map.

        Of the evaluation that was announced last; None where it did not reach that attention.
        """
        attended = None if self._watched is None else self._watched.map()
        return None if attended is None else (attended, self._middle.of_tokens(attended.shape[1]))

    @contextmanager
    def _watching(self) -> Iterator[None]:
        transformer, attention = _self_attentions(self._unet, MIDDLE)[0]
        hook = transformer.register_forward_pre_hook(self._middle.remember)
        with hooked(hook), attention_watched(attention, self._mask_of(Row.NEGATIVE)) as self._watched:
            yield
        self._watched = None

    @contextmanager
    def _perturbed(self, transformer: nn.Module, attention: nn.Module) -> Iterator[None]:
        settings, map_size = self._settings, _MapSize()
        with ExitStack() as stack:
            if settings.pag_scale > 0:
                stack.enter_context(values_alone(attention, self._mask_of(Row.PERTURBED)))
            if settings.seg_scale > 0:
                sigma = float("inf") if settings.seg_sigma is None else settings.seg_sigma
                stack.enter_context(hooked(transformer.register_forward_pre_hook(map_size.remember)))
                stack.enter_context(blurred_queries(attention, self._mask_of(Row.SMOOTHED), sigma, map_size.of_tokens))
            yield

    def _begin_call(self, _: nn.Module, args: tuple[Any, ...]) -> None:
        start, count = self._call.stop, len(args[0]) if args else 0
        other_size = count > 0 and self._size is not None and tuple(args[0].shape[-2:]) != tuple(self._size)
        if self._rows and (other_size or not 0 < count <= len(self._rows) - start):
            self.strange_calls += 1
            self._rows = []
        self._call = slice(start, start + count)

    def _mask_of(self, *kinds: Row) -> Callable[[int], Tensor]:
        def mask(count: int) -> Tensor:
            rows = torch.tensor([row in kinds for row in self._rows[self._call]], dtype=torch.bool)
            if len(rows) == 0 or count % len(rows):
                return torch.zeros(count, dtype=torch.bool)
            return rows.repeat_interleave(count // len(rows))  # windows stand next to each other

        return mask

    def _prompted(self, count: int) -> Tensor:
        kinds = () if self._negative is None else (Row.PROMPT, Row.PERTURBED, Row.SMOOTHED)
        return self._mask_of(*kinds)(count)

    def _negatives(self) -> Tensor:
        assert self._negative is not None
        rows = self._negative[self._call]
        return rows[self._prompted(len(rows)).to(rows.device)]


class _MapSize:
    """The size of the feature map that a transformer got last."""

    def __init__(self) -> None:
        self._size: Size = (0, 0)

    def remember(self, _: nn.Module, args: tuple[Any, ...]) -> None:
        self._size = (args[0].shape[-2], args[0].shape[-1])

    def of_tokens(self, tokens: int) -> Size:
        """Of the map, or of the windows of half its sides that it was cut into."""
        height, width = self._size
        half = (height + 1) // 2, (width + 1) // 2
        return half if tokens == half[0] * half[1] else self._size


def without_self_attention(unet: nn.Module, settings: GuidanceSettings) -> dict[str, str]:
    """The scales above 0 that find no self-attention in a UNet, and the part of it where they look for one."""
    places = {"pag_scale": settings.attention_blocks, "seg_scale": settings.attention_blocks, "sag_scale": MIDDLE}
    return {
        scale: place
        for scale, place in places.items()
        if getattr(settings, scale) > 0 and not _self_attentions(unet, place)
    }


def _check_self_attention(unet: nn.Module, settings: GuidanceSettings) -> None:
    for scale, place in without_self_attention(unet, settings).items():
        raise SettingError(
            f"{scale} = {getattr(settings, scale):g} is not allowed with this UNet, which has no self-attention in its "
            f"part {place}: it must be 0."
        )


def _attentions(part: nn.Module, name: str) -> list[Any]:
    return [attention for module in part.modules() if (attention := module._modules.get(name)) is not None]


def _self_attentions(unet: nn.Module, blocks: str) -> list[tuple[nn.Module, Any]]:
    """Each self-attention in a part of the UNet, and the transformer that it is in."""
    modules = [module for name in _PARTS[blocks] for module in getattr(unet, name).modules()]
    return [
        (transformer, layer._modules["attn1"])
        for transformer in modules
        if "transformer_blocks" in transformer._modules
        for layer in transformer.modules()
        if "attn1" in layer._modules and not getattr(layer, "disable_self_attn", False)
    ]
