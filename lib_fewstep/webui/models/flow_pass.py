"""What a rectified flow's sampler is given in a pass, checked before its first evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import wraps
from typing import Any

from torch import Tensor

from lib_fewstep.models.kinds import FLOW
from lib_fewstep.options import SettingError
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.host.protocols import Processing, Sampler
from lib_fewstep.webui.common.launch import AroundPass, put_until
from lib_fewstep.webui.common.refusal import Refusal

_ROUNDING = 1e-5
"""Of a noise level that was float32 once."""


class FlowPass(AroundPass):
    """The sampler's function of a pass, wrapped to know its noise and its levels where the model is a flow."""

    def __init__(self, p: Processing) -> None:
        """Around the next pass of the processing object `p`."""
        super().__init__(p)
        self._put_back = ExitStack()

    def start(self) -> None:
        """Wait for the sampler's function; other kinds of models are left alone."""
        if host.noising.of_flow(self.sampler):
            put_until(self._put_back, self.sampler, "func", self._checked(self.sampler.func))

    def close(self) -> None:
        """Put the function back."""
        self._put_back.close()

    def _checked(self, sample: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @wraps(sample)
        def run(*args: Any, **options: Any) -> Tensor:
            try:
                _check_noise(self.sampler, options)
                _check_levels(self.sampler, host.denoiser.levels_of(self.sampler, options, self._steps))
            except SettingError as refusal:
                raise Refusal(f"Model sampling: {refusal}") from refusal
            return sample(*args, **options)

        return run


def _check_noise(sampler: Sampler, options: Mapping[str, Any]) -> None:
    """Raise SettingError where the options make the sampler draw fresh noise."""
    name, eta, churn = sampler.config.name, options.get("eta", 0), options.get("s_churn", 0)
    if eta and host.noising.draws_by_eta(sampler):
        raise SettingError(
            f'kind = "{FLOW}" is not allowed with the sampling method {name} at eta = {eta:g}, which draws fresh '
            "noise: it must be one that draws none, such as Euler, or eta must be 0."
        )
    if churn:
        raise SettingError(
            f's_churn = {churn:g} is not allowed with a model of the kind "{FLOW}" and the sampling method {name}, '
            "which draws fresh noise: it must be 0."
        )


def _check_levels(sampler: Sampler, levels: list[float] | None) -> None:
    """Raise SettingError for levels that start above the model's highest; those that nothing tells are left alone."""
    highest = float(sampler.model_wrap.sigma_max)
    if levels is not None and levels[0] > highest * (1 + _ROUNDING):
        raise SettingError(
            f'A schedule that starts at sigma {levels[0]:.4g} is not allowed with a model of the kind "{FLOW}": it '
            f"must start at {highest:.4g} or below, as Uniform does."
        )
