"""The line on the page that says what guidance will do in the passes that the page would start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib_fewstep.guidance import GuidanceSession, GuidanceSettings, interval_of
from lib_fewstep.sampling.presets import is_cfgpp
from lib_fewstep.sentences import Sentence
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.page_pass import PagePass, lines_of
from lib_fewstep.webui.guidance.readers import impossible, reader_in_every_pass, usable
from lib_fewstep.webui.guidance.summary import leaves_out, summary


@dataclass(frozen=True)
class Guided:
    """How a pass is sampled: the names of sampler and schedule, and the CFG."""

    sampler: str
    schedule: str
    cfg: float


def preview(settings: GuidanceSettings, passes: Sequence[tuple[PagePass, Guided]]) -> str:
    """What will happen in each pass, as HTML in the page's language."""
    return lines_of([_line(settings, page_pass, guided) for page_pass, guided in passes])


def _line(settings: GuidanceSettings, page_pass: PagePass, guided: Guided) -> Sentence:
    unet = host.model.loaded_unet()
    if unet is None:
        return Sentence("No model is loaded yet.")
    reason = impossible(settings)
    if reason is not None:
        return Sentence("Nothing will be done: {reason}", reason=reason)
    levels = host.lists.levels_on_page(guided.sampler, guided.schedule, page_pass)
    if levels is None and (settings.sigma_low is not None or settings.sigma_high is not None):
        return Sentence("The noise levels of {sampler} are known once it runs.", sampler=guided.sampler)
    if levels is None:
        levels = [float(step) for step in range(page_pass.steps, -1, -1)]
    plan = interval_of(settings, levels)
    if plan.strengths and not plan.guided:
        return Sentence("No step is guided, so the image is refused: widen the interval.")
    reads_uncond = is_cfgpp(guided.sampler)
    saves = bool(host.options.setting_shown("one_row")) and reader_in_every_pass(unet) is None
    rival, listener = host.model.competing_by_settings(page_pass.kind), host.denoiser.listener_after_unet()
    left, _ = usable(settings, unet, guided.sampler, reads_uncond=reads_uncond, rival=rival, listener=listener)
    session = GuidanceSession(left, levels, first_pass=page_pass.kind != "hires")

    def left_out(index: int) -> bool:
        return saves and leaves_out(session, index, guided.cfg, reads_uncond=reads_uncond)

    return summary(session, host.lists.evaluations_on_page(guided.sampler, len(levels) - 1), left_out)
