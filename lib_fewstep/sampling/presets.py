"""Presets for distilled models: what `presets.json` says, which of them a name means, and what is wrong with a run."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_fewstep.sampling.cfgpp_guidance import LAMBDA
from lib_fewstep.sampling.entries import entries_of
from lib_fewstep.sampling.schedules import TRAINED_STEPS
from lib_fewstep.sentences import Sentence

MOST_CFG = 2.0
"""Above it guidance burns on a model that was distilled without it."""

FEW_STEPS = 8
_MOST_CFG_OF_MERGES = 2.5
"""What the makers of few-step merges ask for at most."""
_PUBLISHED = (
    r"^(?:sdxl[ ._-]*lightning|hyper[ ._-]*sd|sd[ ._-]*(?:xl[ ._-]*)?turbo|dmd2|lcm|pcm|tcd|yoso)",
    r"(?<!\d)\d+[ ._-]*steps?",
)
"""Files of those who made the methods, and such as name their number of steps; other checkpoints are merges."""
_TRAILING = ("Trailing", "SGM Uniform")
_HOSTS_DDIM_CFGPP = "DDIM CFG++"
_HOSTS_DDIM = ("DDIM", _HOSTS_DDIM_CFGPP)
_HOSTS_STEPS = 1000


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
    def summary(self) -> Sentence:
        """The values, in words."""
        schedule = Sentence("custom timesteps") if self.timesteps else self.schedule
        values = {"sampler": self.sampler, "schedule": schedule, "cfg": self.cfg}
        if self.steps == 1:
            return Sentence("{sampler}, {schedule}, 1 step, CFG {cfg:g}", **values)
        return Sentence("{sampler}, {schedule}, {steps} steps, CFG {cfg:g}", **values, steps=self.steps)


def _load(path: Path) -> dict[str, Preset]:
    entries = json.loads(path.read_text(encoding="utf-8"))
    return {name: Preset(name=name, **{key: _frozen(v) for key, v in entry.items()}) for name, entry in entries.items()}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


PRESETS = _load(Path(__file__).with_name("presets.json"))


@dataclass(frozen=True)
class Recognised:
    """A preset, and in words the file name by which it was recognised; a merge's own page may ask for another one."""

    preset: Preset
    because: Sentence
    merge: bool = False


def recognise(checkpoint: str, loras: Sequence[str]) -> Recognised | None:
    """The preset that a LoRA's name or else the checkpoint's means, if any; the first one in the file wins."""
    for lora in loras:
        for preset in PRESETS.values():
            if _matches(preset.lora, lora):
                return Recognised(preset, Sentence('the LoRA is called "{name}"', name=lora))
    for preset in PRESETS.values():
        if _matches(preset.checkpoint, checkpoint):
            because = Sentence('the checkpoint is called "{name}"', name=checkpoint)
            return Recognised(preset, because, merge=not _matches(_PUBLISHED, checkpoint))
    return None


def _matches(patterns: Sequence[str], name: str) -> bool:
    return any(re.search(pattern, name, re.IGNORECASE) for pattern in patterns)


@dataclass(frozen=True)
class RunSettings:
    """What a run is about to do.

    `custom_timesteps` means that they are the user's own, `from_noise` that it starts from noise and not from an image,
    `prior` that it starts from the informative prior. `hires_sampler` and `hires_cfg` are those of a hires pass, None
    without one; `guidance` is how CFG++ reads the CFG, `trained` the number of timesteps that the model has.
    """

    sampler: str
    schedule: str
    steps: int
    cfg: float
    custom_timesteps: bool = False
    from_noise: bool = True
    prior: bool = False
    hires_sampler: str | None = None
    hires_cfg: float | None = None
    guidance: str = ""
    trained: int = TRAINED_STEPS

    @property
    def cfgpp(self) -> bool:
        """Whether the sampler renoises with the unconditional image."""
        return is_cfgpp(self.sampler)

    @property
    def unguided_hires(self) -> bool:
        """Whether a CFG that means something to CFG++ alone, such as a lambda, is that of a hires pass without it."""
        if self.hires_sampler is None or self.hires_cfg is None:
            return False
        as_lambda = self.hires_cfg < 1 or (self.hires_cfg == 1 and self.guidance == LAMBDA)
        return self.cfgpp and as_lambda and not is_cfgpp(self.hires_sampler)

    @property
    def trailing(self) -> bool:
        """Whether the first step is at the last timestep and the end is left out."""
        return self.custom_timesteps or (self.schedule in _TRAILING and self.sampler not in _HOSTS_DDIM)

    @property
    def as_for_a_merge(self) -> bool:
        """Whether the page of a few-step merge could ask for this."""
        return self.steps <= FEW_STEPS and self.cfg <= _MOST_CFG_OF_MERGES

    def follows(self, preset: Preset) -> bool:
        """Whether the run does what a preset says, within its limits."""
        same = self.schedule == preset.schedule or (self.trailing and preset.schedule == "Trailing")
        grid = self.custom_timesteps if preset.timesteps else same
        return self.sampler == preset.sampler and grid and not _excesses(self, preset)


def is_cfgpp(sampler: str) -> bool:
    """Whether a sampling method of this name renoises with the unconditional image, the WebUI's own included."""
    return sampler == _HOSTS_DDIM_CFGPP or any(entry.cfgpp for entry in entries_of([sampler]))


def advice(run: RunSettings, recognised: Recognised | None, chosen: Preset | None) -> list[Sentence]:
    """Sentences about what will go wrong in a run, and about a preset that would fit it."""
    found = []
    if recognised is not None and recognised.merge and chosen is None and run.as_for_a_merge:
        return _pitfalls(run)
    if recognised is not None and recognised.preset is not chosen and not run.follows(recognised.preset):
        found.append(
            Sentence(
                'The preset "{preset}" ({summary}) would fit better, because {because}.',
                because=recognised.because,
                preset=recognised.preset.name,
                summary=recognised.preset.summary,
            )
        )
    distilled = recognised.preset if recognised is not None else chosen
    if distilled is not None:
        found += _excesses(run, distilled)
    return found + _pitfalls(run)


def _excesses(run: RunSettings, preset: Preset) -> list[Sentence]:
    """What goes beyond what a distilled model was made for."""
    found = []
    values = {**vars(run), "preset": preset.name, "most_cfg": max(MOST_CFG, preset.most_cfg)}
    if run.cfg > values["most_cfg"]:
        found.append(Sentence("CFG {cfg:g} is too high for {preset}: above {most_cfg:g} colours burn.", **values))
    if run.steps > preset.most_steps:
        values["most"] = preset.most_steps
        found.append(Sentence("{steps} steps are too many for {preset}, which was made for at most {most}.", **values))
    if preset.prior and not run.prior:
        found.append(Sentence("{preset} needs the informative prior, which is not set.", **values))
    if preset.trailing and not run.trailing:
        found.append(Sentence('{preset} needs the schedule "Trailing", not "{schedule}" with {sampler}.', **values))
    return found


def _pitfalls(run: RunSettings) -> list[Sentence]:
    """What goes wrong on any model."""
    found = []
    if run.sampler in _HOSTS_DDIM and run.from_noise and 1 <= run.steps <= FEW_STEPS:
        found += _ddim_pitfalls(run.sampler, run.steps, run.trained)
    if run.unguided_hires:
        found.append(
            Sentence(
                "The hires pass with {hires_sampler} runs at CFG {hires_cfg:g}, which does not guide it: set Hires "
                "CFG.",
                **vars(run),
            )
        )
    return found


def _ddim_pitfalls(sampler: str, steps: int, trained: int) -> list[Sentence]:
    """What the WebUI's DDIM does otherwise than it says: its timesteps are 1, 1 + 1000 // steps, and so on.

    They are stretched over those that the model has.
    """
    grid = range(0, _HOSTS_STEPS, _HOSTS_STEPS // steps)
    evaluations, first = len(grid) - 1, min(grid[-1] * trained // _HOSTS_STEPS + 1, trained - 1)
    better = "Euler CFG++" if sampler == _HOSTS_DDIM_CFGPP else "Euler"
    cure = Sentence('use {sampler} with the schedule "Trailing" instead.', sampler=better)
    values = {"sampler": sampler, "steps": steps, "evaluations": evaluations, "first": first, "cure": cure}
    found = []
    if evaluations == 0:
        found.append(Sentence("With 1 step the WebUI's {sampler} never runs the model: {cure}", **values))
    elif evaluations < steps:
        found.append(
            Sentence(
                "With {steps} steps the WebUI's {sampler} runs only {evaluations} of them, starting at timestep "
                "{first}: {cure}",
                **values,
            )
        )
    if sampler == _HOSTS_DDIM_CFGPP:
        found.append(
            Sentence(
                "The WebUI's {sampler} divides CFG by 12.5, which makes it far too weak in so few steps: {cure}",
                **values,
            )
        )
    return found
