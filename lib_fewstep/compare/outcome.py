"""What came of one cell of a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from PIL.Image import Image

from lib_fewstep.compare.settings import Cell


@dataclass
class Outcome:
    """One cell's image and cost, or the sentence that says why there is none.

    `strip` holds the predicted image at each step, if it was asked for; `details` further columns of the table.
    """

    cell: Cell
    image: Image | None = None
    evaluations: int | None = None
    seconds: float | None = None
    error: str = ""
    strip: list[Image] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
