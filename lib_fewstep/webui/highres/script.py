"""The always-on script "HiDiffusion"."""

from __future__ import annotations

from functools import partial
from typing import Any

from modules import script_callbacks, scripts

from lib_fewstep.options import SettingError
from lib_fewstep.unet import remove
from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.xyz import add_when_there, values_of
from lib_fewstep.webui.highres.accordion import HighResAccordion
from lib_fewstep.webui.highres.arguments import highres_settings
from lib_fewstep.webui.highres.axes import AXES, hires_axes, with_axes
from lib_fewstep.webui.highres.infotext import PASTED, infotext
from lib_fewstep.webui.highres.sampling_pass import Job, SamplingPass, on_cfg_denoiser


class HiDiffusionScript(scripts.Script):
    """Images larger than the model was trained for, in txt2img, img2img, plots and the API."""

    def __init__(self) -> None:
        """One per tab; the accordion waits for the tab's own fields."""
        self._accordion = HighResAccordion()

    def title(self) -> str:
        """The name of the script in the API's `alwayson_scripts`."""
        return "HiDiffusion"

    def show(self, is_img2img: bool) -> Any:
        """In both tabs, for every image."""
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        """The accordion; its components are the script's arguments, in the settings' order."""
        components = self._accordion.build("img2img" if is_img2img else "txt2img")
        self.infotext_fields = [(component, PASTED[name]) for name, component in components.items()]
        self.paste_field_names = list(PASTED.values())
        return list(components.values())

    def after_component(self, component: Any, **kwargs: Any) -> None:
        """Catch the tab's own fields, which the accordion's line follows."""
        self._accordion.caught(component)

    def process(self, p: Any, *args: Any) -> None:
        """Read the arguments. What they are refused for is raised when sampling starts: here it would be lost."""
        clean_up()
        state.drop(p, Job)
        try:
            settings = with_axes(highres_settings(args, partial(host.options.setting, "passes")), values_of(p, AXES))
        except SettingError as refusal:
            state.put(p, Job(None, refusal))
            return
        if settings.enabled:
            state.put(p, Job(settings))
            p.extra_generation_params.update(infotext(settings))

    def process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
        """What is kept of a batch's passes begins anew."""
        job = state.find(p, Job)
        if job is not None:
            job.active_steps.clear()

    def process_before_every_sampling(self, p: Any, *args: Any, x: Any, **kwargs: Any) -> None:
        """Put a session around the pass that is about to start with the latents `x`."""
        job = state.find(p, Job)
        if job is not None:
            SamplingPass(job, p, (x.shape[-2], x.shape[-1])).attach()


def register() -> None:
    """Register the callbacks, once, also when the UI is reloaded."""
    script_callbacks.remove_callbacks_for_function(on_cfg_denoiser)
    script_callbacks.on_cfg_denoiser(on_cfg_denoiser)
    script_callbacks.on_script_unloaded(clean_up)
    add_when_there(hires_axes)


def clean_up() -> None:
    """Take out of the loaded model whatever a run may have left there."""
    unet = host.model.unet_with_blocks()
    if unet is not None:
        remove(unet)
