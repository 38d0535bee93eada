"""What a high-resolution method has done in a batch, for whoever wants to know: an entry of the job's state."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effect:
    """The method, and the steps of each pass on which it acted, counted from 0."""

    method: str
    active_steps: tuple[tuple[int, ...], ...]

    @property
    def spans(self) -> str:
        """First and last of the steps, counted from 1, of each pass: "1-12 + 1-8"."""
        return " + ".join(f"{steps[0] + 1}-{steps[-1] + 1}" for steps in self.active_steps)
