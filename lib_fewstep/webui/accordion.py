"""The accordion of the HiDiffusion script, made from the settings' own descriptions."""

from __future__ import annotations

from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from lib_fewstep.hires import HiResSettings
from lib_fewstep.options import Option, options_of
from lib_fewstep.webui.arguments import ALWAYS_READ, ui_value

_OPTIONS = options_of(HiResSettings)


def hires_accordion(tab: str) -> dict[str, Any]:
    """The components by setting, in the settings' order; `tab` ("txt2img" or "img2img") tells their ids apart."""
    components: dict[str, Any] = {}
    components["enabled"] = InputAccordion(False, label="HiDiffusion", elem_id=_elem_id(tab, "enabled"))
    with components["enabled"]:
        with gr.Row():
            components |= {name: _component(tab, name) for name in ALWAYS_READ if name != "enabled"}
        groups = {method: _manual_group(tab, method, components) for method in _OPTIONS["method"].choices}
    for chooser in (components["method"], components["preset"]):
        chooser.change(
            fn=lambda method, preset: [gr.update(visible=_visible(name, method, preset)) for name in groups],
            inputs=[components["method"], components["preset"]],
            outputs=list(groups.values()),
            show_progress=False,
        )
    return {name: components[name] for name in _OPTIONS}


def _manual_group(tab: str, method: str, components: dict[str, Any]) -> gr.Group:
    with gr.Group(visible=_visible(method, ui_value("method"), ui_value("preset"))) as group, gr.Row():
        components |= {name: _component(tab, name) for name, option in _OPTIONS.items() if option.group == method}
    return group


def _visible(group: str, method: str, preset: str) -> bool:
    return group == method and preset == "Manual"


def _component(tab: str, name: str) -> Any:
    return component(_OPTIONS[name], ui_value(name), _elem_id(tab, name))


def component(option: Option, value: Any, elem_id: str) -> Any:
    """What a setting looks like on the page, showing `value` first."""
    common = {"value": value, "label": option.label, "info": option.help, "elem_id": elem_id}
    if option.choices:
        return gr.Dropdown(choices=list(option.choices), **common)
    if isinstance(value, bool):
        return gr.Checkbox(**common)
    if isinstance(value, str):
        return gr.Textbox(**common)
    return gr.Slider(minimum=_lowest(option), maximum=option.high, step=option.step, **common)


def _lowest(option: Option) -> float | None:
    return 0 if option.manual == 0 else option.low


def _elem_id(tab: str, name: str) -> str:
    return f"fewstep_hires_{tab}_{name}"
