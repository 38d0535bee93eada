"""One sampling pass: blocks in before a step that needs them, out after the last one, whatever happens."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import TracebackType

from torch import nn

from lib_fewstep.highres import plan
from lib_fewstep.highres.schedule import PIXELS_PER_LATENT, Schedule, Step, make_schedule
from lib_fewstep.highres.settings import HighResSettings, ModelHints
from lib_fewstep.highres.token_counts import counting_tokens
from lib_fewstep.options import SettingError
from lib_fewstep.unet import (
    Place,
    Scaler,
    Topology,
    blocks_of,
    in_place,
    inspect_unet,
    install,
    remove,
    rescale,
    take_out,
)


@dataclass
class Report:
    """What a session is to do, and what it has done.

    `planned` maps each part of the method to the steps, counted from 0, on which it is to act, and `blocks` to the
    blocks that it changes, of whose transformer blocks `windowed` get windows. `reason` says why nothing is done, or
    is None. `active_steps` are the steps for which the
    UNet was made ready; `notes` say what was left alone.
    """

    family: str
    method: str
    pass_: str
    latent_size: tuple[int, int]
    steps: int
    planned: dict[str, tuple[int, ...]]
    blocks: dict[str, tuple[str, ...]]
    windowed: int
    reason: str | None
    active_steps: tuple[int, ...] = ()
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line for the log."""
        height, width = (PIXELS_PER_LATENT * side for side in self.latent_size)
        where = f"{self.method} on {self.family} at {width}x{height}, {self.steps} steps ({self.pass_} pass)"
        parts = [f"{part} {self._where(part)} on {_when(steps)}" for part, steps in self.planned.items()]
        what = f"nothing is done: {self.reason}" if self.reason else "; ".join(parts)
        return "; ".join([f"{where}: {what}", *self.notes]) + "."

    def _where(self, part: str) -> str:
        blocks = self.blocks[part]
        if part == "window attention":
            return f"in {self.windowed} transformer blocks"
        return f"at {' and '.join(blocks)}" if len(blocks) <= 2 else f"in {len(blocks)} blocks"


class HighResSession:
    """The methods on one UNet for one sampling pass, as a context manager.

    Nothing changes on construction or entry. `at_step` puts the blocks in that the step needs, or takes them out;
    leaving the context puts every block back. What an earlier session left behind is removed on entry.
    """

    def __init__(
        self,
        unet: nn.Module,
        settings: HighResSettings,
        latent_size: tuple[int, int],
        steps: int,
        hints: ModelHints | None = None,
    ) -> None:
        """Plan a pass of `steps` UNet steps at `latent_size` (height, width), an eighth of the pixels.

        Raises UnsupportedModel for a model that is no UNet of Stable Diffusion 1, 2 or XL, and SettingError for
        settings that the model or the size cannot follow; each is one sentence.
        """
        self.unet = unet
        self._topology = inspect_unet(unet)
        self._blocks = blocks_of(unet)
        hints = hints or ModelHints()
        self.schedule = make_schedule(settings, self._topology, latent_size, steps, hints)
        self.report = _report(settings, self._topology, self.schedule, latent_size, hints)
        self._open = False
        self._scalers: dict[Place, Scaler] = {}

    def __enter__(self) -> HighResSession:
        """Remove what an earlier session may have left behind."""
        remove(self.unet)
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put every block back, also where another extension has wrapped a stand-in."""
        self._open = False
        self._take_out()
        remove(self.unet)

    def at_step(self, index: int) -> None:
        """Get the UNet ready for the call or calls of step `index`, 0 <= index < steps.

        Raises SettingError for an index outside of that, and where the session is not open.
        """
        if not self._open:
            raise SettingError("at_step needs an open session: call it inside of its with block.")
        steps = self.schedule.steps
        if not 0 <= index < len(steps):
            raise SettingError(f"step = {index} is not allowed: it must be 0 to {len(steps) - 1}.")
        if steps[index].active and not (self._scalers and in_place(self.unet, self._scalers)):
            self._follow_exchanges()
        step = self._beside_others(steps[index])
        if not step.active:
            self._take_out()
            return
        scalings = plan.scalings(self._blocks, self._topology, step, index, self._note)
        if self._scalers:
            for place, scaler in self._scalers.items():
                rescale(scaler, scalings[place])
        else:
            self._scalers = install(self.unet, scalings)
        if index not in self.report.active_steps:
            self.report.active_steps += (index,)

    def _follow_exchanges(self) -> None:
        """Work on the blocks that are there now; one around which another extension has put its own is the same."""
        if self._scalers:
            self._take_out()
            remove(self.unet)
        there = blocks_of(self.unet)
        for place, block in self._blocks.items():
            if block not in there[place].modules():
                self._blocks[place] = there[place]

    def _beside_others(self, step: Step) -> Step:
        """Where somebody tells a feature map's size from the number of its tokens, Deep Shrink may only halve it."""
        shrink = step.shrink
        if shrink is None:
            return step
        size = self._topology.size_at(plan.shrink_places(self._topology, shrink)[0], self.report.latent_size)
        counting = None if shrink.halves(size) else counting_tokens(self._blocks.values())
        if counting is None:
            return step
        settings = self.schedule.settings
        constant = replace(shrink, down=settings.downscale or 1.0, up=settings.upscale or 1.0)
        why = f"{counting}, which tells a feature map's size from the number of its tokens"
        if constant.halves(size):
            self._note(f"smooth scaling yields to {why}")
            return replace(step, shrink=constant)
        self._note(f"shrinking yields to {why}")
        return replace(step, shrink=None)

    def _take_out(self) -> None:
        take_out(self.unet, self._scalers)
        self._scalers = {}

    def _note(self, sentence: str) -> None:
        if sentence not in self.report.notes:
            self.report.notes.append(sentence)


def _report(
    settings: HighResSettings, topology: Topology, schedule: Schedule, latent_size: tuple[int, int], hints: ModelHints
) -> Report:
    planned = {
        "strided downsampler": schedule.when("rad"),
        "pool": schedule.when("pool"),
        "window attention": schedule.when("windows"),
        "shrinking": schedule.when("shrink"),
    }
    blocks = _blocks(topology, schedule) if schedule.reason is None else {}
    return Report(
        family=topology.family,
        method=settings.method,
        pass_=hints.pass_,
        latent_size=latent_size,
        steps=len(schedule.steps),
        planned={part: steps for part, steps in planned.items() if steps},
        blocks={part: tuple(str(place) for place in places) for part, places in blocks.items() if planned[part]},
        windowed=sum(plan.window_places(topology).values()) if schedule.when("windows") else 0,
        reason=schedule.reason,
        notes=list(schedule.notes),
    )


def _blocks(topology: Topology, schedule: Schedule) -> dict[str, list[Place]]:
    shrinks = [plan.shrink_places(topology, step.shrink) for step in schedule.steps if step.shrink]
    return {
        "strided downsampler": [plan.rad_place(topology)],
        "pool": [plan.pool_place(topology)],
        "window attention": list(plan.window_places(topology)),
        "shrinking": list(dict.fromkeys(place for pair in shrinks for place in pair)),
    }


def _when(steps: tuple[int, ...]) -> str:
    """Steps counted from 1, as the WebUI shows them: "steps 1-12"."""
    first, last = steps[0] + 1, steps[-1] + 1
    return f"step {first}" if first == last else f"steps {first}-{last}"
