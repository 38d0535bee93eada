"""The line on the page that says what guidance will do in the passes that the page would start."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lib_fewstep.guidance import GuidanceSession, GuidanceSettings, make_plan
from lib_fewstep.guidance.settings import CONSTANT
from lib_fewstep.sampling.presets import is_cfgpp
from lib_fewstep.sentences import Sentence
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.page_pass import PagePass
from lib_fewstep.webui.common.translate import in_language
from lib_fewstep.webui.guidance.readers import impossible, owner_of, reader_in_every_pass
from lib_fewstep.webui.guidance.summary import leaves_out, summary


@dataclass(frozen=True)
class Guided:
    """How a pass is sampled: the names of sampler and schedule, and the CFG."""

    sampler: str
    schedule: str
    cfg: float


def preview(settings: GuidanceSettings, passes: Sequence[tuple[PagePass, Guided]]) -> str:
    """What will happen in each pass, as HTML in the page's language."""
    lines = [_line(settings, page_pass, guided) for page_pass, guided in passes]
    if len(lines) > 1:
        lines = [Sentence("First pass: {what}", what=lines[0]), Sentence("Hires pass: {what}", what=lines[1])]
    return "<br>".join(html.escape(in_language(line)) for line in lines)


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
    plan = make_plan(replace(settings, schedule=CONSTANT), levels)
    if plan.strengths and not plan.guided:
        return Sentence("No step is guided, so the image is refused: widen the interval.")
    reads_uncond = is_cfgpp(guided.sampler)
    saves = bool(host.options.setting_shown("one_row")) and reader_in_every_pass(unet) is None
    usable = _usable(settings, page_pass, reads_uncond=reads_uncond, owned=owner_of(unet) is not None)
    session = GuidanceSession(usable, levels, first_pass=page_pass.kind != "hires")

    def left_out(index: int) -> bool:
        return saves and leaves_out(session, index, guided.cfg, reads_uncond=reads_uncond)

    return summary(session, host.lists.evaluations_on_page(guided.sampler, len(levels) - 1), left_out)


def _usable(settings: GuidanceSettings, page_pass: PagePass, *, reads_uncond: bool, owned: bool) -> GuidanceSettings:
    """The settings without what a CFG++ sampler or another extension leaves no room for."""
    if reads_uncond:
        settings = replace(settings, schedule=CONSTANT)
    if owned:
        settings = replace(settings, nag_scale=0.0, pag_scale=0.0, seg_scale=0.0, sag_scale=0.0)
    if host.model.competing_by_settings(page_pass.kind) is not None:
        settings = replace(settings, seg_scale=0.0, sag_scale=0.0)
    return settings
