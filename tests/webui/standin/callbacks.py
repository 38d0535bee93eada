"""`modules.script_callbacks` and `modules.errors`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from tests.webui.standin.strict import StrictModule, fake

KINDS = (
    "app_started",
    "model_loaded",
    "ui_tabs",
    "ui_settings",
    "before_image_saved",
    "image_saved",
    "image_grid",
    "cfg_denoiser",
    "cfg_denoised",
    "cfg_after_cfg",
    "extra_noise",
    "before_component",
    "after_component",
    "infotext_pasted",
    "script_unloaded",
    "before_ui",
)
LAST_FIRST = ("script_unloaded", "before_ui")


@dataclass
class CFGDenoiserParams:
    """What `on_cfg_denoiser` receives and may change."""

    x: Tensor
    image_cond: Tensor
    sigma: Tensor
    sampling_step: int
    total_sampling_steps: int
    text_cond: Any
    text_uncond: Any
    denoiser: Any = None


@dataclass
class CFGDenoisedParams:
    """What `on_cfg_denoised` receives; only changes in place are seen."""

    x: Tensor
    sampling_step: int
    total_sampling_steps: int
    inner_model: Any


@dataclass
class AfterCFGCallbackParams:
    """What `on_cfg_after_cfg` receives and may change."""

    x: Tensor
    sampling_step: int
    total_sampling_steps: int


@dataclass
class ExtraNoiseParams:
    """What `on_extra_noise` receives; `noise` is what counts."""

    noise: Tensor
    x: Tensor
    xi: Tensor


@dataclass
class ImageSaveParams:
    """What `on_before_image_saved` may change, and `on_image_saved` receives; `pnginfo` has the file's texts."""

    image: Any
    p: Any
    filename: str
    pnginfo: dict[str, Any]


@dataclass
class ImageGridLoopParams:
    """What `on_image_grid` receives and may change."""

    imgs: list[Any]
    cols: int
    rows: int


@dataclass
class Callback:
    """One registered function and the file that registered it."""

    script: str
    callback: Callable[..., Any]
    name: str | None = None


@dataclass
class Report:
    """What the host has logged and swallowed."""

    message: str
    exception: BaseException | None

    def __str__(self) -> str:
        """The message and the exception, in one line."""
        return f"{self.message}: {self.exception!r}"


@contextmanager
def reported(message: str) -> Iterator[None]:
    """Log what is raised inside, and swallow it."""
    try:
        yield
    except Exception:  # noqa: BLE001 (as the host does)
        fake("modules.errors").report(message, exc_info=True)


@dataclass
class Callbacks:
    """The registered functions of every kind; lists are iterated as they are, even while they change."""

    kinds: dict[str, list[Callback]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    first: list[Callable[..., Any]] = field(default_factory=list)
    """What the user's settings call before the others."""

    def register(self, kind: str) -> Callable[..., None]:
        """The function `on_<kind>(callback, *, name=None)`."""

        def on(callback: Callable[..., Any], *, name: str | None = None) -> None:
            caller = sys._getframe(1).f_code.co_filename
            self.kinds[kind].append(Callback(caller, callback, name))

        on.__name__ = f"on_{kind}"
        return on

    def run(self, kind: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Call all of one kind; what one of them raises is reported and swallowed."""
        answers = []
        entries = self.ordered(kind) if self.first else self.kinds[kind]
        for entry in reversed(entries) if kind in LAST_FIRST else entries:
            with reported(f"a callback on_{kind} of {entry.script} failed"):
                answers.append(entry.callback(*args, **kwargs))
        return answers

    def ordered(self, kind: str) -> list[Callback]:
        """`ordered_callbacks`, in the order in which they are called; the user may have put some first."""
        return sorted(self.kinds[kind], key=lambda entry: entry.callback not in self.first)

    def remove_function(self, function: Callable[..., Any]) -> None:
        """`remove_callbacks_for_function`."""
        for entries in self.kinds.values():
            for entry in [entry for entry in entries if entry.callback == function]:
                entries.remove(entry)

    def clear(self) -> None:
        """Forget all, as at a reload of the UI."""
        for entries in self.kinds.values():
            entries.clear()


def run_callbacks(kind: str, *args: Any, **kwargs: Any) -> list[Any]:
    """Call the host's callbacks of one kind."""
    callbacks: Callbacks = vars(fake("modules"))["_callbacks"]
    return callbacks.run(kind, *args, **kwargs)


def callbacks_module(callbacks: Callbacks) -> StrictModule:
    """`modules.script_callbacks`."""
    return StrictModule(
        "modules.script_callbacks",
        CFGDenoiserParams=CFGDenoiserParams,
        CFGDenoisedParams=CFGDenoisedParams,
        AfterCFGCallbackParams=AfterCFGCallbackParams,
        ExtraNoiseParams=ExtraNoiseParams,
        ImageGridLoopParams=ImageGridLoopParams,
        ImageSaveParams=ImageSaveParams,
        remove_callbacks_for_function=callbacks.remove_function,
        ordered_callbacks=callbacks.ordered,
        callback_map={f"callbacks_{kind}": entries for kind, entries in callbacks.kinds.items()},
        **{f"on_{kind}": callbacks.register(kind) for kind in KINDS},
    )


def errors_module(reports: list[Report]) -> StrictModule:
    """`modules.errors`, which notes in `reports` what it prints."""

    def report(message: str, *, exc_info: bool = False) -> None:
        reports.append(Report(message, sys.exc_info()[1] if exc_info else None))
        sys.stderr.write(f"*** {message}\n")
        if exc_info:
            traceback.print_exc()

    def display(error: BaseException, task: str, *, full_traceback: bool = False) -> None:
        reports.append(Report(task, error))
        sys.stderr.write(f"*** {task}: {error!r}\n")

    return StrictModule("modules.errors", report=report, display=display)
