"""What the extension's always-on scripts share. Those with settings are made from a settings class."""

from __future__ import annotations

from typing import Any, ClassVar

from modules import scripts

from lib_fewstep.options import SettingError
from lib_fewstep.webui.common import state
from lib_fewstep.webui.common.accordion import TabAccordion
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.infotext import Pasted


class TitledScript(scripts.Script):  # type: ignore[misc]  # the host's modules have no types
    """An always-on script, in both tabs and for every image."""

    script_title: ClassVar[str]
    """Also its name in the API's `alwayson_scripts`, and for the axes of plots."""

    def title(self) -> str:
        """The script's title."""
        return self.script_title

    def show(self, is_img2img: bool) -> Any:
        """In both tabs, for every image."""
        return scripts.AlwaysVisible


class SettingsScript(TitledScript):
    """An accordion in both tabs, whose settings the script reads, keeps with the job and finds in infotexts.

    A subclass says which settings, which accordion and what a pasted infotext makes of its components, and makes a
    request of the arguments.
    """

    settings: ClassVar[type[Any]]
    request: ClassVar[type[Any]]
    """What the job's state keeps: made with the settings, or with the sentence that refuses the job as `refusal`."""
    accordion: ClassVar[type[TabAccordion]]
    pasting: ClassVar[dict[str, Pasted]]
    not_sent: ClassVar[tuple[str, ...]] = ()
    """Components that "Send to" cannot take along."""

    def __init__(self) -> None:
        """One per tab; the accordion waits for the tab's own fields."""
        self._accordion = self.accordion()

    def ui(self, is_img2img: bool) -> list[Any]:
        """The accordion; its components are the script's arguments."""
        components = self._accordion.build("img2img" if is_img2img else "txt2img")
        self.infotext_fields = [(component, self.pasting[name]) for name, component in components.items()]
        self.paste_field_names = [pasted for name, pasted in self.pasting.items() if name not in self.not_sent]
        return list(components.values())

    def after_component(self, component: Any, **kwargs: Any) -> None:
        """Give the accordion the tab's own fields, which it follows or fills."""
        self._accordion.take_field(component)

    def process(self, p: Processing, *args: Any) -> None:
        """Read the arguments. What they are refused for is raised when sampling starts: here it would be lost."""
        state.drop(p, self.request)
        try:
            request = self.read(p, args)
        except SettingError as refusal:
            request = self.request(refusal=str(refusal))
        if request is not None:
            state.put(p, request)

    def read(self, p: Processing, args: tuple[Any, ...]) -> Any:
        """The request that arguments and axes make; None where nothing is to be done. Raises SettingError."""
        raise NotImplementedError
