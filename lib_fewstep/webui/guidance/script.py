"""The always-on script "Guidance"."""

from __future__ import annotations

from typing import Any

from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.guidance.advice import GuidedRun, advice
from lib_fewstep.sampling.presets import is_cfgpp
from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.arguments import given_settings
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.infotext import differing, marked_by_any_key
from lib_fewstep.webui.common.script import SettingsScript, advise
from lib_fewstep.webui.common.xyz import add_axes, axis_values
from lib_fewstep.webui.guidance.accordion import GuidanceAccordion
from lib_fewstep.webui.guidance.axes import SCRIPT, guidance_axes, with_axes
from lib_fewstep.webui.guidance.request import GuidanceRequest
from lib_fewstep.webui.guidance.sampling_pass import GuidancePass, on_cfg_denoiser


class GuidanceScript(SettingsScript):
    """How strongly each step is guided and what is made of it, in txt2img, img2img, plots and the API."""

    script_title = SCRIPT
    settings = GuidanceSettings
    request = GuidanceRequest
    accordion = GuidanceAccordion
    pasting = marked_by_any_key(GuidanceSettings)

    def read(self, p: Processing, args: tuple[Any, ...]) -> GuidanceRequest:
        """The settings of arguments and axes, which go into the infotext; each job has a request, for one row."""
        given = GuidanceSettings.from_dict(given_settings(GuidanceSettings, args))
        settings = with_axes(given, axis_values(p, SCRIPT))
        if not settings.enabled:  # its other values count for nothing
            return GuidanceRequest()
        p.extra_generation_params.update(differing(settings))
        return GuidanceRequest(settings)

    def process(self, p: Processing, *args: Any) -> None:
        """Read the arguments, and say what will go wrong."""
        super().process(p, *args)
        request = state.find(p, GuidanceRequest)
        if request is not None and request.refusal is None:
            _advise(p, request.settings)

    def before_pass(self, p: Processing, request: GuidanceRequest, x: Any) -> None:
        """Put guidance around the pass."""
        GuidancePass(request, p).attach()


def _advise(p: Processing, settings: GuidanceSettings) -> None:
    """Say once, under the image and in the log, what will go wrong."""
    run = GuidedRun(
        p.cfg_scale,
        any(p.all_negative_prompts),
        cfgpp=any(is_cfgpp(name) for name in (p.sampler_name, host.job.hires_sampler(p)) if name),
        parts=host.job.has_parts(*p.all_prompts),
        plotted=bool(axis_values(p, SCRIPT)),
    )
    advise(p, SCRIPT, advice(run, settings))


def register() -> None:
    """Register the callbacks, once, also when the UI is reloaded."""
    host.denoiser.listen_last(on_cfg_denoiser)
    add_axes(guidance_axes)
