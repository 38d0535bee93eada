"""The settings of how a model is sampled."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lib_fewstep.models.kinds import KINDS
from lib_fewstep.models.noise_schedules import NAMED, SPACINGS, NoiseSchedule, sigmas_of
from lib_fewstep.options import SettingError, check, from_mapping, option, shown

AUTO, DEFAULT, CUSTOM = "Auto", "Default", "Custom"
ON, OFF = "On", "Off"
IMAGE, TRAINED = "As the image", "As trained"
NOISE, SIZE = GROUPS = ("Noise schedule", "Size conditioning")
LONGEST = 10_000
"""Timesteps of a noise schedule."""
HIGHEST_LEVEL = 1e6
"""Of a noise schedule: around it float32 rounds to 0.06, so that beyond it noisy latents hold nothing of an image."""
LARGEST_SIDE = 16_384
_SIZE = re.compile(r"\s*(\d{1,5})\s*[xX]\s*(\d{1,5})\s*")
_SIDES = f'two numbers of pixels, width and height, such as "1024x1024", each 1 to {LARGEST_SIDE}'
_CUT_OFF = f'two numbers of pixels, left and top, such as "0x0", each 0 to {LARGEST_SIDE}'


@dataclass(frozen=True)
class ModelSettings:
    """What kind of model is sampled, over which noise levels, and which size an SDXL model is told.

    Every value is checked on construction; SettingError (a ValueError) names the setting, its value and what is
    allowed. With the defaults the checkpoint's file decides, and the rest is the WebUI's own.
    """

    enabled: bool = option(True, "Enable", "Switches these settings on.", "Model sampling enabled")
    kind: str = option(
        AUTO,
        "Kind of model",
        "What the model's output means. Auto: what the checkpoint's file says, else noise.",
        "Model kind",
        choices=(AUTO, *KINDS),
    )
    noise_schedule: str = option(
        DEFAULT,
        "Noise schedule",
        "Of the model's training. Default: the checkpoint's own.",
        "Model noise schedule",
        choices=(DEFAULT, *NAMED, CUSTOM),
        group=NOISE,
    )
    zero_snr: str = option(
        AUTO,
        "Zero terminal SNR",
        "Starts from noise alone. Auto: what the checkpoint's file says. Off: what the WebUI's settings say.",
        "Model zero SNR",
        choices=(AUTO, ON, OFF),
        group=NOISE,
    )
    shift: float = option(
        1.0,
        "Shift",
        "Multiplies the noise levels. 1 is no change, 0 is the ratio of the image's side to the trained one.",
        "Model shift",
        low=0,
        high=8,
        step=0.05,
        group=NOISE,
    )
    spacing: str = option(
        SPACINGS[0],
        "Custom: spacing",
        "How the betas are spaced.",
        "Model betas",
        choices=SPACINGS,
        group=NOISE,
    )
    beta_start: float = option(
        0.00085,
        "Custom: first beta",
        "Not for a cosine.",
        "Model beta start",
        low=0.000001,
        high=0.999,
        step=0.00001,
        group=NOISE,
    )
    beta_end: float = option(
        0.012,
        "Custom: last beta",
        "Not for a cosine.",
        "Model beta end",
        low=0.000001,
        high=0.999,
        step=0.0001,
        group=NOISE,
    )
    trained_steps: int = option(
        1000,
        "Custom: timesteps",
        "How many the model was trained at.",
        "Model timesteps",
        low=10,
        high=LONGEST,
        step=1,
        group=NOISE,
    )
    size: str = option(
        IMAGE,
        "Size that SDXL is told",
        "As the image: the WebUI's way. As trained: the trained area in the image's shape. Custom: the values below.",
        "Model size",
        choices=(IMAGE, TRAINED, CUSTOM),
        group=SIZE,
    )
    original: str = option(
        "",
        "Original size",
        "Width x height. Larger means better quality to the model. Empty is the image's.",
        "Model original size",
        values=_SIDES,
        blank="",
        group=SIZE,
    )
    crop: str = option(
        "",
        "Crop",
        "Pixels cut off at the left x at the top; 0x0 keeps the subject in the middle. Empty is the WebUI's setting.",
        "Model crop",
        values=_CUT_OFF,
        blank="",
        group=SIZE,
    )
    target: str = option(
        "",
        "Target size",
        "Width x height. Empty is the image's.",
        "Model target size",
        values=_SIDES,
        blank="",
        group=SIZE,
    )
    negative_original: str = option(
        "",
        "Original size, negative",
        "The same for the negative prompt, here and below. Empty is as for the prompt.",
        "Model negative original size",
        values=_SIDES,
        blank="",
        group=SIZE,
    )
    negative_crop: str = option(
        "", "Crop, negative", "Left x top.", "Model negative crop", values=_CUT_OFF, blank="", group=SIZE
    )
    negative_target: str = option(
        "",
        "Target size, negative",
        "Width x height.",
        "Model negative target size",
        values=_SIDES,
        blank="",
        group=SIZE,
    )

    def __post_init__(self) -> None:
        """Raise SettingError for a value that is not allowed, and for betas that fall or leave no image."""
        check(self)
        if self.beta_end < self.beta_start:
            raise SettingError(
                f"beta_end = {self.beta_end:g} is not allowed: it must be at least beta_start, which is "
                f"{self.beta_start:g}."
            )
        if self.custom is not None:
            self._check_highest(self.custom)
        for name in SIZES:
            sides = pixels(getattr(self, name))
            least, allowed = (0, _CUT_OFF) if "crop" in name else (1, _SIDES)
            if getattr(self, name) and (sides is None or not all(least <= side <= LARGEST_SIDE for side in sides)):
                raise SettingError(f"{name} = {shown(getattr(self, name))} is not allowed: it must be {allowed}.")

    def _check_highest(self, schedule: NoiseSchedule) -> None:
        highest = float(sigmas_of(schedule.alphas_cumprod())[-1])
        if highest > HIGHEST_LEVEL:
            raise SettingError(
                f"beta_end = {self.beta_end:g} is not allowed with beta_start = {self.beta_start:g} and "
                f"trained_steps = {self.trained_steps}: the last noise level would be {highest:.3g}, and it must be at "
                f"most {HIGHEST_LEVEL:g}."
            )

    @property
    def custom(self) -> NoiseSchedule | None:
        """The noise schedule that is chosen; None for the checkpoint's own."""
        own = NoiseSchedule(self.spacing, self.beta_start, self.beta_end, self.trained_steps)
        return schedule_called(self.noise_schedule, own)

    @property
    def unused(self) -> tuple[str, ...]:
        """What is set for a custom noise schedule or a custom size, where another one is chosen."""
        parts: tuple[str, ...] = SCHEDULE_PARTS if self.noise_schedule != CUSTOM else ()
        parts += SIZES if self.size != CUSTOM else ()
        neutral = ModelSettings()
        return tuple(name for name in parts if getattr(self, name) != getattr(neutral, name))

    @staticmethod
    def from_dict(values: object) -> ModelSettings:
        """Settings from the API's dict.

        Raises SettingError for unknown names, for wrong values and for anything that is no dict.
        """
        return from_mapping(ModelSettings, values)


SCHEDULE_PARTS = ("spacing", "beta_start", "beta_end", "trained_steps")
SIZES = ("original", "crop", "target", "negative_original", "negative_crop", "negative_target")


def schedule_called(name: str, own: NoiseSchedule) -> NoiseSchedule | None:
    """The noise schedule that a choice means, where "Custom" is `own`; None for the checkpoint's."""
    return own if name == CUSTOM else NAMED.get(name)


def pixels(text: str) -> tuple[int, int] | None:
    """The two numbers of a size, as they are written; None where it is no size."""
    found = _SIZE.fullmatch(text)
    return None if found is None else (int(found[1]), int(found[2]))
