"""Components of the page, made from the settings' own descriptions."""

from __future__ import annotations

from typing import Any

import gradio as gr

from lib_fewstep.options import PageField

_MOST_ON_A_SLIDER = 10_000
"""Values between the ends of a slider with which the mouse still finds the small ones."""


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
    low, high = option.low or 0, option.high or 0
    if high - low > _MOST_ON_A_SLIDER * (option.step or 1):
        return gr.Number(step=option.step, **common)
    lowest = min(low, value)  # 0 may stand for the default, which cannot be shown
    return gr.Slider(minimum=lowest, maximum=option.high, step=option.step, **common)
