"""Components of the page, made from the settings' own descriptions."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lib_fewstep.options import PageField


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
    lowest = 0 if value == 0 else option.low  # 0 may stand for the default, which cannot be shown
    return gr.Slider(minimum=lowest, maximum=option.high, step=option.step, **common)
