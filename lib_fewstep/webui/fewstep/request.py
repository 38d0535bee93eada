"""What one request wants of few-step sampling, where the samplers and the passes find it."""

from __future__ import annotations

from dataclasses import dataclass, field

from lib_fewstep.sampling.prior import Prior
from lib_fewstep.sampling.settings import GAMMA, FewStepSettings
from lib_fewstep.webui.common import state
from lib_fewstep.webui.common.host.protocols import Processing


@dataclass
class FewStepRequest:
    """Settings with the preset's values filled in, or the sentence that refuses the request.

    `prior` holds the statistics once the first pass has read or measured them.
    """

    settings: FewStepSettings = field(default_factory=FewStepSettings)
    refusal: str | None = None
    prior: Prior | None = None

    @property
    def gamma(self) -> float:
        """TCD's gamma."""
        return GAMMA if self.settings.gamma is None else self.settings.gamma


def request_of(p: Processing) -> FewStepRequest:
    """The request that a processing object keeps; the defaults where the script is off."""
    return state.find(p, FewStepRequest) or FewStepRequest()
