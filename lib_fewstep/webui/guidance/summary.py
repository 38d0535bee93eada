"""What guidance will do in a pass and what that costs, as a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lib_fewstep.guidance import GuidanceSession, GuidanceSettings
from lib_fewstep.guidance.settings import CFGPP, CONSTANT, COSINE, LINEAR
from lib_fewstep.sentences import Sentence, joined

_SCHEDULES = {
    LINEAR: Sentence("linear schedule"),
    COSINE: Sentence("cosine schedule"),
    CFGPP: Sentence("schedule of CFG++"),
}


def leaves_out(session: GuidanceSession, index: int, cfg: float, *, reads_uncond: bool) -> bool:
    """Whether a step can do without the unconditional rows.

    Where the sampler reads the unconditional image it gets the conditional one on steps without guidance.
    """
    return not (session.plan.strengths[index].guided if reads_uncond else session.needs_negative(index, cfg))


def _rows(session: GuidanceSession, calls: Sequence[int], left_out: Callable[[int], bool], prompts: int) -> int:
    def rows(index: int) -> int:
        return prompts + len(session.added(index)) + session.degrades(index) + (not left_out(index))

    return sum(count * rows(index) for index, count in enumerate(calls))


def summary(
    session: GuidanceSession, calls: Sequence[int] | None, left_out: Callable[[int], bool], prompts: int = 1
) -> Sentence:
    """Such as "24 of 30 steps guided; 54 instead of 60 rows".

    `calls` is how often each step calls the denoiser, None where that is not known before; `left_out` whether a step
    does without the unconditional rows; an image has so many `prompts`, as its parts with AND.
    """
    plan = session.plan
    parts = [
        Sentence("{guided} of {steps} steps guided", guided=len(plan.guided), steps=len(plan.strengths)),
        *_names(session.settings, adds_rows=session.adds_rows),
    ]
    if calls is None:
        return joined(parts)
    rows, ordinary = _rows(session, calls, left_out, prompts), (prompts + 1) * sum(calls)
    if rows == ordinary:
        return Sentence("{what}; {rows} rows, as usual", what=joined(parts), rows=rows)
    return Sentence("{what}; {rows} instead of {ordinary} rows", what=joined(parts), rows=rows, ordinary=ordinary)


def _names(settings: GuidanceSettings, *, adds_rows: bool) -> list[Sentence]:
    """What acts, by its name and its number."""
    numbers = (
        (Sentence("rescale"), settings.rescale),
        (Sentence("thresholding to CFG"), settings.threshold_mimic),
        ("NAG", settings.nag_scale),
        ("PAG", settings.pag_scale * adds_rows),
        ("SEG", settings.seg_scale * adds_rows),
        ("SAG", settings.sag_scale * adds_rows),
    )
    found = [_SCHEDULES[settings.schedule]] if settings.schedule != CONSTANT else []
    found += [Sentence("APG")] if settings.projects else []
    return found + [Sentence("{name} {value:g}", name=name, value=value) for name, value in numbers if value > 0]
