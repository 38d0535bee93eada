"""`shared.state` and `shared.total_tqdm`: how far the running job has come, and whether it is to stop."""

from __future__ import annotations

import time
from typing import Any

from tests.webui.standin.strict import Strict, fake

_AT_BEGIN: dict[str, Any] = {
    "current_latent": None,
    "interrupted": False,
    "job_count": -1,
    "job_no": 0,
    "processing_has_refined_job_count": False,
    "sampling_step": 0,
    "skipped": False,
    "stopping_generation": False,
    "textinfo": None,
}
_AT_START = {**_AT_BEGIN, "job": "", "job_count": 0, "job_timestamp": "0", "sampling_steps": 0, "time_start": None}
_TOLD = ("skipped", "interrupted", "stopping_generation", "job", "job_count", "job_timestamp", "job_no")


class State(Strict):
    """What the running job is doing; an X/Y/Z plot leaves `xyz_plot_x` and so on here for good."""

    def __init__(self) -> None:
        super().__init__("shared.state", **_AT_START, server_start=time.time())

    def interrupt(self) -> None:
        """The user's Interrupt."""
        self.interrupted = True

    def skip(self) -> None:
        """The user's Skip."""
        self.skipped = True

    def stop_generating(self) -> None:
        """The user's Interrupt where it waits for the image that is being made."""
        self.stopping_generation = True

    def nextjob(self) -> None:
        """A batch is done."""
        self.job_no += 1
        self.sampling_step = 0

    def dict(self) -> dict[str, Any]:
        """What the API tells of it."""
        return {name: getattr(self, name) for name in (*_TOLD, "sampling_step", "sampling_steps")}

    def begin(self, job: str = "(unknown)") -> None:
        """Start a request; `sampling_steps` is still that of the pass before."""
        vars(self).update(_AT_BEGIN, job=job, job_timestamp=time.strftime("%Y%m%d%H%M%S"), time_start=time.time())

    def end(self) -> None:
        """End a request; the user's wish to stop stands until the next one begins."""
        self.job, self.job_count = "", 0


class Bar:
    """A progress bar that nobody sees: `n` out of `total`."""

    def __init__(self, total: int) -> None:
        self.total, self.n = total, 0


class TotalTQDM(Strict):
    """`shared.total_tqdm`: the bar over all steps of a request, there from the first use on until `clear`."""

    def __init__(self) -> None:
        super().__init__("shared.total_tqdm", _tqdm=None)

    def reset(self) -> None:
        """A new bar."""
        state = fake("modules.shared").state
        self._tqdm = Bar(state.job_count * state.sampling_steps)

    def update(self) -> None:
        """One step more."""
        if self._used():
            self._tqdm.n += 1

    def updateTotal(self, new_total: int) -> None:  # noqa: N802 (the host's name)
        """Another number of steps."""
        if self._used():
            self._tqdm.total = new_total

    def clear(self) -> None:
        """No bar."""
        self._tqdm = None

    def _used(self) -> bool:
        shared = fake("modules.shared")
        wanted = bool(shared.opts.multiple_tqdm and not shared.cmd_opts.disable_console_progressbars)
        if wanted and self._tqdm is None:
            self.reset()
        return wanted
