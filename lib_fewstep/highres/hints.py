"""What the caller knows about the model and the pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from lib_fewstep.options import SettingError

Pass = Literal["first", "hires", "img2img", "inpaint"]


@dataclass(frozen=True)
class ModelHints:
    """What the UNet's structure cannot tell.

    `trained_size` is a side in pixels, `pass_` the kind of sampling pass, `denoise` its denoising strength, `rival`
    the name of another extension that rearranges the tokens of self-attention (HyperTile, token merging).
    Raises SettingError for values out of range.
    """

    trained_size: int | None = None
    turbo: bool = False
    playground: bool = False
    controlnet: bool = False
    pass_: Pass = "first"
    denoise: float = 1.0
    rival: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is not allowed."""
        passes = get_args(Pass)
        if self.pass_ not in passes:
            raise SettingError(f"pass_ = {self.pass_!r} is not allowed: it must be one of {', '.join(passes)}.")
        if not 0.0 <= self.denoise <= 1.0:
            raise SettingError(f"denoise = {self.denoise!r} is not allowed: it must be 0 to 1.")
        if self.trained_size is not None and self.trained_size < 64:
            raise SettingError(f"trained_size = {self.trained_size!r} is not allowed: it must be at least 64 pixels.")
