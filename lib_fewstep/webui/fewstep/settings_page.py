"""The section "Few-Step" of the WebUI's settings page."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr
from modules import shared

from lib_fewstep.options import Option, options_of
from lib_fewstep.sampling.entries import ENTRIES
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.log import show_log
from lib_fewstep.webui.common.page_settings import ACCORDIONS, PageSettings

_NEED_RELOAD = ("passes", "guidance", "hidden_samplers", "hidden_accordions")
_NOT_OVER_API = ("record_folder",)


def register() -> None:
    """Put the settings there, also when the UI is reloaded; what the user has chosen stays."""
    for name, option in options_of(PageSettings).items():
        component, arguments = _component(name, option)
        entry = shared.OptionInfo(
            getattr(PageSettings(), name),
            option.label,
            component,
            arguments,
            section=("fewstep", "Few-Step"),
            restrict_api=name in _NOT_OVER_API,
        ).html(f" <span class='info'>{option.help}</span>")
        shared.opts.add_option(
            host.options.setting_key(name), entry.needs_reload_ui() if name in _NEED_RELOAD else entry
        )
    show_log(partial(getattr, shared.opts, host.options.setting_key("log")))


def _component(name: str, option: Option) -> tuple[Any, dict[str, Any]]:
    """The component of a setting and its arguments; none where the WebUI chooses it by the default's type."""
    if name == "hidden_samplers":
        return gr.CheckboxGroup, {"choices": [entry.label for entry in ENTRIES]}
    if name == "hidden_accordions":
        return gr.CheckboxGroup, {"choices": list(ACCORDIONS)}
    if option.choices:
        return gr.Dropdown, {"choices": list(option.choices)}
    if option.high is not None:
        return gr.Slider, {"minimum": option.low, "maximum": option.high, "step": option.step}
    return None, {}
