"""Settings of an extension, made where the host asks for them."""

# ruff: noqa: INP001  (the host executes each file)

from __future__ import annotations

import gradio as gr
from modules import script_callbacks, scripts, shared
from modules.options import OptionInfo

calls: list[bool] = []


class Settings(scripts.Script):
    """Nothing on the page: a file without a class of scripts is not in the host's list."""

    def title(self) -> str:
        return "Settings"

    def show(self, is_img2img: bool) -> bool:
        return False


def on_ui_settings() -> None:
    section = ("mine", "Mine")
    info = OptionInfo(3, "Depth", gr.Slider, {"minimum": 1, "maximum": 9, "step": 1}, section=section)
    shared.opts.add_option("mine_depth", info.info("how deep").needs_reload_ui())
    shared.opts.add_option("mine_on", shared.OptionInfo(True, "On", section=section).html("<br>").link("a", "b"))
    shared.opts.onchange("mine_on", lambda: calls.append(shared.opts.mine_on), call=False)


script_callbacks.on_ui_settings(on_ui_settings)
