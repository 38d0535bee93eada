"""The page: the host's own components in real gradio, with those of the scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import gradio as gr
from gradio.components import IOComponent

from tests.webui.standin.callbacks import run_callbacks
from tests.webui.standin.scripts import ScriptRunner
from tests.webui.standin.strict import StrictModule, fake


class InputAccordion(gr.Checkbox):
    """A checkbox that is the head of an accordion: its value says whether the accordion's content is in use."""

    _made = 0

    def __init__(self, value: bool, **kwargs: Any) -> None:
        InputAccordion._made += 1
        self.accordion_id = kwargs.pop("elem_id", None) or f"input-accordion-{InputAccordion._made}"
        label = kwargs.pop("label", "Accordion")
        super().__init__(value, label=label, elem_id=f"{self.accordion_id}-checkbox", visible=False, **kwargs)
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
    """What is on one tab."""

    name: str
    runner: ScriptRunner
    blocks: gr.Blocks
    fields: list[tuple[Any, Any]] = field(default_factory=list)

    @property
    def components(self) -> list[Any]:
        """All components, in the order of their making."""
        return [block for block in self.blocks.blocks.values() if isinstance(block, IOComponent)]

    @property
    def components_by_elem_id(self) -> dict[str, Any]:
        """All blocks that have an id, accordions included."""
        return {block.elem_id: block for block in self.blocks.blocks.values() if getattr(block, "elem_id", None)}

    @property
    def labels(self) -> dict[str, Any]:
        """The scripts' components by their label."""
        return {control.label: control for control in self.runner.inputs if control is not None}

    @property
    def duplicate_labels(self) -> list[str]:
        """Labels that stand twice in one script: they would share one entry of the user's defaults."""
        keys = [(c.custom_script_source, c.label) for c in self.runner.inputs if c is not None]
        return sorted({label for source, label in keys if keys.count((source, label)) > 1})

    def arguments(self, changed: dict[str, Any] | None = None) -> list[Any]:
        """The script arguments that this page would send, after changing components given by label or by id."""
        by_name = {
            **self.labels,
            **{i: c for i, c in self.components_by_elem_id.items() if c in self.runner.inputs},
        }
        unknown = (changed or {}).keys() - by_name.keys()
        if unknown:
            raise LookupError(f"no component is called {sorted(unknown)}; there are {sorted(by_name)}")
        values = {id(by_name[name]): value for name, value in (changed or {}).items()}
        return [0, *(values.get(id(control), control.value) for control in self.runner.inputs[1:])]


def _own_components(name: str) -> list[tuple[Any, Any]]:
    """A few of the host's own components, with the infotext's keys."""
    fields = [
        (gr.Textbox(label="Prompt", elem_id=f"{name}_prompt", value=""), "Prompt"),
        (gr.Textbox(label="Negative prompt", elem_id=f"{name}_neg_prompt", value=""), "Negative prompt"),
        (gr.Slider(1, 150, value=20, step=1, label="Sampling steps", elem_id=f"{name}_steps"), "Steps"),
        (gr.Slider(64, 2048, value=512, step=8, label="Width", elem_id=f"{name}_width"), "Size-1"),
        (gr.Slider(64, 2048, value=512, step=8, label="Height", elem_id=f"{name}_height"), "Size-2"),
        (gr.Slider(1, 30, value=7.0, step=0.5, label="CFG Scale", elem_id=f"{name}_cfg_scale"), "CFG scale"),
        (gr.Number(value=-1, label="Seed", elem_id=f"{name}_seed", precision=0), "Seed"),
    ]
    if name == "txt2img":
        with InputAccordion(False, label="Hires. fix", elem_id="txt2img_hr"):
            scale = gr.Slider(1.0, 4.0, value=2.0, step=0.05, label="Upscale by", elem_id="txt2img_hr_scale")
        fields.append((scale, "Hires upscale"))
    return fields


def build_tab(name: str) -> Tab:
    """One tab of the page, with new script objects."""
    is_img2img = name == "img2img"
    runner = ScriptRunner()
    module = fake("modules.scripts")
    setattr(module, f"scripts_{name}", runner)
    runner.initialize_scripts(is_img2img)
    module.scripts_current = runner
    try:
        with gr.Blocks(analytics_enabled=False) as blocks:
            fields = _own_components(name)
            runner.setup_ui()
    finally:
        module.scripts_current = None
    blocks.get_config_file()
    return Tab(name, runner, blocks, fields + runner.infotext_fields)


def api_defaults(runner: ScriptRunner) -> list[Any]:
    """The arguments that the API assumes: the values of components that it builds anew, twice."""
    arguments: list[Any] = [0] * len(runner.inputs)
    for script in runner.scripts:
        for _ in range(2):
            with gr.Blocks(analytics_enabled=False):
                controls = script.ui(script.is_img2img)
            values = [control.value for control in controls or []]
        arguments[script.args_from : script.args_to] = values
    return arguments


@contextmanager
def components_announced() -> Iterator[None]:
    """Tell scripts and callbacks of every component that gradio makes."""
    original: Callable[..., None] = IOComponent.__init__

    @wraps(original)
    def announced(self: Any, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("tooltip", None)
        run_callbacks("before_component", self, **kwargs)
        runner = fake("modules.scripts").scripts_current
        if runner is not None:
            runner.component("before", self, **kwargs)
        original(self, *args, **kwargs)
        run_callbacks("after_component", self, **kwargs)
        if runner is not None:
            runner.component("after", self, **kwargs)

    IOComponent.__init__ = announced
    try:
        yield
    finally:
        IOComponent.__init__ = original


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
