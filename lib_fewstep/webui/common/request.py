"""What a script wants of a job: an entry of the job's state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Request:
    """Settings, or the sentence that refuses the job; and how many passes of the batch have met the script."""

    settings: Any = None
    refusal: str | None = None
    passes: int = 0

    def begin_batch(self) -> None:
        """Forget what the passes of an earlier batch have done."""
        self.passes = 0
