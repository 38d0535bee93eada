"""What the extension's always-on scripts share. Those with settings are made from a settings class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from modules import scripts

from lib_fewstep.options import SettingError
from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.accordion import TabAccordion
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.infotext import Pasted, forget
from lib_fewstep.webui.common.log import log
from lib_fewstep.webui.common.request import Request
from lib_fewstep.webui.common.translate import in_language


def advise(p: Processing, title: str, sentences: Iterable[str]) -> None:
    """Say once, under the image in the page's language and in the log, what will go wrong."""
    for sentence in sentences:
        p.comment(f"{title}: {in_language(sentence)}")
        log.info("%s", sentence)


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
    request: ClassVar[type[Request]]
    """What the job's state keeps."""
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
        """Read the arguments. What they are refused for is raised when sampling starts: here it would be lost.

        The cells of a plot share the infotext's parameters, so those of an earlier cell are taken out first. A copy of
        a job whose images are being made, on which detailers call this, has other parameters than the job.
        """
        others = (job for job in host.job.running_jobs() if job is not p)
        if any(job.extra_generation_params is p.extra_generation_params for job in others):
            p.extra_generation_params = dict(p.extra_generation_params)
        forget(self.settings, p.extra_generation_params)
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

    def process_batch(self, p: Processing, *args: Any, **kwargs: Any) -> None:
        """Nothing is known yet of the batch's passes."""
        request = state.find(p, self.request)
        if request is not None:
            request.begin_batch()

    def process_before_every_sampling(self, p: Processing, *args: Any, x: Any, **kwargs: Any) -> None:
        """Get the pass ready that is about to start with the latents `x`."""
        request = state.find(p, self.request)
        if request is not None:
            request.passes += 1
            self.before_pass(p, request, x)

    def before_pass(self, p: Processing, request: Any, x: Any) -> None:
        """What a pass needs of a request."""
        raise NotImplementedError

    def postprocess_batch(self, p: Processing, *args: Any, **kwargs: Any) -> None:
        """Say so where a script has sampled in its own way, so that no pass has met this one."""
        request = state.find(p, self.request)
        if request is None or request.passes or not (request.refusal or request.settings.enabled):
            return
        forget(self.settings, p.extra_generation_params)
        if request.refusal is not None:
            log.warning("%s: %s", self.script_title, request.refusal)
        else:
            self.bypassed(p, request)

    def bypassed(self, p: Processing, request: Any) -> None:
        """No pass of the batch has met the script, and its keys have been taken out of the infotext."""
        log.warning("%s: nothing is done: a script of this job samples in its own way.", self.script_title)
