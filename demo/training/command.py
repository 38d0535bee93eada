"""What the training's commands have in common: the seed, where states and weights are, and shorter trials."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from demo.model.layouts import FOLDER, LAYOUTS, Layout
from demo.numbers import natural, positive
from demo.training.loop import OldStateError, Plan

STATES = Path("demo/out/training")


@dataclass(frozen=True)
class Command:
    """The command line; `steps` None is the plan's number, `pictures` None that of each training."""

    layout: Layout
    seed: int
    steps: int | None
    pictures: int | None
    states: Path
    out: Path
    kind: str = ""

    @property
    def is_trial(self) -> bool:
        """Whether it is shorter than the real training."""
        return self.steps is not None or self.pictures is not None

    def shortened(self, plan: Plan) -> Plan:
        """The plan, with the command line's number of steps."""
        return plan if self.steps is None else replace(plan, steps=self.steps)

    @property
    def folder(self) -> Path:
        """Where the states are; each seed and each trial has a folder of its own."""
        trial = f"-{self.steps}-{self.pictures}" if self.is_trial else ""
        return self.states / f"seed-{self.seed}{trial}"

    def state(self, name: str) -> Path:
        """The file that keeps the state of a training."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{name}.pt"


@contextmanager
def refusing_old_states() -> Iterator[None]:
    """A state of another training ends the command with a sentence."""
    try:
        yield
    except OldStateError as error:
        raise SystemExit(str(error)) from error


def parse(description: str | None, *, layouts: bool = False, kinds: Sequence[str] = (), out: Path = FOLDER) -> Command:
    """Read the command line, with a layout and a kind of LoRA where there are several; weights are put into `out`."""
    parser = argparse.ArgumentParser(description=description)
    if layouts:
        parser.add_argument("layout", choices=list(LAYOUTS), help="which checkpoint")
    if kinds:
        parser.add_argument("kind", choices=kinds, help="which LoRA")
    parser.add_argument("--seed", type=natural, default=0, help="of weights, pictures and noise (default: 0)")
    parser.add_argument("--steps", type=positive, help="for a shorter trial (default: the plan's)")
    parser.add_argument("--pictures", type=positive, help="drawn pictures, fewer for a trial (default: the training's)")
    parser.add_argument(
        "--out", type=Path, help=f"folder of the weights (default: {out}; of a trial, that of its states)"
    )
    parser.add_argument("--states", type=Path, default=STATES, help=f"folder of the states (default: {STATES})")
    given = parser.parse_args()
    layout, kind = LAYOUTS[getattr(given, "layout", "sd15")], getattr(given, "kind", "")
    command = Command(layout, given.seed, given.steps, given.pictures, given.states, given.out or out, kind)
    return replace(command, out=command.folder) if command.is_trial and given.out is None else command
