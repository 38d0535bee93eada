"""An always-on script with a section of the host's page."""

# ruff: noqa: INP001  (the host executes each file)

from __future__ import annotations

from typing import Any

import gradio as gr
from modules import scripts


class Section(scripts.Script):
    section = "sampler"

    def title(self) -> str:
        return "Section"

    def show(self, is_img2img: bool) -> Any:
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        return [gr.Checkbox(False, label="Mine", elem_id=self.elem_id("mine"))]
