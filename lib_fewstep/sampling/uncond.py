"""What a denoiser keeps of its unconditional pass: the image (AUTOMATIC1111) or the predicted noise (Forge)."""

from __future__ import annotations

from torch import Tensor


class MissingUncondError(ValueError):
    """The denoiser gives no unconditional output, so CFG++ has nothing to renoise with."""


def is_noise(
    kept: Tensor,
    x: Tensor,
    sigma: float | Tensor,
    guided: Tensor,
    conditional: Tensor | None = None,
    strength: float = 1.0,
) -> bool:
    """Whether `kept` is noise, told from one evaluation at noise level `sigma` that gave the image `guided`.

    With the `conditional` image and the `strength` of guidance it is proven: only for one of the two is the guided
    image their mixture. (Near a strength of 1 neither counts, and where AND or another extension spoils both it is
    taken for an image.) Without them it is what is nearer to the guided image, which can fail where guidance is very
    strong at noise levels around 1.
    """
    from_noise = x - sigma * kept
    if conditional is None:
        return _distance(guided, from_noise) < _distance(guided, kept)
    errors = [float((u + strength * (conditional - u) - guided).norm()) for u in (kept, from_noise)]
    return errors[1] < errors[0] / 4


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).float().norm())
