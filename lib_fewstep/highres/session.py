"""One sampling pass: blocks in before a step that needs them, out after the last one, whatever happens."""

from __future__ import annotations

from types import TracebackType

from torch import nn

from lib_fewstep.highres import skips
from lib_fewstep.highres.methods.base import ModelHints, Moment
from lib_fewstep.highres.report import make_report
from lib_fewstep.highres.schedule import make_schedule
from lib_fewstep.highres.settings import HighResSettings
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
)


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
        """For a pass of `steps` UNet steps at `latent_size` (height, width), an eighth of the pixels.

        Raises UnsupportedModel for a model that is no UNet of Stable Diffusion 1, 2 or XL, and SettingError for
        settings that the model or the size cannot follow; each is one sentence.
        """
        self.unet = unet
        self._topology = inspect_unet(unet)
        self._blocks = blocks_of(unet)
        hints = hints or ModelHints()
        self.schedule = make_schedule(settings, self._topology, latent_size, steps, hints)
        self.report = make_report(self.schedule, self._topology, latent_size, hints)
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
        self._uninstall()
        remove(self.unet)

    def at_step(self, index: int) -> None:
        """Get the UNet ready for the call or calls of step `index`, 0 <= index < steps.

        Raises SettingError for an index outside of that, and where the session is not open.
        """
        if not self._open:
            raise SettingError("at_step needs an open session: call it inside the session's with block.")
        steps = self.schedule.steps
        if not 0 <= index < len(steps):
            raise SettingError(f"step = {index} is not allowed: it must be 0 to {len(steps) - 1}.")
        if steps[index] and not (self._scalers and installed(self.unet, self._scalers)):
            self._adopt_new_blocks()
        moment = Moment(self._blocks, self._topology, self.report.latent_size, index, self._note)
        acting = tuple(filter(None, (part.beside_others(moment) for part in steps[index])))
        if not acting:
            self._uninstall()
            return
        scalings = skips.scalings(acting, moment)
        if self._scalers:
            for place, scaler in self._scalers.items():
                rescale(scaler, scalings[place])
        else:
            self._scalers = install(self.unet, scalings)
        if index not in self.report.active_steps:
            self.report.active_steps += (index,)

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

    def _note(self, sentence: str) -> None:
        if sentence not in self.report.notes:
            self.report.notes.append(sentence)
