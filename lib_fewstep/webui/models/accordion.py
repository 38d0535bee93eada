"""The accordion of the script "Model sampling", made from the settings' own descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from lib_fewstep.models import ModelSettings
from lib_fewstep.models.settings import GROUPS, NOISE, SIZE
from lib_fewstep.options import page_fields
from lib_fewstep.webui.common.accordion import TabAccordion, line_of, refresh_button, refresh_on
from lib_fewstep.webui.common.component import component, folded_groups
from lib_fewstep.webui.common.passes import FIELDS, few_step_fields, passes_of
from lib_fewstep.webui.models.preview import preview

_FIELDS = page_fields(ModelSettings)
_ROWS = {NOISE: (3, 4), SIZE: (1,)}
"""How many components the first rows of a group have, so that what belongs together is in one row."""
_SAMPLER = "sampling"
_FEW_STEP = ("few_step", "timesteps")
"""Fields of Few-Step's accordion, which set the number of steps."""


class ModelAccordion(TabAccordion):
    """The components of one tab, and the line that says what the loaded model is."""

    def make(self, tab: str) -> dict[str, Any]:
        """The components by setting, in the settings' order."""
        components: dict[str, Any] = {
            "enabled": InputAccordion(False, label="Model sampling", elem_id=_elem_id(tab, "enabled"))
        }
        with components["enabled"]:
            components["kind"] = component(_FIELDS["kind"], _elem_id(tab, "kind"))
            self.line = gr.HTML(elem_id=_elem_id(tab, "line"), elem_classes=["fewstep-line"])
            components |= folded_groups(_FIELDS, GROUPS, _ROWS, partial(_elem_id, tab))
            self.refresh = refresh_button(_elem_id(tab, "refresh"))
        return {name: components[name] for name in _FIELDS}

    def fields(self, tab: str) -> dict[str, str]:
        """Whatever says which passes the tab would start, and with which sampler."""
        return {name: f"{tab}_{name}" for name in (*FIELDS[tab], _SAMPLER)} | few_step_fields(tab, *_FEW_STEP)

    def connect(self, fields: dict[str, Any]) -> None:
        """Write the line anew whenever something changes that it depends on."""
        inputs = [*self.components.values(), *fields.values()]
        line = line_of(ModelSettings, [*self.components, *fields], partial(_said, self.tab))
        refresh_on([each.change for each in inputs], self.refresh, line, inputs, [self.line])


def _said(tab: str, settings: ModelSettings, values: Mapping[str, Any]) -> str:
    """What the line says, from the settings and all values of the page."""
    return preview(settings, passes_of(tab, {**values, "by": False}), values[_SAMPLER])


def _elem_id(tab: str, name: str) -> str:
    return f"fewstep_models_{tab}_{name}"
