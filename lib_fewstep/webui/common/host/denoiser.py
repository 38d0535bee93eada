"""The host's denoiser and sampler while a pass runs."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from modules import script_callbacks, scripts, sd_samplers_cfg_denoiser, shared
from torch import Tensor

from lib_fewstep.guidance import Plan
from lib_fewstep.models import ModelDenoiser
from lib_fewstep.webui.common.host.protocols import Denoiser, DenoiserParams, Processing, Sampler


def job_of(params: DenoiserParams) -> Any:
    """The processing object whose pass a callback of the denoiser is about; None where there is no denoiser."""
    return getattr(params.denoiser, "p", None)


def runs_on(params: DenoiserParams, sampler: Sampler) -> bool:
    """Whether such a callback is about a pass of this sampler."""
    return getattr(params.denoiser, "sampler", None) is sampler


def takes_schedules(sampler: Sampler) -> bool:
    """Whether a pass's sampler takes the WebUI's schedules, and has none of its own."""
    return hasattr(sampler, "get_sigmas") and "sigmas" in inspect.signature(sampler.func).parameters


def has_steps(sampler: Sampler) -> bool:
    """Whether a sampler runs the steps that it is asked for, and does not choose its own."""
    return not {"sigmas", "timesteps"}.isdisjoint(inspect.signature(sampler.func).parameters)


def discards_by_setting_alone(sampler: Sampler) -> bool:
    """Whether the last sigma but one is left out only where the WebUI's setting says so."""
    return takes_schedules(sampler) and not sampler.config.options.get("discard_next_to_last_sigma", False)


def next_noise(p: Processing) -> Tensor:
    """Noise of unit variance for the batch, each image's from its own seed."""
    noise: Tensor = p.rng.next()
    return noise


def remembered_noise(p: Processing) -> Callable[[], None]:
    """A function that sets the batch's noise back to where it is now, and torch's own with it."""
    source: dict[str, Any] = getattr(getattr(p, "rng", None), "__dict__", {})
    before = {name: _cloned(value) for name, value in source.items()}
    own = torch.get_rng_state()

    def restore() -> None:
        source.update(before)
        torch.set_rng_state(own)

    return restore


def _cloned(value: Any) -> Any:
    """The same generators at the same place, of torch or of the host's own kind; anything else as it is."""
    if isinstance(value, list):
        return [_cloned(item) for item in value]
    if isinstance(value, torch.Generator):
        clone = torch.Generator(device=value.device)
        clone.set_state(value.get_state())
        return clone
    return copy.copy(value) if type(value).__name__ == "Generator" else value


NOISE_SEED = "ENSD"
"""The host's key for what is added to the seeds of the noise between the steps."""


def name_noise_seed(p: Processing) -> None:
    """Write that into the infotext; the host asks the first pass's sampler alone, and not where "eta" is 0."""
    if shared.opts.eta_noise_seed_delta:
        p.extra_generation_params[NOISE_SEED] = shared.opts.eta_noise_seed_delta


def start_scale(sigma: float) -> float:
    """What the host multiplies noise of unit variance by, to start at noise level `sigma`."""
    return float((1 + sigma**2) ** 0.5) if shared.opts.sgm_noise_multiplier else sigma


def kept_in_mask(denoiser: Denoiser, image: Tensor, sigma: Tensor) -> Tensor:
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
    s_min_uncond = extra_args["s_min_uncond"]
    skipping = {"skip_early_cond": shared.opts.skip_early_cond, "s_min_uncond": s_min_uncond}
    extra_args["s_min_uncond"] = 0.0
    try:
        with _option_set("skip_early_cond", 0.0) if skipping["skip_early_cond"] else nullcontext():
            yield [name for name, value in skipping.items() if value]
    finally:
        extra_args["s_min_uncond"] = s_min_uncond


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


COMBINING = "combine_denoised"
"""The denoiser's method that makes the guided image out of the rows of an evaluation; on the instance it is ours."""

_PLAIN = "fewstep_plain"
"""What a denoiser has while its evaluations are no steps, and are guided in the ordinary way."""


def is_plain(denoiser: Denoiser) -> bool:
    """Whether its evaluations are no steps, as those of an inversion."""
    return _PLAIN in vars(denoiser)


def skips_itself(denoiser: Denoiser, sigma: Tensor) -> bool:
    """Whether the host, by the user's settings, leaves out the unconditional rows of the evaluation that has begun."""
    options, limit = shared.opts, denoiser.sampler.sampler_extra_args["s_min_uncond"]
    early = options.skip_early_cond != 0 and denoiser.step / denoiser.total_steps <= options.skip_early_cond
    takes_turns = denoiser.step % 2 == 1 or options.s_min_uncond_all
    return bool(early or (takes_turns and limit > 0 and float(sigma[0]) < limit))


def leave_out_uncond(params: DenoiserParams, images: int) -> None:
    """Take the rows of the `images` negative prompts out of an evaluation.

    The host evaluates as many unconditional rows as that, so the last rows of the prompts take their place. Each of
    its images has one prompt of weight 1.
    """
    params.x, params.sigma = params.x[:-images], params.sigma[:-images]
    params.image_cond = params.image_cond[:-images]
    params.text_uncond = _each(params.text_cond, lambda tensor: tensor[-images:])
    params.text_cond = _each(params.text_cond, lambda tensor: tensor[:-images])


def other_guidance(denoiser: Denoiser) -> str | None:
    """The module of an extension that has changed how the denoiser guides; None for the host's own way."""
    combine: Any = vars(denoiser).get(COMBINING, type(denoiser).combine_denoised)
    module = str(getattr(combine, "__module__", None) or type(combine).__module__)
    return None if module == sd_samplers_cfg_denoiser.CFGDenoiser.__module__ else module


def listen_last(listener: Callable[[DenoiserParams], None]) -> None:
    """Have a listener called before each evaluation, after those of other extensions.

    What it makes of the rows of an evaluation then only the UNet sees.
    """
    called = [entry.callback for entry in script_callbacks.ordered_callbacks("cfg_denoiser")]
    if listener not in called or listener_after(listener) is not None:
        script_callbacks.remove_callbacks_for_function(listener)
        script_callbacks.on_cfg_denoiser(listener)


def listener_after(listener: Callable[[DenoiserParams], None]) -> str | None:
    """The name of another extension's callback that is called after it, as the user's order may say; None if none is.

    The listener is registered.
    """
    called = [entry.callback for entry in script_callbacks.ordered_callbacks("cfg_denoiser")]
    later = (str(callback.__module__) for callback in called[called.index(listener) + 1 :])
    return next((name for name in later if name.split(".")[0] != _OWN), None)


_OWN = __name__.split(".")[0]
"""This extension's package, whose other listeners do not look at rows."""


def listener_after_unet() -> str | None:
    """The name of another extension's callback that gets all rows of an evaluation; None where there is none."""
    callbacks = script_callbacks.callback_map["callbacks_cfg_denoised"]
    return next((str(listener.callback.__module__) for listener in callbacks), None)


def has_single_parts(sampler: Sampler) -> bool:
    """Whether each image of the batch has one prompt of weight 1, and no parts with AND."""
    images = sampler.sampler_extra_args["cond"].batch
    return all(len(parts) == 1 and parts[0].weight == 1 for parts in images)


def prompts_of_images(sampler: Sampler) -> list[int]:
    """For each row of the prompts, the image that it is a part of."""
    images = sampler.sampler_extra_args["cond"].batch
    return [index for index, parts in enumerate(images) for _ in parts]


def insert_rows(params: DenoiserParams, rows: Sequence[int], images: int) -> None:
    """Have rows of the prompts evaluated again, behind them and before those of the `images` negative prompts."""
    place = len(params.x) - images

    def with_rows(tensor: Tensor) -> Tensor:
        return torch.cat([tensor[:place], tensor[list(rows)], tensor[place:]])

    params.x, params.sigma, params.image_cond = map(with_rows, (params.x, params.sigma, params.image_cond))
    params.text_cond = _each(params.text_cond, with_rows)


def _each(text: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A change of encoded texts, which SDXL keeps in a dict."""
    if not isinstance(text, dict):
        return change(text)
    return type(text)({name: change(value) for name, value in text.items()})


def is_flow(denoiser: Denoiser) -> bool:
    """Whether noisy latents are sigma * noise + (1 - sigma) * image, as in a rectified flow of ours."""
    model = denoiser.inner_model
    return isinstance(model, ModelDenoiser) and model.kind.flow


def cfg_of(denoiser: Denoiser) -> float:
    """The strength of guidance that the sampler asks for: the CFG slider, or the lambda of a CFG++ sampler."""
    return float(denoiser.sampler.sampler_extra_args["cond_scale"] * denoiser.cond_scale_miltiplier)


def levels_of(sampler: Sampler, options: Mapping[str, Any], steps: int) -> list[float] | None:
    """The falling noise levels (n + 1) of a pass, from the options with which its function is called.

    One that chooses its own steps is taken for `steps` equal ones in log(sigma). None where nothing tells them.
    """
    if "timesteps" in options:
        return levels_at(sampler, options["timesteps"])
    if "sigmas" in options:
        sigmas: list[float] = options["sigmas"].tolist()
        return sigmas
    if not {"sigma_max", "sigma_min"} <= options.keys() or float(options["sigma_min"]) <= 0:
        return None
    first, last = (math.log(float(options[name])) for name in ("sigma_max", "sigma_min"))
    return [*torch.linspace(first, last, steps).exp().tolist(), 0.0]


def levels_at(sampler: Sampler, timesteps: Tensor) -> list[float]:
    """The falling noise levels (n + 1) of a sampler over rising timesteps."""
    levels: list[float] = _level_at(sampler.model_wrap_cfg, timesteps.flip(0)).tolist()
    return levels


def kept_by_steps(sampler: Sampler, levels: Sequence[float], options: Mapping[str, Any]) -> list[float]:
    """What each step keeps of x - D: with fresh noise, of which `eta` in the options is the share, less than without.

    This is the ancestral split, sigma_down / sigma; an SDE solver's e^(-h (1 + eta)) is the same at an eta of 0 and 1.
    LCM keeps nothing.
    """
    if "lcm" in sampler.func.__name__:
        return [0.0] * (len(levels) - 1)
    eta = float(options.get("eta", 0.0))
    return [_ancestral(after / before, eta) for before, after in pairwise(levels)]


def _ancestral(ratio: float, eta: float) -> float:
    up = min(1.0, eta * math.sqrt(max(1 - ratio**2, 0.0)))
    return ratio * math.sqrt(1 - up**2)


def step_of(denoiser: Denoiser, plan: Plan, sigma: float) -> int:
    """The step of a pass that an evaluation at a noise level belongs to.

    A sampler of second order looks ahead to the next step's level, and churn goes above a step's own, so the host's
    count decides, as long as the level is one that the counted step can meet (Restart goes back up).
    """
    sampler, steps = denoiser.sampler, len(plan.strengths)
    if takes_schedules(sampler):
        counted = min(steps - 1, denoiser.step * steps // denoiser.total_steps)
        high, low = plan.levels[counted], plan.levels[counted + 1]
        churned = _MOST_CHURN if getattr(denoiser.p, "s_churn", 0) else 1.0
        if low * (1 - _ROUNDING) <= sigma <= churned * high * (1 + _ROUNDING):
            return counted
    return plan.index_at(sigma)


_MOST_CHURN = math.sqrt(2)
"""How much k-diffusion's churn can raise a step's noise level."""


_ROUNDING = 1e-5
"""Of a noise level that was float32 once."""


def _level_at(denoiser: Any, timesteps: Tensor) -> Tensor:
    kept: Tensor = denoiser.alphas.to(timesteps.device)[timesteps.long()]
    return ((1 - kept) / kept).sqrt()


@dataclass(frozen=True)
class SeenImages:
    """Noisy latents at their noise levels in k-diffusion's form, and the way from a family's output to images."""

    x: Tensor
    sigma: Tensor
    noise: bool
    """Whether the output is noise, as of samplers over timesteps."""

    def image(self, output: Tensor) -> Tensor:
        """What was seen, from an output of the same rows."""
        return self.x - self.sigma.reshape(-1, 1, 1, 1) * output if self.noise else output

    @property
    def given(self) -> Tensor:
        """The latents as the model is given them; over timesteps they have unit variance."""
        return self.x / (1 + self.sigma.reshape(-1, 1, 1, 1) ** 2).sqrt() if self.noise else self.x

    def output(self, image: Tensor) -> Tensor:
        """The inverse."""
        return (self.x - image) / self.sigma.reshape(-1, 1, 1, 1) if self.noise else image


@dataclass(frozen=True)
class Negative:
    """What an evaluation gives the model for the negative prompts, to evaluate them again in other latents."""

    sigma: Tensor
    text: Any
    image_cond: Tensor

    @staticmethod
    def of(params: DenoiserParams, images: int) -> Negative:
        """Of the evaluation that is about to be made."""
        return Negative(params.sigma[-images:], params.text_uncond, params.image_cond[-images:])

    def seen(self, denoiser: Denoiser, x: Tensor) -> Tensor:
        """The model's output for other latents (images, c, h, w) at the same noise level."""
        text = self.text if isinstance(self.text, dict) else {"c_crossattn": [self.text]}
        by_vector = shared.sd_model.model.conditioning_key == "crossattn-adm"  # unCLIP
        image = {"c_adm": self.image_cond} if by_vector else {"c_concat": [self.image_cond]}
        output: Tensor = denoiser.inner_model(x, self.sigma, cond={**text, **image})
        return output


def seen_by(denoiser: Denoiser, x: Tensor, sigma: Tensor) -> SeenImages:
    """What the host's denoiser was given, `x` at its `sigma`, which may be a timestep."""
    if not hasattr(denoiser, "alphas"):
        return SeenImages(x, sigma, noise=False)
    level = _level_at(denoiser, sigma).to(x)
    return SeenImages(x * (1 + level.reshape(-1, 1, 1, 1) ** 2).sqrt(), level, noise=True)


@contextmanager
def every_sigma() -> Iterator[bool]:
    """The last sigma but one is not discarded inside, unless the sampler does so itself; gives whether it would be."""
    discarding = bool(shared.opts.always_discard_next_to_last_sigma)
    with _option_set("always_discard_next_to_last_sigma", False) if discarding else nullcontext():
        yield discarding


@contextmanager
def frozen(denoiser: Denoiser) -> Iterator[None]:
    """No mask, no refiner and ordinary guidance inside, whose evaluations are no steps: the count is put back."""
    p, step, mask = denoiser.p, denoiser.step, denoiser.mask
    refiner, p.refiner_checkpoint_info = p.refiner_checkpoint_info, None
    denoiser.mask = None
    vars(denoiser)[_PLAIN] = True
    try:
        yield
    finally:
        vars(denoiser).pop(_PLAIN, None)
        p.refiner_checkpoint_info = refiner
        denoiser.mask, denoiser.step = mask, step
