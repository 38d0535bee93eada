"""The line on the page that says what HiDiffusion will do to the passes that the page would start."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from lib_fewstep.highres import HighResSession, HighResSettings, Report
from lib_fewstep.highres.schedule import PIXELS_PER_LATENT
from lib_fewstep.sentences import Sentence, joined
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.page_pass import PagePass, lines_of


def preview(settings: HighResSettings, passes: Sequence[PagePass]) -> str:
    """What will happen in each pass, as HTML in the page's language."""
    lines = [_line(settings, page_pass) for page_pass in passes]
    if not lines:
        lines = [Sentence("There is no picture to resize yet.")]
    return lines_of(lines)


def _line(settings: HighResSettings, page_pass: PagePass) -> str:
    unet = host.model.loaded_unet()
    if unet is None:
        return Sentence("No model is loaded yet.")
    width, height = (side // PIXELS_PER_LATENT for side in page_pass.size)
    size = f"{PIXELS_PER_LATENT * width}x{PIXELS_PER_LATENT * height}"
    engine = host.model.replaced_unet()
    if engine is not None:
        running = Sentence("{engine} runs instead of the loaded UNet", engine=engine)
        return Sentence("At {size} nothing will be done: {reason}", size=size, reason=running)
    try:
        rival = host.model.competing_by_settings(page_pass.kind)
        hints = host.model.hints_of(page_pass.kind, page_pass.denoise, rival=rival)
        session = HighResSession(unet, settings, (height, width), page_pass.steps, hints)
    except ValueError as refusal:
        return str(refusal)
    return _summary(session.report, size)


def _summary(report: Report, size: str) -> Sentence:
    if report.reason is not None:
        summary = Sentence("At {size} nothing will be done: {reason}", size=size, reason=report.reason)
    else:
        summary = Sentence("{family}, {size}: {parts}", family=report.family, size=size, parts=joined(report.summary))
    return reduce(lambda before, note: Sentence("{before}; {note}", before=before, note=note), report.notes, summary)
