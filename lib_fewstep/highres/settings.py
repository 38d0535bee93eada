"""The settings of the high-resolution methods, and what the caller knows about the model and the pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lib_fewstep.options import SettingError, check, from_mapping, option, shown

METHODS = ("HiDiffusion", "Deep Shrink")
PRESETS = ("Auto", "Paper", "Manual")
PASSES = ("Auto", "All", "First", "Hires")
SCALERS = ("bicubic", "bilinear", "area", "nearest", "nearest-exact")

Pass = Literal["first", "hires", "img2img", "inpaint"]


@dataclass(frozen=True)
class HighResSettings:
    """Which method runs, when and how strongly.

    `None` stands for the preset's value. Every value is checked on construction; SettingError (a ValueError) names
    the setting, its value and what is allowed.
    """

    enabled: bool = option(True, "Enable", "Whether the method runs at all.", "HiDiffusion enabled")
    method: str = option(
        "HiDiffusion",
        "Method",
        "HiDiffusion changes down- and upsampling and windows the attention; Deep Shrink shrinks the feature maps of "
        "the first steps.",
        "HiDiffusion method",
        choices=METHODS,
    )
    preset: str = option(
        "Auto",
        "Preset",
        "Auto acts above the trained size only; Paper acts at any size; Manual uses the values below.",
        "HiDiffusion preset",
        choices=PRESETS,
    )
    raunet: bool = option(
        True,
        "RAU-Net",
        "Against repeated subjects: feature maps are brought down to the size that the deep blocks were trained on.",
        "HiDiffusion RAU-Net",
        group="HiDiffusion",
    )
    window_attention: bool | None = option(
        None,
        "Window attention",
        "For speed: self-attention of the largest feature maps looks at shifting windows (MSW-MSA).",
        "HiDiffusion window attention",
        group="HiDiffusion",
        manual=True,
    )
    aggressive: bool | None = option(
        None,
        "Aggressive",
        "SDXL below 4096x4096: first the strided downsampler until 8/50 of the steps, then the pool until T1. Fewer "
        "repeated subjects, slightly softer images.",
        "HiDiffusion aggressive",
        group="HiDiffusion",
        manual=True,
    )
    t1: float | None = option(
        None,
        "T1",
        "Share of the steps. SD1 and SD2: until where the strided downsampler runs; SDXL: until where the pool runs.",
        "HiDiffusion T1",
        low=0.0,
        high=1.0,
        step=0.01,
        group="HiDiffusion",
        manual=0.4,
    )
    t2: float | None = option(
        None,
        "T2",
        "Share of the steps, for extreme sizes. SD1 and SD2: until where the pool runs; SDXL: until where the strided "
        "downsampler runs (in aggressive mode always 8/50).",
        "HiDiffusion T2",
        low=0,
        high=1.0,
        step=0.01,
        group="HiDiffusion",
        manual=0.0,
    )
    passes: str = option(
        "Auto",
        "Passes",
        "All judges each pass by its own size; First is the first or only pass; Hires the second one. Auto is All, but "
        "from denoising strength 0.5 up only in hires, img2img and inpainting passes.",
        "HiDiffusion passes",
        choices=PASSES,
    )
    trained_size: int | None = option(
        None,
        "Trained size",
        "Side in pixels that the model was trained for; at 0 in the page it is taken from the model.",
        "HiDiffusion trained size",
        low=64,
        high=8192,
        step=64,
        blank=0,
    )
    d1: int | None = option(
        None,
        "Depth 1",
        "Block that shrinks first (3).",
        "HiDiffusion depth 1",
        low=1,
        high=12,
        step=1,
        group="Deep Shrink",
        manual=3,
    )
    d2: int | None = option(
        None,
        "Depth 2",
        "Block that shrinks afterwards (4).",
        "HiDiffusion depth 2",
        low=1,
        high=12,
        step=1,
        group="Deep Shrink",
        manual=4,
    )
    s1: float | None = option(
        None,
        "Stop 1",
        "Share of the steps at which depth 1 stops (0.15).",
        "HiDiffusion stop 1",
        low=0.0,
        high=1.0,
        step=0.01,
        group="Deep Shrink",
        manual=0.15,
    )
    s2: float | None = option(
        None,
        "Stop 2",
        "Share of the steps at which depth 2 stops (0.3).",
        "HiDiffusion stop 2",
        low=0.0,
        high=1.0,
        step=0.01,
        group="Deep Shrink",
        manual=0.3,
    )
    scaler: str | None = option(
        None,
        "Scaler",
        "How feature maps are resized (bicubic).",
        "HiDiffusion scaler",
        choices=SCALERS,
        group="Deep Shrink",
        manual="bicubic",
    )
    downscale: float | None = option(
        None,
        "Downscale",
        "Factor on the feature map that enters the shrinking block (0.5).",
        "HiDiffusion downscale",
        low=0.1,
        high=1.0,
        step=0.05,
        group="Deep Shrink",
        manual=0.5,
    )
    upscale: float | None = option(
        None,
        "Upscale",
        "Factor on the way back; 1 / downscale restores the size exactly (2).",
        "HiDiffusion upscale",
        low=1.0,
        high=4.0,
        step=0.1,
        group="Deep Shrink",
        manual=2.0,
    )
    smooth_scaling: bool | None = option(
        None,
        "Smooth scaling",
        "The shrinking fades out until its stop instead of ending at once (on).",
        "HiDiffusion smooth scaling",
        group="Deep Shrink",
        manual=True,
    )
    early_out: bool | None = option(
        None,
        "Early out",
        "Scale back in the block as deep from the middle as the shrinking one is from the start (off).",
        "HiDiffusion early out",
        group="Deep Shrink",
        manual=False,
    )

    def __post_init__(self) -> None:
        """Refuse what is not allowed."""
        check(self)

    @staticmethod
    def from_dict(values: object) -> HighResSettings:
        """Settings from the API's dict; Deep Shrink's `only_one_pass` is accepted for `passes`.

        Raises SettingError for unknown names, for wrong values and for anything that is no dict.
        """
        return from_mapping(HighResSettings, values, {"only_one_pass": _only_one_pass})


@dataclass(frozen=True)
class ModelHints:
    """What the UNet's structure cannot tell.

    `trained_size` is a side in pixels, `pass_` the kind of sampling pass, `denoise` its denoising strength.
    Raises SettingError for values out of range.
    """

    trained_size: int | None = None
    turbo: bool = False
    playground: bool = False
    controlnet: bool = False
    pass_: Pass = "first"
    denoise: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is not allowed."""
        passes = ("first", "hires", "img2img", "inpaint")
        if self.pass_ not in passes:
            raise SettingError(f"pass_ = {self.pass_!r} is not allowed: it must be one of {', '.join(passes)}.")
        if not 0.0 <= self.denoise <= 1.0:
            raise SettingError(f"denoise = {self.denoise!r} is not allowed: it must be 0 to 1.")
        if self.trained_size is not None and self.trained_size < 64:
            raise SettingError(f"trained_size = {self.trained_size!r} is not allowed: it must be at least 64 pixels.")


def _only_one_pass(value: object) -> Mapping[str, Any]:
    if not isinstance(value, bool):
        raise SettingError(f"only_one_pass = {shown(value)} is not allowed: it must be true or false.")
    return {"passes": "First" if value else "All"}
