"""Components of the page, made from the settings' own descriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
from typing import Any

import gradio as gr

from lib_fewstep.options import PageField

_IN_A_ROW = 3

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


def folded_groups(
    fields: Mapping[str, PageField],
    groups: Sequence[str],
    rows: Mapping[str, Sequence[int]],
    elem_id: Callable[[str], str],
) -> dict[str, Any]:
    """The components of each group in a fold of its own; `rows` says how many its first rows have, other than 3."""
    components: dict[str, Any] = {}
    for number, group in enumerate(groups):
        names = [name for name, field in fields.items() if field.option.group == group]
        with gr.Accordion(group, open=False, elem_id=elem_id(f"group_{number}")):
            for row in _in_rows(names, rows.get(group, ())):
                with gr.Row():
                    components |= {name: component(fields[name], elem_id(name)) for name in row}
    return components


def _in_rows(names: Sequence[str], counts: Sequence[int]) -> Iterator[list[str]]:
    left = iter(names)
    for count in chain(counts, repeat(_IN_A_ROW)):
        row = list(islice(left, count))
        if not row:
            return
        yield row
