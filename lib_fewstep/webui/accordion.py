"""The accordion of the HiDiffusion script, made from the settings' own descriptions."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from lib_fewstep.hires import HiResSettings
from lib_fewstep.options import Option, SettingError, options_of
from lib_fewstep.webui import host
from lib_fewstep.webui.arguments import hires_settings, ui_value
from lib_fewstep.webui.forecast import PagePass, forecast
from lib_fewstep.webui.tab_accordion import TabAccordion, refresh_button, refresh_on

_OPTIONS = options_of(HiResSettings)
_METHODS = _OPTIONS["method"].choices
_FOLLOWED = {
    "txt2img": (
        *("steps", "width", "height", "denoising_strength"),
        *("hr-checkbox", "hr_scale", "hr_resize_x", "hr_resize_y", "hires_steps"),
    ),
    "img2img": ("steps", "width", "height", "denoising_strength", "scale"),
}
_ROWS = {
    "HiDiffusion": (("raunet", "window_attention", "aggressive"), ("t1", "t2")),
    "Deep Shrink": (
        ("d1", "d2"),
        ("s1", "s2"),
        ("scaler", "downscale", "upscale"),
        ("smooth_scaling", "early_out"),
    ),
}
_RESIZE_TABS = ("tab_resize_to", "tab_resize_by")
_NEW_PICTURE = "update_resize_to"
_SOURCE = ("Resize by", "Width of the picture", "Height of the picture")


class HiResAccordion(TabAccordion):
    """The components of one tab, and the line that says what will happen at the tab's size."""

    def make(self, tab: str) -> dict[str, Any]:
        """The components by setting, in the settings' order."""
        made: dict[str, Any] = {"enabled": InputAccordion(False, label="HiDiffusion", elem_id=_elem_id(tab, "enabled"))}
        with made["enabled"]:
            with gr.Row():
                made |= {name: _component(tab, name) for name in ("method", "preset")}
            self.line = gr.HTML(elem_id=_elem_id(tab, "line"), elem_classes=["fewstep-line"])
            with gr.Accordion("When it acts", open=False, elem_id=_elem_id(tab, "when")), gr.Row():
                made |= {name: _component(tab, name) for name in ("passes", "trained_size")}
            with gr.Accordion("Manual settings", visible=False, elem_id=_elem_id(tab, "manual")) as manual:
                self.folds = [manual, *(_group(tab, method, made) for method in _METHODS)]
            self.refresh = refresh_button(_elem_id(tab, "refresh"))
            self.source = [_from_script(label) for label in _SOURCE] if tab == "img2img" else []
        made["passes"].value = host.setting("passes")
        made["passes"].do_not_save_to_config = True  # its default is in the WebUI's settings
        return {name: made[name] for name in _OPTIONS}

    def fields(self, tab: str) -> Sequence[str]:
        """Whatever says which passes the tab would start."""
        return (*_FOLLOWED[tab], *((*_RESIZE_TABS, _NEW_PICTURE) if tab == "img2img" else ()))

    def connect(self, fields: dict[str, Any]) -> None:
        """Fold away what is not used, and write the line anew, whenever something changes that they depend on."""
        followed = [*self.components.values(), *(fields[name] for name in _FOLLOWED[self.tab])]
        events = [component.change for component in followed]
        if self.tab == "img2img":
            events += [*(fields[name].select for name in _RESIZE_TABS), fields[_NEW_PICTURE].click]
        refresh_on(
            events,
            self.refresh,
            _state(_PASSES[self.tab], len(self.source)),
            [*self.source, *followed],
            [self.line, *self.folds],
            _js="fewstepWithSource" if self.source else None,
        )


def _state(passes_of: Callable[..., list[PagePass]], from_script: int) -> Callable[..., list[Any]]:
    """What the values of the page make of the line and of what is folded away; the first few are `from_script`."""

    def state(*values: Any) -> list[Any]:
        own = dict(zip(_OPTIONS, values[from_script:], strict=False))
        fields = (*values[from_script + len(_OPTIONS) :], *values[:from_script])
        method, manual = own["method"], own["preset"] == "Manual"
        folds = [gr.update(visible=manual), *(gr.update(visible=method == group) for group in _METHODS)]
        return [_line([*own.values()], lambda: passes_of(*fields), complete=None not in values), *folds]

    return state


def _line(own: list[Any], passes: Callable[[], list[PagePass]], *, complete: bool) -> str:
    """What the line says, as if the accordion were open; nothing while a number is being typed."""
    if not complete:
        return ""
    try:
        return forecast(hires_settings([True, *own[1:]]), passes())
    except SettingError as refusal:
        return html.escape(str(refusal))


def _txt2img_passes(
    steps: int,
    width: int,
    height: int,
    denoise: float,
    hires: bool,  # noqa: FBT001 (the page's values come in order)
    scale: float,
    across: int,
    down: int,
    hires_steps: int,
) -> list[PagePass]:
    """The first pass and, with hires fix, the second one."""
    passes = [PagePass("first", (width, height), steps)]
    if hires:
        size = _hires_size(width, height, scale, across, down)
        passes.append(PagePass("hires", size, hires_steps or steps, denoise))
    return passes


def _hires_size(width: int, height: int, scale: float, across: int, down: int) -> tuple[int, int]:
    """A multiple of the first pass's size, or given sides; one that is not given keeps the shape."""
    if not across and not down:
        return int(width * scale), int(height * scale)
    return across or down * width // height, down or across * height // width


def _img2img_passes(
    steps: int, width: int, height: int, denoise: float, scale: float, by: int, across: int, down: int
) -> list[PagePass]:
    """The only pass; where the picture (`across` and `down` pixels) is resized `by` a factor, at that size."""
    size = (int(across * scale), int(down * scale)) if by and across and down else (width, height)
    return [PagePass("img2img", size, host.img2img_steps(steps, denoise), denoise)]


_PASSES = {"txt2img": _txt2img_passes, "img2img": _img2img_passes}


def _group(tab: str, method: str, made: dict[str, Any]) -> gr.Group:
    """The components of a method alone, which are added to those that are `made`."""
    with gr.Group(visible=method == ui_value("method")) as group:
        for names in _ROWS[method]:
            with gr.Row():
                made |= {name: _component(tab, name) for name in names}
    return group


def _from_script(label: str) -> gr.Number:
    """A value that the page's JavaScript gives."""
    number = gr.Number(0, label=label, visible=False)
    number.do_not_save_to_config = True
    return number


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
