"""How near two results are."""

from __future__ import annotations

from torch import Tensor

TOLERANCE = 1e-9


def check_near(ours: Tensor, theirs: Tensor) -> None:
    """Within the tolerance, relative to the largest value; `pytest -rP` shows the figure."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    print(f"{difference:.1e}")
    assert difference < TOLERANCE
