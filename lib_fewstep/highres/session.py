"""One sampling pass: blocks in before a step that needs them, out after the last one, whatever happens."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from torch import Tensor, nn

from lib_fewstep.highres import skips
from lib_fewstep.highres.methods.base import ModelHints, Moment, Parts
from lib_fewstep.highres.report import Report, make_report
from lib_fewstep.highres.resize import Size, size_of
from lib_fewstep.highres.schedule import Schedule, make_schedule
from lib_fewstep.highres.settings import HighResSettings
from lib_fewstep.highres.token_counts import reading_attention, replacing
from lib_fewstep.options import SettingError
from lib_fewstep.unet import (
    Place,
    Scaler,
    blocks_of,
    inspect_unet,
    install,
    installed,
    remove,
    rescale,
    uninstall,
    unwatch,
    watch,
)


class HighResSession:
    """The methods on one UNet for one sampling pass, as a context manager.

    Nothing changes on construction. `at_step` puts the blocks in that the step needs, or takes them out; leaving the
    context puts every block back. What an earlier session left behind is removed on entry.

    Another extension may cut the image into tiles. Then `schedule` and `report` are those of the size that the UNet was
    given last, and `reports` has one for every size.
    """

    def __init__(
        self,
        unet: nn.Module,
        settings: HighResSettings,
        latent_size: Size,
        steps: int,
        hints: ModelHints | None = None,
    ) -> None:
        """For a pass of `steps` UNet steps at `latent_size` (height, width), an eighth of the pixels.

        Raises UnsupportedModel for a model that is no UNet of Stable Diffusion 1, 2 or XL, and SettingError for
        settings that the model or the size cannot follow; each is one sentence.
        """
        self.unet = unet
        self._settings, self._steps, self._hints = settings, steps, hints or ModelHints()
        self._topology = inspect_unet(unet)
        self._blocks = blocks_of(unet)
        self._plans: dict[Size, tuple[Schedule, Report]] = {}
        self.schedule, self.report = self._plan(latent_size)
        self._index: int | None = None
        self._called: Report | None = None
        self._ran = False
        self._open = False
        self._scalers: dict[Place, Scaler] = {}

    @property
    def reports(self) -> tuple[Report, ...]:
        """That of the pass's own size, and those of other sizes that the UNet was given."""
        return tuple(report for _, report in self._plans.values())

    @property
    def active_steps(self) -> tuple[int, ...]:
        """The steps, counted from 0, on which the method has acted at some size."""
        return tuple(sorted({step for report in self.reports for step in report.active_steps}))

    @property
    def used(self) -> HighResSettings | None:
        """The settings with which the method has acted, with the preset's values; None where it has not."""
        return next((schedule.settings for schedule, report in self._plans.values() if report.active_steps), None)

    @property
    def acting(self) -> bool:
        """Whether the UNet is changed now."""
        return bool(self._scalers)

    def disown(self) -> None:
        """What has been done so far is not used, because the pass has failed."""
        self._called = None
        for report in self.reports:
            report.active_steps = ()

    def __enter__(self) -> HighResSession:
        """Remove what an earlier session may have left behind."""
        remove(self.unet)
        self._open = True
        watch(self.unet, self._follow_size)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put every block back, also where another extension has wrapped a stand-in."""
        self._open = False
        if self._called is not None and not self._ran:
            why = f"{self._runner()} runs the layers of the UNet's blocks itself"
            self._called.notes.append(f"nothing is done, because {why}")
        unwatch(self.unet)
        self._uninstall()
        remove(self.unet)

    def at_step(self, index: int) -> None:
        """Get the UNet ready for the call or calls of step `index`, 0 <= index < steps.

        Raises SettingError for an index outside of that, and where the session is not open.
        """
        if not self._open:
            raise SettingError("at_step needs an open session: call it inside the session's with block.")
        if not 0 <= index < self._steps:
            raise SettingError(f"step = {index} is not allowed: it must be 0 to {self._steps - 1}.")
        self._index = index
        watch(self.unet, self._follow_size)  # a job inside this one may have watched, and stopped
        self._get_ready(index)

    def _get_ready(self, index: int) -> None:
        parts = self.schedule.steps[index]
        if parts and not (self._scalers and installed(self.unet, self._scalers)):
            self._adopt_new_blocks()
        middle: Any = self.unet.middle_block
        size = self.report.latent_size
        moment = Moment(self._blocks, middle, self._topology, size, index, self._note, self._act, self._idle)
        acting = self._beside_a_reader(tuple(filter(None, (part.beside_others(moment) for part in parts))), middle)
        if not acting:
            self._uninstall()
            return
        scalings = skips.scalings(acting, moment)
        if self._scalers:
            for place, scaler in self._scalers.items():
                rescale(scaler, scalings[place])
        else:
            self._scalers = install(self.unet, scalings)

    def _follow_size(self, x: Any = None, *_args: Any, **_kwargs: Any) -> None:
        """Before each call of the UNet: where it gets another size than it is ready for, get it ready for that one."""
        if not self._open or self._index is None or not isinstance(x, Tensor) or x.ndim != 4:
            return
        if size_of(x) != self.report.latent_size:
            self.schedule, self.report = self._plan(size_of(x))
            self._get_ready(self._index)
        if self.acting:
            self._called = self.report

    def _act(self) -> None:
        """A block that the method changes runs: the step is one on which it acts."""
        self._ran = True
        if self._index is not None and self._index not in self.report.active_steps:
            self.report.active_steps += (self._index,)

    def _idle(self) -> None:
        """A block would have been changed, but nothing is left to do there."""
        self._ran = True

    def _runner(self) -> str:
        """Who runs instead of the UNet's own `forward`."""
        who = replacing(self.unet)
        return "another extension" if who is None else f"{who} (which replaces the UNet's forward)"

    def _plan(self, size: Size) -> tuple[Schedule, Report]:
        if size not in self._plans:
            schedule = make_schedule(self._settings, self._topology, size, self._steps, self._hints)
            report = make_report(schedule, self._topology, size, self._hints)
            if self._plans:
                report.notes.append("another extension runs the UNet at this size")
            self._plans[size] = schedule, report
        return self._plans[size]

    def _adopt_new_blocks(self) -> None:
        """Work on the blocks that are there now; one that another extension has only wrapped is the same."""
        if self._scalers:
            self._uninstall()
            remove(self.unet)
        present = blocks_of(self.unet)
        for place, block in self._blocks.items():
            if block not in present[place].modules():
                self._blocks[place] = present[place]

    def _uninstall(self) -> None:
        uninstall(self.unet, self._scalers)
        self._scalers = {}

    def _beside_a_reader(self, parts: Parts, middle: nn.Module) -> Parts:
        """What is left beside one who reads the middle block's map of self-attention, and knows one size of it."""
        shrinking = [part for part in parts if part.shrinks]
        reader = reading_attention(middle, self._blocks.values()) if shrinking else None
        if reader is None:
            return parts
        for part in shrinking:
            self._note(f"{part.label} is off, because {reader} reads the map of middle_block's self-attention")
        return tuple(part for part in parts if not part.shrinks)

    def _note(self, sentence: str) -> None:
        if sentence not in self.report.notes:
            self.report.notes.append(sentence)
