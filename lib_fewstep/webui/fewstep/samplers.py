"""The samplers and schedules in the WebUI's own lists."""

from __future__ import annotations

from functools import partial, wraps
from typing import Any

import torch
from modules import sd_samplers, sd_samplers_kdiffusion, sd_schedulers
from modules.sd_samplers_common import SamplerData
from torch import Tensor

from lib_fewstep.options import SettingError
from lib_fewstep.sampling import MissingUncondError
from lib_fewstep.sampling.entries import ENTRIES, Entry, SampleFunction
from lib_fewstep.sampling.schedules import GRIDS, Grid
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.refusal import Refusal
from lib_fewstep.webui.common.trained_steps import trained_steps
from lib_fewstep.webui.fewstep.cfgpp_denoiser import cfgpp_pass
from lib_fewstep.webui.fewstep.request import request_of


def hosted(entry: Entry) -> SampleFunction:
    """An entry's function as the host calls it: with the host's noise, the request's gamma and guidance."""

    @wraps(entry.function)
    def run(model: Any, x: Tensor, sigmas: Tensor, extra_args: dict[str, Any], **options: Any) -> Tensor:
        """From `x` at the first of the sigmas to an image. Raises Refusal."""
        if host.model.flow_model():
            raise Refusal(
                f'sampling method = "{entry.label}" is not allowed: the loaded model is a rectified flow (SD3), for '
                "which its steps are wrong; it must be one of the WebUI's own."
            )
        if entry.adds_noise and options.get("noise_sampler") is None:
            options["noise_sampler"] = lambda sigma, sigma_next: host.denoiser.next_noise(model.p)
            host.denoiser.name_noise_seed(model.p)
        options |= request_of(model.p).options_of(entry)
        if not entry.cfgpp:
            return entry.function(model, x, sigmas, extra_args, **options)
        try:
            with cfgpp_pass(entry, model, x, sigmas, extra_args, options.get("eta", 1.0)) as (denoiser, start):
                return entry.function(denoiser, start, sigmas, extra_args, **options)
        except MissingUncondError as refusal:
            raise Refusal(str(refusal)) from refusal

    return run


def register() -> None:
    """Put samplers and schedules into the host's lists, in the place of what an earlier import left there.

    The host looks names up in `all_samplers_map` alone, so the aliases stand there, too.
    """
    unregister()
    for entry in ENTRIES:
        data = SamplerData(entry.label, partial(_construct, hosted(entry)), list(entry.aliases), dict(entry.options))
        sd_samplers.all_samplers.append(data)
        sd_samplers.all_samplers_map.update(dict.fromkeys((entry.label, *entry.aliases), data))
    for scheduler in _schedulers():
        sd_schedulers.schedulers.append(scheduler)
        sd_schedulers.schedulers_map.update({scheduler.name: scheduler, scheduler.label: scheduler})
    _refresh()


def hide() -> None:
    """Take out of the page's lists what the user wants hidden, after the host has made them and before the page."""
    sd_samplers.samplers_hidden |= set(host.options.setting_shown("hidden_samplers"))


def unregister() -> None:
    """Take them out again, by name."""
    labels = {entry.label for entry in ENTRIES}
    sd_samplers.all_samplers[:] = [entry for entry in sd_samplers.all_samplers if entry.name not in labels]
    for name in [name for name, entry in sd_samplers.all_samplers_map.items() if entry.name in labels]:
        del sd_samplers.all_samplers_map[name]
    names = {either for name, grid in GRIDS.items() for either in (name, grid.label)}
    sd_schedulers.schedulers[:] = [entry for entry in sd_schedulers.schedulers if entry.name not in names]
    for name in names:
        sd_schedulers.schedulers_map.pop(name, None)
    _refresh()


def _refresh() -> None:
    """What the host has computed from its lists is computed anew."""
    sd_samplers.set_samplers()
    sd_samplers.get_sampler_and_scheduler.cache_clear()


class _HostedSampler(sd_samplers_kdiffusion.KDiffusionSampler):  # type: ignore[misc]  # the host has no types
    def create_noise_sampler(self, x: Tensor, sigmas: Tensor, p: Processing) -> Any:
        """The host's, which cannot be made for the schedule [0] of a hires pass at denoising strength 0."""
        return super().create_noise_sampler(x, sigmas, p) if (sigmas > 0).any() else None


def _construct(run: SampleFunction, model: Any) -> Any:
    sampler = _HostedSampler(run, model)
    sampler.extra_params = ["s_noise"]
    return sampler


def runs_exact_grid(p: Processing) -> bool:
    """Whether the pass that is about to start has one of our schedules."""
    return host.job.schedule_of_pass(p) in GRIDS


def check_hires_grid(p: Processing) -> None:
    """Raise SettingError if the hires pass will ask one of our schedules for more steps than it has."""
    schedule = host.job.hires_schedule(p)
    if schedule is not None and schedule.name in GRIDS and schedule.steps > 0:
        GRIDS[schedule.name].check(schedule.steps, trained_steps(p))


def _schedulers() -> list[Any]:
    return [
        sd_schedulers.Scheduler(name, grid.label, _schedule(grid), need_inner_model=True)
        for name, grid in GRIDS.items()
    ]


def _schedule(grid: Grid) -> Any:
    """A grid in the host's form; the range of sigmas is the grid's own."""

    def sigmas(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: torch.device) -> Tensor:
        """The sigmas of `n` steps, and 0. Raises Refusal."""
        if host.model.flow_model():
            raise Refusal(f"{grid.label} is not allowed: the loaded model is a rectified flow (SD3).")
        if n == 0:  # hires fix at denoising strength 0
            return torch.zeros(1, device=device)
        try:
            return grid.levels(n, inner_model, host.model.is_sdxl()).to(device)
        except SettingError as refusal:
            raise Refusal(str(refusal)) from refusal

    return sigmas
