"""The run of a comparison inside the WebUI: every cell is a job of its own, on a copy of the one that was asked for."""

from __future__ import annotations

import dataclasses
from copy import copy
from typing import Any

from modules.processing import Processed, fix_seed, process_images
from PIL.Image import Image

from lib_fewstep.compare.grid import NOT_RUN
from lib_fewstep.compare.outcome import Outcome
from lib_fewstep.compare.prompts import Prompt
from lib_fewstep.compare.settings import AS_SET, Cell, ComparisonSettings, cells
from lib_fewstep.options import SettingError, guess, shown
from lib_fewstep.sentences import Sentence
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.log import log
from lib_fewstep.webui.common.prompt_files import prompt_set
from lib_fewstep.webui.common.translate import in_language
from lib_fewstep.webui.common.xyz import set_axis_values
from lib_fewstep.webui.comparison.results import results
from lib_fewstep.webui.fewstep import axes as few_step_axes
from lib_fewstep.webui.highres import axes as highres_axes
from lib_fewstep.webui.record.script import RecordRequest, request_record

_LONGEST_STRIP_IMAGE = 256


def run_comparison(p: Processing, settings: ComparisonSettings) -> Processed:
    """All cells of a comparison, and what is made of them. Raises SettingError before the first image.

    An interrupt keeps what is done; a cell that fails keeps the sentence that says why.
    """
    settings = _with_known_samplers(settings)
    fix_seed(p)
    wanted = cells(settings, _prompts(p, settings), int(p.seed), most=host.options.setting("most_images"))
    outcomes = [Outcome(cell, error=NOT_RUN) for cell in wanted]
    host.progress.announce_jobs(len(wanted), sum(cell.steps for cell in wanted))
    done: list[Processed] = []
    try:
        for index, cell in enumerate(wanted):
            if host.progress.wants_no_more():
                break
            sentence = Sentence("{left} of {all} cells left", left=len(wanted) - index, all=len(wanted))
            host.progress.show_progress(in_language(sentence))
            outcomes[index] = _outcome(p, cell, done, strips=settings.strips)
    finally:
        host.progress.show_progress(None)
    return results(p, settings, outcomes, done)


def _with_known_samplers(settings: ComparisonSettings) -> ComparisonSettings:
    """The settings with the WebUI's own names for aliases."""
    return dataclasses.replace(
        settings,
        samplers=tuple(_sampler_name("samplers", name) for name in settings.samplers),
        reference_sampler=_sampler_name("reference_sampler", settings.reference_sampler),
    )


def _sampler_name(setting: str, name: str) -> str:
    found = host.lists.sampler_called(name)
    if found is None:
        raise SettingError(
            f"{setting} = {shown(name)} is not allowed: it must be a sampling method of this WebUI, which has "
            f"{', '.join(host.lists.sampler_names())}.{guess(name, host.lists.sampler_names())}"
        )
    return found


def _prompts(p: Processing, settings: ComparisonSettings) -> list[Prompt]:
    if settings.prompts:
        return prompt_set(settings.prompts, settings.prompt_limit, settings.prompt_seed)
    return [Prompt(p.prompt)]


def _outcome(p: Processing, cell: Cell, done: list[Processed], *, strips: bool) -> Outcome:
    """What comes of one cell; whatever it raises becomes its error."""
    try:
        return _generated(_job(p, cell), cell, done, strips=strips)
    except Exception as error:  # noqa: BLE001 (one cell's failure is not the others')
        log.warning("A cell of the comparison has failed (%s): %s", cell, error)
        return Outcome(cell, error=str(error) or type(error).__name__)


def _generated(job: Any, cell: Cell, done: list[Processed], *, strips: bool) -> Outcome:
    measured = request_record(job, predictions=strips)
    processed = process_images(job)
    _check_run(cell, measured)
    (record,) = measured.records
    outcome = Outcome(
        cell,
        processed.images[0],
        record.evaluations,
        record.seconds,
        strip=[_shrunk(host.images.picture(latents[0])) for latents in measured.predictions or ()],
        details=dataclasses.asdict(record),
    )
    done.append(processed)
    return outcome


def _job(p: Processing, cell: Cell) -> Any:
    """The job of one cell; nothing of it stays on `p`."""
    job = copy(p)
    job.extra_generation_params = dict(p.extra_generation_params)
    job.prompt, job.seed = cell.prompt, cell.seed
    job.sampler_name, job.cfg_scale, job.steps = cell.sampler, cell.cfg, cell.steps
    job.batch_size = job.n_iter = 1
    job.do_not_save_grid = True
    set_axis_values(job, few_step_axes.SCRIPT, keep=("sampler", "steps", "cfg"))
    if cell.method != AS_SET:
        set_axis_values(job, highres_axes.SCRIPT, method=cell.method)
    return job


def _check_run(cell: Cell, measured: RecordRequest) -> None:
    """Raise SettingError unless the cell ran to its end, with the cell's own values."""
    if not measured.records:
        raise SettingError("stopped")
    (record,) = measured.records
    for name in ("sampler", "steps", "cfg"):
        wanted, used = getattr(cell, name), getattr(record, name)
        if wanted != used:
            raise SettingError(f"{name} = {shown(wanted)} was changed to {shown(used)}: switch off what changes it.")


def _shrunk(image: Image) -> Image:
    image.thumbnail((_LONGEST_STRIP_IMAGE, _LONGEST_STRIP_IMAGE))
    return image
