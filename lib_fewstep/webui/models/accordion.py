"""The accordion of the script "Model sampling", made from the settings' own descriptions."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from lib_fewstep.models import ModelSettings
from lib_fewstep.models.settings import GROUPS, NOISE
from lib_fewstep.options import SettingError, from_page, page_fields
from lib_fewstep.webui.common.accordion import TabAccordion, refresh_button, refresh_on
from lib_fewstep.webui.common.component import component
from lib_fewstep.webui.common.passes import FIELDS, few_step_fields, passes_of
from lib_fewstep.webui.models.preview import preview

_FIELDS = page_fields(ModelSettings)
_ROWS = {NOISE: (3, 4), "Size conditioning": (1, 3, 3)}
"""How many components each row of a group has."""
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
            components["kind"] = _component(tab, "kind")
            self.line = gr.HTML(elem_id=_elem_id(tab, "line"), elem_classes=["fewstep-line"])
            for number, group in enumerate(GROUPS):
                with gr.Accordion(group, open=False, elem_id=_elem_id(tab, f"group_{number}")):
                    for names in _in_rows(group):
                        with gr.Row():
                            components |= {name: _component(tab, name) for name in names}
            self.refresh = refresh_button(_elem_id(tab, "refresh"))
        return {name: components[name] for name in _FIELDS}

    def fields(self, tab: str) -> dict[str, str]:
        """Whatever says which passes the tab would start, and with which sampler."""
        return {name: f"{tab}_{name}" for name in (*FIELDS[tab], _SAMPLER)} | few_step_fields(tab, *_FEW_STEP)

    def connect(self, fields: dict[str, Any]) -> None:
        """Write the line anew whenever something changes that it depends on."""
        inputs = [*self.components.values(), *fields.values()]
        state = _state(self.tab, [*self.components, *fields])
        refresh_on([each.change for each in inputs], self.refresh, state, inputs, [self.line])


def _state(tab: str, names: Sequence[str]) -> Callable[..., Any]:
    """What the values of the page, which have these names, make of the line."""

    def state(*inputs: Any) -> str:
        values = dict(zip(names, inputs, strict=True))
        if None in values.values():  # a number is being typed
            return ""
        try:
            settings = ModelSettings.from_dict(
                from_page(ModelSettings, {name: values[name] for name in _FIELDS if name != "enabled"})
            )
            return preview(settings, passes_of(tab, values | {"by": False}), values[_SAMPLER])
        except SettingError as refusal:
            return html.escape(str(refusal))

    return state


def _in_rows(group: str) -> Iterator[list[str]]:
    names = [name for name, field in _FIELDS.items() if field.option.group == group]
    for count in _ROWS[group]:
        yield names[:count]
        names = names[count:]


def _component(tab: str, name: str) -> Any:
    return component(_FIELDS[name], _elem_id(tab, name))


def _elem_id(tab: str, name: str) -> str:
    return f"fewstep_models_{tab}_{name}"
