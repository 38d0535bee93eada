"""The settings of few-step sampling."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from lib_fewstep.options import SettingError, check, from_mapping, option, shown
from lib_fewstep.sampling.cfgpp_guidance import LAMBDA
from lib_fewstep.sampling.presets import PRESETS, Preset

GUIDANCES = ("calibrated", "cfg/12.5", LAMBDA)
KEEPABLE = ("sampler", "schedule", "steps", "cfg")
NO_PRESET = "None"
CHANNELS, PIXELS, ONE_NUMBER = "Channels", "Pixels", "One number"
GAMMA = 0.3
MOST_INVERSION_STEPS = 20
MOST_DIGITS = 9
"""Of a timestep in a text: more than any model's have."""

LONGEST_FILE_NAME = 240
"""Bytes, as file systems count."""

_FILE_NAME = re.compile(r"\w[\w .\-]{0,99}")
S = TypeVar("S")


@dataclass(frozen=True)
class PriorSettings:
    """Where the statistics of the informative prior come from: one saved file, or reference images; and how it acts.

    `images` are whatever the caller can read as images; `save` keeps their statistics under a name. A `brightness`
    needs neither.
    """

    statistics: str = option(
        "",
        "Statistics file",
        "Saved statistics from models/FewStep. A new file appears after the page is reloaded.",
        "Few-Step prior",
        values="the name of a file",
        blank="None",
    )
    images: tuple[Any, ...] = option(
        (),
        "Reference images",
        "Images from which the statistics are computed.",
        "",
        values="a list of pictures in base64",
        blank=(),
    )
    save: str = option(
        "",
        "Save as",
        "Saves the statistics of the images under this name.",
        "",
        values="a file name",
        blank="",
    )
    share: float = option(
        1.0,
        "Share of the noise",
        "How much noise the run starts with, as the denoising strength of img2img: less keeps more of the average.",
        "Few-Step prior share",
        low=0.05,
        high=1,
        step=0.05,
        blank=1.0,
        added=1,
    )
    mean: str = option(
        CHANNELS,
        "Average of the images",
        "Channels: of each channel, for any size. Pixels: of each pixel, which chooses a subject and its place.",
        "Few-Step prior mean",
        choices=(CHANNELS, PIXELS),
        blank=CHANNELS,
        added=1,
    )
    deviation: str = option(
        CHANNELS,
        "Deviation from it",
        "How far the images are from their average: a number for each channel, or one in all.",
        "Few-Step prior deviation",
        choices=(CHANNELS, ONE_NUMBER),
        blank=CHANNELS,
        added=1,
    )
    brightness: float = option(
        0.0,
        "Brightness",
        "Makes the average that of a darker or brighter picture, with images or without: -1 is black, 1 is white.",
        "Few-Step prior brightness",
        low=-1,
        high=1,
        step=0.05,
        blank=0.0,
        added=1,
    )

    def __post_init__(self) -> None:
        """Raise SettingError for what contradicts itself and for names that are no plain file names."""
        check(self)
        allowed = "it must have either statistics (a file's name) or images, or a brightness that is not 0."
        if self.statistics and self.images:
            raise SettingError(f"prior with statistics = {shown(self.statistics)} and images is not allowed: {allowed}")
        if not (self.statistics or self.images or self.brightness):
            raise SettingError(f"prior has no pictures and no file: {allowed}")
        if not self.images and (self.mean, self.deviation) != (CHANNELS, CHANNELS):
            raise SettingError(
                f"prior.mean = {shown(self.mean)} with prior.deviation = {shown(self.deviation)} is not allowed "
                f'without images: both must be "{CHANNELS}", because a file says itself what it has.'
            )
        if self.save and not self.images:
            raise SettingError(
                f"prior.save = {shown(self.save)} is not allowed: it must come with images, whose statistics it saves."
            )
        for name, value in (("statistics", self.statistics), ("save", self.save)):
            if value and not is_file_name(value):
                raise SettingError(
                    f"prior.{name} = {shown(value)} is not allowed: it must be a plain file name of 1 to 100 letters, "
                    f"digits, spaces, dots, hyphens and underscores, and at most {LONGEST_FILE_NAME} bytes."
                )

    @staticmethod
    def file(name: str) -> str:
        """The name with its ending."""
        return name if name.endswith(".safetensors") else f"{name}.safetensors"

    @classmethod
    def from_value(cls, value: object) -> PriorSettings | None:
        """From the API: a dict, or null for none."""
        if value is None or isinstance(value, PriorSettings):
            return value
        return _nested("prior", cls, value, {"images": lambda images: {"images": _as_tuple("prior.images", images)}})


@dataclass(frozen=True)
class InvertSettings:
    """How the image was made that is to be inverted; None means: what the image's own infotext says."""

    prompt: str | None = option(
        None, "Original prompt", "The prompt that the image was made with.", "Few-Step invert", blank=""
    )
    negative_prompt: str | None = option(
        None,
        "Original negative prompt",
        "The negative prompt that the image was made with.",
        "Few-Step invert negative",
        blank="",
    )
    steps: int | None = option(
        None,
        "Inversion steps",
        "Each step runs the model three times. On the page, 0 takes the number from the image's infotext, or else "
        "from the pass.",
        "Few-Step invert steps",
        low=1,
        high=MOST_INVERSION_STEPS,
        step=1,
        blank=0,
        unset="the value in the infotext",
    )

    def __post_init__(self) -> None:
        """Raise SettingError for a value that is not allowed."""
        for name in ("prompt", "negative_prompt"):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise SettingError(f"invert.{name} = {shown(value)} is not allowed: it must be text.")
        check(self)

    @classmethod
    def from_value(cls, value: object) -> InvertSettings | None:
        """From the API: a dict, true for all of it from the infotext, false or null for none."""
        if value is None or value is False or isinstance(value, InvertSettings):
            return value or None
        return cls() if value is True else _nested("invert", cls, value)


@dataclass(frozen=True)
class FewStepSettings:
    """Guidance, schedule, start and preset of one request.

    Every value is checked on construction; SettingError (a ValueError) names the setting, its value and what is
    allowed. `gamma` None is the preset's, or else 0.3; `cfgpp_lambda` and `hires_cfg` None are the job's CFG.
    """

    enabled: bool = option(True, "Enable", "Switches these settings on.", "Few-Step enabled")
    preset: str = option(
        NO_PRESET,
        "Preset",
        "Sets the sampler, schedule, steps and CFG that a distilled model needs.",
        "Few-Step preset",
        choices=(NO_PRESET, *PRESETS),
    )
    keep: tuple[str, ...] = option(
        (),
        "Keep",
        "API only: values of the request that the preset does not change.",
        "Few-Step keep",
        values="list of " + ", ".join(KEEPABLE),
        on_page=False,
    )
    guidance: str = option(
        GUIDANCES[0],
        "CFG++ guidance",
        "How CFG++ samplers read the CFG slider: as ordinary CFG (calibrated), divided by 12.5 as in the WebUI's DDIM "
        "CFG++, or as lambda itself.",
        "Few-Step guidance",
        choices=GUIDANCES,
    )
    gamma: float | None = option(
        None,
        "TCD gamma",
        "How much noise TCD adds in each step: 0 adds none, 1 as much as LCM. Use a higher gamma for more steps.",
        "Few-Step gamma",
        low=0,
        high=1,
        step=0.05,
        manual=GAMMA,
        unset=f"the preset's value, or else {GAMMA:g}",
    )
    timesteps: tuple[int, ...] = option(
        (),
        "Timesteps",
        "A list that replaces the schedule and the number of steps. img2img and hires passes start with less "
        "noise, so they skip the timesteps above their starting point.",
        "Few-Step timesteps",
        values="whole numbers from the model's last timestep, usually 999, to 0 in descending order",
        blank="",
    )
    prior: PriorSettings | None = option(  # noqa: RUF009 (`option` is `dataclasses.field`)
        None,
        "Prior",
        "For txt2img: starts from the average of reference images as the model sees them, plus noise, instead of from "
        "noise alone. YOSO needs it.",
        "Few-Step prior",
        values='{"statistics": name} or {"images": [base64], "save": name}, with other settings of a prior',
        parts=PriorSettings,
    )
    invert: InvertSettings | None = option(  # noqa: RUF009
        None,
        "Invert with CFG++",
        "For img2img: starts from the noise that would produce your image, instead of adding random noise to it.",
        "Few-Step invert",
        values='true or {"prompt": text, "negative_prompt": text, "steps": 1 to 20}',
        parts=InvertSettings,
        switch=True,
    )
    cfgpp_lambda: float | None = option(
        None,
        "Lambda",
        "For the guidance lambda: used instead of the CFG slider, which does not go below 1. At 0 the slider counts.",
        "Few-Step lambda",
        low=0,
        high=1,
        step=0.05,
        blank=0.0,
        unset="the CFG slider's value",
    )
    hires_cfg: float | None = option(
        None,
        "Hires CFG",
        "CFG of the hires pass, if it should differ from the first pass. At 0 it is the same.",
        "Few-Step hires CFG",
        low=0,
        high=30,
        step=0.5,
        blank=0.0,
        unset="the first pass's CFG",
    )

    sa_tau: float = option(
        1.0,
        "SA tau",
        "How much fresh noise SA-Solver adds in the middle of the schedule: 0 adds none.",
        "Few-Step SA tau",
        low=0,
        high=2,
        step=0.05,
    )
    sa_predictor: int = option(
        2,
        "SA predictor",
        "How many steps SA-Solver predicts from.",
        "Few-Step SA predictor",
        low=1,
        high=4,
        step=1,
    )
    sa_corrector: int = option(
        2,
        "SA corrector",
        "How many steps SA-Solver corrects with: 0 leaves the corrector out.",
        "Few-Step SA corrector",
        low=0,
        high=4,
        step=1,
    )

    def __post_init__(self) -> None:
        """Raise SettingError for the first value that is not allowed."""
        check(self)
        _check_keep(self.keep)
        _check_timesteps(self.timesteps)
        if self.timesteps and self.prior is not None and self.prior.share != 1:
            raise SettingError(
                f"prior.share = {self.prior.share:g} is not allowed with timesteps, the first of which is where the "
                "run starts: it must be 1."
            )
        if self.cfgpp_lambda is not None and self.guidance != LAMBDA:
            raise SettingError(
                f"cfgpp_lambda = {self.cfgpp_lambda:g} is not allowed with guidance = {shown(self.guidance)}: "
                f'guidance must be "{LAMBDA}".'
            )

    @classmethod
    def from_dict(cls, values: object) -> FewStepSettings:
        """Settings from the API's dict of names and values; unknown names are refused."""
        return from_mapping(cls, values, _READERS)

    @property
    def guiding(self) -> FewStepSettings:
        """Those of the settings that act in the sampler's own function."""
        names = ("guidance", "gamma", "cfgpp_lambda", *OF_SA_SOLVER)
        return FewStepSettings(**{name: getattr(self, name) for name in names})

    @property
    def chosen(self) -> Preset | None:
        """The preset in use."""
        return PRESETS.get(self.preset)


OF_SA_SOLVER = ("sa_tau", "sa_predictor", "sa_corrector")


def is_file_name(text: str) -> bool:
    """Whether a text is a plain file name, which can lead out of no folder and is not too long for one."""
    return _FILE_NAME.fullmatch(text) is not None and len(text.encode()) <= LONGEST_FILE_NAME


def timesteps_from(value: object) -> tuple[int, ...]:
    """Timesteps from a list of whole numbers, or from text with commas or spaces between them."""
    if value is None:
        return ()
    parts = re.split(r"[,\s]+", value.strip()) if isinstance(value, str) else _as_tuple("timesteps", value)
    return tuple(_as_int(part) for part in parts if part != "")


def _as_int(value: object) -> Any:
    """The whole number that a text of a few digits means; anything else as it is, for the check to name."""
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) <= MOST_DIGITS else value


def _check_timesteps(values: tuple[Any, ...]) -> None:
    whole = all(type(value) is int and value >= 0 for value in values)
    if not whole or list(values) != sorted(set(values), reverse=True):
        raise SettingError(
            f"timesteps = {shown(list(values))} is not allowed: they must be whole numbers of at least 0, each smaller "
            "than the one before."
        )


def _check_keep(values: tuple[Any, ...]) -> None:
    for value in values:
        if value not in KEEPABLE:
            raise SettingError(f"keep = {shown(value)} is not allowed: it must be {' or '.join(KEEPABLE)}.")


def _as_tuple(name: str, value: object) -> tuple[Any, ...]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise SettingError(f"{name} = {shown(value)} is not allowed: it must be a list.")
    return tuple(value)


def _unless_zero(value: object) -> object:
    """0 leaves it to the job's CFG, as on the page."""
    return None if type(value) in (int, float) and value == 0 else value


def _nested(name: str, settings: type[S], value: object, readers: Mapping[str, Any] | None = None) -> S:
    """Nested settings; an error's sentence says whose they are."""
    try:
        return from_mapping(settings, value, readers)
    except SettingError as error:
        sentence = str(error)
        raise SettingError(sentence if sentence.startswith(name) else f"{name}: {sentence}") from None


_READERS = {
    "keep": lambda value: {"keep": _as_tuple("keep", value)},
    "timesteps": lambda value: {"timesteps": timesteps_from(value)},
    "prior": lambda value: {"prior": PriorSettings.from_value(value)},
    "invert": lambda value: {"invert": InvertSettings.from_value(value)},
    "cfgpp_lambda": lambda value: {"cfgpp_lambda": _unless_zero(value)},
    "hires_cfg": lambda value: {"hires_cfg": _unless_zero(value)},
}
