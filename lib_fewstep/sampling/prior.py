"""The informative prior: a run that starts from noise on top of what latents look like on average.

YOSO (arXiv 2403.12931, section 3.3) takes one mean and one deviation for each channel; with a mean for each pixel a
prior carries a subject.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from lib_fewstep.options import SettingError, shown

LARGEST = 1000.0
"""Latents have about unit variance: anything of this size is no statistics of theirs."""

LARGEST_FILE = 2**20
"""Bytes; means of pixels take a quarter of it, two numbers for each channel a few hundred."""

LONGEST_SIDE = 128
"""Of means of pixels, in pixels of the latents."""

_PRECISIONS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


@dataclass(frozen=True)
class Prior:
    """What latents look like on average.

    `mean` has a number for each channel, (c,), or for each pixel too, (c, h, w); `std`, the deviation from it, has one
    for each channel, (c,), or one in all, ().
    """

    mean: Tensor
    std: Tensor

    def start(
        self,
        noise: Tensor,
        own_noise: Tensor,
        sigma: float,
        of_model: Callable[[Tensor], Tensor] = lambda latents: latents,
    ) -> Tensor:
        """Where a run from `sigma` starts: mean + std * own_noise + sigma * noise, (n, c, h, w).

        A mean of pixels is resized to the latents. `of_model` makes the model's latents of those of the statistics.
        Raises SettingError if the statistics are of another number of channels.
        """
        if len(self.mean) != noise.shape[1]:
            raise SettingError(
                f"prior = statistics of {len(self.mean)} channels is not allowed: it must be statistics of "
                f"{noise.shape[1]} channels, like this model's latents."
            )
        mean, std = _resized(_of_pixels(self.mean), noise.shape[-2:]).to(noise), _of_pixels(self.std).to(noise)
        return of_model(mean + std * own_noise) + sigma * noise

    def shifted(self, offset: Tensor) -> Prior:
        """With another mean, which is larger by an offset of each channel (c,)."""
        return replace(self, mean=self.mean + (_of_pixels(offset) if self.mean.dim() == 3 else offset))


def measure(latents: list[Tensor], *, of_pixels: bool = False, one_deviation: bool = False) -> Prior:
    """The statistics of latents (c, h, w) of any sizes.

    A mean of channels counts each pixel once, whatever the sizes. One of pixels has the size of the first latent, at
    most LONGEST_SIDE, to which the others are resized; then the deviation is that of the latents from it.
    """
    pixels = _of_one_size(latents) if of_pixels else [torch.cat([one.flatten(1) for one in latents], dim=1)[..., None]]
    values = torch.stack(pixels).double()  # (latents, c, h, w)
    mean = values.mean(dim=0) if of_pixels else values.mean(dim=(0, 2, 3))
    squares = (values - _of_pixels(mean)) ** 2
    std = squares.mean().sqrt() if one_deviation else squares.mean(dim=(0, 2, 3)).sqrt()
    return Prior(mean.float(), std.float())


def _of_one_size(latents: list[Tensor]) -> list[Tensor]:
    height, width = latents[0].shape[-2:]
    smaller = min(1.0, LONGEST_SIDE / max(height, width))
    size = max(1, round(height * smaller)), max(1, round(width * smaller))
    return [_resized(latent, size) for latent in latents]


def _resized(mean: Tensor, size: tuple[int, ...]) -> Tensor:
    """A mean (c, h, w) at another height and width; one that has a single pixel serves any."""
    if tuple(mean.shape[-2:]) in ((1, 1), tuple(size)):
        return mean
    return functional.interpolate(mean[None].float(), size=tuple(size), mode="bilinear", antialias=True)[0]


def _of_pixels(values: Tensor) -> Tensor:
    """Numbers (), (c,) or (c, h, w) that broadcast over (c, h, w)."""
    return values[:, None, None] if values.dim() == 1 else values


def save(prior: Prior, path: Path) -> None:
    """Write the statistics as safetensors, making the folder where it is missing.

    Raises SettingError if that is not possible, or if something else than a file is in its place.
    """
    try:
        if path.exists() and not path.is_file():
            raise FileExistsError("it is not a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"mean": prior.mean.contiguous(), "std": prior.std.contiguous()}, path)
    except (SafetensorError, OSError) as error:
        raise SettingError(f"prior.save = {shown(path.name)} is not allowed: it cannot be written ({error}).") from None


def _statistics_file(path: Path) -> Path:
    """The path, if it is that of a file which may hold statistics; a pipe would be waited for."""
    if not path.is_file():
        raise SettingError(
            f"prior = {path.name} is not allowed: there is no such file in the folder {path.parent.name}."
        )
    if path.stat().st_size > LARGEST_FILE:
        raise SettingError(f"prior = {path.name} is not allowed: it must have at most {LARGEST_FILE} bytes.")
    return path


def load(path: Path) -> Prior:
    """Read statistics that `save` wrote. Raises SettingError for anything else."""
    try:
        tensors = load_file(_statistics_file(path))
    except (SafetensorError, OSError, AttributeError) as error:  # the last for a precision that this torch lacks
        raise SettingError(f"prior = {path.name} is not allowed: it is not a safetensors file ({error}).") from None
    mean, std = tensors.get("mean"), tensors.get("std")
    if mean is None or std is None or not _fit(mean, std):
        raise SettingError(
            f"prior = {path.name} is not allowed: it must contain mean, a number for each channel or each pixel, and "
            "std, a number for each channel or one in all."
        )
    if not {mean.dtype, std.dtype} <= _PRECISIONS:
        raise SettingError(
            f"prior = {path.name} is not allowed: mean and std must be floating-point numbers of 16, 32 or 64 bits."
        )
    mean, std = mean.float(), std.float()
    if not (mean.abs() < LARGEST).all() or not ((std >= 0) & (std < LARGEST)).all():
        raise SettingError(
            f"prior = {path.name} is not allowed: mean and std must be below {LARGEST:g}, and std not negative."
        )
    return Prior(mean, std)


def _fit(mean: Tensor, std: Tensor) -> bool:
    return mean.dim() in (1, 3) and mean.numel() > 0 and tuple(std.shape) in ((), (len(mean),))
