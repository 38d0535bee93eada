"""Components of the page, made from the settings' own descriptions."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lib_fewstep.options import Option, PageField


def component(field: PageField, elem_id: str) -> Any:
    """What a setting looks like on the page."""
    option, value = field.option, field.shown
    common = {"value": value, "label": option.label, "info": option.help, "elem_id": elem_id}
    if option.choices:
        return gr.Dropdown(choices=list(option.choices), **common)
    if isinstance(value, bool):
        return gr.Checkbox(**common)
    if isinstance(value, str):
        return gr.Textbox(**common)
    return gr.Slider(minimum=_lowest(option), maximum=option.high, step=option.step, **common)


def _lowest(option: Option) -> float | None:
    return 0 if option.blank == 0 else option.low
