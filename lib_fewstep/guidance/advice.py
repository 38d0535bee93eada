"""What will go wrong with the guidance of a run, and what would help, in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from lib_fewstep.guidance.settings import CFGPP, GuidanceSettings
from lib_fewstep.sentences import Sentence, joined


@dataclass(frozen=True)
class GuidedRun:
    """What a run is about to do: its CFG, whether it has a negative prompt, and whether its sampler is a CFG++ one."""

    cfg: float
    negative_prompt: bool
    cfgpp: bool


def advice(run: GuidedRun, settings: GuidanceSettings) -> list[Sentence]:
    """Sentences about what will go wrong; none where everything does something."""
    found = []
    if run.cfg == 0 and not run.cfgpp:
        found.append(
            Sentence(
                "CFG 0 paints what the negative prompt says. Where a model's page says guidance 0, it means CFG 1."
            )
        )
    nag = settings.enabled and settings.nag_scale > 0
    used = settings.enabled and (settings.schedule == CFGPP or settings.sag_scale > 0)
    if run.cfg == 1 and run.negative_prompt and not run.cfgpp and not nag and not used:
        found.append(
            Sentence('At CFG 1 the negative prompt has no effect. NAG brings it back: Guidance, preset "Distilled".')
        )
    if settings.enabled and not settings.acts:
        found.append(Sentence("Guidance is on, but every setting is at its neutral value: it does nothing."))
    if run.cfg > 1 and not run.cfgpp and settings.acts and settings.threshold_mimic >= run.cfg:
        found.append(
            Sentence(
                "Thresholding to CFG {mimic:g} does nothing at CFG {cfg:g}: it must be lower.",
                mimic=settings.threshold_mimic,
                cfg=run.cfg,
            )
        )
    at_one = run.cfg == 1 and not run.cfgpp and settings.schedule != CFGPP
    idle = _idle(settings) if at_one and settings.acts else ()
    if idle:
        found.append(
            Sentence(
                "At CFG 1 these have no effect: {settings}.",
                settings=joined(idle),
            )
        )
    return found


def _idle(settings: GuidanceSettings) -> list[Sentence]:
    """What does nothing at CFG 1."""
    limits = settings.start > 0 or settings.end < 1 or settings.sigma_low is not None or settings.sigma_high is not None
    idle = (
        (Sentence("the interval"), limits and not settings.adds_rows),
        (Sentence("the schedule"), settings.schedules and not settings.adds_rows),
        (Sentence("rescale"), settings.rescale > 0 and not settings.adds_rows),
        (Sentence("APG"), settings.projects),
        (Sentence("thresholding"), settings.threshold_mimic > 0),
    )
    return [name for name, is_idle in idle if is_idle]
