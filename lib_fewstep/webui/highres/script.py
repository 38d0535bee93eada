"""The always-on script "HiDiffusion"."""

from __future__ import annotations

from typing import Any

from modules import script_callbacks

from lib_fewstep.highres import HighResSettings
from lib_fewstep.unet import remove, unwatch
from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.effect import Effect
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.script import SettingsScript
from lib_fewstep.webui.common.xyz import add_axes, axis_values
from lib_fewstep.webui.highres.accordion import HighResAccordion
from lib_fewstep.webui.highres.arguments import highres_settings
from lib_fewstep.webui.highres.axes import SCRIPT, highres_axes, with_axes
from lib_fewstep.webui.highres.infotext import PASTING, infotext
from lib_fewstep.webui.highres.sampling_pass import HighResRequest, SamplingPass, on_cfg_denoiser


class HiDiffusionScript(SettingsScript):
    """Images larger than the model was trained for, in txt2img, img2img, plots and the API."""

    script_title = SCRIPT
    settings = HighResSettings
    request = HighResRequest
    accordion = HighResAccordion
    pasting = PASTING

    def process(self, p: Processing, *args: Any) -> None:
        """Begin with a clean model, whatever an earlier run may have left there."""
        clean_up()
        super().process(p, *args)

    def read(self, p: Processing, args: tuple[Any, ...]) -> HighResRequest | None:
        """The settings of arguments and axes, which go into the infotext until the passes say what they used."""
        settings = with_axes(highres_settings(args, lambda: host.options.setting("passes")), axis_values(p, SCRIPT))
        if not settings.enabled:
            return None
        p.extra_generation_params.update(infotext(settings))
        return HighResRequest(settings)

    def process_batch(self, p: Processing, *args: Any, **kwargs: Any) -> None:
        """What is kept of a batch's passes begins anew."""
        super().process_batch(p, *args, **kwargs)
        state.drop(p, Effect)

    def before_pass(self, p: Processing, request: HighResRequest, x: Any) -> None:
        """Put a session around the pass."""
        SamplingPass(request, p, (x.shape[-2], x.shape[-1])).attach()


def register() -> None:
    """Register the callbacks, once, also when the UI is reloaded."""
    script_callbacks.remove_callbacks_for_function(on_cfg_denoiser)
    script_callbacks.on_cfg_denoiser(on_cfg_denoiser)
    script_callbacks.on_script_unloaded(clean_up)
    add_axes(highres_axes)


def clean_up() -> None:
    """Take out of the loaded model whatever a run may have left there."""
    unet = host.model.unet_with_blocks()
    if unet is not None:
        remove(unet)
        unwatch(unet)
