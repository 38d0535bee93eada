"""The always-on script "Model sampling"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lib_fewstep.highres.schedule import PIXELS_PER_LATENT
from lib_fewstep.models import ModelSettings
from lib_fewstep.sentences import Sentence
from lib_fewstep.webui.common import state
from lib_fewstep.webui.common.arguments import given_settings
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.infotext import marked_by_any_key
from lib_fewstep.webui.common.script import SettingsScript, advise
from lib_fewstep.webui.common.trained_steps import TrainedSteps
from lib_fewstep.webui.common.xyz import add_axes, axis_values
from lib_fewstep.webui.models.accordion import ModelAccordion
from lib_fewstep.webui.models.axes import SCRIPT, model_axes, with_axes
from lib_fewstep.webui.models.checkpoint import told_of_loaded, unreadable
from lib_fewstep.webui.models.flow_pass import FlowPass
from lib_fewstep.webui.models.infotext import infotext
from lib_fewstep.webui.models.request import ModelRequest
from lib_fewstep.webui.models.sampling_pass import ModelPass


class ModelScript(SettingsScript):
    """What the checkpoint is and how it is sampled, in txt2img, img2img, plots and the API."""

    script_title = SCRIPT
    settings = ModelSettings
    request = ModelRequest
    accordion = ModelAccordion
    pasting = marked_by_any_key(ModelSettings)

    def before_process(self, p: Processing, *args: Any) -> None:
        """Read the arguments before any other script asks how many timesteps the model has."""
        super().process(p, *args)

    def process(self, p: Processing, *args: Any) -> None:
        """Read them again: a plot's axes have set theirs now. Say what is not known and what will do nothing."""
        super().process(p, *args)
        request = state.find(p, ModelRequest)
        if request is not None and request.refusal is None:
            advise(p, SCRIPT, _advice(p, request.settings))

    def read(self, p: Processing, args: tuple[Any, ...]) -> ModelRequest:
        """The settings of arguments and axes, which go into the infotext; off, the checkpoint's file decides."""
        given = ModelSettings.from_dict(given_settings(ModelSettings, args))
        settings = with_axes(given, axis_values(p, SCRIPT))
        p.extra_generation_params.update(infotext(settings))
        state.drop(p, TrainedSteps)
        if settings.custom is not None:
            state.put(p, TrainedSteps(settings.custom.steps))
        return ModelRequest(settings)

    def before_pass(self, p: Processing, request: ModelRequest, x: Any) -> None:
        """Put the model of the pass around it; `x` are its latents."""
        ModelPass(p, request, (PIXELS_PER_LATENT * x.shape[-1], PIXELS_PER_LATENT * x.shape[-2])).attach()
        FlowPass(p).attach()

    def bypassed(self, p: Processing, request: ModelRequest) -> None:
        """Say so only where something would have been done."""
        if request.settings != ModelSettings() or told_of_loaded().by:
            super().bypassed(p, request)


def _advice(p: Processing, settings: ModelSettings) -> Iterator[Sentence]:
    """What is not known and what will do nothing, in sentences."""
    why = unreadable()
    if why is not None:
        yield why
    if settings.unused:
        names = ", ".join(settings.unused)
        yield Sentence("{names}: not used, because its noise schedule or size is not Custom.", names=names)
    if told_of_loaded().guidance and any(p.all_negative_prompts):
        yield Sentence("This checkpoint is given the CFG as a number: the negative prompt has no effect.")


def register() -> None:
    """Register the axes, once, also when the UI is reloaded."""
    add_axes(model_axes)
