"""An always-on script that looks for the host's components and fills them, and changes the job in `setup`."""

# ruff: noqa: INP001  (the host executes each file)

from __future__ import annotations

from typing import Any

import gradio as gr
from modules import scripts

VALUES = {"sampling": "LCM", "scheduler": "Automatic", "steps": 4, "cfg_scale": 1.5}


class Presets(scripts.Script):
    def __init__(self) -> None:
        self.found: dict[str, Any] = {}  # not in show, which elem_id calls again
        self.when_built: list[str] = []
        self.late: list[Any] = []

    def title(self) -> str:
        return "Presets"

    def show(self, is_img2img: bool) -> Any:
        for name in VALUES:
            self.on_after_component(self._finder(name), elem_id=f"{'img2img' if is_img2img else 'txt2img'}_{name}")
        return scripts.AlwaysVisible

    def _finder(self, name: str) -> Any:
        return lambda on: self.found.update({name: on.component})

    def ui(self, is_img2img: bool) -> list[Any]:
        self.when_built = self.when_built or sorted(self.found)
        self.on_after_component(self.late.append, elem_id="txt2img_sampling")
        preset = gr.Dropdown(["None", "LCM"], value="None", label="Preset", elem_id=self.elem_id("preset"))
        hint = gr.Textbox(label="Hint", elem_id=self.elem_id("hint"))
        if self.found:
            outputs = [self.found[name] for name in VALUES]
            preset.input(lambda chosen: [*VALUES.values()], [preset], outputs)
            preset.change(lambda chosen: gr.update(value=f"chose {chosen}", visible=True), [preset], [hint])
            self.found["sampling"].change(lambda name: name.upper(), [self.found["sampling"]], [hint])
        return [preset]

    def setup(self, p: Any, preset: str) -> None:
        if preset == "LCM":
            p.steps = 2
