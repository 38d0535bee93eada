"""The accordion of the Few-Step script, and how a preset fills the tab's own fields."""

from __future__ import annotations

import dataclasses
import html
from typing import Any

import gradio as gr
from modules.ui_components import InputAccordion

from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.guidance.settings import DISTILLED
from lib_fewstep.options import page_fields
from lib_fewstep.sampling.presets import PRESETS, Preset, Recognised, recognise
from lib_fewstep.sampling.settings import OF_SA_SOLVER, FewStepSettings
from lib_fewstep.sentences import Sentence
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.accordion import TabAccordion, refresh_button, refresh_on
from lib_fewstep.webui.common.component import component
from lib_fewstep.webui.common.page_settings import GUIDANCE
from lib_fewstep.webui.common.translate import in_language
from lib_fewstep.webui.fewstep.infotext import steps_in
from lib_fewstep.webui.fewstep.prior_files import saved_priors

_FIELDS = page_fields(FewStepSettings)
_FILLED = {"sampling": "sampler", "scheduler": "schedule", "steps": "steps", "cfg_scale": "cfg"}
_PICTURE = "image"
_ROWS_OF_PRIOR = ("statistics", "images", "save"), ("share", "brightness", "mean", "deviation")
_NEGATIVE_PROMPT = {"guidance": "enabled-checkbox", "guidance_preset": "preset"}
_NEGATIVE_PROMPT |= {f"guidance_{name}": name for name in GuidanceSettings.filled_by(DISTILLED)}
"""Fields of Guidance's accordion, which bring the negative prompt back."""


class FewStepAccordion(TabAccordion):
    """The components of one tab, the line that says which preset fits, and how a preset fills the tab's own fields."""

    def make(self, tab: str) -> dict[str, Any]:
        """The components, in the order of the page."""
        components: dict[str, Any] = {
            "enabled": InputAccordion(False, label="Few-Step", elem_id=_elem_id(tab, "enabled"))
        }
        with components["enabled"]:
            with gr.Row():
                components |= {name: _component(tab, name) for name in ("preset", "guidance", "gamma")}
            with gr.Row():
                components |= {name: _component(tab, name) for name in ("cfgpp_lambda", "hires_cfg")}
                components["hires_cfg"].visible = tab == "txt2img"
            with gr.Row():
                self.line = gr.HTML(elem_id=_elem_id(tab, "line"), elem_classes=["fewstep-line"])
                self.use, self.negative = _button(tab, "use", "Use it"), _button(tab, "negative", "Negative prompt")
            components["timesteps"] = _component(tab, "timesteps")
            with gr.Accordion("Informative prior", open=False, elem_id=_elem_id(tab, "prior")):
                for parts in _ROWS_OF_PRIOR:
                    with gr.Row():
                        components |= {f"prior_{part}": _component(tab, f"prior_{part}") for part in parts}
            inverting = gr.Accordion(
                "CFG++ inversion", open=False, visible=tab == "img2img", elem_id=_elem_id(tab, "inversion")
            )
            with inverting:
                components |= {"invert": _component(tab, "invert"), **_parts(tab, "invert")}
                self.read = gr.Button("Read from the image's infotext", elem_id=_elem_id(tab, "invert_read"))
            with gr.Accordion("SA-Solver", open=False, elem_id=_elem_id(tab, "sa")), gr.Row():
                components |= {name: _component(tab, name) for name in OF_SA_SOLVER}
            self.refresh = refresh_button(_elem_id(tab, "refresh"))
        components["guidance"].value = host.options.setting_shown("guidance")
        components["guidance"].do_not_save_to_config = True  # its default is in the WebUI's settings
        return {name: components[name] for name in _FIELDS}

    def fields(self, tab: str) -> dict[str, str]:
        """What a preset fills and what tells which one fits; in img2img the picture."""
        names = (*_FILLED, "prompt", *([_PICTURE] if tab == "img2img" else ()))
        guidance = {name: f"fewstep_guidance_{tab}_{item}" for name, item in _NEGATIVE_PROMPT.items()}
        return {name: f"{tab}_{name}" for name in names} | guidance

    def connect(self, fields: dict[str, Any]) -> None:
        """Let a preset fill the fields, the line follow model and prompt, and the buttons do what they say."""
        own, prompt = self.components, fields["prompt"]
        quietly = {"show_progress": False, "queue": False}
        filled = [*(fields[name] for name in _FILLED), own["gamma"], own["timesteps"]]
        own["preset"].input(_fill, [own["preset"], own["timesteps"]], filled, **quietly)
        self.use.click(_fill_recognised, [prompt, own["timesteps"]], [own["preset"], *filled], **quietly)
        negative = [fields[name] for name in _NEGATIVE_PROMPT]
        self.negative.click(_with_negative_prompt, [], negative, **quietly)
        events = [own["enabled"].change, own["preset"].change, prompt.change]
        refresh_on(events, self.refresh, _line, [own["preset"], prompt], [self.line, self.use, self.negative])
        if self.tab == "img2img":
            read = [own[f"invert_{name}"] for name in ("prompt", "negative_prompt", "steps")]
            self.read.click(_original, [fields[_PICTURE]], read, show_progress=False)


def _line(name: str, prompt: str) -> list[Any]:
    """Which preset fits model and prompt and why, or what the chosen one is for; and which buttons are shown."""
    recognised, chosen = _recognised(prompt), PRESETS.get(name)
    sentence, offered = _sentence(recognised, chosen), recognised is not None and recognised.preset is not chosen
    hidden = GUIDANCE in host.options.setting_shown("hidden_accordions")
    unguided = chosen is not None and chosen.cfg == 1 and not hidden
    if unguided:
        sentence = Sentence(
            "{line} At CFG 1 the negative prompt needs NAG, which the button switches on.", line=sentence
        )
    return [html.escape(in_language(sentence)), gr.update(visible=offered), gr.update(visible=unguided)]


def _with_negative_prompt() -> list[Any]:
    """What the button makes of Guidance's accordion: it is on, with the preset for distilled models."""
    return [True, DISTILLED, *GuidanceSettings.filled_by(DISTILLED).values()]


def _sentence(recognised: Recognised | None, chosen: Preset | None) -> Sentence:
    if recognised is not None:
        values = {"because": recognised.because, "preset": recognised.preset.name, "summary": recognised.preset.summary}
        if recognised.preset is chosen:
            return Sentence("{preset}: {summary}. It fits, because {because}.", **values)
        return Sentence('The preset "{preset}" ({summary}) fits, because {because}.', **values)
    if chosen is not None:
        return Sentence(
            "{preset}: {summary}. {help}", preset=chosen.name, summary=chosen.summary, help=in_language(chosen.help)
        )
    checkpoint = host.model.checkpoint_name()
    if not checkpoint:
        return Sentence("No model is loaded yet.")
    return Sentence('Judging by its name, the checkpoint "{name}" needs no preset.', name=checkpoint)


def _recognised(prompt: str) -> Recognised | None:
    return recognise(host.model.checkpoint_name(), host.job.loras_in(prompt))


def _fill_recognised(prompt: str, timesteps: str) -> list[Any]:
    """What pressing the button makes of the preset and of the fields that it fills."""
    recognised = _recognised(prompt)
    if recognised is None:
        return [gr.update()] * (len(_FILLED) + 3)
    name = recognised.preset.name
    return [name, *_fill(name, timesteps)]


def _fill(name: str, timesteps: str) -> list[Any]:
    """What choosing a preset makes of sampler, schedule, steps, CFG, gamma and timesteps.

    Choosing none leaves all but the timesteps that a preset has put there: they would go on setting the steps.
    """
    preset = PRESETS.get(name)
    if preset is None:
        left = "" if timesteps in map(_timesteps, PRESETS.values()) else gr.update()
        return [*[gr.update()] * (len(_FILLED) + 1), left]
    gamma = _FIELDS["gamma"].shown if preset.gamma is None else preset.gamma
    return [*(getattr(preset, part) for part in _FILLED.values()), gamma, _timesteps(preset)]


def _timesteps(preset: Preset) -> str:
    return " ".join(map(str, preset.timesteps or ()))


def _original(picture: Any) -> list[Any]:
    """Prompt, negative prompt and steps that a picture's infotext says; nothing where it has none."""
    parameters = {} if picture is None else host.images.infotext_of(picture)
    if not parameters:
        return [gr.update()] * 3
    return [parameters.get("Prompt", ""), parameters.get("Negative prompt", ""), steps_in(parameters) or gr.update()]


def _parts(tab: str, whole: str) -> dict[str, Any]:
    """The components of a setting that is made of several."""
    return {name: _component(tab, name) for name, field in _FIELDS.items() if field.whole == whole}


def _component(tab: str, name: str) -> Any:
    field, elem_id = _FIELDS[name], _elem_id(tab, name)
    if name == "prior_images":
        return gr.File(file_count="multiple", label=field.option.label, elem_id=elem_id)
    if name == "prior_statistics":
        option = dataclasses.replace(field.option, choices=(field.shown, *saved_priors()))
        field = dataclasses.replace(field, option=option)
    return component(field, elem_id)


def _button(tab: str, name: str, text: str) -> gr.Button:
    """A button beside the line, which shows it where it does something."""
    return gr.Button(
        text, scale=0, min_width=80, visible=False, elem_id=_elem_id(tab, name), elem_classes=["fewstep-use"]
    )


def _elem_id(tab: str, name: str) -> str:
    return f"fewstep_sampling_{tab}_{name}"
