"""Few-step sampling: CFG++ and consistency samplers in k-diffusion's form, their schedules and their guidance."""

from lib_fewstep.sampling.cfgpp import (
    sample_dpmpp_2m_cfgpp,
    sample_dpmpp_2m_sde_cfgpp,
    sample_dpmpp_2s_ancestral_cfgpp,
    sample_euler_ancestral_cfgpp,
    sample_euler_cfgpp,
)
from lib_fewstep.sampling.cfgpp_guidance import calibrated
from lib_fewstep.sampling.consistency import sample_lcm, sample_tcd
from lib_fewstep.sampling.flow import sample_rectified_flow
from lib_fewstep.sampling.inversion import invert_cfgpp
from lib_fewstep.sampling.sa_solver import sample_sa_solver
from lib_fewstep.sampling.schedules import lcm_timesteps, sigmas_at, trailing_timesteps
from lib_fewstep.sampling.settings import FewStepSettings
from lib_fewstep.sampling.uncond import MissingUncondError

__all__ = [
    "FewStepSettings",
    "MissingUncondError",
    "calibrated",
    "invert_cfgpp",
    "lcm_timesteps",
    "sample_dpmpp_2m_cfgpp",
    "sample_dpmpp_2m_sde_cfgpp",
    "sample_dpmpp_2s_ancestral_cfgpp",
    "sample_euler_ancestral_cfgpp",
    "sample_euler_cfgpp",
    "sample_lcm",
    "sample_rectified_flow",
    "sample_sa_solver",
    "sample_tcd",
    "sigmas_at",
    "trailing_timesteps",
]
