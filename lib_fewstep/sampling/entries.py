"""The samplers of this package: what each is called, and the facts that others ask for. A new one is an entry here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lib_fewstep.sampling.cfgpp import (
    sample_dpmpp_2m_cfgpp,
    sample_dpmpp_2m_sde_cfgpp,
    sample_dpmpp_2s_ancestral_cfgpp,
    sample_euler_ancestral_cfgpp,
    sample_euler_cfgpp,
)
from lib_fewstep.sampling.consistency import sample_lcm, sample_tcd
from lib_fewstep.sampling.flow import sample_rectified_flow
from lib_fewstep.sampling.sa_solver import sample_sa_solver

SampleFunction = Callable[..., Tensor]
"""A sampler in k-diffusion's form: (model, x, sigmas, extra_args, callback, disable, ...) -> x."""


@dataclass(frozen=True)
class Entry:
    """A sampler: its label in the list, its function, the names that others give it.

    `cfgpp` says that its guidance is that of CFG++, `flow` that it is for rectified flows alone. `options` are the
    WebUI's: `scheduler` is what the schedule "Automatic" means, `second_order` that a step has two evaluations,
    `uses_ensd` that its noise follows the "eta noise seed delta", `brownian_noise` that the WebUI gives it the noise of
    a Brownian path.
    """

    label: str
    function: SampleFunction
    aliases: tuple[str, ...]
    cfgpp: bool = False
    flow: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def adds_noise(self) -> bool:
        """Whether it draws fresh noise on its way."""
        return "noise_sampler" in self._parameters

    @property
    def takes(self) -> dict[str, str]:
        """Those of Few-Step's settings that mean something to it, by the parameters that they are for."""
        return {parameter: name for parameter, name in _SETTINGS.items() if parameter in self._parameters}

    @property
    def _parameters(self) -> Mapping[str, Any]:
        return inspect.signature(self.function).parameters


_SETTINGS = {"gamma": "gamma", "tau": "sa_tau", "predictor_order": "sa_predictor", "corrector_order": "sa_corrector"}

ENTRIES = (
    Entry("Euler CFG++", sample_euler_cfgpp, ("euler_cfg_pp", "k_euler_cfgpp"), cfgpp=True),
    Entry(
        "Euler a CFG++",
        sample_euler_ancestral_cfgpp,
        ("euler_ancestral_cfg_pp", "k_euler_a_cfgpp"),
        cfgpp=True,
        options={"uses_ensd": True},
    ),
    Entry(
        "DPM++ 2M CFG++",
        sample_dpmpp_2m_cfgpp,
        ("dpmpp_2m_cfg_pp", "k_dpmpp_2m_cfgpp"),
        cfgpp=True,
        options={"scheduler": "karras"},
    ),
    Entry(
        "DPM++ 2S a CFG++",
        sample_dpmpp_2s_ancestral_cfgpp,
        ("dpmpp_2s_ancestral_cfg_pp", "k_dpmpp_2s_a_cfgpp"),
        cfgpp=True,
        options={"scheduler": "karras", "uses_ensd": True, "second_order": True},
    ),
    Entry(
        "DPM++ 2M SDE CFG++",
        sample_dpmpp_2m_sde_cfgpp,
        ("dpmpp_2m_sde_cfg_pp", "k_dpmpp_2m_sde_cfgpp"),
        cfgpp=True,
        options={"scheduler": "exponential", "brownian_noise": True},
    ),
    Entry("TCD", sample_tcd, ("tcd",), options={"scheduler": "lcm_grid"}),
    Entry("LCM (reference grid)", sample_lcm, ("lcm_reference",), options={"scheduler": "lcm_grid"}),
    Entry("SA-Solver", sample_sa_solver, ("sa_solver",)),
    Entry("Rectified flow", sample_rectified_flow, ("rectified_flow",), flow=True),
)


def entries_of(names: Iterable[str]) -> list[Entry]:
    """The entries with these labels or aliases; other samplers have none."""
    wanted = set(names)
    return [entry for entry in ENTRIES if not wanted.isdisjoint((entry.label, *entry.aliases))]


def entry_of(function: SampleFunction) -> Entry | None:
    """The entry whose function another one wraps, or is; None for other samplers."""
    entries = {entry.function: entry for entry in ENTRIES}
    return entries.get(inspect.unwrap(function, stop=entries.__contains__))
