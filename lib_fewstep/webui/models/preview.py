"""The line on the page that says what the loaded model is, and how it will be sampled."""

from __future__ import annotations

from collections.abc import Sequence

from lib_fewstep.models import ModelSettings
from lib_fewstep.sentences import Sentence
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.page_pass import PagePass, lines_of
from lib_fewstep.webui.models.checkpoint import plan_for, unreadable
from lib_fewstep.webui.models.samplers import check_sampler


def preview(settings: ModelSettings, passes: Sequence[PagePass], sampler: str) -> str:
    """What will happen in each pass, as HTML in the page's language. Raises SettingError."""
    said = [_line(settings, page_pass, sampler) for page_pass in passes]
    return lines_of(said[:1] if len(set(said)) == 1 else said)


def _line(settings: ModelSettings, page_pass: PagePass, sampler: str) -> Sentence:
    if host.model.loaded_unet() is None:
        return Sentence("No model is loaded yet.")
    plan = plan_for(settings, page_pass.size, sampler)
    if plan.acts and (made := host.lists.sampler_on_page(sampler)) is not None:
        check_sampler(made, plan)
    return plan.said or unreadable() or Sentence("{name} prediction, as the WebUI does it", name=plan.name)
