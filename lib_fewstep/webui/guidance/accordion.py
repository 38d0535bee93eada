"""The accordion of the Guidance script, made from the settings' own descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.guidance.settings import GROUPS, NO_PRESET, STEPS
from lib_fewstep.options import page_fields
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.accordion import TabAccordion, line_of, refresh_button, refresh_on
from lib_fewstep.webui.common.component import component, folded_groups
from lib_fewstep.webui.common.page_pass import PagePass
from lib_fewstep.webui.common.passes import FIELDS, few_step_fields, passes_of
from lib_fewstep.webui.guidance.preview import Guided, preview

_FIELDS = page_fields(GuidanceSettings)
_ROWS = {STEPS: (2, 2)}
"""How many components the first rows of a group have, so that what belongs together is in one row."""

_GUIDED = ("sampling", "scheduler", "cfg_scale")
_OF_HIRES = {"hr_sampler": "hr_sampler", "hr_scheduler": "hr_scheduler"}
_FEW_STEP = ("few_step", "timesteps", "hires_cfg")
"""Fields of Few-Step's accordion, which set the number of steps, and the CFG of a hires pass."""


class GuidanceAccordion(TabAccordion):
    """The components of one tab, and the line that says what each step will do and what it costs."""

    def make(self, tab: str) -> dict[str, Any]:
        """The components by setting, in the settings' order."""
        components: dict[str, Any] = {
            "enabled": InputAccordion(False, label="Guidance", elem_id=_elem_id(tab, "enabled"))
        }
        with components["enabled"]:
            components["preset"] = component(_FIELDS["preset"], _elem_id(tab, "preset"))
            self.line = gr.HTML(elem_id=_elem_id(tab, "line"), elem_classes=["fewstep-line"])
            components |= folded_groups(_FIELDS, GROUPS, _ROWS, partial(_elem_id, tab))
            self.refresh = refresh_button(_elem_id(tab, "refresh"))
        return {name: components[name] for name in _FIELDS}

    def fields(self, tab: str) -> dict[str, str]:
        """Whatever says which passes the tab would start, and how they are guided."""
        few_step = few_step_fields(tab, *_FEW_STEP)
        of_hires = _OF_HIRES if tab == "txt2img" else {}
        return {name: f"{tab}_{name}" for name in (*FIELDS[tab], *_GUIDED)} | of_hires | few_step

    def connect(self, fields: dict[str, Any]) -> None:
        """Let a preset fill the components, and write the line anew whenever something changes that it depends on."""
        own = self.components
        filled = [own[name] for name in GuidanceSettings.filled_by(NO_PRESET)]
        own["preset"].input(_fill, [own["preset"]], filled, show_progress=False, queue=False)
        inputs = [*own.values(), *fields.values()]
        line = line_of(GuidanceSettings, [*own, *fields], partial(_said, self.tab))
        refresh_on([each.change for each in inputs], self.refresh, line, inputs, [self.line])


def _fill(name: str) -> list[Any]:
    """What choosing a preset makes of the components that presets set."""
    return list(GuidanceSettings.filled_by(name).values())


def _said(tab: str, settings: GuidanceSettings, values: Mapping[str, Any]) -> str:
    """What the line says, from the settings and all values of the page."""
    passes = passes_of(tab, {**values, "by": False})
    return preview(settings, [(page_pass, _guided(page_pass, values)) for page_pass in passes])


def _guided(page_pass: PagePass, values: Mapping[str, Any]) -> Guided:
    """How the page would sample a pass; a hires pass may have a sampler, a schedule and a CFG of its own."""
    sampler, schedule, cfg = (values[name] for name in _GUIDED)
    if page_pass.kind != "hires":
        return Guided(sampler, schedule, cfg)
    return Guided(
        host.lists.sampler_called(values["hr_sampler"]) or sampler,
        host.lists.schedule_called(values["hr_scheduler"]) or schedule,
        (values["few_step"] and values["hires_cfg"]) or cfg,
    )


def _elem_id(tab: str, name: str) -> str:
    return f"fewstep_guidance_{tab}_{name}"
