"""The informative prior of YOSO (arXiv 2403.12931): noise on top of what latents look like on average."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lib_fewstep.options import SettingError, shown

LARGEST = 1000.0
"""Latents have about unit variance: anything of this size is no statistics of theirs."""

LARGEST_FILE = 2**20
"""Bytes; two numbers for each channel take a few hundred."""

_PRECISIONS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


@dataclass(frozen=True)
class Prior:
    """Mean and standard deviation of latents, for each channel: (c,)."""

    mean: Tensor
    std: Tensor

    def start(self, noise: Tensor, own_noise: Tensor, sigma: float) -> Tensor:
        """Where a run from `sigma` starts: mean + std * own_noise + sigma * noise, (n, c, h, w).

        Raises SettingError if the statistics are of another number of channels.
        """
        if len(self.mean) != noise.shape[1]:
            raise SettingError(
                f"prior = statistics of {len(self.mean)} channels is not allowed: it must be statistics of "
                f"{noise.shape[1]} channels, like this model's latents."
            )
        mean, std = (values.to(noise)[:, None, None] for values in (self.mean, self.std))
        return mean + std * own_noise + sigma * noise


def measure(latents: list[Tensor]) -> Prior:
    """The statistics of latents (c, h, w) of any sizes; each pixel counts once."""
    pixels = torch.cat([latent.flatten(1).double() for latent in latents], dim=1)
    return Prior(pixels.mean(dim=1).float(), pixels.std(dim=1, unbiased=False).float())


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
    if mean is None or std is None or mean.dim() != 1 or mean.shape != std.shape:
        raise SettingError(
            f"prior = {path.name} is not allowed: it must contain mean and std, a number for each channel."
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
