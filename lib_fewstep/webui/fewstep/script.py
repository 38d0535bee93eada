"""The always-on script "Few-Step"."""

from __future__ import annotations

from typing import Any

from modules import script_callbacks, scripts

from lib_fewstep.options import SettingError
from lib_fewstep.sampling.presets import Planned, advice, recognise
from lib_fewstep.sampling.schedules import at_or_below
from lib_fewstep.sampling.settings import FewStepSettings
from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.log import log
from lib_fewstep.webui.common.translate import in_language
from lib_fewstep.webui.common.xyz import add_when_there, values_of
from lib_fewstep.webui.fewstep import samplers, settings_page
from lib_fewstep.webui.fewstep.accordion import FewStepAccordion
from lib_fewstep.webui.fewstep.arguments import few_step_settings, with_preset
from lib_fewstep.webui.fewstep.axes import AXES, few_step_axes, with_axes
from lib_fewstep.webui.fewstep.infotext import PASTED, SENT, forget, guided, infotext
from lib_fewstep.webui.fewstep.job import FewStepJob
from lib_fewstep.webui.fewstep.sampling_pass import attach


class FewStepScript(scripts.Script):
    """Guidance, schedule, start and presets of few-step sampling, in txt2img, img2img, plots and the API."""

    def __init__(self) -> None:
        """One per tab; the accordion waits for the tab's own fields."""
        self._accordion = FewStepAccordion()

    def title(self) -> str:
        """The name of the script in the API's `alwayson_scripts`."""
        return "Few-Step"

    def show(self, is_img2img: bool) -> Any:
        """In both tabs, for every image."""
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        """The accordion; its components are the script's arguments, in the order of the page."""
        components = self._accordion.build("img2img" if is_img2img else "txt2img")
        self.infotext_fields = [(component, PASTED[name]) for name, component in components.items()]
        self.paste_field_names = list(SENT)
        return list(components.values())

    def after_component(self, component: Any, **kwargs: Any) -> None:
        """Catch the tab's own fields, which a preset fills."""
        self._accordion.caught(component)

    def process(self, p: Any, *args: Any) -> None:
        """Read the arguments. What they are refused for is raised when sampling starts: here it would be lost."""
        state.drop(p, FewStepJob)
        forget(p.extra_generation_params)
        settings = FewStepSettings(enabled=False)
        try:
            plotted = values_of(p, AXES)
            guidance = _own_guidance(p)
            settings = with_axes(few_step_settings(args, guidance), plotted)
            if settings.enabled or settings.guidance != FewStepSettings().guidance:
                from_page = bool(args) and isinstance(args[0], bool)
                settings = _start(p, settings, guidance, by_name="preset" in plotted or not from_page)
            _check_hires(p, settings)
        except SettingError as refusal:
            state.put(p, FewStepJob(refusal=str(refusal)))
        _advise(p, settings)

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """Get the sampler of the pass that is about to start ready."""
        if state.find(p, FewStepJob) is not None:
            attach(p)


def _own_guidance(p: Any) -> str:
    """The guidance of the WebUI's settings, which only a job with a CFG++ sampler needs."""
    return str(host.options.setting("guidance")) if guided(_samplers_of(p)) else FewStepSettings().guidance


def _start(p: Any, settings: FewStepSettings, guidance: str, *, by_name: bool) -> FewStepSettings:
    """Leave the job on the processing object; returns the settings with a preset's values filled in."""
    if by_name:
        settings = with_preset(p, settings)
    if settings.timesteps:
        used = at_or_below(settings.timesteps, p.denoising_strength) if host.job.is_img2img(p) else settings.timesteps
        p.steps = len(used)
    state.put(p, FewStepJob(settings))
    p.extra_generation_params.update(infotext(settings, _samplers_of(p), guidance))
    return settings


def _check_hires(p: Any, settings: FewStepSettings) -> None:
    """Raise SettingError for what only the hires pass would refuse, after the first one has run."""
    if settings.enabled and settings.timesteps and host.job.has_hires(p):
        at_or_below(settings.timesteps, p.denoising_strength)
    else:
        samplers.check_hires_grid(p)


def _samplers_of(p: Any) -> list[str]:
    return [name for name in (p.sampler_name, host.job.hires_sampler(p)) if name]


def _advise(p: Any, settings: FewStepSettings) -> None:
    """Say once, under the image and in the log, what will go wrong."""
    planned = Planned(
        p.sampler_name,
        host.job.schedule_label(p),
        p.steps,
        p.cfg_scale,
        negative_prompt=any(p.all_negative_prompts),
        custom=settings.enabled and bool(settings.timesteps),
        whole=not host.job.is_img2img(p),
        prior=settings.prior is not None,
    )
    recognised = recognise(host.model.checkpoint_name(), host.job.loras_in(*p.all_prompts))
    for sentence in advice(planned, recognised, settings.chosen if settings.enabled else None):
        p.comment(f"Few-Step: {in_language(sentence)}")
        log.info("%s", sentence)


def register() -> None:
    """Put settings, samplers, schedules and axes into the host's lists; the last three go with the script."""
    settings_page.register()
    samplers.register()
    script_callbacks.on_before_ui(samplers.hide)
    add_when_there(few_step_axes)
    script_callbacks.on_script_unloaded(samplers.unregister)
