"""An always-on script that writes down what the host calls, and raises where it is told to."""

# ruff: noqa: INP001  (the host executes each file)

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import gradio as gr
from modules import script_callbacks, scripts
from modules.ui_components import InputAccordion

log: list[tuple[str, Any]] = []

METHODS = (
    "setup",
    "before_process",
    "process",
    "before_process_batch",
    "after_extra_networks_activate",
    "process_batch",
    "process_before_every_sampling",
    "before_hr",
    "on_mask_blend",
    "post_sample",
    "postprocess_batch",
    "postprocess_batch_list",
    "postprocess_image",
    "postprocess_maskoverlay",
    "postprocess_image_after_composite",
    "postprocess",
)


class Recorder(scripts.Script):
    built: ClassVar[list[bool]] = []
    actions: ClassVar[dict[str, Callable[..., Any]]] = {}
    """What a test wants to be done in a method, by the method's name."""

    def title(self) -> str:
        return "Recorder"

    def show(self, is_img2img: bool) -> Any:
        self.on_after_component(lambda on: log.append(("after", on.component.label)), elem_id="txt2img_steps")
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        self.built.append(is_img2img)
        with InputAccordion(False, label="Recorder", elem_id=self.elem_id("enabled")) as enabled:
            with enabled.extra():
                gr.HTML("beside")
            mode = gr.Dropdown(["a", "b"], value="a", label="Recorder mode", elem_id=self.elem_id("mode"))
            strength = gr.Slider(0, 1, value=0.5, step=0.1, label="Recorder strength")
            count = gr.Slider(1, 9, value=3, step=1, label="Recorder count")
        self.infotext_fields = [
            (enabled, "Recorder enabled"),
            (mode, "Recorder mode"),
            (strength, lambda params: params["Recorder strength"]),
            (count, "Recorder count"),
        ]
        self.paste_field_names = ["Recorder mode"]
        return [enabled, mode, strength, count]


def recorded(name: str) -> Callable[..., None]:
    """A method that writes down its call."""

    def method(self: Recorder, p: Any, *args: Any, **kwargs: Any) -> None:
        log.append((name, {"args": args, "sampler": p.sampler, "is_hr_pass": p.is_hr_pass, **kwargs}))
        if name in self.actions:
            self.actions[name](p, *args, **kwargs)
        if args and args[-3] == name:
            raise ValueError(f"planted in {name}")

    return method


for each in METHODS:
    setattr(Recorder, each, recorded(each))


script_callbacks.on_cfg_denoiser(lambda params: log.append(("denoiser", params)))
script_callbacks.on_cfg_after_cfg(lambda params: log.append(("after_cfg", params)))
script_callbacks.on_script_unloaded(lambda: log.append(("unloaded", None)))
script_callbacks.on_before_ui(lambda: log.append(("before_ui", None)))
