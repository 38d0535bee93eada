"""What the host lists: sampling methods, the X/Y/Z plot and its axes, components of the page."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from modules import scripts, sd_models, sd_samplers, sd_schedulers, shared

from lib_fewstep.sampling import sigmas_at
from lib_fewstep.webui.common.host.denoiser import has_steps, levels_at, takes_schedules
from lib_fewstep.webui.common.host.model import trained_steps
from lib_fewstep.webui.common.host.noising import USUAL_STEPS
from lib_fewstep.webui.common.host.protocols import Sampler
from lib_fewstep.webui.common.page_pass import PagePass


def sampler_names() -> list[str]:
    """The sampling methods that the WebUI offers, without their aliases."""
    return [sampler.name for sampler in sd_samplers.visible_samplers()]


def sampler_called(name: str) -> str | None:
    """The WebUI's name of a sampling method, which may be given by an alias; None if there is no such method."""
    entries = (entry for entry in sd_samplers.all_samplers if name == entry.name or name in entry.aliases)
    return next((str(entry.name) for entry in entries), None)


def schedule_called(name: str) -> str | None:
    """The same of a schedule, by its label; None if there is none."""
    return name if name in sd_schedulers.schedulers_map else None


def xyz_module() -> Any:
    """The module of the X/Y/Z script; None where there is none."""
    return next((data.module for data in scripts.scripts_data if data.path.endswith("xyz_grid.py")), None)


def plotted_axes() -> set[str]:
    """The labels of the axes of the running X/Y/Z plot; while none runs, those of the last one."""
    plots = (getattr(shared.state, f"xyz_plot_{axis}", None) for axis in "xyz")
    return {plot.axis.label for plot in plots if plot is not None}


def elem_id_of(component: Any) -> str | None:
    """The id of a component or block of the page."""
    return getattr(component, "elem_id", None)


def evaluations_on_page(sampler: str, steps: int) -> list[int] | None:
    """How often each step of a sampling method calls the denoiser; None where it chooses its own steps."""
    made = sampler_on_page(sampler)
    return None if made is None else evaluations_of(made, steps)


def evaluations_of(sampler: Sampler, steps: int) -> list[int] | None:
    """The same of a sampler; the last step of one of second order is of the first, and Restart adds steps."""
    name = sampler.func.__name__
    if not has_steps(sampler) or name == "restart_sampler":
        return None
    each = 2 if sampler.config.options.get("second_order", False) else 1
    calls = [each] * (steps - 1) + [1] * min(steps, 1)
    if steps and name in _TWICE:
        calls[_TWICE[name]] += 1
    return calls


_TWICE = {"plms": 0, "unipc": -1}
"""Of the host's functions, the step at whose other end they look, too."""


def sampler_on_page(sampler: str) -> Any:
    """A sampler that is never run; None while no model is loaded."""
    model, config = sd_models.model_data.sd_model, sd_samplers.find_sampler_config(sampler)
    if model is None or config is None:
        return None
    made = config.constructor(model)
    made.config = config
    return made


def levels_on_page(sampler: str, schedule: str, page_pass: PagePass) -> list[float] | None:
    """The noise levels (n + 1) of a pass that the page would start.

    None while no model is loaded, for sampling methods that choose their own steps, and for custom timesteps that the
    loaded model has only in the job.
    """
    made = sampler_on_page(sampler)
    if made is None or not has_steps(made) or max(page_pass.timesteps, default=0) >= trained_steps():
        return None
    page = SimpleNamespace(
        scheduler=schedule,
        hr_scheduler=None,
        is_hr_pass=False,
        sampler_noise_scheduler_override=None,
        extra_generation_params={},
    )
    if not takes_schedules(made):
        timesteps = made.get_timesteps(page, min(page_pass.scheduled, USUAL_STEPS - 1))
        run = timesteps if page_pass.kind == "first" else timesteps[: page_pass.steps - 1]
        return levels_at(made, run) or [0.0]  # at the least denoising strength it runs none
    sigmas = sigmas_at(page_pass.timesteps, made.model_wrap) if page_pass.timesteps else None
    if sigmas is None:
        sigmas = made.get_sigmas(page, page_pass.scheduled)[-page_pass.steps - 1 :]
    levels: list[float] = sigmas.tolist()
    return levels
