"""Presets for distilled models: what `presets.json` says, which of them a name means, and what is amiss in a run."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_CFG = 2.0
"""Above it guidance burns on a model that was distilled without it."""

FEW_STEPS = 8
_TRAILING = ("Trailing", "SGM Uniform")
_HOSTS_DDIM = ("DDIM", "DDIM CFG++")


@dataclass(frozen=True)
class Preset:
    """What a kind of distilled model needs; CFG is the WebUI's, where 1 is no guidance.

    `most_steps` and `most_cfg` are what it was made for, `timesteps` replaces the schedule, `trailing` says that the
    schedule matters, `prior` that the informative prior belongs to it. `checkpoint` and `lora` are regular expressions
    for names of files of this kind, `source` and `date` say where all of this is from.
    """

    name: str
    sampler: str
    schedule: str
    steps: int
    most_steps: int
    cfg: float
    most_cfg: float
    gamma: float | None
    timesteps: tuple[int, ...] | None
    trailing: bool
    prior: bool
    checkpoint: tuple[str, ...]
    lora: tuple[str, ...]
    help: str
    source: str
    date: str

    @property
    def summary(self) -> str:
        """The values, in words."""
        grid = "custom timesteps" if self.timesteps else self.schedule
        plural = "" if self.steps == 1 else "s"
        return f"{self.sampler}, {grid}, {self.steps} step{plural}, CFG {self.cfg:g}"


def _load(path: Path) -> dict[str, Preset]:
    entries = json.loads(path.read_text(encoding="utf-8"))
    return {name: Preset(name=name, **{key: _frozen(v) for key, v in entry.items()}) for name, entry in entries.items()}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


PRESETS = _load(Path(__file__).with_name("presets.json"))


@dataclass(frozen=True)
class Recognised:
    """A preset and the name that gave it away."""

    preset: Preset
    because: str


def recognise(checkpoint: str, loras: Sequence[str]) -> Recognised | None:
    """The preset that a LoRA's name or else the checkpoint's means, if any; the first one in the file wins."""
    for lora in loras:
        for preset in PRESETS.values():
            if _matches(preset.lora, lora):
                return Recognised(preset, f'the LoRA is called "{lora}"')
    for preset in PRESETS.values():
        if _matches(preset.checkpoint, checkpoint):
            return Recognised(preset, f'the checkpoint is called "{checkpoint}"')
    return None


def _matches(patterns: Sequence[str], name: str) -> bool:
    return any(re.search(pattern, name, re.IGNORECASE) for pattern in patterns)


@dataclass(frozen=True)
class Planned:
    """What a run is about to do.

    `custom` means that its timesteps are the user's own, `whole` that it starts at noise, `prior` that it starts from
    the informative prior.
    """

    sampler: str
    schedule: str
    steps: int
    cfg: float
    negative_prompt: bool
    custom: bool = False
    whole: bool = True
    prior: bool = False

    @property
    def cfgpp(self) -> bool:
        """Whether the sampler renoises with the unconditional image."""
        return self.sampler.endswith("CFG++")

    @property
    def trailing(self) -> bool:
        """Whether the first step is at the last timestep and the end is left out."""
        return self.custom or (self.schedule in _TRAILING and self.sampler not in _HOSTS_DDIM)

    def follows(self, preset: Preset) -> bool:
        """Whether the run does what a preset says, within its limits."""
        same = self.schedule == preset.schedule or (self.trailing and preset.schedule == "Trailing")
        grid = self.custom if preset.timesteps else same
        return self.sampler == preset.sampler and grid and not _excesses(self, preset)


def advice(planned: Planned, recognised: Recognised | None, chosen: Preset | None) -> list[str]:
    """Sentences about what will go wrong in a run, and about a preset that would fit it."""
    found = []
    if recognised is not None and recognised.preset is not chosen and not planned.follows(recognised.preset):
        preset = recognised.preset
        found.append(
            f'Because {recognised.because}, the preset "{preset.name}" ({preset.summary}) fits, which is not in use.'
        )
    distilled = recognised.preset if recognised is not None else chosen
    if distilled is not None:
        found += _excesses(planned, distilled)
    return found + _slips(planned)


def _excesses(planned: Planned, preset: Preset) -> list[str]:
    """What goes beyond what a distilled model was made for."""
    found = []
    most_cfg = max(MOST_CFG, preset.most_cfg)
    if planned.cfg > most_cfg:
        found.append(f"CFG {planned.cfg:g} is above {most_cfg:g}, where {preset.name} burns.")
    if planned.steps > preset.most_steps:
        found.append(f"{planned.steps} steps are more than the {preset.most_steps} that {preset.name} was made for.")
    if preset.prior and not planned.prior:
        found.append(f"{preset.name} was made to start from the informative prior, which is not set.")
    if preset.trailing and not planned.trailing:
        found.append(f'{preset.name} needs the schedule "Trailing", not "{planned.schedule}" with {planned.sampler}.')
    return found


def _slips(planned: Planned) -> list[str]:
    """What goes wrong on any model."""
    found = []
    if planned.sampler in _HOSTS_DDIM and planned.whole and 1 <= planned.steps <= FEW_STEPS:
        found += _ddim_slips(planned.sampler, planned.steps)
    if planned.negative_prompt and planned.cfg == 1 and not planned.cfgpp:
        found.append("At CFG 1 the negative prompt does nothing; with a CFG++ sampler it would.")
    return found


def _ddim_slips(sampler: str, steps: int) -> list[str]:
    """What the WebUI's DDIM does otherwise than it says: its timesteps are 1, 1 + 1000 // steps, and so on."""
    grid = range(0, 1000, 1000 // steps)
    evaluations, first = len(grid) - 1, min(grid[-1] + 1, 999)
    cure = f'use {"Euler CFG++" if sampler.endswith("CFG++") else "Euler"} with the schedule "Trailing" instead.'
    found = []
    if evaluations < steps:
        many = f"{evaluations} time{'' if evaluations == 1 else 's'}, from timestep {first}"
        where = f"In {steps} step{'' if steps == 1 else 's'} the WebUI's {sampler}"
        found.append(f"{where} evaluates the model {many if evaluations else 'not once'}: {cure}")
    if sampler.endswith("CFG++"):
        found.append(f"The WebUI's {sampler} divides CFG by 12.5, which is far too little for {steps} steps: {cure}")
    return found
