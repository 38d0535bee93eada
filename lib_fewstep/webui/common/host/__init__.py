"""Every question that the extension asks the WebUI about itself, its model and its job."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib_fewstep.highres import ModelHints
from lib_fewstep.highres.settings import Pass
from lib_fewstep.options import SettingError
from lib_fewstep.unet import UnsupportedModel
from lib_fewstep.webui.common.log import log
from lib_fewstep.webui.common.page_settings import PageSettings

_FIRST_OF_1_10 = "process_before_every_sampling"
_SD2_V_PREDICTION_SIZE = 768
_TIMESTEP_FAMILY = ("DDIM", "DDIM CFG++", "PLMS", "UniPC")
_EXTRA_NETWORK = re.compile(r"<\w+:[^>]*>")
_LORA = re.compile(r"<(?:lora|lyco):([^:>]+)")
_SDXL_TURBO = re.compile(r"(sd[-_ ]?xl|stable-diffusion-xl)[-_ ]?turbo", re.IGNORECASE)

OTHER_HOSTS = {"modules_forge.forge_version": "Forge or a fork of it", "modules.processing_diffusers": "SD.Next"}
"""Hosts that also load the WebUI's extensions, by a module that only they have."""

NEEDED = ("infotext_utils", "processing", "scripts", "sd_samplers_kdiffusion", "sd_schedulers", "ui_components")
"""Modules of the WebUI of which an older one, or another host, lacks some."""


@functools.cache
def supported() -> bool:
    """Whether this is the WebUI 1.10.x; if it is not, one line says so, once, and nothing else may be imported."""
    other = _other_host()
    if other is not None:
        log.warning(
            "HiDiffusion and Few-Step do nothing here: they need the AUTOMATIC1111 WebUI 1.10, and this is %s.", other
        )
    return other is None


def _other_host() -> str | None:
    """What this host is where it is not the WebUI 1.10.x, whose scripts were the first with a hook for each pass."""
    for module, name in OTHER_HOSTS.items():
        if _exists(module):
            return name
    if not all(_exists(f"modules.{module}") for module in NEEDED):
        return "an older one or another host"
    script = importlib.import_module("modules.scripts").Script
    return None if hasattr(script, _FIRST_OF_1_10) else "an older one"


def _exists(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    if sys.modules.get(module) is not None:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor its package
        return False


if supported():
    from modules import (
        devices,
        images,
        infotext_utils,
        localization,
        paths,
        paths_internal,
        prompt_parser,
        scripts,
        sd_models,
        sd_samplers,
        sd_samplers_common,
        sd_schedulers,
        sd_unet,
        shared,
    )
    from modules.processing import StableDiffusionProcessingImg2Img


def loaded_unet() -> nn.Module | None:
    """The UNet that the next step will run, or None while no model is loaded; it never makes the host load one."""
    loaded = sd_models.model_data.sd_model
    diffusion_model: nn.Module | None = getattr(getattr(loaded, "model", None), "diffusion_model", None)
    return diffusion_model


def unet_with_blocks() -> nn.Module | None:
    """The same, if it is made of blocks as Stable Diffusion's is."""
    unet = loaded_unet()
    return unet if hasattr(unet, "input_blocks") and hasattr(unet, "output_blocks") else None


def replaced_unet() -> str | None:
    """The name of the engine that runs instead of the loaded UNet (TensorRT and others), or None."""
    engine = sd_unet.current_unet
    return None if engine is None else type(engine).__name__


def model_hints(p: Any) -> ModelHints:
    """What the model's name and type and the job tell beyond the UNet's structure."""
    kind = _pass_of(p)
    denoise = 1.0 if kind == "first" or p.denoising_strength is None else float(p.denoising_strength)
    return hints_of(kind, denoise, controlnet=_uses_controlnet(p))


def hints_of(kind: Pass, denoise: float, *, controlnet: bool = False) -> ModelHints:
    """What the loaded model's name and type tell, for a kind of pass. Raises UnsupportedModel where none is loaded."""
    model = sd_models.model_data.sd_model
    if model is None:
        raise UnsupportedModel("No model is loaded.")
    name = model.sd_checkpoint_info.name
    v_prediction = getattr(model, "is_sd2", False) and model.parameterization == "v"
    return ModelHints(
        trained_size=_SD2_V_PREDICTION_SIZE if v_prediction else None,
        turbo=_SDXL_TURBO.search(name) is not None,
        playground="playground" in name.lower(),
        controlnet=controlnet,
        pass_=kind,
        denoise=min(max(denoise, 0.0), 1.0),
    )


def competing_attention(p: Any) -> str | None:
    """The name of what else rearranges the tokens of self-attention in this pass, or None."""
    return _rival(hires=p.is_hr_pass, merging=p.get_token_merging_ratio(for_hr=p.is_hr_pass))


def competing_by_settings(kind: Pass) -> str | None:
    """The same for a pass that the page would start, as far as the WebUI's settings tell."""
    options, merging = shared.opts, shared.opts.token_merging_ratio
    if kind == "hires":
        merging = options.token_merging_ratio_hr or merging
    elif kind != "first":
        merging = options.token_merging_ratio_img2img or merging
    return _rival(hires=kind == "hires", merging=merging)


def _rival(*, hires: bool, merging: float) -> str | None:
    second_pass = hires and getattr(shared.opts, "hypertile_enable_unet_secondpass", False)
    if second_pass or getattr(shared.opts, "hypertile_enable_unet", False):
        return "HyperTile"
    return "token merging" if merging > 0 else None


def img2img_steps(steps: int, denoise: float) -> int:
    """How many of the page's steps an img2img pass executes."""
    page = SimpleNamespace(steps=steps, denoising_strength=denoise)
    _, last = sd_samplers_common.setup_img2img_steps(page)
    return int(last) + 1


def is_img2img(p: Any) -> bool:
    """Whether the job starts from images; inpainting does."""
    return isinstance(p, StableDiffusionProcessingImg2Img)


def hires_sampler(p: Any) -> str | None:
    """The sampling method of a job's hires pass; None without such a pass, or where it is the first one's."""
    return p.hr_sampler_name if has_hires(p) else None


def has_hires(p: Any) -> bool:
    """Whether a job has a hires pass."""
    return bool(getattr(p, "enable_hr", False))


def takes_schedules(sampler: Any) -> bool:
    """Whether a pass's sampler takes the WebUI's schedules, and has none of its own."""
    return hasattr(sampler, "get_sigmas") and "sigmas" in inspect.signature(sampler.func).parameters


def on_sampler_of(params: Any, attribute: str) -> Any:
    """What the sampler carries under a name that a callback of the denoiser is about; None if there is nothing."""
    return getattr(getattr(params.denoiser, "sampler", None), attribute, None)


def elem_id_of(component: Any) -> str | None:
    """The id of a component or block of the page."""
    return getattr(component, "elem_id", None)


def checkpoint_name() -> str:
    """The loaded checkpoint's file name without folder and ending; empty while none is loaded."""
    info = getattr(sd_models.model_data.sd_model, "sd_checkpoint_info", None)
    return "" if info is None else Path(info.name).stem


def loras_in(*prompts: str) -> list[str]:
    """The names of the LoRAs that prompts ask for, each once."""
    return list(dict.fromkeys(name for prompt in prompts for name in _LORA.findall(prompt)))


def flow_model() -> bool:
    """Whether the loaded model is a rectified flow (SD3), whose noise levels mean something else."""
    return bool(getattr(shared.sd_model, "is_sd3", False))


@dataclass(frozen=True)
class HiresPlan:
    """The schedule (its name in the host's list) of a hires pass, and the steps that it will be asked for."""

    schedule: str
    steps: int


def hires_plan(p: Any) -> HiresPlan | None:
    """What the hires pass of a job will ask for; None without one, or where its sampler has steps of its own."""
    if not has_hires(p):
        return None
    sampler = p.hr_sampler_name or p.sampler_name
    schedule = _schedule(sampler, p.hr_scheduler or p.scheduler)
    if schedule is None or sampler in _TIMESTEP_FAMILY:
        return None
    steps, _ = sd_samplers_common.setup_img2img_steps(p, p.hr_second_pass_steps or p.steps)
    return HiresPlan(schedule.name, steps)


def schedule_label(p: Any) -> str:
    """The schedule of a job's first pass: where it is Automatic, the sampler's own."""
    schedule = _schedule(p.sampler_name, p.scheduler)
    return "Automatic" if schedule is None else str(schedule.label)


def _schedule(sampler_name: str, name: str | None) -> Any:
    """The host's entry for a schedule, or where it is Automatic for the sampler's own; None if it has none."""
    sampler = sd_samplers.find_sampler_config(sampler_name)
    chosen = sd_schedulers.schedulers_map.get(name)
    if sampler is not None and (chosen is None or chosen.name == "automatic"):
        chosen = sd_schedulers.schedulers_map.get(sampler.options.get("scheduler"))
    return chosen


def edits_by_image_cfg(p: Any) -> bool:
    """Whether an InstructPix2Pix model guides by the image, too, with a strength of its own."""
    return shared.sd_model.cond_stage_key == "edit" and getattr(p, "image_cfg_scale", None) not in (None, 1.0)


def next_noise(p: Any) -> Tensor:
    """Noise of unit variance for the batch, each image's from its own seed."""
    noise: Tensor = p.rng.next()
    return noise


def start_scale(sigma: float) -> float:
    """What the host multiplies noise of unit variance by, to start at noise level `sigma`."""
    return float((1 + sigma**2) ** 0.5) if shared.opts.sgm_noise_multiplier else sigma


def kept_in_mask(denoiser: Any, image: Tensor, sigma: Tensor) -> Tensor:
    """A denoised image with what inpainting keeps, blended as the host blends the guided one (soft inpainting too)."""
    if denoiser.mask is None or denoiser.mask_before_denoising:
        return image
    blended = image * denoiser.nmask + denoiser.init_latent * denoiser.mask
    if denoiser.p.scripts is None:
        return blended
    blend = scripts.MaskBlendArgs(
        image, denoiser.nmask, denoiser.init_latent, denoiser.mask, blended, denoiser=denoiser, sigma=sigma
    )
    denoiser.p.scripts.on_mask_blend(denoiser.p, blend)
    result: Tensor = blend.blended_latent
    return result


@contextmanager
def every_uncond(extra_args: dict[str, Any]) -> Iterator[list[str]]:
    """No unconditional pass is skipped inside; gives the names of the settings that would have skipped some."""
    late = extra_args["s_min_uncond"]
    skipping = {"skip_early_cond": shared.opts.skip_early_cond, "s_min_uncond": late}
    extra_args["s_min_uncond"] = 0.0
    try:
        with _option_set("skip_early_cond", 0.0) if skipping["skip_early_cond"] else nullcontext():
            yield [name for name, value in skipping.items() if value]
    finally:
        extra_args["s_min_uncond"] = late


@contextmanager
def _option_set(name: str, value: Any) -> Iterator[None]:
    """A global setting changed for a while, without the host's callbacks and without saving it."""
    settings: dict[str, Any] = shared.opts.data
    before = {name: settings[name]} if name in settings else {}
    settings[name] = value
    try:
        yield
    finally:
        settings.pop(name, None)
        settings.update(before)


@contextmanager
def held(denoiser: Any) -> Iterator[None]:
    """No mask and no refiner inside; afterwards the denoiser's count of steps is where it was."""
    p, step, mask = denoiser.p, denoiser.step, denoiser.mask
    refiner, p.refiner_checkpoint_info = p.refiner_checkpoint_info, None
    denoiser.mask = None
    try:
        yield
    finally:
        p.refiner_checkpoint_info = refiner
        denoiser.mask, denoiser.step = mask, step


def conditions(p: Any, prompt: str, negative_prompt: str, count: int, steps: int) -> dict[str, Any]:
    """What a denoiser takes as `cond` and `uncond` for `count` images of one prompt; extra networks stay."""
    size = {"width": p.width, "height": p.height}
    wanted = prompt_parser.SdConditioning([_EXTRA_NETWORK.sub("", prompt)] * count, **size)
    unwanted = prompt_parser.SdConditioning([negative_prompt] * count, is_negative_prompt=True, **size)
    with devices.autocast():
        return {
            "cond": prompt_parser.get_multicond_learned_conditioning(shared.sd_model, wanted, steps),
            "uncond": prompt_parser.get_learned_conditioning(shared.sd_model, unwanted, steps),
        }


def infotext_of(image: Any) -> dict[str, str]:
    """What an image's own infotext says, by key; empty where it has none, or one that the WebUI cannot read."""
    try:
        text, _ = images.read_info_from_image(image)
        return infotext_utils.parse_generation_parameters(text) if text else {}
    except Exception as error:  # noqa: BLE001 (anything may be written there)
        log.warning("The image's infotext cannot be read (%s).", error)
        return {}


def encoded(image: Any) -> Tensor:
    """The latent (c, h, w) of a picture, cut to multiples of 8 pixels."""
    width, height = (side // 8 * 8 for side in image.size)
    pixels = np.asarray(image.convert("RGB").crop((0, 0, width, height)), dtype=np.float32) / 255
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(shared.device)
    latent: Tensor = sd_samplers_common.images_tensor_to_samples(batch)[0].float().cpu()
    return latent


def prior_folder() -> Path:
    """Where the statistics of priors are kept."""
    return Path(paths.models_path) / "FewStep"


def prompt_folder() -> Path:
    """Where prompt sets are kept."""
    return prior_folder() / "prompts"


def setting_key(name: str) -> str:
    """What the WebUI calls a setting of ours."""
    return f"fewstep_{name}"


def setting(name: str) -> Any:
    """The value of a setting of ours (see `PageSettings`). Raises SettingError for one that is not allowed."""
    value = getattr(shared.opts, setting_key(name))
    try:
        PageSettings(**{name: value})
    except SettingError as error:
        raise SettingError(setting_key(str(error))) from None
    return value


def setting_shown(name: str) -> Any:
    """The same for the page, which shows the default in the place of a value that is not allowed."""
    try:
        return setting(name)
    except SettingError as error:
        default = getattr(PageSettings(), name)
        log.warning("%s Until then it is %s.", error, default)
        return default


def dictionary() -> dict[str, str]:
    """The words of the language that the page is shown in; empty for English."""
    name = shared.opts.localization
    files = localization.localizations.get(name, ()) if isinstance(name, str) else ()
    return _dictionary(tuple(files))


@functools.cache
def _dictionary(paths: tuple[str, ...]) -> dict[str, str]:
    return {text: said for path in paths for text, said in _words(Path(path)).items()}


def _words(path: Path) -> dict[str, str]:
    """What a file of a language says; nothing where it cannot be read, which the WebUI reports itself."""
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    known = words.items() if isinstance(words, dict) else ()
    return {text: said for text, said in known if said and isinstance(said, str)}


def output_folder() -> Path:
    """Where the WebUI keeps what it makes."""
    return Path(paths_internal.default_output_dir)


def stopped() -> bool:
    """Whether the user has ended the image that was being made."""
    return bool(shared.state.interrupted or shared.state.skipped)


def no_more() -> bool:
    """Whether the user wants no further image."""
    return bool(shared.state.interrupted or shared.state.stopping_generation)


def expect(jobs: int, steps: int) -> None:
    """Tell the WebUI's progress bar how many jobs, and how many steps, are to come."""
    shared.state.job_count = jobs
    shared.total_tqdm.updateTotal(steps)


def say_progress(text: str | None) -> None:
    """A text in the WebUI's progress bar."""
    shared.state.textinfo = text


def sampler_names() -> list[str]:
    """The sampling methods that the WebUI offers, without their aliases."""
    return [sampler.name for sampler in sd_samplers.visible_samplers()]


def sampler_called(name: str) -> str | None:
    """The WebUI's name of a sampling method, which may be given by an alias; None if there is no such method."""
    entries = (entry for entry in sd_samplers.all_samplers if name == entry.name or name in entry.aliases)
    return next((str(entry.name) for entry in entries), None)


def picture(latent: Tensor) -> Any:
    """The picture that a latent (4, h, w) decodes to, as the WebUI decodes its images."""
    with devices.autocast():
        return sd_samplers_common.single_sample_to_image(latent.to(shared.device), approximation=0)


def device() -> torch.device:
    """Where the UNet runs."""
    return torch.device(shared.device)


def xyz_module() -> Any:
    """The module of the X/Y/Z script; None where there is none."""
    return next((data.module for data in scripts.scripts_data if data.path.endswith("xyz_grid.py")), None)


def plotted_axes() -> set[str]:
    """The labels of the axes of the running X/Y/Z plot; while none runs, those of the last one."""
    plots = (getattr(shared.state, f"xyz_plot_{axis}", None) for axis in "xyz")
    return {plot.axis.label for plot in plots if plot is not None}


def _pass_of(p: Any) -> Pass:
    if is_img2img(p):
        return "img2img" if p.image_mask is None else "inpaint"
    return "hires" if p.is_hr_pass else "first"


def _uses_controlnet(p: Any) -> bool:
    """Whether an enabled ControlNet unit, an object or the API's dict, is among the scripts' arguments."""
    units = (vars(arg) if hasattr(arg, "__dict__") else arg for arg in p.script_args or ())
    return any(isinstance(unit, dict) and unit.get("enabled") and "control_mode" in unit for unit in units)
