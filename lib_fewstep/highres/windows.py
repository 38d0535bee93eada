"""MSW-MSA: self-attention in 2x2 shifting windows (HiDiffusion, arXiv 2311.17528, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lib_fewstep.highres.resize import Size, pad_to_even

SHIFTS = 4


def shift_of(step: int, block: int) -> int:
    """Which of the four shifts a block uses on a step: all four in turn, neighbouring blocks never the same."""
    return (step + block) % SHIFTS


def partition(tokens: Tensor, size: Size, shift: int) -> Tensor:
    """Tokens (batch, height * width, channels) as windows (4 * batch, tokens of a window, channels).

    Windows are ceil(height / 2) x ceil(width / 2), after a cyclic roll by `shift` quarters of a window. An odd last
    row or column is repeated to fill the windows.
    """
    batch, _, channels = tokens.shape
    grid = pad_to_even(tokens.reshape(batch, *size, channels), dims=(1, 2))
    down, right = _offsets(grid, shift)
    grid = torch.roll(grid, (-down, -right), dims=(1, 2))
    height, width = grid.shape[1] // 2, grid.shape[2] // 2
    windows = grid.reshape(batch, 2, height, 2, width, channels).permute(0, 1, 3, 2, 4, 5)
    return windows.reshape(4 * batch, height * width, channels)


def merge(windows: Tensor, size: Size, shift: int) -> Tensor:
    """The inverse of `partition`: tokens (batch, height * width, channels)."""
    batch, channels = windows.shape[0] // 4, windows.shape[-1]
    height, width = ((side + 1) // 2 for side in size)
    grid = windows.reshape(batch, 2, 2, height, width, channels).permute(0, 1, 3, 2, 4, 5)
    grid = grid.reshape(batch, 2 * height, 2 * width, channels)
    grid = torch.roll(grid, _offsets(grid, shift), dims=(1, 2))
    return grid[:, : size[0], : size[1]].reshape(batch, size[0] * size[1], channels)


@contextmanager
def windowed(shifted: list[tuple[nn.Module, int]], size: Size, note: Callable[[str], None]) -> Iterator[None]:
    """Each self-attention sees windows of its `size` (height, width) tokens, with the shift that is given with it.

    A self-attention whose tokens are not those of the feature map, because another extension merged or extended
    them, is left alone, and `note` is told; also of one that is not called at all.
    """
    with ExitStack() as hooks:
        window_hooks = [_WindowHook(size, shift, note) for _, shift in shifted]
        for (attention, _), hook in zip(shifted, window_hooks, strict=True):
            for handle in (  # next to the call: other hooks see all tokens, before and after it
                attention.register_forward_pre_hook(hook.before, with_kwargs=True),
                attention.register_forward_hook(hook.after, prepend=True),
            ):
                hooks.callback(handle.remove)
        yield
        if not all(hook.called for hook in window_hooks):
            note("window attention left a block alone: another extension runs something else in its place")


class _WindowHook:
    def __init__(self, size: Size, shift: int, note: Callable[[str], None]) -> None:
        self.size, self.shift, self.note = size, shift, note
        self.in_windows = self.called = False

    def before(
        self, _module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        """Cut the tokens of self-attention into windows; what gets anything else is left alone, with a note."""
        self.called = True
        others = {name: value for name, value in kwargs.items() if name != "x"}
        tokens: Any
        tokens, *more = args or (kwargs.get("x"),)
        unexpected = self._unexpected(tokens, [*more, *others.values()])
        self.in_windows = unexpected is None
        if unexpected is not None:
            self.note(f"window attention left a block alone: another extension gives it {unexpected}")
            return args, kwargs
        return (partition(tokens, self.size, self.shift), *more), others

    def _unexpected(self, tokens: Any, others: list[Any]) -> str | None:
        """What attention gets besides or instead of the tokens of the feature map."""
        if not isinstance(tokens, Tensor) or not all(_is_default(value) for value in others):
            return "other inputs than the tokens of one feature map"
        if tokens.shape[1] != self.size[0] * self.size[1]:
            return f"{tokens.shape[1]} tokens for a feature map of {self.size[1]}x{self.size[0]}"
        return None

    def after(self, _module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Join the windows again, where there are any."""
        return merge(output, self.size, self.shift) if self.in_windows else output


def _is_default(value: object) -> bool:
    """Whether an argument leaves plain self-attention as it is: None, 0 or False."""
    return value is None or (isinstance(value, (int, float)) and not value)


def _offsets(grid: Tensor, shift: int) -> tuple[int, int]:
    """Rows and columns of a roll; as in the reference, a map too flat for a shift downwards is not rolled at all."""
    down, right = (grid.shape[dim] // 2 // SHIFTS * shift for dim in (1, 2))
    return (down, right) if down else (0, 0)
