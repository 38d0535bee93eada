"""Something that is open while one pass samples."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.host.protocols import DenoiserParams, Processing


class AroundPass:
    """Wraps the `launch_sampling` of the sampler that is about to run, and only that; it takes itself off again.

    A subclass says what happens before the first step (`start`) and after the last (`close`, whatever happened). The
    job's state has at most one pass of each subclass: the one that waits or runs.
    """

    # On this instance and not on the sampler's class: the host makes new samplers for each job, so that nothing is left
    # for another one or after a reload of the UI, even if this one never runs. `launch_sampling`, because it is the
    # first place that knows the number of executed steps, and what is raised in it reaches the user.

    def __init__(self, p: Processing) -> None:
        """Around the next pass of the processing object `p`."""
        self._p = p
        self._steps = 0

    def attach(self) -> None:
        """Put the wrapper on the sampler instead of one that never ran."""
        # Read from `vars`: only another extension's wrapper is kept and put back, never the class's own method, which
        # would then shadow later changes of the class.
        stale = state.find(self._p, type(self))
        if stale is not None:
            stale._detach()
        self.sampler = self._p.sampler
        own = vars(self.sampler)
        self._others_launch: Callable[..., Any] | None = own.get("launch_sampling")
        own["launch_sampling"] = self.launch
        state.put(self._p, self)

    def launch(self, steps: int, func: Callable[[], Any]) -> Any:
        """Sample `steps` steps in between; what is raised here reaches the user."""
        self._steps = steps
        self._detach()
        # A later pass may have taken this one's place while another extension's wrapper, which came after ours, kept a
        # reference to it. Then the sampler does not show which of the two counts; the state does.
        if state.find(self._p, type(self)) is not self:
            return self._launch_without_us(steps, func)
        try:
            self.start()
            return self._launch_without_us(steps, self.sampling(func))
        finally:
            self.close()
            state.drop(self._p, type(self))

    def _launch_without_us(self, steps: int, func: Callable[[], Any]) -> Any:
        """What would run without the wrapper: one that another extension has put there before, or the class's own."""
        sampler = self.sampler
        if self._others_launch is not None:
            return self._others_launch(steps, func)
        if "launch_sampling" in vars(sampler):  # a wrapper that came after ours and has called it: not again
            return type(sampler).launch_sampling(sampler, steps, func)
        return sampler.launch_sampling(steps, func)  # not by the class: the sampler may be a proxy of another one

    def start(self) -> None:
        """Before the first step."""
        raise NotImplementedError

    def sampling(self, func: Callable[[], Any]) -> Callable[[], Any]:
        """What is run as the sampler: `func`, or something around it."""
        return func

    def close(self) -> None:
        """After the last step, also of a run that was stopped or has failed."""
        raise NotImplementedError

    def _detach(self) -> None:
        """Put back what was on the sampler before: its class's own method, or another extension's wrapper."""
        own = vars(self.sampler)
        if own.get("launch_sampling") == self.launch:  # otherwise a wrapper came after ours, which has to stay
            del own["launch_sampling"]
            if self._others_launch is not None:
                own["launch_sampling"] = self._others_launch


def put_until(end: ExitStack, target: Any, name: str, value: Any) -> None:
    """Give an instance an attribute until the end, when it has its own again, or its class's."""
    own = vars(target)
    before = {name: own[name]} if name in own else {}
    end.callback(own.update, before)
    end.callback(own.pop, name, None)
    own[name] = value


A = TypeVar("A", bound=AroundPass)


def running(params: DenoiserParams, kind: type[A]) -> A | None:
    """The pass of a kind that a callback of the denoiser is about; None where there is none.

    Another extension may run a copy of the job meanwhile. It has the same entries, but a sampler of its own.
    """
    around = state.find(host.denoiser.job_of(params), kind)
    return around if around is not None and host.denoiser.runs_on(params, around.sampler) else None
