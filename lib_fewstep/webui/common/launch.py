"""Something that is open while one pass samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib_fewstep.webui.common import state
from lib_fewstep.webui.common.host.protocols import Processing


class AroundPass:
    """Wraps the `launch_sampling` of the sampler that is about to run, and only that; it takes itself off again.

    A subclass says what happens before the first step (`start`) and after the last (`close`, whatever happened). The
    job's state has at most one pass of each subclass: the one that waits or runs.
    """

    def __init__(self, p: Processing) -> None:
        """Around the next pass of the processing object `p`."""
        self._p = p
        self._steps = 0

    def attach(self) -> None:
        """Put the wrapper on the sampler instead of one that never ran."""
        stale = state.find(self._p, type(self))
        if stale is not None:
            stale._detach()
        self._sampler = self._p.sampler
        own = vars(self._sampler)
        self._others_launch: Callable[..., Any] | None = own.get("launch_sampling")
        own["launch_sampling"] = self.launch
        state.put(self._p, self)

    def launch(self, steps: int, func: Callable[[], Any]) -> Any:
        """Sample `steps` steps in between; what is raised here reaches the user."""
        self._steps = steps
        self._detach()
        if state.find(self._p, type(self)) is not self:  # a later one has taken its place
            return self._below(steps, func)
        try:
            self.start()
            return self._below(steps, func)
        finally:
            self.close()
            state.drop(self._p, type(self))

    def _below(self, steps: int, func: Callable[[], Any]) -> Any:
        """What would run without the wrapper, now: another's own wrapper, or what the sampler's class has."""
        sampler = self._sampler
        if self._others_launch is not None:
            return self._others_launch(steps, func)
        if "launch_sampling" in vars(sampler):  # of one that has come after ours, and calls it
            return type(sampler).launch_sampling(sampler, steps, func)
        return sampler.launch_sampling(steps, func)

    def start(self) -> None:
        """Before the first step."""
        raise NotImplementedError

    def close(self) -> None:
        """After the last step, also of a run that was stopped or has failed."""
        raise NotImplementedError

    def _detach(self) -> None:
        """Put back what was on the sampler before: its class's own method, or another extension's wrapper."""
        own = vars(self._sampler)
        if own.get("launch_sampling") == self.launch:
            del own["launch_sampling"]
            if self._others_launch is not None:
                own["launch_sampling"] = self._others_launch
