"""An accordion that works together with its tab's own fields."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from lib_fewstep.options import SettingError, from_page, page_fields
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.refusal import Refusal


class TabAccordion:
    """The components of one tab's accordion, and the fields of the tab that they need.

    The host makes some of its fields before a script's components and some after them, in an order that the user may
    change; the accordion is connected once, when all are there.
    """

    def __init__(self) -> None:
        """Nothing is known of the tab yet."""
        self.tab = ""
        self.components: dict[str, Any] = {}
        self._fields: dict[str, Any] = {}
        self._connected = False

    def build(self, tab: str) -> dict[str, Any]:
        """Make the components, in the order of the script's arguments; `tab` ("txt2img" or "img2img") is in their ids.

        The API builds them again to read their values; those are not connected.
        """
        components = self.make(tab)
        enabled = components["enabled"]
        enabled.accordion.visible = enabled.label not in host.options.setting_shown("hidden_accordions")
        if not self.components:
            self.tab, self.components = tab, components
            self._connect_when_ready()
        return components

    def take_field(self, component: Any) -> None:
        """Take what the host has just made, if it is one of the tab's fields."""
        elem_id = host.lists.elem_id_of(component)
        if elem_id and not self._connected:
            self._fields.setdefault(elem_id, component)
            self._connect_when_ready()

    def _connect_when_ready(self) -> None:
        if self._connected or not self.components:
            return
        needed = self.fields(self.tab)
        if all(elem_id in self._fields for elem_id in needed.values()):
            self._connected = True
            self.connect({name: self._fields[elem_id] for name, elem_id in needed.items()})

    def make(self, tab: str) -> dict[str, Any]:
        """The components by name."""
        raise NotImplementedError

    def fields(self, tab: str) -> dict[str, str]:
        """The ids of the fields that are needed, by name."""
        raise NotImplementedError

    def connect(self, fields: dict[str, Any]) -> None:
        """Let components and fields act on each other."""
        raise NotImplementedError


def line_of(settings: Any, names: Sequence[str], say: Callable[[Any, dict[str, Any]], str]) -> Callable[..., str]:
    """What the values of the page, which have these names, make of an accordion's line.

    `say` gets the settings of that class, as if the accordion were open, and all values; a refusal of theirs is the
    line itself.
    """

    def line(*inputs: Any) -> str:
        values = dict(zip(names, inputs, strict=True))
        if None in values.values():  # a number is being typed
            return ""
        own = {name: values[name] for name in page_fields(settings) if name != "enabled"}
        try:
            return say(settings.from_dict(from_page(settings, own)), values)
        except (SettingError, Refusal) as refusal:
            return html.escape(str(refusal))

    return line


def refresh_button(elem_id: str) -> Any:
    """A hidden button that the page's JavaScript presses when the page is there and when settings have changed."""
    return gr.Button("", elem_id=elem_id, elem_classes=["fewstep-refresh"], visible=False)


def refresh_on(
    events: Sequence[Callable[..., Any]],
    button: Any,
    state: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    **more: Any,
) -> None:
    """Let events press the button, by the page's JavaScript, and the button bring the outputs to the inputs' state."""
    for happens in events:
        happens(fn=None, _js=f"() => fewstepSoon({button.elem_id!r})")
    pressed = button.click(state, [*inputs], [*outputs], show_progress=False, queue=False, **more)
    pressed.then(fn=None, _js=f"() => fewstepAnswered({button.elem_id!r})")
