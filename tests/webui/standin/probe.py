"""What a test sees of a job from the inside, and the faults that it plants there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from tests.webui.standin.strict import fake


@dataclass(frozen=True)
class UNetCall:
    """One evaluation of the UNet: the pass it belongs to, the denoiser's step, its rows and its latent size."""

    launch: int
    step: int
    rows: int
    size: tuple[int, int]
    timestep: float


@dataclass
class Fault:
    """Something that goes wrong once, at evaluation `step` of pass `launch` (both counted from 0)."""

    kind: str
    step: int
    launch: int = 0
    block: nn.Module | None = None
    error: BaseException | None = None
    fired: bool = False


@dataclass
class Probe:
    """The record of the latest job, and the faults that wait for the next one."""

    hooks: list[str] = field(default_factory=list)
    calls: list[UNetCall] = field(default_factory=list)
    launches: list[tuple[str, int]] = field(default_factory=list)
    latents: list[Tensor] = field(default_factory=list)
    params_txt: str = ""
    faults: list[Fault] = field(default_factory=list)
    step: int = 0

    def begin(self) -> None:
        """Forget the job before."""
        self.hooks.clear()
        self.calls.clear()
        self.launches.clear()
        self.latents.clear()
        self.params_txt = ""
        self.step = 0

    @property
    def launch(self) -> int:
        """The number of the running pass."""
        return len(self.launches) - 1

    def take(self, kind: str, block: nn.Module | None = None) -> Fault | None:
        """The fault of that kind that is due now, marked as fired."""
        for fault in self.faults:
            due = (fault.kind, fault.launch, fault.step) == (kind, self.launch, self.step)
            if due and fault.block is block and not fault.fired:
                fault.fired = True
                return fault
        return None

    def before_evaluation(self, step: int) -> None:
        """An interrupt or a skip, if one is due."""
        self.step = step
        state = fake("modules.shared").state
        if self.take("interrupt"):
            state.interrupt()
        if self.take("skip"):
            state.skip()

    def note_call(self, x: Tensor, timesteps: Tensor) -> None:
        """One evaluation of the UNet."""
        size = (int(x.shape[-2]), int(x.shape[-1]))
        self.calls.append(UNetCall(self.launch, self.step, len(x), size, float(timesteps[0])))

    def spoil(self, output: Tensor) -> Tensor:
        """The UNet's output, or NaN if that is due."""
        return torch.full_like(output, torch.nan) if self.take("nan") else output

    @contextmanager
    def watching_blocks(self) -> Iterator[None]:
        """Raise in the blocks that have a fault; the modules themselves stay as they are."""
        if not any(fault.kind == "block" for fault in self.faults):
            yield
            return

        def before(module: nn.Module, _inputs: Any) -> None:
            fault = self.take("block", module)
            if fault:
                raise fault.error or RuntimeError(f"planted in a block at step {fault.step}")

        handle = register_module_forward_pre_hook(before)
        try:
            yield
        finally:
            handle.remove()


def probe() -> Probe:
    """The host's probe."""
    found: Probe = vars(fake("modules"))["_probe"]
    return found
