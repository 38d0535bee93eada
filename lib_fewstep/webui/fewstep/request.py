"""What one request wants of few-step sampling, where the samplers and the passes find it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lib_fewstep.sampling.entries import Entry
from lib_fewstep.sampling.prior import Prior
from lib_fewstep.sampling.sa_solver import tau_in_the_middle
from lib_fewstep.sampling.settings import GAMMA, FewStepSettings
from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.request import Request


@dataclass
class FewStepRequest(Request):
    """Few-Step's settings with the preset's values filled in.

    `prior` holds the statistics once the first pass has read or measured them.
    """

    settings: FewStepSettings = field(default_factory=FewStepSettings)
    prior: Prior | None = None

    def options_of(self, entry: Entry) -> dict[str, Any]:
        """What an entry's function takes of the settings."""
        values = {parameter: getattr(self.settings, name) for parameter, name in entry.takes.items()}
        if "gamma" in values and values["gamma"] is None:
            values["gamma"] = GAMMA
        if "tau" in values:
            values["tau"] = partial(tau_in_the_middle, share=values["tau"])
        return values


def request_of(p: Processing) -> FewStepRequest:
    """The request of a job.

    Jobs that other extensions make inside another one may run without this script: they have the guidance and the gamma
    of the job around them, or else the guidance of the WebUI's settings.
    """
    own = state.find(p, FewStepRequest)
    if own is not None:
        return own
    for outer in host.job.running_jobs():
        request = state.find(outer, FewStepRequest)
        if request is not None:
            return FewStepRequest(request.settings.guiding)
    return FewStepRequest(FewStepSettings(guidance=host.options.setting_shown("guidance")))
