"""What will go wrong with the guidance of a run, and what would help, in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from lib_fewstep.guidance.settings import CFGPP, CONSTANT, COSINE, LINEAR, GuidanceSettings
from lib_fewstep.sentences import Sentence, joined


@dataclass(frozen=True)
class GuidedRun:
    """What a run is about to do: its CFG, whether it has a negative prompt, and whether its sampler is a CFG++ one.

    `parts` is whether a prompt has parts with AND, or a weight: then the negative prompt counts at CFG 1, too.
    `plotted` is whether the settings are a plot's, whose cells may mean to do nothing.
    """

    cfg: float
    negative_prompt: bool
    cfgpp: bool
    parts: bool = False
    plotted: bool = False


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
    if run.cfg == 1 and run.negative_prompt and not (run.cfgpp or run.parts or nag or used):
        found.append(
            Sentence('At CFG 1 the negative prompt has no effect. NAG brings it back: Guidance, preset "Distilled".')
        )
    if settings.enabled and not settings.acts and not run.plotted:
        found.append(Sentence("Guidance is on, but with these settings it does nothing."))
    if settings.acts and settings.schedule not in (LINEAR, COSINE) and _has_ramp(settings):
        found.append(Sentence("The ramp needs the schedule Linear or Cosine: it does nothing here."))
    strongest = _strongest(run, settings)
    if strongest is not None and strongest > 1 and settings.threshold_mimic >= strongest:
        found.append(
            Sentence(
                "Thresholding to CFG {mimic:g} does nothing at CFG {cfg:g}: it must be lower.",
                mimic=settings.threshold_mimic,
                cfg=strongest,
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


def _has_ramp(settings: GuidanceSettings) -> bool:
    neutral = GuidanceSettings()
    return (settings.ramp_from, settings.ramp_to) != (neutral.ramp_from, neutral.ramp_to)


def _strongest(run: GuidedRun, settings: GuidanceSettings) -> float | None:
    """The CFG of the strongest step; None where only the pass will tell, and where nothing is done."""
    if not settings.acts or settings.schedule == CFGPP:
        return None
    ramps = settings.schedule != CONSTANT and not run.cfgpp
    return 1 + max(settings.ramp_from, settings.ramp_to) * (run.cfg - 1) if ramps else run.cfg


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
