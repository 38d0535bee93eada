"""The host's own always-on scripts, which make a part of its page.

What the host does, and this repeats: their files are executed after those of all extensions, so in every list of
scripts an extension stands before them. The page asks the scripts for their components section by section: those of
`section = "sampler"`, then "accordions", "seed" and so on, and last of all, in the section "scripts", those without
a section. An always-on script without a section therefore has its `ui` called when all components of the host are
there, in this tab: `on_after_component(elem_id="txt2img_sampling")` that `show` registered has been called by then.
One that `ui` registers is listened to only after all scripts, when nothing of the host's but the result's panel is
still to come. An extension's script with a section stands before the host's of that section. The page of txt2img is
complete before img2img's begins, and the API's later calls of `ui` are announced to nobody.

A job from the page has its steps, sampler, schedule, seed and refiner put into it by the `setup` of these scripts,
after the `setup` of extensions and before their `before_process`. A job from the API does without.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from tests.webui.standin.infotext import PasteField
from tests.webui.standin.scripts import AlwaysVisible, Script, ScriptClassData
from tests.webui.standin.strict import StrictModule, fake


class ScriptBuiltinUI(Script):
    """A script of the host; its components' ids bear no title, and the API leaves out its `setup`."""

    setup_for_ui_only = True

    def show(self, is_img2img: bool) -> Any:
        """Always."""
        return AlwaysVisible

    def elem_id(self, item_id: Any) -> str:
        """An id for a component, unique in the page."""
        in_both = self.show(True) == self.show(False)
        return f"{self.tabname}_{item_id}" if in_both else str(item_id)


class ScriptSampler(ScriptBuiltinUI):
    """Sampler, schedule and steps."""

    section = "sampler"

    def title(self) -> str:
        """The script's name."""
        return "Sampler"

    def ui(self, is_img2img: bool) -> Any:
        """Two dropdowns (or a radio button and a dropdown, in another order), and the steps."""
        samplers = fake("modules.sd_samplers")
        in_dropdown = fake("modules.shared").opts.samplers_in_dropdown
        steps = None if in_dropdown else self._steps()
        names = samplers.visible_sampler_names()
        kind = gr.Dropdown if in_dropdown else gr.Radio
        sampler = kind(names, value=names[0], label="Sampling method", elem_id=f"{self.tabname}_sampling")
        labels = [scheduler.label for scheduler in fake("modules.sd_schedulers").schedulers]
        scheduler = gr.Dropdown(labels, value=labels[0], label="Schedule type", elem_id=f"{self.tabname}_scheduler")
        steps = steps or self._steps()
        self.infotext_fields = [
            PasteField(steps, "Steps", api="steps"),
            PasteField(sampler, samplers.get_sampler_from_infotext, api="sampler_name"),
            PasteField(scheduler, samplers.get_scheduler_from_infotext, api="scheduler"),
        ]
        return [steps, sampler, scheduler]

    def _steps(self) -> Any:
        return gr.Slider(1, 150, value=20, step=1, label="Sampling steps", elem_id=f"{self.tabname}_steps")

    def setup(self, p: Any, *args: Any) -> None:
        """Put them into the job."""
        p.steps, p.sampler_name, p.scheduler = args


class ScriptRefiner(ScriptBuiltinUI):
    """The refiner."""

    section = "accordions"
    create_group = False

    def title(self) -> str:
        """The script's name."""
        return "Refiner"

    def ui(self, is_img2img: bool) -> Any:
        """A checkpoint, and where it takes over."""
        module = fake("modules.sd_models")
        with fake("modules.ui_components").InputAccordion(False, label="Refiner", elem_id=self.elem_id("enable")) as on:
            checkpoint = gr.Dropdown(
                module.checkpoint_tiles(), value="", label="Checkpoint", elem_id=self.elem_id("checkpoint")
            )
            switch = gr.Slider(0.01, 1.0, value=0.8, step=0.01, label="Switch at", elem_id=self.elem_id("switch_at"))

        def title(params: dict[str, Any]) -> str | None:
            info = module.get_closet_checkpoint_match(params.get("Refiner"))
            return None if info is None else str(info.title)

        self.infotext_fields = [
            PasteField(on, lambda params: "Refiner" in params),
            PasteField(checkpoint, title, api="refiner_checkpoint"),
            PasteField(switch, "Refiner switch at", api="refiner_switch_at"),
        ]
        return [on, checkpoint, switch]

    def setup(self, p: Any, *args: Any) -> None:
        """Put it into the job, if it is on."""
        enabled, checkpoint, switch = args
        chosen = bool(enabled) and checkpoint not in (None, "", "None")
        p.refiner_checkpoint, p.refiner_switch_at = (checkpoint, switch) if chosen else (None, None)


class ScriptSeed(ScriptBuiltinUI):
    """The seed."""

    section = "seed"
    create_group = False

    def title(self) -> str:
        """The script's name."""
        return "Seed"

    def ui(self, is_img2img: bool) -> Any:
        """One number."""
        seed = gr.Number(value=-1, label="Seed", elem_id=self.elem_id("seed"), precision=0)
        self.infotext_fields = [PasteField(seed, "Seed", api="seed")]
        return [seed]

    def setup(self, p: Any, *args: Any) -> None:
        """Put it into the job."""
        (p.seed,) = args


def load() -> None:
    """Put the scripts behind those of the extensions."""
    for kind in (ScriptRefiner, ScriptSampler, ScriptSeed):
        path = f"/webui/modules/processing_scripts/{kind.__name__.removeprefix('Script').lower()}.py"
        data = ScriptClassData(kind, path, "/webui", StrictModule(path))
        fake("modules.scripts").scripts_data.append(data)
