"""The page: the host's own components in real gradio, with those of the scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any
from unittest.mock import patch

import gradio as gr
from gradio import helpers, routes
from gradio.blocks import BlockContext
from gradio.components import IOComponent, _Keywords

from tests.webui.standin.callbacks import run_callbacks
from tests.webui.standin.infotext import PasteField
from tests.webui.standin.registry import SAME_SAMPLER, SAME_SCHEDULER
from tests.webui.standin.scripts import ScriptRunner
from tests.webui.standin.strict import StrictModule, fake

NO_VALUE = _Keywords.NO_VALUE
MOST_EVENTS = 100
SECTIONS = (
    "prompt",
    "image",
    "inpaint",
    "sampler",
    "accordions",
    "checkboxes",
    "dimensions",
    "cfg",
    "denoising",
    "seed",
    "batch",
    "override_settings",
)
PAGE_FIELDS = {
    "prompt": "prompt",
    "negative_prompt": "neg_prompt",
    "width": "width",
    "height": "height",
    "cfg_scale": "cfg_scale",
    "denoising_strength": "denoising_strength",
}
MODES = {
    "Sketch": ("img2img_sketch", "img2img_sketch", "color-sketch"),
    "Inpaint": ("inpaint", "img2maskimg", "sketch"),
    "Inpaint sketch": ("inpaint_sketch", "inpaint_sketch", "color-sketch"),
    "Inpaint upload": ("inpaint_upload", "img_inpaint_base", "editor"),
    "Batch": ("batch", None, None),
}
"""The ways of img2img besides the first, which do no more: their names, with the ids of their tabs and of their
pictures, and with gradio's tools for these."""

HIRES_FIELDS = {
    "enable_hr": "txt2img_hr-checkbox",
    "hr_upscaler": "txt2img_hr_upscaler",
    "hr_second_pass_steps": "txt2img_hires_steps",
    "hr_scale": "txt2img_hr_scale",
    "hr_resize_x": "txt2img_hr_resize_x",
    "hr_resize_y": "txt2img_hr_resize_y",
    "hr_sampler_name": "hr_sampler",
    "hr_scheduler": "hr_scheduler",
}
SAME = (SAME_SAMPLER, SAME_SCHEDULER)


class InputAccordion(gr.Checkbox):
    """A checkbox that is the head of an accordion: its value says whether the accordion's content is in use."""

    _made = 0

    def __init__(self, value: bool, **kwargs: Any) -> None:
        InputAccordion._made += 1
        self.accordion_id = kwargs.pop("elem_id", None) or f"input-accordion-{InputAccordion._made}"
        label = kwargs.pop("label", "Accordion")
        super().__init__(value, label=label, elem_id=f"{self.accordion_id}-checkbox", visible=False, **kwargs)
        self.change(None, [self], _js=f"(on) => accordionSwitched({self.accordion_id!r}, on)")
        self.accordion = gr.Accordion(
            label, open=value, elem_id=self.accordion_id, elem_classes=["input-accordion"], **kwargs
        )

    def extra(self) -> gr.Column:
        """A place in the accordion's head."""
        return gr.Column(elem_id=f"{self.accordion_id}-extra", elem_classes="input-accordion-extra", min_width=0)

    def __enter__(self) -> InputAccordion:
        self.accordion.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.accordion.__exit__(*error)

    def get_block_name(self) -> str:
        """gradio's name of the component."""
        return "checkbox"


class ToolButton(gr.Button):
    """A small button with an emoji."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        classes = kwargs.pop("elem_classes", [])
        super().__init__(*args, elem_classes=["tool", *classes], **kwargs)

    def get_block_name(self) -> str:
        """gradio's name of the component."""
        return "button"


class FormRow(gr.Row):
    """A row inside a form."""

    def get_block_name(self) -> str:
        """gradio's name of the block."""
        return "row"


class FormColumn(gr.Column):
    """A column inside a form."""

    def get_block_name(self) -> str:
        """gradio's name of the block."""
        return "column"


class FormGroup(gr.Group):
    """A group inside a form."""

    def get_block_name(self) -> str:
        """gradio's name of the block."""
        return "group"


@dataclass
class Tab:
    """What is on one tab, and what the user has put there."""

    name: str
    runner: ScriptRunner
    blocks: gr.Blocks
    fields: list[tuple[Any, Any]] = field(default_factory=list)
    changed: dict[int, Any] = field(default_factory=dict)

    @property
    def all_blocks(self) -> list[Any]:
        """Everything on the tab, in the order of its making."""
        return list(self.blocks.blocks.values())

    @property
    def components(self) -> list[Any]:
        """All components, in the order of their making."""
        return [block for block in self.all_blocks if isinstance(block, IOComponent)]

    @property
    def components_by_elem_id(self) -> dict[str, Any]:
        """All blocks that have an id, accordions included."""
        return {block.elem_id: block for block in self.all_blocks if getattr(block, "elem_id", None)}

    @property
    def labels(self) -> dict[str, Any]:
        """The scripts' components by their label; of two, the extension's."""
        own = [control for script in self.runner.scripts for control in script.controls or []]
        return {control.label: control for control in reversed(own)}

    @property
    def duplicate_labels(self) -> list[str]:
        """Labels that stand twice in one script: they would share one entry of the user's defaults."""
        keys = [(c.custom_script_source, c.label) for c in self.runner.inputs[1:]]
        return sorted({label for source, label in keys if keys.count((source, label)) > 1})

    def value(self, component: Any) -> Any:
        """What a component, given as such or by its id, holds now."""
        found = self.components_by_elem_id[component] if isinstance(component, str) else component
        return self.changed.get(found._id, getattr(found, "value", None))

    def arguments(self, changed: dict[str, Any] | None = None, script: str | None = None) -> list[Any]:
        """The script arguments that this page would send, after changing components given by label or by id.

        `script` is the title of the script that is selected; without it the page's own choice counts.
        """
        by_name = {
            **self.labels,
            **{i: c for i, c in self.components_by_elem_id.items() if c in self.runner.inputs},
        }
        unknown = (changed or {}).keys() - by_name.keys()
        if unknown:
            raise LookupError(f"no component is called {sorted(unknown)}; there are {sorted(by_name)}")
        values = {id(by_name[name]): value for name, value in (changed or {}).items()}
        titles = ["None", *self.runner.titles]
        selected = script or self.value(self.runner.inputs[0])
        if selected not in titles:
            raise LookupError(f"no script is called {selected!r}; there are {titles}")
        controls = (values.get(id(control), self.value(control)) for control in self.runner.inputs[1:])
        return [titles.index(selected), *controls]

    def trigger(self, elem_id: str, event: str, value: Any = None) -> dict[Any, Any]:
        """What an event of a component changes: {id of a component: its new value, or the update of it}.

        The functions of the event ("change", "input", "select", "click") get the values that the page holds, with
        `value` in this component. Components that change thereby have their own "change", as in a browser.
        A component without an id stands under its label, a block without one under itself.
        """
        component = self.components_by_elem_id[elem_id]
        if event != "click":
            self.changed[component._id] = value
        news: dict[Any, Any] = {}
        due = [(component, event)]
        if event in ("input", "select"):
            due.append((component, "change"))
        for count, (target, kind) in enumerate(due):
            if count > MOST_EVENTS:
                raise RuntimeError(f"the events of {elem_id!r} never end")
            for output, answer in self._run(target, kind):
                news[getattr(output, "elem_id", None) or getattr(output, "label", None) or output] = answer
                if self._take(output, answer):
                    due.append((output, "change"))
        return news

    def _run(self, component: Any, event: str) -> list[tuple[Any, Any]]:
        """(component, what it becomes) for all functions of an event."""
        answers: list[tuple[Any, Any]] = []
        for dependency, function in zip(self.blocks.dependencies, self.blocks.fns, strict=True):
            if component._id not in dependency["targets"] or dependency["trigger"] != event or function.fn is None:
                continue
            inputs = [self.given(self.blocks.blocks[number]) for number in dependency["inputs"]]
            if dependency["collects_event_data"]:
                chosen = gr.SelectData(component, {"index": 0, "value": self.value(component), "selected": True})
                inputs, *_ = helpers.special_args(function.fn, inputs, event_data=chosen)
            outputs = [self.blocks.blocks[number] for number in dependency["outputs"]]
            answers += _answers(function.fn(*inputs), outputs)
        return answers

    def given(self, component: Any) -> Any:
        """A component's value as its functions get it."""
        value = self.value(component)
        return value if isinstance(component, gr.Image) else component.preprocess(value)

    def _take(self, component: Any, answer: Any) -> bool:
        """Put an answer into the page; whether the component's value is another one now."""
        is_update = isinstance(answer, dict) and "__type__" in answer
        value = answer.get("value", NO_VALUE) if is_update else answer
        if value is NO_VALUE or not isinstance(component, IOComponent):
            return False
        before = self.value(component)
        self.changed[component._id] = value
        return bool(before != value)

    def job_fields(self, given: dict[str, Any]) -> dict[str, Any]:
        """The fields of a job that this page would start, where `given` says nothing else."""
        page = {name: self.value(f"{self.name}_{item}") for name, item in PAGE_FIELDS.items()}
        if self.name == "txt2img":
            hires = {name: self.value(item) for name, item in HIRES_FIELDS.items()}
            return {**page, **{name: None if value in SAME else value for name, value in hires.items()}, **given}
        picture = self.value("img2img_image")
        if picture is not None:
            page["init_images"] = [picture]
            if self.value("standin_resize_by"):
                scale = self.value("img2img_scale")
                page |= {"width": int(picture.width * scale), "height": int(picture.height * scale)}
        return {**page, **given}

    def job_arguments(
        self, given: dict[str, Any], changed: dict[str, Any] | None, script: str | None = None
    ) -> list[Any]:
        """`arguments`, with what is `given` of the host's own scripts put into their components."""
        arguments = self.arguments(changed, script)
        places = {id(control): place for place, control in enumerate(self.runner.inputs)}
        for pasted in self.runner.infotext_fields:
            if getattr(pasted, "api", None) in given:
                arguments[places[id(pasted[0])]] = given[pasted.api]
        if given.get("refiner_checkpoint"):
            arguments[self.runner.script("Refiner").args_from] = True
        return arguments


def _answers(answer: Any, outputs: list[Any]) -> list[tuple[Any, Any]]:
    """A function's answer for each of its outputs; a dict names those that it means."""
    if not outputs:
        return []
    if isinstance(answer, dict) and any(output in answer for output in outputs):
        return list(answer.items())
    if len(outputs) == 1:
        return [(outputs[0], answer)]
    return list(zip(outputs, answer, strict=True))


class _Page:
    """The host's own components of one tab, with those of the scripts where the host has them."""

    def __init__(self, name: str, runner: ScriptRunner) -> None:
        self.name, self.runner = name, runner
        self.fields: list[tuple[Any, Any]] = []

    def build(self) -> None:
        """All of them, section by section."""
        self._add(gr.Textbox(label="Prompt", elem_id=f"{self.name}_prompt", value=""), "Prompt")
        negative = gr.Textbox(label="Negative prompt", elem_id=f"{self.name}_neg_prompt", value="")
        self._add(negative, "Negative prompt")
        with gr.Row():
            gr.Button("Generate", variant="primary", elem_id=f"{self.name}_generate")
            ToolButton("\N{SOUTH WEST ARROW}", elem_id="paste")
        for section in SECTIONS:
            getattr(self, f"_{section}", lambda: None)()
            self.runner.setup_ui_for_section(section)
        self.runner.setup_ui()
        if self.name == "txt2img":
            gr.Button("Send to img2img", elem_id="txt2img_send_to_img2img")
        gr.HTML(elem_id=f"html_info_{self.name}")

    def _add(self, component: Any, key: Any) -> Any:
        self.fields.append(PasteField(component, key))
        return component

    def _slider(self, key: str, label: str, item: str, limits: tuple[float, float, float], value: float) -> Any:
        low, high, step = limits
        slider = gr.Slider(low, high, value=value, step=step, label=label, elem_id=f"{self.name}_{item}")
        return self._add(slider, key)

    def _image(self) -> None:
        if self.name == "img2img":
            with gr.Tabs(elem_id="mode_img2img"):
                with gr.Tab("img2img", id="img2img", elem_id="img2img_img2img_tab"):
                    picture = gr.Image(
                        label="Image for img2img",
                        elem_id="img2img_image",
                        type="pil",
                        image_mode="RGBA",
                        interactive=True,
                        show_label=False,
                    )
                for name, (item, elem_id, tool) in MODES.items():
                    with gr.Tab(name, id=item, elem_id=f"img2img_{item}_tab"):
                        if elem_id:
                            gr.Image(label=name, elem_id=elem_id, type="pil", tool=tool, show_label=False)
            picture.change(None, _js="pictureChanged")

    def _accordions(self) -> None:
        if self.name == "txt2img":
            with InputAccordion(False, label="Hires. fix", elem_id="txt2img_hr") as enabled:
                self._hires()
            self._add(enabled, _is_hires)

    def _hires(self) -> None:
        samplers, schedulers = fake("modules.sd_samplers"), fake("modules.sd_schedulers").schedulers
        shared = fake("modules.shared")
        upscaler = gr.Dropdown(
            [*shared.latent_upscale_modes],
            value=shared.latent_upscale_default_mode,
            label="Upscaler",
            elem_id="txt2img_hr_upscaler",
        )
        self._add(upscaler, "Hires upscaler")
        self._slider("Hires steps", "Hires steps", "hires_steps", (0, 150, 1), 0)
        self._slider("Denoising strength", "Denoising strength", "denoising_strength", (0.0, 1.0, 0.01), 0.7)
        self._slider("Hires upscale", "Upscale by", "hr_scale", (1.0, 4.0, 0.05), 2.0)
        self._slider("Hires resize-1", "Resize width to", "hr_resize_x", (0, 2048, 8), 0)
        self._slider("Hires resize-2", "Resize height to", "hr_resize_y", (0, 2048, 8), 0)
        names = [SAME_SAMPLER, *samplers.visible_sampler_names()]
        sampler = gr.Dropdown(names, value=names[0], label="Hires sampling method", elem_id="hr_sampler")
        self._add(sampler, samplers.get_hr_sampler_from_infotext)
        labels = [SAME_SCHEDULER, *(scheduler.label for scheduler in schedulers)]
        scheduler = gr.Dropdown(labels, value=labels[0], label="Hires schedule type", elem_id="hr_scheduler")
        self._add(scheduler, samplers.get_hr_scheduler_from_infotext)

    def _dimensions(self) -> None:
        if self.name == "txt2img":
            self._sides()
            return
        with gr.Tabs(elem_id="img2img_tabs_resize"):
            with gr.Tab("Resize to", id="to", elem_id="img2img_tab_resize_to") as to_size:
                self._sides()
            with gr.Tab("Resize by", id="by", elem_id="img2img_tab_resize_by") as by_factor:
                gr.Slider(0.05, 4.0, value=1.0, step=0.05, label="Scale", elem_id="img2img_scale")
                gr.Button("Update", visible=False, elem_id="img2img_update_resize_to")
        is_by = gr.Checkbox(False, visible=False, elem_id="standin_resize_by")
        to_size.select(lambda: False, outputs=is_by, show_progress=False)
        by_factor.select(lambda: True, outputs=is_by, show_progress=False)

    def _sides(self) -> None:
        self._slider("Size-1", "Width", "width", (64, 2048, 8), 512)
        self._slider("Size-2", "Height", "height", (64, 2048, 8), 512)

    def _cfg(self) -> None:
        self._slider("CFG scale", "CFG Scale", "cfg_scale", (1.0, 30.0, 0.5), 7.0)

    def _denoising(self) -> None:
        if self.name == "img2img":
            self._slider("Denoising strength", "Denoising strength", "denoising_strength", (0.0, 1.0, 0.01), 0.75)


def _is_hires(params: dict[str, Any]) -> bool:
    """Whether an infotext has a second pass."""
    hires = ("Hires upscale", "Hires upscaler", "Hires resize-1")
    return "Denoising strength" in params and any(key in params for key in hires)


def build_tab(name: str) -> Tab:
    """One tab of the page, with new script objects."""
    runner = ScriptRunner()
    module = fake("modules.scripts")
    setattr(module, f"scripts_{name}", runner)
    module.scripts_current = runner
    runner.initialize_scripts(name == "img2img")
    page = _Page(name, runner)
    try:
        with _blocks() as blocks:
            page.build()
    finally:
        module.scripts_current = None
    blocks.get_config_file()
    return Tab(name, runner, blocks, page.fields + runner.infotext_fields)


@contextmanager
def _blocks() -> Iterator[gr.Blocks]:
    """gradio's blocks without the web application that it gets ready at their end: `launch` makes its own."""
    with patch.object(routes.App, "create_app"), gr.Blocks(analytics_enabled=False) as blocks:
        yield blocks


def api_defaults(runner: ScriptRunner) -> list[Any]:
    """The arguments that the API assumes: the values of components that it builds anew, twice."""
    arguments: list[Any] = [0, *(None for _ in runner.inputs[1:])]
    with _blocks():
        for script in runner.scripts:
            if script.ui(script.is_img2img):
                values = [control.value for control in script.ui(script.is_img2img)]
                arguments[script.args_from : script.args_to] = values
    return arguments


@contextmanager
def components_announced() -> Iterator[None]:
    """Tell scripts and callbacks of every component and every block that gradio makes."""
    originals = {kind: kind.__init__ for kind in (IOComponent, BlockContext)}
    for kind, original in originals.items():
        kind.__init__ = _announcing(original)
    try:
        yield
    finally:
        for kind, original in originals.items():
            kind.__init__ = original


def _announcing(original: Callable[..., None]) -> Callable[..., None]:
    @wraps(original)
    def announced(self: Any, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("tooltip", None)
        runner = fake("modules.scripts").scripts_current
        if runner is not None:
            runner.component("before", self, **_named(kwargs.get("elem_id"), kwargs))
        run_callbacks("before_component", self, **kwargs)
        original(self, *args, **kwargs)
        run_callbacks("after_component", self, **kwargs)
        if runner is not None:
            runner.component("after", self, **_named(self.elem_id, kwargs))

    return announced


def _named(elem_id: str | None, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"listened_id": elem_id, **kwargs}


def components_module() -> StrictModule:
    """`modules.ui_components`."""
    return StrictModule(
        "modules.ui_components",
        FormColumn=FormColumn,
        FormGroup=FormGroup,
        FormRow=FormRow,
        InputAccordion=InputAccordion,
        ToolButton=ToolButton,
    )
