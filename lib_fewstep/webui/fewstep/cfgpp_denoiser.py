"""One pass of a CFG++ sampler on the host's denoiser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from lib_fewstep.sampling import FewStepSettings, calibrated, invert_cfgpp, sample_euler_cfgpp
from lib_fewstep.sampling.cfgpp_guidance import HOST_DIVISOR
from lib_fewstep.sampling.entries import ENTRIES, Entry
from lib_fewstep.sampling.schedules import resampled
from lib_fewstep.sampling.settings import MOST_INVERSION_STEPS, InvertSettings
from lib_fewstep.sampling.uncond import is_noise
from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.guided_levels import GuidedLevels
from lib_fewstep.webui.common.host.protocols import Denoiser
from lib_fewstep.webui.common.log import log
from lib_fewstep.webui.common.refusal import Refusal
from lib_fewstep.webui.fewstep.infotext import infotext_of_inversion, steps_in
from lib_fewstep.webui.fewstep.request import request_of

INVERTING = tuple(entry.label for entry in ENTRIES if entry.cfgpp and not entry.adds_noise)
"""The samplers that can follow an inversion."""


class HostDenoiser:
    """The host's denoiser with an unconditional image that is blended with the mask, as the guided one is."""

    uncond_is_image = True

    def __init__(self, denoiser: Denoiser) -> None:
        """Around the denoiser of one pass."""
        self._denoiser = denoiser
        self._last_input: tuple[Tensor, Tensor]
        self._checked = False

    def __call__(self, x: Tensor, sigma: Tensor, **conditions: Any) -> Tensor:
        """One evaluation: the guided image."""
        self._last_input = x, sigma
        image: Tensor = self._denoiser(x, sigma, **conditions)
        if not self._checked:
            self._checked = True
            self._check_meaning(image, conditions["cond_scale"] * self._denoiser.cond_scale_miltiplier)
        return image

    def _check_meaning(self, guided: Tensor, strength: float) -> None:
        """Refuse a host that keeps the predicted noise (Forge): there D is no mixture of D_c and what is kept."""
        kept, conditional = self._denoiser.last_noise_uncond, self._denoiser.sampler.last_latent
        if kept is None or self._denoiser.mask is not None:
            return
        x, sigma = self._last_input
        if is_noise(kept, x, sigma[:, None, None, None], guided, conditional, strength):
            raise Refusal(
                "CFG++ is not allowed on this host: it keeps the predicted noise, but CFG++ needs the unconditional "
                "image, which the WebUI 1.10 keeps."
            )

    @property
    def inner_model(self) -> Any:
        """What knows timesteps and sigmas."""
        return self._denoiser.inner_model

    @property
    def last_noise_uncond(self) -> Tensor | None:
        """The unconditional image of the last evaluation, whatever the host's family of samplers keeps."""
        kept = self._denoiser.last_noise_uncond
        if kept is None:
            return None
        x, sigma = self._last_input
        return host.denoiser.kept_in_mask(self._denoiser, self._denoiser.get_pred_x0(x, kept, sigma), sigma)

    @last_noise_uncond.setter
    def last_noise_uncond(self, value: Tensor | None) -> None:
        self._denoiser.last_noise_uncond = value


class FrozenDenoiser(HostDenoiser):
    """A denoiser whose evaluations do not count as steps: prompts, refiner and methods stay at the first one."""

    def __call__(self, x: Tensor, sigma: Tensor, **conditions: Any) -> Tensor:
        """One evaluation at step 0."""
        image = super().__call__(x, sigma, **conditions)
        self._denoiser.step = 0
        return image


@contextmanager
def cfgpp_pass(
    entry: Entry, denoiser: Denoiser, x: Tensor, sigmas: Tensor, extra_args: dict[str, Any], eta: float
) -> Iterator[tuple[HostDenoiser, Tensor]]:
    """Denoiser and start of a pass that reads the CFG slider as the request says; the host's denoiser is restored."""
    p = denoiser.p
    if host.job.edits_by_image_cfg(p):
        raise Refusal(
            f"image CFG scale = {p.image_cfg_scale:g} is not allowed with {entry.label}: it must be 1, "
            "because CFG++ has only one guidance scale."
        )
    request, cfg = request_of(p), extra_args["cond_scale"]
    settings, steps = request.settings, len(sigmas) - 1
    flow = host.denoiser.is_flow(denoiser)
    factor = _factor(settings.guidance, entry.function, sigmas, eta, state.find(p, GuidedLevels), flow=flow)
    if settings.cfgpp_lambda is not None and not (settings.hires_cfg is not None and host.job.pass_of(p) == "hires"):
        extra_args["cond_scale"] = settings.cfgpp_lambda
        log.info("%s: lambda %.3g (given, %d steps).", entry.label, settings.cfgpp_lambda, steps)
    else:
        lambda_ = cfg * factor
        log.info("%s: CFG %g is lambda %.3g (%s, %d steps).", entry.label, cfg, lambda_, settings.guidance, steps)
    before = denoiser.cond_scale_miltiplier, denoiser.need_last_noise_uncond
    denoiser.need_last_noise_uncond = True
    try:
        with host.denoiser.every_uncond(extra_args) as skipping:
            if skipping:
                log.info(
                    "%s needs the unconditional image of every step. Switched off for this pass: %s.",
                    entry.label,
                    ", ".join(skipping),
                )
            if settings.invert is not None and request.passes:
                x = _inverted(settings, settings.invert, denoiser, x, sigmas, extra_args)
            denoiser.cond_scale_miltiplier = before[0] * factor
            yield HostDenoiser(denoiser), x
    finally:
        extra_args["cond_scale"] = cfg
        denoiser.cond_scale_miltiplier, denoiser.need_last_noise_uncond = before
        denoiser.last_noise_uncond = None


def _factor(
    guidance: str,
    sampler: Callable[..., Tensor],
    sigmas: Tensor,
    eta: float,
    levels: GuidedLevels | None = None,
    *,
    flow: bool,
) -> float:
    """What the CFG slider is multiplied by to give lambda; `levels` where not every step is guided."""
    if guidance == "calibrated":
        guides = {} if levels is None else {"guides": levels.guides}
        return calibrated(sampler, sigmas, 1.0, eta, **guides, flow=flow) if len(sigmas) > 1 and sigmas[0] > 0 else 1.0
    return 1 / HOST_DIVISOR if guidance == "cfg/12.5" else 1.0


def _inverted(
    settings: FewStepSettings,
    invert: InvertSettings,
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any],
) -> Tensor:
    """The noise from which the job's own images would come, given what they were made with; of the kind of `x`.

    Its guidance is calibrated over its own steps, which may be more or fewer than the pass has.
    """
    p, images = denoiser.p, denoiser.init_latent.to(x)
    assert host.job.is_img2img(p)
    originals = [_original(invert, image, len(sigmas) - 1) for image in p.init_images]
    steps = _steps_of(originals)
    grid = resampled(sigmas, steps, denoiser.inner_model)
    for prompt, negative in dict.fromkeys((each.prompt, each.negative_prompt) for each in originals):
        log.info("Inverting in %d steps, with the prompt %r and the negative prompt %r.", steps, prompt, negative)
    p.extra_generation_params.update(infotext_of_inversion(originals, p.n_iter))
    rows = originals * (len(images) // len(originals))
    prompts, negatives = [row.prompt or "" for row in rows], [row.negative_prompt or "" for row in rows]
    conditions = host.job.conditions(p, prompts, negatives, steps)
    denoiser.cond_scale_miltiplier *= _factor(
        settings.guidance, sample_euler_cfgpp, grid, 0.0, flow=host.denoiser.is_flow(denoiser)
    )
    with host.denoiser.frozen(denoiser):
        return invert_cfgpp(FrozenDenoiser(denoiser), images, grid, {**extra_args, **conditions})


def _original(settings: InvertSettings, image: Any, steps: int) -> InvertSettings:
    """Prompt, negative prompt and steps of an image: those of the settings, else of its infotext.

    Without either there is no prompt, and the pass's own steps.
    """
    complete = None not in vars(settings).values()
    parameters = {} if complete else host.images.infotext_of(image)
    return InvertSettings(
        parameters.get("Prompt", "") if settings.prompt is None else settings.prompt,
        parameters.get("Negative prompt", "") if settings.negative_prompt is None else settings.negative_prompt,
        settings.steps or steps_in(parameters) or min(steps, MOST_INVERSION_STEPS),
    )


def _steps_of(originals: list[InvertSettings]) -> int:
    """The steps of all images of a batch. Raises Refusal where their infotexts name different ones."""
    steps = sorted({original.steps or 1 for original in originals})
    if len(steps) > 1:
        raise Refusal(
            f"Few-Step: the images of this batch need {steps[0]} and {steps[-1]} steps of inversion, but a batch has "
            f"one number of them: invert.steps must be given, 1 to {MOST_INVERSION_STEPS}."
        )
    return steps[0]
