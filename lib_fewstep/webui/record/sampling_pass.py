"""What the passes of one batch cost, measured while they run."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lib_fewstep.compare.meter import Meter
from lib_fewstep.compare.record import Record
from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.effect import Effect
from lib_fewstep.webui.common.host.protocols import DenoiserParams, Processing
from lib_fewstep.webui.common.launch import AroundPass, running

_LISTENED = "callback_state"


@dataclass
class Recording:
    """The meter of one batch, and how often its passes have called the denoiser and stepped.

    `predictions` takes the denoised latents (batch, 4, h, w) of each step, where somebody asks for them.
    """

    meter: Meter = field(default_factory=lambda: Meter(host.model.device()))
    evaluations: int = 0
    steps: int = 0
    predictions: list[Tensor] | None = None

    def records(self, p: Processing, size: tuple[int, int]) -> list[Record]:
        """The records of a batch that is done, one for each image; `size` is theirs, (width, height).

        On CUDA this waits for the device.
        """
        count, meter = len(p.seeds), self.meter
        effect = state.find(p, Effect)
        now = dt.datetime.now().astimezone().isoformat(timespec="seconds")
        return [
            Record(
                time=now,
                model=p.sd_model_name,
                width=size[0],
                height=size[1],
                batch=count,
                sampler=p.sampler_name,
                schedule=host.job.schedule_label(p),
                steps=p.steps,
                evaluations=self.evaluations,
                unet_calls=meter.unet_calls,
                unet_rows=meter.unet_rows / count,
                cfg=p.cfg_scale,
                method="" if effect is None else effect.method,
                active_steps="" if effect is None else effect.spans,
                seconds=round(meter.seconds / count, 4),
                unet_seconds=round(meter.unet_seconds / count, 4),
                seconds_per_step=round(meter.seconds / count / max(self.steps, 1), 4),
                peak_memory_mib=None if meter.peak_memory is None else round(meter.peak_memory / 2**20, 1),
                seed=int(seed),
            )
            for seed in p.seeds
        ]


class RecordedPass(AroundPass):
    """Measures one pass."""

    def __init__(self, recording: Recording, p: Processing) -> None:
        """The next pass of the processing object `p`, into a batch's recording."""
        super().__init__(p)
        self._recording = recording
        self._others_callback: dict[str, Any] = {}

    def evaluated(self) -> None:
        """One call of the denoiser; the UNet that it will run may be another one than before."""
        self._recording.evaluations += 1
        self._recording.meter.follow(host.model.loaded_unet())

    def start(self) -> None:
        """Start the meter."""
        if self._recording.predictions is not None:
            self._listen(self._recording.predictions)
        self._recording.steps += self._steps
        self._recording.meter.start(host.model.loaded_unet())

    def close(self) -> None:
        """Stop the meter."""
        self._recording.meter.stop()
        if self._recording.predictions is not None:
            vars(self._p.sampler).pop(_LISTENED, None)
            vars(self._p.sampler).update(self._others_callback)

    def _listen(self, predictions: list[Tensor]) -> None:
        """Keep what the sampler says after each step."""
        own = self._p.sampler.callback_state
        self._others_callback = {_LISTENED: own} if _LISTENED in vars(self._p.sampler) else {}

        def callback_state(state: dict[str, Any]) -> None:
            predictions.append(state["denoised"].detach().cpu())
            own(state)

        self._p.sampler.callback_state = callback_state


def on_cfg_denoiser(params: DenoiserParams) -> None:
    """The host's callback before each evaluation; it does nothing outside of a pass that is measured."""
    around = running(params, RecordedPass)
    if around is not None:
        around.evaluated()
