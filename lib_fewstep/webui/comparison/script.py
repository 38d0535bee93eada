"""The script "Few-step comparison" of the script drop-down."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr
from modules import scripts

from lib_fewstep.compare.settings import LISTS
from lib_fewstep.options import SettingError
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.component import component
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.prompt_files import saved_prompts
from lib_fewstep.webui.common.refusal import Refusal
from lib_fewstep.webui.comparison.arguments import FIELDS, METHODS, NUMBERS, comparison_settings
from lib_fewstep.webui.comparison.results import TITLE
from lib_fewstep.webui.comparison.run import run_comparison

_ROWS = (
    ("steps", "cfg"),
    ("samplers", "methods"),
    ("seeds", "reference_sampler", "reference_steps"),
    ("prompts", "prompt_limit", "prompt_seed"),
    ("strips", "images"),
)


class ComparisonScript(scripts.Script):  # type: ignore[misc]  # the host's modules have no types
    """Steps, CFG, samplers and methods on the same seeds, each measured against a reference of many steps."""

    def title(self) -> str:
        """The name in the drop-down, and the API's `script_name`."""
        return TITLE

    def show(self, is_img2img: bool) -> Any:
        """In both tabs."""
        return True

    def ui(self, is_img2img: bool) -> list[Any]:
        """The components are the script's arguments, in the settings' order."""
        tab = "img2img" if is_img2img else "txt2img"
        components: dict[str, Any] = {}
        for row in _ROWS:
            with gr.Row():
                components |= {name: _component(tab, name) for name in row}
        components = {name: components[name] for name in FIELDS}
        self.infotext_fields = [(component, partial(pasted, name)) for name, component in components.items()]
        self.paste_field_names: list[str] = []
        return list(components.values())

    def run(self, p: Processing, *args: Any) -> Any:
        """Generate all cells; what is wrong with the settings is raised before the first image."""
        try:
            return run_comparison(p, comparison_settings(args))
        except SettingError as refusal:
            raise Refusal(f"{TITLE}: {refusal}") from refusal


def pasted(name: str, parameters: dict[str, str]) -> Any:
    """What a pasted infotext makes of a component; that of another image leaves it as it is (None)."""
    if parameters.get("Script") != TITLE:
        return None
    field = FIELDS[name]
    text = parameters.get(field.option.infotext)
    if text is None:
        return field.shown
    if name in NUMBERS:
        return text
    if name in LISTS:
        return text.split(", ")
    return text == "True" if isinstance(field.shown, bool) else text


def _component(tab: str, name: str) -> Any:
    field, elem_id = FIELDS[name], f"fewstep_comparison_{tab}_{name}"
    offered = _choices(name)
    if offered is None:
        return component(field, elem_id)
    return gr.Dropdown(
        choices=offered,
        value=field.shown,
        multiselect=name in LISTS,
        label=field.option.label,
        info=field.option.help,
        elem_id=elem_id,
    )


def _choices(name: str) -> list[str] | None:
    if name in ("samplers", "reference_sampler"):
        return host.lists.sampler_names()
    if name == "methods":
        return list(METHODS)
    return [FIELDS[name].shown, *saved_prompts()] if name == "prompts" else None
