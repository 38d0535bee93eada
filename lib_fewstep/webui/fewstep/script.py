"""The always-on script "Few-Step"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modules import script_callbacks

from lib_fewstep.sampling.cfgpp_guidance import LAMBDA
from lib_fewstep.sampling.presets import RunSettings, advice, recognise
from lib_fewstep.sampling.schedules import at_or_below, check_timesteps
from lib_fewstep.sampling.settings import FewStepSettings
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.log import log
from lib_fewstep.webui.common.script import SettingsScript, advise
from lib_fewstep.webui.common.trained_steps import trained_steps
from lib_fewstep.webui.common.xyz import add_axes, axis_values
from lib_fewstep.webui.fewstep import samplers, settings_page
from lib_fewstep.webui.fewstep.accordion import FewStepAccordion
from lib_fewstep.webui.fewstep.arguments import few_step_settings, from_page, with_preset
from lib_fewstep.webui.fewstep.axes import SCRIPT, few_step_axes, with_axes
from lib_fewstep.webui.fewstep.infotext import PASTING, guided, infotext
from lib_fewstep.webui.fewstep.request import FewStepRequest, request_of
from lib_fewstep.webui.fewstep.sampling_pass import attach


class FewStepScript(SettingsScript):
    """Guidance, schedule, start and presets of few-step sampling, in txt2img, img2img, plots and the API."""

    script_title = SCRIPT
    settings = FewStepSettings
    request = FewStepRequest
    accordion = FewStepAccordion
    pasting = PASTING
    not_sent = ("prior_images",)  # gradio cannot hand on uploaded files

    def process(self, p: Processing, *args: Any) -> None:
        """Read the arguments, and say what will go wrong."""
        super().process(p, *args)
        host.job.forget_schedule(p)
        request = request_of(p)
        if request.refusal is None:
            _advise(p, request.settings)

    def process_batch(self, p: Processing, *args: Any, **kwargs: Any) -> None:
        """As ever; a sampler of this extension says anew that its noise follows the noise seed."""
        super().process_batch(p, *args, **kwargs)
        p.extra_generation_params.pop(host.denoiser.NOISE_SEED, None)

    def read(self, p: Processing, args: tuple[Any, ...]) -> FewStepRequest:
        """The settings of arguments and axes, with a preset's values on the processing object."""
        plotted, guidance = axis_values(p, SCRIPT), _own_guidance(p)
        settings = with_axes(few_step_settings(args, guidance, plotted), plotted)
        if settings.enabled or settings.guidance != FewStepSettings().guidance:
            settings = _filled_in(p, settings, guidance, by_name="preset" in plotted or not from_page(args))
        _check_hires(p, settings)
        return FewStepRequest(settings)

    def before_pass(self, p: Processing, request: FewStepRequest, x: Any) -> None:
        """Get the pass's sampler ready."""
        if request.refusal is not None or request.settings.enabled or samplers.runs_exact_grid(p):
            attach(p)

    def bypassed(self, p: Processing, request: FewStepRequest) -> None:
        """Guidance and gamma act in the sampler, whoever calls it; the rest is left out."""
        settings = request.settings
        acting = replace(settings, timesteps=(), prior=None, invert=None, hires_cfg=None)
        if acting != settings:
            log.warning(
                "Few-Step: a script of this job samples in its own way: timesteps, prior, inversion and hires CFG are "
                "left out."
            )
        p.extra_generation_params.update(_infotext(p, acting, _own_guidance(p)))


def _own_guidance(p: Processing) -> str:
    """The guidance of the WebUI's settings; where it is not allowed, only a job with a CFG++ sampler is refused."""
    read = host.options.setting if guided(_samplers_of(p)) else host.options.setting_shown
    return str(read("guidance"))


def _filled_in(p: Processing, settings: FewStepSettings, guidance: str, *, by_name: bool) -> FewStepSettings:
    """The settings with a preset's values; their steps are set on the job, and they are written into its infotext."""
    if by_name:
        settings = with_preset(p, settings)
    if settings.timesteps:
        check_timesteps(settings.timesteps, trained_steps(p))
        p.steps = len(at_or_below(settings.timesteps, host.job.denoising_strength(p), trained_steps(p)))
    p.extra_generation_params.update(_infotext(p, settings, guidance))
    return settings


def _infotext(p: Processing, settings: FewStepSettings, guidance: str) -> dict[str, Any]:
    """A CFG below 1, which the page's slider cannot show, is written as the lambda that it is."""
    if settings.guidance == LAMBDA and settings.cfgpp_lambda is None and p.cfg_scale < 1:
        settings = replace(settings, cfgpp_lambda=p.cfg_scale)
    return infotext(settings, _samplers_of(p), guidance, has_hires=host.job.has_hires(p))


def _check_hires(p: Processing, settings: FewStepSettings) -> None:
    """Raise SettingError for what only the hires pass would refuse, after the first one has run."""
    if settings.enabled and settings.timesteps and host.job.has_hires(p):
        at_or_below(settings.timesteps, p.denoising_strength, trained_steps(p))
    else:
        samplers.check_hires_grid(p)


def _samplers_of(p: Processing) -> list[str]:
    return [name for name in (p.sampler_name, host.job.hires_sampler(p)) if name]


def _advise(p: Processing, settings: FewStepSettings) -> None:
    """Say once, under the image and in the log, what will go wrong."""
    run = RunSettings(
        p.sampler_name,
        host.job.schedule_label(p),
        p.steps,
        p.cfg_scale,
        custom_timesteps=settings.enabled and bool(settings.timesteps),
        from_noise=not host.job.is_img2img(p),
        prior=settings.prior is not None,
        hires_sampler=(host.job.hires_sampler(p) or p.sampler_name) if host.job.has_hires(p) else None,
        hires_cfg=p.cfg_scale if settings.hires_cfg is None else settings.hires_cfg,
        guidance=settings.guidance,
        trained=trained_steps(p),
    )
    recognised = recognise(host.model.checkpoint_name(), host.job.loras_in(*p.all_prompts))
    advise(p, SCRIPT, advice(run, recognised, settings.chosen if settings.enabled else None))


def register() -> None:
    """Put settings, samplers, schedules and axes into the host's lists; the last three go with the script."""
    settings_page.register()
    samplers.register()
    script_callbacks.on_before_ui(samplers.hide)
    add_axes(few_step_axes)
    script_callbacks.on_script_unloaded(samplers.unregister)
