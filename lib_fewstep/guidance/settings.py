"""The settings of guidance."""

from __future__ import annotations

from dataclasses import dataclass

from lib_fewstep.options import SettingError, check, from_mapping, option

CONSTANT, LINEAR, COSINE, CFGPP = SCHEDULES = ("Constant", "Linear", "Cosine", "CFG++")
NO_PRESET = "None"


@dataclass(frozen=True)
class GuidanceSettings:
    """On which steps the prompt guides, how strongly, and what is made of the guided image.

    Every value is checked on construction; SettingError (a ValueError) names the setting, its value and what is
    allowed. With the defaults nothing changes.
    """

    enabled: bool = option(True, "Enable", "Switches these settings on.", "Guidance enabled")
    start: float = option(
        0.0,
        "Start",
        "Share of the steps after which the prompt guides. Before it a step costs half, and has no negative prompt.",
        "Guidance start",
        low=0,
        high=1,
        step=0.05,
    )
    end: float = option(
        1.0,
        "End",
        "Share of the steps after which guidance stops.",
        "Guidance end",
        low=0,
        high=1,
        step=0.05,
    )
    sigma_low: float | None = option(
        None,
        "Lowest sigma",
        "No guidance at this noise level and below. 0.28 is the paper's value for SDXL.",
        "Guidance sigma low",
        low=0,
        high=100000,
        step=0.01,
        blank=0,
        unset="no limit",
    )
    sigma_high: float | None = option(
        None,
        "Highest sigma",
        "No guidance above this noise level. 5.42 is the paper's value for SDXL.",
        "Guidance sigma high",
        low=0,
        high=100000,
        step=0.01,
        blank=0,
        unset="no limit",
    )
    schedule: str = option(
        CONSTANT,
        "Schedule",
        "Constant: the CFG slider on every step. Linear, Cosine: from one share of it to another. CFG++: along the "
        "steps as CFG++ guides, with any sampler.",
        "Guidance schedule",
        choices=SCHEDULES,
    )
    ramp_from: float = option(
        0.0,
        "Ramp from",
        "For Linear and Cosine: the share of guidance on the first guided step. 0 is CFG 1, 1 is the CFG slider.",
        "Guidance ramp from",
        low=0,
        high=4,
        step=0.05,
    )
    ramp_to: float = option(
        1.0,
        "Ramp to",
        "For Linear and Cosine: the share of guidance on the last guided step.",
        "Guidance ramp to",
        low=0,
        high=4,
        step=0.05,
    )
    rescale: float = option(
        0.0,
        "Rescale",
        "Gives the guided image the contrast that it has without guidance: 0 is off, 0.7 is usual for v-prediction.",
        "Guidance rescale",
        low=0,
        high=1,
        step=0.05,
    )
    apg_eta: float = option(
        1.0,
        "APG eta",
        "How much is kept of the part of guidance that burns colours; 0 keeps nothing of it.",
        "APG eta",
        low=0,
        high=1,
        step=0.05,
    )
    apg_threshold: float = option(
        0.0,
        "APG threshold",
        "Limits the size of guidance: 0 is no limit, 15 the paper's value for SDXL. Larger images have the same limit "
        "for each pixel.",
        "APG threshold",
        low=0,
        high=200,
        step=0.5,
    )
    apg_momentum: float = option(
        0.0,
        "APG momentum",
        "What a step takes over of the guidance of the steps before; -0.5 is the paper's value for SDXL.",
        "APG momentum",
        low=-0.9,
        high=0.9,
        step=0.05,
    )
    threshold_mimic: float = option(
        0.0,
        "Mimic CFG",
        "Dynamic thresholding: the guided image gets the range of colours that this CFG would have. 0 is off.",
        "Guidance mimic CFG",
        low=0,
        high=100,
        step=0.5,
    )
    threshold_percentile: float = option(
        1.0,
        "Percentile",
        "Dynamic thresholding: the share of the values that is not cut off.",
        "Guidance percentile",
        low=0.5,
        high=1,
        step=0.005,
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

    @property
    def projects(self) -> bool:
        """Whether adaptive projection does anything."""
        return self.apg_eta != 1 or self.apg_threshold > 0 or self.apg_momentum != 0

    @staticmethod
    def from_dict(values: object) -> GuidanceSettings:
        """Settings from the API's dict.

        Raises SettingError for unknown names, for wrong values and for anything that is no dict.
        """
        return from_mapping(GuidanceSettings, values)
