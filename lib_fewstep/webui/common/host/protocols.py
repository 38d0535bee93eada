"""What the extension uses of the host's objects: `Processing` is a job, `Sampler` and `Denoiser` belong to one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor


class Entry(Protocol):
    """The host's entry for a sampling method."""

    name: str
    options: dict[str, Any]


class Sampler(Protocol):
    """A sampling method at work, made anew for each pass."""

    config: Entry
    funcname: str
    func: Callable[..., Tensor]
    model_wrap: Any
    model_wrap_cfg: Denoiser
    sampler_extra_args: dict[str, Any]
    last_latent: Tensor
    extra_params: list[str]
    get_sigmas: Callable[..., Tensor]
    callback_state: Callable[[dict[str, Any]], None]
    launch_sampling: Callable[..., Any]
    """(steps, function) -> what the function gives; the host reports progress around it."""


class Denoiser(Protocol):
    """The guided model of one pass: calls the UNet, counts its steps, blends with a mask."""

    p: Processing
    sampler: Sampler
    inner_model: Any
    step: int
    total_steps: int
    mask: Tensor | None
    nmask: Tensor
    init_latent: Tensor
    mask_before_denoising: bool
    cond_scale_miltiplier: float
    need_last_noise_uncond: bool
    last_noise_uncond: Tensor | None

    def __call__(self, x: Tensor, sigma: Tensor, **conditions: Any) -> Tensor:
        """The guided image."""

    def combine_denoised(self, x_out: Tensor, conds_list: Any, uncond: Any, cond_scale: float) -> Tensor:
        """The guided output, from the rows of an evaluation: prompts' first, the unconditional ones last."""

    def get_pred_x0(self, x: Tensor, kept: Tensor, sigma: Tensor) -> Tensor:
        """The image of what the denoiser keeps, noise or image."""


class DenoiserParams(Protocol):
    """What a callback before an evaluation gets."""

    denoiser: Denoiser
    x: Tensor
    sigma: Tensor
    image_cond: Tensor
    text_cond: Any
    text_uncond: Any


class Processing(Protocol):
    """A job: what is to be generated, and what is known of it meanwhile."""

    prompt: str
    seed: int
    width: int
    height: int
    steps: int
    cfg_scale: float
    batch_size: int
    n_iter: int
    sampler_name: str
    scheduler: str | None
    denoising_strength: float | None
    sd_model_name: str
    script_args: Sequence[Any] | None
    scripts: Any
    rng: Any
    outpath_grids: str
    do_not_save_grid: bool
    refiner_checkpoint_info: Any
    is_hr_pass: bool
    sampler: Sampler
    seeds: list[int]
    all_prompts: list[str]
    all_negative_prompts: list[str]
    extra_generation_params: dict[str, Any]

    def comment(self, text: str) -> None:
        """A line under the images."""

    def get_token_merging_ratio(self, *, for_hr: bool) -> float:
        """The share of tokens that the host merges in a pass."""


class Txt2Img(Processing, Protocol):
    """A job that starts from noise; with a hires pass if `enable_hr`."""

    enable_hr: bool
    denoising_strength: float
    hr_sampler_name: str | None
    hr_scheduler: str | None
    hr_second_pass_steps: int


class Img2Img(Processing, Protocol):
    """A job that starts from images; with a mask it is inpainting."""

    init_images: list[Any]
    image_mask: Any
    image_cfg_scale: float | None
    denoising_strength: float
