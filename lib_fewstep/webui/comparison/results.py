"""What a comparison gives back and saves: grid, curves, strips and the table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from modules import images, infotext_utils, shared
from modules.processing import Processed
from PIL.Image import Image

from lib_fewstep.compare.curves import draw_curves
from lib_fewstep.compare.grid import NOT_RUN, draw_grid, draw_strip
from lib_fewstep.compare.outcome import Outcome
from lib_fewstep.compare.settings import ComparisonSettings
from lib_fewstep.compare.table import csv_text, tabulate, write_csv
from lib_fewstep.options import options_of
from lib_fewstep.sentences import Sentence, joined
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.log import log
from lib_fewstep.webui.common.translate import in_language
from lib_fewstep.webui.comparison.arguments import listed

TITLE = "Few-step comparison"


def results(p: Processing, settings: ComparisonSettings, outcomes: list[Outcome], done: list[Processed]) -> Processed:
    """Grid, curves, strips and, if asked for, the cells' images; saved as the WebUI's settings say of grids.

    The table is in the API's answer, too: `info`, `extra_generation_params`, under the script's title.
    """
    frame = tabulate(outcomes)
    pictures = _pictures(outcomes, frame)
    cells = done if settings.images else []
    info = _infotext(p, settings, done)
    processed = Processed(
        p,
        [*pictures.values(), *(cell.images[0] for cell in cells)],
        p.seed,
        info,
        all_prompts=[p.prompt] * len(pictures) + [cell.prompt for cell in cells],
        all_seeds=[p.seed] * len(pictures) + [cell.seed for cell in cells],
        infotexts=[info] * len(pictures) + [cell.infotexts[0] for cell in cells],
        index_of_first_image=len(pictures),
    )
    processed.extra_generation_params = {**p.extra_generation_params, TITLE: csv_text(frame)}
    summary = [_summary(outcomes)]
    if shared.opts.grid_save and not p.do_not_save_grid:
        summary.append(_saved(p, processed, pictures, frame))
    processed.comments += f"{' '.join(map(in_language, summary))}\n"
    log.info("%s", " ".join(summary))
    return processed


def _pictures(outcomes: list[Outcome], frame: pd.DataFrame) -> dict[str, Image]:
    """The pictures by the names that their files get."""
    title = _title(outcomes)
    pictures = {"comparison": draw_grid(outcomes, title), "curves": draw_curves(frame, title)}
    strips = [outcome for outcome in outcomes if outcome.strip]
    return pictures | {f"strip-{number}": draw_strip(outcome) for number, outcome in enumerate(strips, 1)}


def _title(outcomes: list[Outcome]) -> str:
    details = next((outcome.details for outcome in outcomes if outcome.details), None)
    return TITLE if details is None else f"{TITLE}: {details['model']}, {details['width']}x{details['height']}"


def _infotext(p: Processing, settings: ComparisonSettings, done: list[Processed]) -> str:
    """The first image's infotext, and what else there is to compare; settings at their defaults are left out."""
    if not done:
        return str(p.prompt)
    parameters = {"Script": TITLE}
    for name, option in options_of(ComparisonSettings).items():
        value = getattr(settings, name)
        if value != getattr(ComparisonSettings(), name):
            parameters[option.infotext] = listed(value) if isinstance(value, tuple) else str(value)
    return ", ".join(
        [done[0].infotexts[0], *(f"{key}: {infotext_utils.quote(text)}" for key, text in parameters.items())]
    )


def _saved(p: Processing, processed: Processed, pictures: dict[str, Image], frame: pd.DataFrame) -> Sentence:
    """Save pictures and table; says where the table is, or why it is nowhere."""
    try:
        return Sentence("The table is saved as {path}.", path=_save(p, processed, pictures, frame))
    except (OSError, ValueError) as error:  # half a character of a prompt is no UTF-8
        return Sentence("Nothing was saved: {error}.", error=error)


def _save(p: Processing, processed: Processed, pictures: dict[str, Image], frame: pd.DataFrame) -> Path:
    """Save pictures and table; returns the table's path."""
    paths = [
        images.save_image(
            picture,
            p.outpath_grids,
            f"few-step-{name}",
            seed=p.seed,
            prompt=p.prompt,
            extension=shared.opts.grid_format,
            info=processed.info,
            grid=True,
            p=processed,
        )[0]
        for name, picture in pictures.items()
    ]
    path = Path(paths[0]).with_suffix(".csv")
    write_csv(frame, path)
    return path


def _summary(outcomes: list[Outcome]) -> Sentence:
    failed = [outcome for outcome in outcomes if outcome.error and outcome.error != NOT_RUN]
    not_run = sum(outcome.error == NOT_RUN for outcome in outcomes)
    done = len(outcomes) - len(failed) - not_run
    parts = [Sentence("{done} of {all} cells done", done=done, all=len(outcomes))]
    if failed:
        parts.append(Sentence("{count} failed ({error})", count=len(failed), error=failed[0].error))
    if not_run:
        parts.append(Sentence("{count} not run", count=not_run))
    return Sentence("{title}: {parts}.", title=TITLE, parts=joined(parts))
