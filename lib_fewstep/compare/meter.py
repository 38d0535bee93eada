"""What sampling costs: calls, rows and seconds of a UNet, the seconds around it and the most memory."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

Mark = float | torch.cuda.Event
Span = tuple[Mark, Mark]


class Meter:
    """Measures from `start` to `stop`, as often as they are called; both add up.

    On CUDA the marks are events of the device, which are read when `seconds` or `unet_seconds` is asked for: nothing
    waits for the device in between. Elsewhere they are the clock's. The UNet gets two hooks, which `stop` removes.
    `start` sets the device's peak statistics back, for there is but one set of them in a process.
    """

    def __init__(self, device: torch.device) -> None:
        """A meter for a UNet on `device`, at zero."""
        self.unet_calls = 0
        self.unet_rows = 0
        self.peak_memory: int | None = None
        """The most bytes allocated on CUDA between a start and its stop; None elsewhere."""
        self._device = device
        self._unet: nn.Module | None = None
        self._hooks: list[Any] = []
        self._spans: list[Span] = []
        self._calls: list[Span] = []
        self._started: Mark | None = None
        self._called: Mark | None = None

    def start(self, unet: nn.Module | None) -> None:
        """Begin to measure; None while no UNet is loaded."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self.follow(unet)
        self._started = self._mark()

    def follow(self, unet: nn.Module | None) -> None:
        """Count the calls of `unet` from now on, and of no other."""
        if unet is self._unet:
            return
        for hook in self._hooks:
            hook.remove()
        self._unet = unet
        self._hooks = [] if unet is None else self._hooked(unet)

    def stop(self) -> None:
        """End what `start` has begun, and leave the UNet as it was."""
        self.follow(None)
        if self._started is not None:
            self._spans.append((self._started, self._mark()))
        self._started = None
        if self._device.type == "cuda":
            self.peak_memory = max(self.peak_memory or 0, torch.cuda.max_memory_allocated(self._device))

    @property
    def seconds(self) -> float:
        """Seconds between starts and stops; on CUDA it waits for the device."""
        return _total(self._spans)

    @property
    def unet_seconds(self) -> float:
        """Seconds inside the UNet; on CUDA it waits for the device."""
        return _total(self._calls)

    def _hooked(self, unet: nn.Module) -> list[Any]:
        return [
            unet.register_forward_pre_hook(lambda _, args, kwargs: self._before(*args, **kwargs), with_kwargs=True),
            unet.register_forward_hook(lambda *_: self._after()),
        ]

    def _before(self, x: Tensor, *_: Any, **__: Any) -> None:
        self.unet_calls += 1
        self.unet_rows += len(x)
        self._called = self._mark()

    def _after(self) -> None:
        if self._called is not None:
            self._calls.append((self._called, self._mark()))
            self._called = None

    def _mark(self) -> Mark:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event


def _total(spans: list[Span]) -> float:
    return sum(_between(*span) for span in spans)


def _between(first: Mark, last: Mark) -> float:
    if isinstance(first, float) and isinstance(last, float):
        return last - first
    assert isinstance(first, torch.cuda.Event)
    assert isinstance(last, torch.cuda.Event)
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000
