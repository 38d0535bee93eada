"""The accordion of the Few-Step script, and how a preset fills the tab's own fields."""

from __future__ import annotations

import dataclasses
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from lib_fewstep.options import Option, options_of
from lib_fewstep.sampling.presets import PRESETS, Preset
from lib_fewstep.sampling.settings import FewStepSettings, InvertSettings, PriorSettings
from lib_fewstep.webui import host
from lib_fewstep.webui.accordion import component
from lib_fewstep.webui.few_step_arguments import PAGE
from lib_fewstep.webui.few_step_infotext import steps_said
from lib_fewstep.webui.prior_source import NO_PRIOR, saved_priors

_OPTIONS: dict[str, Option] = {
    **options_of(FewStepSettings),
    **{f"prior_{name}": option for name, option in options_of(PriorSettings).items()},
    **{f"invert_{name}": option for name, option in options_of(InvertSettings).items()},
}
_FILLED = {"sampling": "sampler", "scheduler": "schedule", "steps": "steps", "cfg_scale": "cfg"}
_PICTURE = "img2img_image"


class FewStepAccordion:
    """The components of one tab."""

    def __init__(self) -> None:
        """Nothing is known of the tab yet."""
        self._tab = ""
        self._components: dict[str, Any] = {}
        self._fields: dict[str, Any] = {}
        self._wired = False

    def build(self, tab: str) -> dict[str, Any]:
        """Make the components, in the order of the page; `tab` ("txt2img" or "img2img") tells their ids apart."""
        made: dict[str, Any] = {}
        made["enabled"] = InputAccordion(False, label="Few-Step", elem_id=_elem_id(tab, "enabled"))
        with made["enabled"]:
            with gr.Row():
                made |= {name: _component(tab, name) for name in ("preset", "guidance", "gamma")}
            made["timesteps"] = _component(tab, "timesteps")
            with gr.Accordion("Informative prior", open=False), gr.Row():
                made |= {name: _component(tab, name) for name in PAGE if name.startswith("prior_")}
            with gr.Accordion("CFG++ inversion", open=False, visible=tab == "img2img"):
                made |= {name: _component(tab, name) for name in PAGE if name.startswith("invert")}
                self._read_button(made)
        ordered = {name: made[name] for name in PAGE}
        if not self._components:
            self._tab, self._components = tab, ordered
            self._wire()
        return ordered

    def caught(self, component: Any) -> None:
        """Remember the tab's own fields; when all are there, the preset is connected to them."""
        elem_id = getattr(component, "elem_id", None)
        if elem_id and not self._wired:
            self._fields.setdefault(elem_id, component)
            self._wire()

    def _wire(self) -> None:
        own = [f"{self._tab}_{name}" for name in _FILLED]
        if self._wired or not self._components or not all(name in self._fields for name in own):
            return
        self._wired = True
        outputs = [*(self._fields[name] for name in own), self._components["gamma"], self._components["timesteps"]]
        preset = self._components["preset"]
        inputs = [preset, self._components["timesteps"]]
        preset.input(fn=_filled, inputs=inputs, outputs=outputs, show_progress=False)

    def _read_button(self, made: dict[str, Any]) -> None:
        """A button that takes the inversion's settings from the infotext of the image that is to be changed."""
        button = gr.Button("Read from the image's infotext", elem_id=_elem_id("img2img", "invert_read"))
        if _PICTURE in self._fields:
            outputs = [made[f"invert_{name}"] for name in ("prompt", "negative_prompt", "steps")]
            button.click(fn=_original, inputs=[self._fields[_PICTURE]], outputs=outputs, show_progress=False)


def _filled(name: str, timesteps: str) -> list[Any]:
    """What choosing a preset makes of sampler, schedule, steps, CFG, gamma and timesteps.

    Choosing none leaves all but the timesteps that a preset has put there: they would go on setting the steps.
    """
    preset = PRESETS.get(name)
    if preset is None:
        left = "" if timesteps in map(_timesteps, PRESETS.values()) else gr.update()
        return [*[gr.update()] * (len(_FILLED) + 1), left]
    gamma = PAGE["gamma"] if preset.gamma is None else preset.gamma
    return [*(getattr(preset, part) for part in _FILLED.values()), gamma, _timesteps(preset)]


def _timesteps(preset: Preset) -> str:
    return " ".join(map(str, preset.timesteps or ()))


def _original(picture: Any) -> list[Any]:
    """Prompt, negative prompt and steps that a picture's infotext says; nothing where it has none."""
    said = {} if picture is None else host.infotext_of(picture)
    if not said:
        return [gr.update()] * 3
    return [said.get("Prompt", ""), said.get("Negative prompt", ""), steps_said(said) or gr.update()]


def _component(tab: str, name: str) -> Any:
    option, elem_id = _OPTIONS[name], _elem_id(tab, name)
    if name == "prior_images":
        return gr.File(file_count="multiple", label=option.label, elem_id=elem_id)
    if name == "prior_statistics":
        option = dataclasses.replace(option, choices=(NO_PRIOR, *saved_priors()))
    return component(option, PAGE[name], elem_id)


def _elem_id(tab: str, name: str) -> str:
    return f"fewstep_sampling_{tab}_{name}"
