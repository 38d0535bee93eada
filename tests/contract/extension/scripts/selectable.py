"""Scripts that are chosen in the dropdown; the second is there in txt2img alone."""

# ruff: noqa: INP001  (the host executes each file)

from __future__ import annotations

import copy
from typing import Any

import gradio as gr
from modules import processing, scripts, shared

seen: list[Any] = []


class Twice(scripts.Script):
    def title(self) -> str:
        return "Twice"

    def ui(self, is_img2img: bool) -> list[Any]:
        count = gr.Slider(1, 9, value=2, step=1, label="Twice count", elem_id=self.elem_id("count"))
        mode = gr.Textbox(value="work", label="Twice mode")
        return [count, mode]

    def run(self, p: Any, *args: Any) -> Any:
        seen.append((args, type(p.script_args), shared.state.job))
        count, mode = args[:2]
        if mode == "nothing":
            return None
        done = []
        for number in range(1, count + 1):
            job = copy.copy(p)
            job.width = number * p.width
            done.append(processing.process_images(job))
        images = [image for processed in done for image in processed.images]
        infotexts = [text for processed in done for text in processed.infotexts]
        return processing.Processed(p, images, p.seed, infotexts[0], infotexts=infotexts)


class Later(Twice):
    def title(self) -> str:
        return "Later"

    def show(self, is_img2img: bool) -> bool:
        return not is_img2img
