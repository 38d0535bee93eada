"""The accordion of the HiDiffusion script, made from the settings' own descriptions."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from lib_fewstep.highres import HighResSettings
from lib_fewstep.options import SettingError, options_of, page_fields
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.accordion import TabAccordion, refresh_button, refresh_on
from lib_fewstep.webui.common.component import component
from lib_fewstep.webui.common.passes import FIELDS, few_step_fields, passes_of
from lib_fewstep.webui.highres.arguments import highres_settings
from lib_fewstep.webui.highres.preview import preview

_OPTIONS = options_of(HighResSettings)
_FIELDS = page_fields(HighResSettings)
_METHODS = _OPTIONS["method"].choices
_IN_A_ROW = 3
_PICTURE_TABS = (
    *("tab_resize_to", "tab_resize_by"),
    *("img2img_tab", "img2img_sketch_tab", "inpaint_tab", "inpaint_sketch_tab", "inpaint_upload_tab", "batch_tab"),
)
_PICTURES = ("img2img_image", "img2img_sketch", "img2maskimg", "inpaint_sketch", "img_inpaint_base")
_SOURCE = {"by": "Resize by", "across": "Width of the picture", "down": "Height of the picture"}
_FEW_STEP = ("few_step", "timesteps")
"""Fields of Few-Step's accordion, which set the number of steps."""


class HighResAccordion(TabAccordion):
    """The components of one tab, and the line that says what will happen at the tab's size."""

    def make(self, tab: str) -> dict[str, Any]:
        """The components by setting, in the settings' order."""
        components: dict[str, Any] = {
            "enabled": InputAccordion(False, label="HiDiffusion", elem_id=_elem_id(tab, "enabled"))
        }
        with components["enabled"]:
            with gr.Row():
                components |= {name: _component(tab, name) for name in ("method", "preset")}
            self.line = gr.HTML(elem_id=_elem_id(tab, "line"), elem_classes=["fewstep-line"])
            with gr.Accordion("When it acts", open=False, elem_id=_elem_id(tab, "when")), gr.Row():
                components |= {name: _component(tab, name) for name in ("passes", "trained_size")}
            with gr.Accordion("Manual settings", visible=False, elem_id=_elem_id(tab, "manual")) as manual:
                self.folds = [manual, *(_group(tab, method, components) for method in _METHODS)]
            self.refresh = refresh_button(_elem_id(tab, "refresh"))
            self.source = {name: _from_script(label) for name, label in _SOURCE.items()} if tab == "img2img" else {}
        components["passes"].value = host.options.setting_shown("passes")
        components["passes"].do_not_save_to_config = True  # its default is in the WebUI's settings
        return {name: components[name] for name in _OPTIONS}

    def fields(self, tab: str) -> dict[str, str]:
        """Whatever says which passes the tab would start."""
        names = (*FIELDS[tab], *(_PICTURE_TABS if tab == "img2img" else ()))
        others = dict(zip(_PICTURES, _PICTURES, strict=True)) if tab == "img2img" else {}
        return {name: f"{tab}_{name}" for name in names} | others | few_step_fields(tab, *_FEW_STEP)

    def connect(self, fields: dict[str, Any]) -> None:
        """Fold away what is not used, and write the line anew, whenever something changes that they depend on."""
        followed = {name: fields[name] for name in (*FIELDS[self.tab], *few_step_fields(self.tab, *_FEW_STEP))}
        inputs = [*self.source.values(), *self.components.values(), *followed.values()]
        events = [component.change for component in (*self.components.values(), *followed.values())]
        if self.tab == "img2img":
            events += [fields[name].select for name in _PICTURE_TABS]
            events += [fields[name].clear for name in _PICTURES]  # the page's JavaScript sees those that come
        names = [*self.source, *self.components, *followed]
        state = _state(self.tab, names)
        script = "fewstepWithSource" if self.source else None
        refresh_on(events, self.refresh, state, inputs, [self.line, *self.folds], _js=script)


def _state(tab: str, names: Sequence[str]) -> Callable[..., list[Any]]:
    """What the values of the page, which have these names, make of the line and of what is folded away."""

    def state(*inputs: Any) -> list[Any]:
        values = dict(zip(names, inputs, strict=True))
        folds = [gr.update(visible=values["preset"] == "Manual")]
        return [_line(tab, values), *folds, *(gr.update(visible=values["method"] == own) for own in _METHODS)]

    return state


def _line(tab: str, values: dict[str, Any]) -> str:
    """What the line says, as if the accordion were open; nothing while a number is being typed."""
    if None in values.values():
        return ""
    try:
        own = [values[name] for name in _OPTIONS if name != "enabled"]
        return preview(highres_settings([True, *own]), passes_of(tab, values))
    except SettingError as refusal:
        return html.escape(str(refusal))


def _group(tab: str, method: str, components: dict[str, Any]) -> gr.Group:
    """The components of a method alone, which are added to the `components` that there are."""
    with gr.Group(visible=method == _FIELDS["method"].shown) as group:
        names = [name for name, option in _OPTIONS.items() if option.group == method]
        for first in range(0, len(names), _IN_A_ROW):
            with gr.Row():
                components |= {name: _component(tab, name) for name in names[first : first + _IN_A_ROW]}
    return group


def _from_script(label: str) -> gr.Number:
    """A value that the page's JavaScript gives."""
    number = gr.Number(0, label=label, visible=False)
    number.do_not_save_to_config = True
    return number


def _component(tab: str, name: str) -> Any:
    return component(_FIELDS[name], _elem_id(tab, name))


def _elem_id(tab: str, name: str) -> str:
    return f"fewstep_hires_{tab}_{name}"
