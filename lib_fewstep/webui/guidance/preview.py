"""The line on the page that says what guidance will do in the passes that the page would start."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from lib_fewstep.guidance import GuidanceSession, GuidanceSettings
from lib_fewstep.sampling.presets import is_cfgpp
from lib_fewstep.sentences import Sentence
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.passes import PagePass
from lib_fewstep.webui.common.translate import in_language
from lib_fewstep.webui.guidance.summary import leaves_out, summary


@dataclass(frozen=True)
class Guided:
    """How the page's passes are sampled: the names of sampler and schedule, and the CFG."""

    sampler: str
    schedule: str
    cfg: float


def preview(settings: GuidanceSettings, passes: Sequence[PagePass], guided: Guided) -> str:
    """What will happen in each pass, as HTML in the page's language."""
    lines = [_line(settings, page_pass, guided) for page_pass in passes]
    if len(lines) > 1:
        lines = [Sentence("First pass: {what}", what=lines[0]), Sentence("Hires pass: {what}", what=lines[1])]
    return "<br>".join(html.escape(in_language(line)) for line in lines)


def _line(settings: GuidanceSettings, page_pass: PagePass, guided: Guided) -> Sentence:
    limited = settings.sigma_low is not None or settings.sigma_high is not None
    levels = host.lists.levels_on_page(guided.sampler, guided.schedule, page_pass.steps, page_pass.denoise)
    if limited and levels is None:
        return Sentence("The noise levels of {sampler} are known once it runs.", sampler=guided.sampler)
    levels = levels or [float(step) for step in range(page_pass.steps, -1, -1)]
    session = GuidanceSession(settings, levels, first_pass=page_pass.kind != "hires")
    reads_uncond = is_cfgpp(guided.sampler)
    saves = bool(host.options.setting_shown("one_row"))

    def left_out(index: int) -> bool:
        return saves and leaves_out(session, index, guided.cfg, reads_uncond=reads_uncond)

    calls = host.lists.evaluations_on_page(guided.sampler, page_pass.steps)
    return summary(session, calls, left_out)
