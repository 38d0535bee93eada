"""What the weights of layers are called in diffusers, and their shapes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lib_fewstep.models.convert.folder import NotConvertible, Part

Shapes = dict[str, tuple[int, ...]]
"""By the names of weights."""


def layer(name: str, *shape: int) -> Shapes:
    """A weight of a shape, and its bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def residual(name: str, inner: int, outer: int, embedded: int | None = None) -> Shapes:
    """A residual block from `inner` to `outer` channels; `embedded` is the width of the embedded times it reads."""
    found = {
        **layer(f"{name}.norm1", inner),
        **layer(f"{name}.conv1", outer, inner, 3, 3),
        **layer(f"{name}.norm2", outer),
        **layer(f"{name}.conv2", outer, outer, 3, 3),
    }
    if embedded is not None:
        found |= layer(f"{name}.time_emb_proj", outer, embedded)
    return found if inner == outer else found | layer(f"{name}.conv_shortcut", outer, inner, 1, 1)


def check(part: Part, expected: Shapes, tensors: Mapping[str, Tensor]) -> None:
    """Raise NotConvertible if a weight is missing, is of no layer of the part, or has another shape than there."""
    for name in expected:
        if name not in tensors:
            raise NotConvertible(f"The weight {name}, of a layer that {part.name} describes, is missing.")
    for name, tensor in tensors.items():
        if name not in expected:
            raise NotConvertible(f"The weight {name} is of no layer that {part.name} describes.")
        if tensor.shape != expected[name]:
            raise NotConvertible(
                f"The weight {name} is of the shape {list(tensor.shape)}, which is not allowed: by {part.name} it must "
                f"be {list(expected[name])}."
            )
