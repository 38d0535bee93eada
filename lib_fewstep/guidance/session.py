"""What guidance makes of the two images of each evaluation, over one sampling pass."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lib_fewstep.guidance.plan import make_plan
from lib_fewstep.guidance.projection import AdaptiveProjection
from lib_fewstep.guidance.rescale import rescaled
from lib_fewstep.guidance.settings import GuidanceSettings
from lib_fewstep.guidance.thresholding import thresholded


class GuidanceSession:
    """The guidance of one pass. It changes no model: whoever evaluates the model asks it what to do with the images."""

    def __init__(
        self, settings: GuidanceSettings, levels: Sequence[float], kept: Sequence[float] | None = None
    ) -> None:
        """For a pass over falling noise levels (n + 1); `kept` as in `make_plan`."""
        self.settings, self.plan = settings, make_plan(settings, levels, kept)
        self._projection = AdaptiveProjection(settings.apg_eta, settings.apg_threshold, settings.apg_momentum)
        self._index, self._sigma = -1, 0.0

    def strength(self, index: int, cfg: float) -> float:
        """The CFG of step `index` where the slider says `cfg`; 1 means that the unconditional image is not needed."""
        return self.plan.strengths[index].at(cfg)

    def image(self, index: int, x: Tensor, sigma: Tensor, cond: Tensor, uncond: Tensor, cfg: float) -> Tensor:
        """The guided image of an evaluation in step `index`, once for each evaluation and in their order.

        `x` (n, c, h, w) is what the model was given at the noise levels `sigma` (n,), `cond` and `uncond` what it saw
        there. First the guidance is projected, then thresholded, then rescaled.
        """
        if not self.plan.strengths[index].guided:
            return cond
        strength = self.strength(index, cfg)
        guided = self._projected(index, float(sigma.max()), cond, uncond, strength)
        if 0 < self.settings.threshold_mimic < strength:
            mimicked = uncond + self.settings.threshold_mimic * (cond - uncond)
            guided = thresholded(guided, mimicked, self.settings.threshold_percentile)
        return rescaled(guided, cond, x, sigma, self.settings.rescale)

    def _projected(self, index: int, sigma: float, cond: Tensor, uncond: Tensor, strength: float) -> Tensor:
        if not self.settings.projects:
            return uncond + strength * (cond - uncond)
        if sigma > self._sigma:
            self._projection.restart()
        first = index != self._index or sigma > self._sigma
        self._index, self._sigma = index, sigma
        return (self._projection if first else self._projection.again)(cond, uncond, strength)
