"""What a session is to do, and what it has done, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lib_fewstep.highres.methods import BY_NAME
from lib_fewstep.highres.methods.base import ModelHints, Part
from lib_fewstep.highres.schedule import PIXELS_PER_LATENT, Schedule
from lib_fewstep.sentences import Sentence
from lib_fewstep.unet import Place, Topology


@dataclass
class Report:
    """What a session is to do, and what it has done.

    `planned` maps each part of the method to the steps, counted from 0, on which it is to act, `blocks` to the blocks
    that it changes, and `extents` to these in words; `summary` says it for the page. `reason` says why nothing is
    done, or is None. `active_steps` are the steps on which blocks were changed; `notes` say what was left alone.
    """

    family: str
    method: str
    pass_: str
    latent_size: tuple[int, int]
    steps: int
    planned: dict[str, tuple[int, ...]]
    blocks: dict[str, tuple[str, ...]]
    extents: dict[str, str]
    summary: tuple[Sentence, ...]
    reason: str | None
    active_steps: tuple[int, ...] = ()
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line for the log."""
        height, width = (PIXELS_PER_LATENT * side for side in self.latent_size)
        where = f"{self.method} on {self.family} at {width}x{height}, {self.steps} steps ({self.pass_} pass)"
        parts = [f"{part} {self.extents[part]} on {_when(steps)}" for part, steps in self.planned.items()]
        what = f"nothing is done: {self.reason}" if self.reason else "; ".join(parts)
        return "; ".join([f"{where}: {what}", *self.notes]) + "."


def make_report(schedule: Schedule, topology: Topology, latent_size: tuple[int, int], hints: ModelHints) -> Report:
    """The report of a session that has not begun."""
    method = BY_NAME[schedule.settings.method]
    acting = {kind: parts for kind in method.parts if (parts := schedule.parts(kind))}
    places = {kind: _places(parts, topology) for kind, parts in acting.items()}
    return Report(
        family=topology.family,
        method=method.name,
        pass_=hints.pass_,
        latent_size=latent_size,
        steps=len(schedule.steps),
        planned={kind.label: schedule.when(kind) for kind in acting},
        blocks={kind.label: tuple(map(str, found)) for kind, found in places.items()},
        extents={kind.label: parts[0].extent(topology, places[kind]) for kind, parts in acting.items()},
        summary=tuple(_summary(acting, schedule, topology)),
        reason=schedule.reason,
        notes=list(schedule.notes),
    )


def _places(parts: Sequence[Part], topology: Topology) -> tuple[Place, ...]:
    """All blocks that a part changes on some step, each once."""
    return tuple(dict.fromkeys(place for part in parts for place in part.places(topology)))


def _summary(acting: Mapping[type[Part], Sequence[Part]], schedule: Schedule, topology: Topology) -> Iterator[Sentence]:
    """What the page says of each title among the parts."""
    for title in dict.fromkeys(kind.title for kind in acting):
        kinds = [kind for kind in acting if kind.title == title]
        when = sorted({step for kind in kinds for step in schedule.when(kind)})
        yield acting[kinds[0]][0].summary(topology, tuple(when), len(schedule.steps))


def _when(steps: tuple[int, ...]) -> str:
    """Steps counted from 1, as the WebUI shows them: "steps 1-12"."""
    first, last = steps[0] + 1, steps[-1] + 1
    return f"step {first}" if first == last else f"steps {first}-{last}"
