"""How many timesteps the model of a job has, for whoever counts in them: an entry of the job's state."""

from __future__ import annotations

from dataclasses import dataclass

from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.host.protocols import Processing


@dataclass(frozen=True)
class TrainedSteps:
    """Those of a noise schedule that is the job's own."""

    count: int


def trained_steps(p: Processing) -> int:
    """How many timesteps the model has with which a job samples: those of its own noise schedule, else the model's."""
    own = state.find(p, TrainedSteps)
    return host.model.trained_steps() if own is None else own.count
