"""What a test sees of a job from the inside, and the faults that it plants there."""

from __future__ import annotations

import sys
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
class Record:
    """Hooks, UNet evaluations, passes (sampler, steps) and latents (a tensor for each batch)."""

    hooks: list[str] = field(default_factory=list)
    calls: list[UNetCall] = field(default_factory=list)
    launches: list[tuple[str, int]] = field(default_factory=list)
    latents: list[Tensor] = field(default_factory=list)
    params_txt: str = ""


@dataclass
class Job(Record):
    """The record of one `process_images`; `call.launch` counts the passes of the whole request."""

    p: Any = None
    processed: Any = None
    error: BaseException | None = None


@dataclass
class Probe(Record):
    """The record of the latest request, with each of its jobs, and the faults that wait for the next one."""

    jobs: list[Job] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    step: int = 0
    running: list[Job] = field(default_factory=list)
    sampled: Any = None

    def begin(self) -> None:
        """Forget the request before."""
        vars(self).update(vars(Record()), jobs=[], step=0)

    @contextmanager
    def job(self, p: Any) -> Iterator[Job]:
        """Note what happens inside for one job, too."""
        job = Job(p=p)
        self.jobs.append(job)
        self.running.append(job)
        try:
            yield job
        finally:
            self.running.remove(job)

    def note(self, kind: str, what: Any) -> None:
        """Add to a list of the request and of the running job."""
        for record in (self, *self.running[-1:]):
            getattr(record, kind).append(what)

    def note_params_txt(self, text: str) -> None:
        """What the host writes into its params.txt."""
        for record in (self, *self.running[-1:]):
            record.params_txt = text

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
        state = sys.modules["modules.shared"].state
        if self.take("interrupt"):
            state.interrupt()
        if self.take("skip"):
            state.skip()

    def note_call(self, x: Tensor, timesteps: Tensor) -> None:
        """One evaluation of the UNet."""
        size = (int(x.shape[-2]), int(x.shape[-1]))
        self.note("calls", UNetCall(self.launch, self.step, len(x), size, float(timesteps[0])))

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
