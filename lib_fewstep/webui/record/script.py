"""The always-on script "Few-Step record", which has nothing on the page: the WebUI's settings switch it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modules import script_callbacks
from torch import Tensor

from lib_fewstep.compare.record import Record, append
from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.log import log
from lib_fewstep.webui.common.page_settings import FILE_NAME
from lib_fewstep.webui.common.script import TitledScript
from lib_fewstep.webui.record.sampling_pass import RecordedPass, Recording, on_cfg_denoiser

INFOTEXT = "Few-Step cost"


@dataclass
class RecordRequest:
    """A job is to be measured whatever the setting says; both lists are filled while it runs."""

    records: list[Record] = field(default_factory=list)
    predictions: list[Tensor] | None = None


class RecordScript(TitledScript):
    """Writes what each image cost into its infotext and into a CSV file of the WebUI's output folder."""

    script_title = "Few-Step record"
    create_group = False

    def ui(self, is_img2img: bool) -> list[Any]:
        """Nothing."""
        return []

    def process(self, p: Processing, *args: Any) -> None:
        """Begin, where the setting is on or a comparison asks for records."""
        state.drop(p, Recording)
        p.extra_generation_params.pop(INFOTEXT, None)
        request = state.find(p, RecordRequest)
        if host.options.setting_shown("record") or request is not None:
            state.put(p, Recording(predictions=None if request is None else request.predictions))

    def process_batch(self, p: Processing, *args: Any, **kwargs: Any) -> None:
        """Remove the cost of the batch before from the infotext, or images saved during this batch would show it."""
        p.extra_generation_params.pop(INFOTEXT, None)

    def process_before_every_sampling(self, p: Processing, *args: Any, **kwargs: Any) -> None:
        """Measure the pass that is about to start."""
        recording = state.find(p, Recording)
        if recording is not None:
            RecordedPass(recording, p).attach()

    def postprocess_batch(self, p: Processing, *args: Any, images: Any, **kwargs: Any) -> None:
        """Write down what the batch has cost; an image that the user has stopped has no cost worth keeping."""
        recording = state.find(p, Recording)
        if recording is None:
            return
        state.put(p, Recording(predictions=recording.predictions))
        if host.progress.stopped():
            p.extra_generation_params.pop(INFOTEXT, None)
            return
        records = recording.records(p, (images.shape[-1], images.shape[-2]))
        p.extra_generation_params[INFOTEXT] = records[0].short
        request = state.find(p, RecordRequest)
        if request is not None:
            request.records += records
        if host.options.setting_shown("record"):
            _write(records)


def request_record(p: Processing, *, predictions: bool) -> RecordRequest:
    """Have a job measured whatever the setting says; with `predictions` its denoised latents are kept, too."""
    request = RecordRequest(predictions=[] if predictions else None)
    state.put(p, request)
    return request


def register() -> None:
    """Register the callback, once, also when the UI is reloaded."""
    script_callbacks.remove_callbacks_for_function(on_cfg_denoiser)
    script_callbacks.on_cfg_denoiser(on_cfg_denoiser)


def _write(records: list[Record]) -> None:
    try:
        folder = Path(host.options.setting("record_folder")).expanduser()
        append(records, host.options.output_folder() / folder / FILE_NAME)
    except (OSError, RuntimeError, ValueError) as error:
        log.warning("The record of %d images could not be written: %s", len(records), error)
