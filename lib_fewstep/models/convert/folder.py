"""The parts of a diffusers folder: what each is, and its weights."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

_WEIGHTS = ("diffusion_pytorch_model", "model", "pytorch_model")
_ENDINGS = (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")


class NotConvertible(ValueError):  # noqa: N818 (the name that callers catch)
    """A folder that no checkpoint of Stable Diffusion 1 or 2 can hold; the message is one sentence that says why."""


@dataclass(frozen=True)
class Part:
    """One part of a pipeline, such as its UNet: the file with its config, what that says, and its weights."""

    name: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def said(self, setting: str) -> Any:
        """The value of a setting. Raises NotConvertible where there is none."""
        if self.config.get(setting) is None:
            raise NotConvertible(f"{self.name} does not say its {setting}.")
        return self.config[setting]

    def needs(self, setting: str, *allowed: object) -> None:
        """Raise NotConvertible if a setting has another value than those, of which the first goes without saying."""
        value = self.config.get(setting, allowed[0])
        if value not in allowed:
            raise self.refused(setting, value, " or ".join(json.dumps(choice) for choice in allowed))

    def count(self, setting: str, default: int | None = None) -> int:
        """A setting that counts something; without a default it must be said. Raises NotConvertible for no count."""
        value = self.said(setting) if default is None else self.config.get(setting, default)
        if not is_count(value):
            raise self.refused(setting, value, COUNT)
        return int(value)

    def number(self, setting: str, default: float | None = None) -> float:
        """A setting that is a number above 0, as `count` reads it. Raises NotConvertible for anything else."""
        value = self.said(setting) if default is None else self.config.get(setting, default)
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise self.refused(setting, value, "a number above 0")
        return float(value)

    def widths(self) -> list[int]:
        """The channels of each level. Raises NotConvertible where they are no multiples of the first level's."""
        value = self.said("block_out_channels")
        if not (isinstance(value, list) and value and all(map(is_count, value))):
            raise self.refused("block_out_channels", value, "a list of whole numbers above 0")
        if any(width % value[0] for width in value):
            raise self.refused("block_out_channels", value, "multiples of the first number")
        return value

    def refused(self, setting: str, value: object, allowed: str) -> NotConvertible:
        """The error for a setting with a value that is not allowed."""
        return NotConvertible(
            f"{self.name} has {setting} = {json.dumps(value)}, which is not allowed: it must be {allowed}."
        )


COUNT = "a whole number above 0"


def is_count(value: object) -> bool:
    """Whether it is a whole number above 0."""
    return type(value) is int and value > 0


def part(folder: Path, kind: str) -> Part:
    """A part, which must be of the class `kind`. Raises NotConvertible if it is not, or cannot be read."""
    path = folder / "config.json"
    config = settings(path)
    told = config.get("_class_name") or config.get("architectures")
    if kind not in (told if isinstance(told, list) else [told]):
        raise NotConvertible(f"{_short(path)} is of {json.dumps(told)}, which is not allowed: it must be of a {kind}.")
    return Part(_short(path), config, _tensors(folder))


def settings(path: Path) -> dict[str, Any]:
    """What a JSON file of a part says. Raises NotConvertible if it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotConvertible(f"{_short(path)} cannot be read: {error}.") from None
    if not isinstance(found, dict):
        raise NotConvertible(f"{_short(path)} is not allowed: it must be an object with settings.")
    return found


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _tensors(folder: Path) -> dict[str, Tensor]:
    paths = (folder / f"{name}{ending}" for ending in _ENDINGS for name in _WEIGHTS)
    path = next(filter(Path.is_file, paths), None)
    if path is None:
        raise NotConvertible(f"{folder.name} has no weights: there must be a file such as {_WEIGHTS[0]}{_ENDINGS[0]}.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise NotConvertible(f"{_short(path)} cannot be read: {error}.") from None
    if not (isinstance(found, dict) and all(isinstance(tensor, Tensor) for tensor in found.values())):
        raise NotConvertible(f"{_short(path)} is not allowed: it must hold tensors under their names.")
    return found
