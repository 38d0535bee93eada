"""What a checkpoint's file says of its model: names of tensors and metadata, read without loading the weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lib_fewstep.models.kinds import EDM, EDM_V, KINDS, NOISE, V

PREDICTION = "modelspec.prediction_type"
_PREDICTIONS = {"v": V, "v_prediction": V, "epsilon": NOISE, "eps": NOISE}
_GUIDANCE = re.compile(r"model\.diffusion_model\.time_embed(ding)?\.cond_proj\.weight")


@dataclass(frozen=True)
class Told:
    """What a file says: the kind of model, by which word of its own (none: nothing is known), and what goes with it.

    `levels` are the lowest and highest noise level where the file has them. `latents` says that Playground's
    statistics apply. `guidance` is the name of the tensor that projects an embedded guidance scale.
    """

    kind: str = NOISE
    by: str = ""
    zero_snr: bool = False
    levels: tuple[float, float] | None = None
    latents: bool = False
    guidance: str | None = None


def read(path: Path) -> Told:
    """What a safetensors file says; of other files nothing is known.

    Raises ValueError, with the path and the reason, for a file whose header cannot be read.
    """
    if path.suffix.lower() != ".safetensors":
        return Told()
    try:
        with safe_open(path, "pt") as file:
            names = set(file.keys())
            ends = {name: float(file.get_tensor(name)) for name in _EDM_V_ENDS if name in names}
            return _checked(told(names, file.metadata() or {}, ends))
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:  # for a mark that is no such number, too
        raise ValueError(f"The header of {path.name} cannot be read: {error}") from error


def _checked(found: Told) -> Told:
    """The same; raises ValueError for noise levels that are none."""
    if found.levels is not None and not 0 < found.levels[0] < found.levels[1] < math.inf:
        low, high = found.levels
        raise ValueError(
            f"{_EDM_V_ENDS[0]} = {low:g} and {_EDM_V_ENDS[1]} = {high:g} are not allowed: both must be above 0 and "
            "finite, the second above the first"
        )
    return found


_EDM_V_ENDS = ("edm_vpred.sigma_min", "edm_vpred.sigma_max")


def told(names: set[str], metadata: Mapping[str, str], values: Mapping[str, float]) -> Told:
    """The same, of the names of all tensors, the metadata and the values of tensors with one number."""
    guidance = next((name for name in names if _GUIDANCE.fullmatch(name)), None)
    if "edm_vpred.sigma_max" in names:
        usual = KINDS[EDM_V].levels or ()
        low, high = (values.get(name, level) for name, level in zip(_EDM_V_ENDS, usual, strict=True))
        return Told(EDM_V, "edm_vpred.sigma_max", levels=(low, high), guidance=guidance)
    if {"edm_mean", "edm_std"} <= names:
        return Told(EDM, "edm_mean", latents=True, guidance=guidance)
    zero_snr = "ztsnr" in names
    if "v_pred" in names:
        return Told(V, "v_pred", zero_snr, guidance=guidance)
    prediction = metadata.get(PREDICTION, "").strip().lower()
    if prediction in _PREDICTIONS:
        return Told(_PREDICTIONS[prediction], PREDICTION, zero_snr, guidance=guidance)
    return Told(zero_snr=zero_snr, guidance=guidance)


def tensor(path: Path, name: str) -> Tensor:
    """One tensor of a safetensors file."""
    with safe_open(path, "pt") as file:
        found: Tensor = file.get_tensor(name)
        return found
