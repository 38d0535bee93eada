"""Which samplers of the host can sample which kind of model."""

from __future__ import annotations

from lib_fewstep.models import ModelPlan
from lib_fewstep.models.kinds import NOISE
from lib_fewstep.options import SettingError
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.host.protocols import Sampler


def check_sampler(sampler: Sampler, plan: ModelPlan) -> None:
    """Raise SettingError for a sampler that cannot sample a kind of model, or a noise schedule."""
    name, steps = sampler.config.name, len(plan.alphas_cumprod)
    kind = f'kind = "{plan.name}" is not allowed with the sampling method {name}'
    if host.noising.knows_noise_alone(sampler) and plan.name != NOISE:
        raise SettingError(f"{kind}, which knows noise alone: it must be another one, such as LCM (reference grid).")
    if plan.kind.flow and host.noising.works_with_timesteps(sampler):
        raise SettingError(f"{kind}, which has its own timesteps: it must be one without fresh noise, such as Euler.")
    if plan.kind.flow and host.noising.always_draws_noise(sampler):
        raise SettingError(f"{kind}, which draws fresh noise: it must be one that draws none, such as Euler.")
    if steps != host.noising.USUAL_STEPS and host.noising.counts_to_1000(sampler):
        raise SettingError(
            f"A noise schedule of {steps} timesteps is not allowed with the sampling method {name}: it must be "
            f"{host.noising.USUAL_STEPS} timesteps, or another sampling method."
        )
