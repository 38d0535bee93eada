"""The settings of guidance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lib_fewstep.options import SettingError, check, from_mapping, option

CONSTANT, LINEAR, COSINE, CFGPP = SCHEDULES = ("Constant", "Linear", "Cosine", "CFG++")
STEPS, BURNING, NEGATIVE, STRUCTURE = GROUPS = (
    "On which steps",
    "Against burnt colours",
    "Negative prompt at CFG 1",
    "Clearer structure",
)
"""What the settings are for: the folded parts of the accordion."""

NO_PRESET, DISTILLED, ANTI_BURN, V_PREDICTION = "None", "Distilled", "Anti-burn", "v-prediction"
PRESETS: dict[str, dict[str, float]] = {
    NO_PRESET: {},
    DISTILLED: {"nag_scale": 2.0},
    ANTI_BURN: {"apg_eta": 0.0, "apg_threshold": 15.0},
    V_PREDICTION: {"rescale": 0.7},
}
"""What each preset sets, unless it is given."""

MIDDLE, DOWN, UP, ALL = BLOCKS = ("Middle", "Down", "Up", "All")
FIRST, EVERY = PASSES = ("First", "All")


@dataclass(frozen=True)
class GuidanceSettings:
    """On which steps the prompt guides, how strongly, and what is made of the guided image.

    Every value is checked on construction; SettingError (a ValueError) names the setting, its value and what is
    allowed. With the defaults nothing changes.
    """

    enabled: bool = option(True, "Enable", "Switches these settings on.", "Guidance enabled")
    preset: str = option(
        NO_PRESET,
        "Preset",
        "Distilled: a negative prompt at CFG 1. Anti-burn: calmer colours at high CFG. v-prediction: natural contrast "
        "with such models.",
        "Guidance preset",
        choices=tuple(PRESETS),
    )
    start: float = option(
        0.0,
        "Start",
        "Guidance begins after this share of the steps. A step without guidance costs half and ignores the negative "
        "prompt.",
        "Guidance start",
        low=0,
        high=1,
        step=0.05,
        group=STEPS,
    )
    end: float = option(
        1.0,
        "End",
        "Guidance stops after this share of the steps.",
        "Guidance end",
        low=0,
        high=1,
        step=0.05,
        group=STEPS,
    )
    sigma_low: float | None = option(
        None,
        "Lowest sigma",
        "No guidance at this noise level and below; 0.28 is the paper's value for SDXL. On the page, 0 is no limit.",
        "Guidance sigma low",
        low=0,
        high=100000,
        step=0.01,
        blank=0.0,
        unset="no limit",
        group=STEPS,
    )
    sigma_high: float | None = option(
        None,
        "Highest sigma",
        "No guidance above this noise level; 5.42 is the paper's value for SDXL. On the page, 0 is no limit.",
        "Guidance sigma high",
        low=0,
        high=100000,
        step=0.01,
        blank=0.0,
        unset="no limit",
        group=STEPS,
    )
    schedule: str = option(
        CONSTANT,
        "Schedule",
        "Constant: the CFG slider on every step. Linear, Cosine: between the two ramp values. CFG++: each step as "
        "strong as with CFG++, with any sampler.",
        "Guidance schedule",
        choices=SCHEDULES,
        group=STEPS,
    )
    ramp_from: float = option(
        0.0,
        "Ramp from",
        "For Linear and Cosine: the share of guidance on the first guided step. 0 is CFG 1, 1 is the CFG slider.",
        "Guidance ramp from",
        low=0,
        high=4,
        step=0.05,
        group=STEPS,
    )
    ramp_to: float = option(
        1.0,
        "Ramp to",
        "For Linear and Cosine: the share of guidance on the last guided step.",
        "Guidance ramp to",
        low=0,
        high=4,
        step=0.05,
        group=STEPS,
    )
    rescale: float = option(
        0.0,
        "Rescale",
        "Gives the guided image the contrast of one without guidance: 0 is off, 0.7 is usual for v-prediction.",
        "Guidance rescale",
        low=0,
        high=1,
        step=0.05,
        group=BURNING,
    )
    apg_eta: float = option(
        1.0,
        "APG eta",
        "How much is kept of the part of guidance that burns colours: 0 is nothing, 1 is all of it.",
        "APG eta",
        low=0,
        high=1,
        step=0.05,
        group=BURNING,
    )
    apg_threshold: float = option(
        0.0,
        "APG threshold",
        "Limits how far guidance goes on each step: 0 is no limit, 15 is the paper's value for SDXL, at any image "
        "size.",
        "APG threshold",
        low=0,
        high=200,
        step=0.5,
        group=BURNING,
    )
    apg_momentum: float = option(
        0.0,
        "APG momentum",
        "How much of the earlier steps' guidance is added to each step, or taken away below 0. 0 is off, -0.5 is the "
        "paper's value for SDXL.",
        "APG momentum",
        low=-0.9,
        high=0.9,
        step=0.05,
        group=BURNING,
    )
    threshold_mimic: float = option(
        0.0,
        "Mimic CFG",
        "Dynamic thresholding: the image gets the range of colours that it would have at this CFG, which is below the "
        "slider's. 0 is off.",
        "Guidance mimic CFG",
        low=0,
        high=100,
        step=0.5,
        group=BURNING,
    )
    threshold_percentile: float = option(
        1.0,
        "Percentile",
        "For Mimic CFG: the share of the values that are not cut off. 1 cuts off none.",
        "Guidance percentile",
        low=0.5,
        high=1,
        step=0.005,
        group=BURNING,
    )

    nag_scale: float = option(
        0.0,
        "NAG scale",
        "Gives distilled models a negative prompt at CFG 1, without a second row. 0 is off, 2 is usual.",
        "NAG scale",
        low=0,
        high=20,
        step=0.25,
        group=NEGATIVE,
    )
    nag_tau: float = option(
        2.5,
        "NAG tau",
        "Limits NAG: the output of a cross-attention may become this many times as large.",
        "NAG tau",
        low=1,
        high=10,
        step=0.1,
        group=NEGATIVE,
    )
    nag_alpha: float = option(
        0.5,
        "NAG alpha",
        "How much of NAG's output is used: 0 is nothing, 1 is all of it.",
        "NAG alpha",
        low=0,
        high=1,
        step=0.05,
        group=NEGATIVE,
    )
    pag_scale: float = option(
        0.0,
        "PAG scale",
        "Perturbed attention: clearer structure for one more row a step. 0 is off, 3 is usual.",
        "PAG scale",
        low=0,
        high=20,
        step=0.25,
        group=STRUCTURE,
    )
    seg_scale: float = option(
        0.0,
        "SEG scale",
        "Smoothed energy: calmer than PAG, for one more row a step. 0 is off, 3 is usual.",
        "SEG scale",
        low=0,
        high=20,
        step=0.25,
        group=STRUCTURE,
    )
    seg_sigma: float | None = option(
        None,
        "SEG sigma",
        "How far SEG blurs, in cells of the feature map. 0 means infinitely far.",
        "SEG sigma",
        low=0.1,
        high=100,
        step=0.1,
        blank=0.0,
        unset="infinity",
        group=STRUCTURE,
    )
    sag_scale: float = option(
        0.0,
        "SAG scale",
        "Self-attention guidance: finer detail for one more row a step. 0 is off, 0.75 is usual.",
        "SAG scale",
        low=0,
        high=5,
        step=0.05,
        group=STRUCTURE,
    )
    attention_blocks: str = option(
        MIDDLE,
        "Blocks",
        "Where PAG and SEG change self-attention: in the middle block, on the way down, on the way up, or everywhere.",
        "Guidance blocks",
        choices=BLOCKS,
        group=STRUCTURE,
    )
    attention_passes: str = option(
        FIRST,
        "Passes",
        "Where PAG, SEG and SAG act. First: not in a hires pass, where they repeat subjects.",
        "Guidance passes",
        choices=PASSES,
        group=STRUCTURE,
    )

    def __post_init__(self) -> None:
        """Raise SettingError for a value that is not allowed, and for an interval without a step."""
        check(self)
        if self.start >= self.end:
            raise SettingError(f"end = {self.end:g} is not allowed: it must be above start, which is {self.start:g}.")
        if self.sigma_high is not None and self.sigma_high <= (self.sigma_low or 0):
            raise SettingError(
                f"sigma_high = {self.sigma_high:g} is not allowed: it must be above sigma_low, which is "
                f"{self.sigma_low or 0:g}."
            )

    @staticmethod
    def filled_by(preset: str) -> dict[str, float]:
        """What choosing a preset makes of every setting that some preset sets: its value, or the neutral one."""
        names = dict.fromkeys(name for values in PRESETS.values() for name in values)
        return {name: PRESETS.get(preset, {}).get(name, getattr(GuidanceSettings(), name)) for name in names}

    @property
    def projects(self) -> bool:
        """Whether adaptive projection does anything."""
        return self.apg_eta != 1 or self.apg_threshold > 0 or self.apg_momentum != 0

    @property
    def changes_attention(self) -> bool:
        """Whether anything inside of the UNet's attention is changed or read."""
        return self.adds_rows or self.nag_scale > 0

    @property
    def adds_rows(self) -> bool:
        """Whether more is evaluated than the prompt and the negative prompt."""
        return max(self.pag_scale, self.seg_scale, self.sag_scale) > 0

    @property
    def acts(self) -> bool:
        """Whether anything differs from ordinary guidance."""
        neutral = GuidanceSettings()
        parts = ("start", "end", "sigma_low", "sigma_high", "rescale", "threshold_mimic")
        differs = any(getattr(self, name) != getattr(neutral, name) for name in parts)
        nag = self.nag_scale > 0 and self.nag_alpha > 0
        return self.enabled and (differs or self.schedules or nag or self.adds_rows or self.projects)

    @property
    def schedules(self) -> bool:
        """Whether the guided steps differ in their strength from the slider's."""
        flat = self.schedule != CFGPP and self.ramp_from == self.ramp_to == 1
        return self.schedule != CONSTANT and not flat

    @staticmethod
    def from_dict(values: object) -> GuidanceSettings:
        """Settings from the API's dict; those that are not given have the preset's value.

        Raises SettingError for unknown names, for wrong values and for anything that is no dict.
        """
        if isinstance(values, Mapping) and isinstance(preset := values.get("preset"), str):
            values = {**PRESETS.get(preset, {}), **values}
        return from_mapping(GuidanceSettings, values)
