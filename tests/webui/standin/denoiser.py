"""The host's denoiser: one call a step, with the callbacks around the UNet and the swap of a refiner before them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.webui.standin.callbacks import (
    AfterCFGCallbackParams,
    CFGDenoisedParams,
    CFGDenoiserParams,
    run_callbacks,
)
from tests.webui.standin.checkpoints import DictWithShape
from tests.webui.standin.probe import probe
from tests.webui.standin.strict import fake


class InterruptedException(BaseException):
    """The user has interrupted or skipped."""


def cut(text: Any, start: int, stop: int) -> Any:
    """Some rows of encoded texts."""
    if isinstance(text, DictWithShape):
        return DictWithShape({key: value[start:stop] for key, value in text.items()})
    return text[start:stop]


@dataclass
class MaskBlendArgs:
    """What `on_mask_blend` receives; `blended_latent` is what counts."""

    current_latent: Tensor
    nmask: Tensor
    init_latent: Tensor
    mask: Tensor
    blended_latent: Tensor
    denoiser: Any = None
    sigma: Any = None

    @property
    def is_final_blend(self) -> bool:
        """Whether this is the one after sampling."""
        return self.denoiser is None


class CFGDenoiser(nn.Module):
    """What the sampler calls: `step` counts its calls in this pass, out of `total_steps`."""

    def __init__(self, sampler: Any) -> None:
        super().__init__()
        self.model_wrap: Any = None
        self.mask: Tensor | None = None
        self.nmask: Tensor | None = None
        self.init_latent: Tensor | None = None
        self.steps: int | None = None
        self.total_steps: int | None = None
        self.step = 0
        self.image_cfg_scale: float | None = None
        self.padded_cond_uncond = False
        self.padded_cond_uncond_v0 = False
        self.sampler = sampler
        self.p: Any = None
        self.cond_scale_miltiplier = 1.0
        self.need_last_noise_uncond = False
        self.last_noise_uncond: Tensor | None = None
        self.mask_before_denoising = False

    @property
    def inner_model(self) -> Any:
        """The model in the sampler family's form."""
        raise NotImplementedError

    def combine_denoised(
        self, x_out: Tensor, conds_list: list[list[tuple[int, float]]], uncond: Any, cond_scale: float
    ) -> Tensor:
        """The guided output, from all rows: those of the prompts' parts first, the unconditional ones last."""
        images = uncond.shape[0]
        guided = x_out[-images:].clone()
        for index, image in enumerate(conds_list):
            for row, weight in image:
                guided[index] += (x_out[row] - x_out[-images:][index]) * (weight * cond_scale)
        return guided

    def get_pred_x0(self, x_in: Tensor, x_out: Tensor, sigma: Tensor) -> Tensor:
        """The denoised image, from what the family calls its output."""
        return x_out

    def update_inner_model(self) -> None:
        """Take the model and the prompts anew, after a swap."""
        self.model_wrap = None
        cond, uncond = self.p.get_conds()
        self.sampler.sampler_extra_args["cond"] = cond
        self.sampler.sampler_extra_args["uncond"] = uncond

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        uncond: Any,
        cond: Any,
        cond_scale: float,
        s_min_uncond: float,
        image_cond: Tensor,
    ) -> Tensor:
        """One step's guided output; `x` is (images, channels, height, width)."""
        shared, parser = fake("modules.shared"), fake("modules.prompt_parser")
        probe().before_evaluation(self.step)
        if shared.state.interrupted or shared.state.skipped:
            raise InterruptedException
        if apply_refiner(self, sigma):
            cond, uncond = self.sampler.sampler_extra_args["cond"], self.sampler.sampler_extra_args["uncond"]
        parts, text = parser.reconstruct_multicond_batch(cond, self.step)
        uncond = parser.reconstruct_cond_batch(uncond, self.step)
        if self.mask_before_denoising and self.mask is not None:
            x = self._blend(x, sigma)
        params = self._rows(x, sigma, (text, uncond), image_cond, parts)
        run_callbacks("cfg_denoiser", params)
        skip = self._skips_uncond(sigma, s_min_uncond)
        output = self._both(params, len(x), skip, parts)
        denoised_params = CFGDenoisedParams(output, *self._progress(), self.inner_model)
        run_callbacks("cfg_denoised", denoised_params)
        if self.need_last_noise_uncond:
            self.last_noise_uncond = output[-len(x) :].clone()
        guided = self.combine_denoised(output, parts, uncond, 1.0 if skip else cond_scale * self.cond_scale_miltiplier)
        if not self.mask_before_denoising and self.mask is not None:
            guided = self._blend(guided, sigma)
        firsts = [image[0][0] for image in parts]
        self.sampler.last_latent = self.get_pred_x0(params.x[firsts], output[firsts], sigma)
        shared.state.current_latent = self.sampler.last_latent
        after = AfterCFGCallbackParams(guided, *self._progress())
        run_callbacks("cfg_after_cfg", after)
        self.step += 1
        return after.x

    def _progress(self) -> tuple[int, int]:
        state = fake("modules.shared").state
        return state.sampling_step, state.sampling_steps

    def _rows(
        self,
        x: Tensor,
        sigma: Tensor,
        texts: tuple[Any, Any],
        image_cond: Tensor,
        parts: list[list[tuple[int, float]]],
    ) -> CFGDenoiserParams:
        repeats = [index for index, image in enumerate(parts) for _ in image] + list(range(len(x)))
        return CFGDenoiserParams(
            x[repeats], image_cond[repeats], sigma[repeats], *self._progress(), *texts, denoiser=self
        )

    def _skips_uncond(self, sigma: Tensor, s_min_uncond: float) -> bool:
        opts, noted = fake("modules.shared").opts, self.p.extra_generation_params
        if opts.skip_early_cond != 0 and self.step / self.total_steps <= opts.skip_early_cond:  # type: ignore[operator]
            noted["Skip Early CFG"] = opts.skip_early_cond
            return True
        takes_turns = self.step % 2 == 1 or opts.s_min_uncond_all
        if not takes_turns or s_min_uncond <= 0 or float(sigma[0]) >= s_min_uncond:
            return False
        noted["NGMS"] = s_min_uncond
        if opts.s_min_uncond_all:
            noted["NGMS all steps"] = True
        return True

    def _both(self, params: CFGDenoiserParams, images: int, skip: bool, parts: list[list[tuple[int, float]]]) -> Tensor:
        """The output of all rows: conditional first, unconditional (or a copy of the conditional) last."""
        rows = len(params.x) - images
        text, uncond = self._padded(params.text_cond, params.text_uncond)
        texts = [(text, 0, rows)] if skip else [(text, 0, rows), (uncond, rows, rows + images)]
        if not skip and text.shape[1] == uncond.shape[1]:
            both = (
                DictWithShape({k: torch.cat([text[k], uncond[k]]) for k in text})
                if isinstance(text, DictWithShape)
                else torch.cat([text, uncond])
            )
            texts = [(both, 0, rows + images)]
        whole = len(texts) == 1 and fake("modules.shared").opts.batch_cond_uncond
        output = torch.cat([part for span in texts for part in self._calls(params, *span, images, whole=whole)])
        if skip:
            output = torch.cat([output, output[[image[0][0] for image in parts]]])
        return output

    def _padded(self, text: Any, uncond: Any) -> tuple[Any, Any]:
        """Both with as many tokens, if the user wants that: the shorter one is continued with empty prompts."""
        self.padded_cond_uncond = self.padded_cond_uncond_v0 = False
        if not fake("modules.shared").opts.pad_cond_uncond or text.shape[1] == uncond.shape[1]:
            return text, uncond
        self.padded_cond_uncond = True
        longest = max(text.shape[1], uncond.shape[1])
        return _pad(text, longest), _pad(uncond, longest)

    def _calls(
        self, params: CFGDenoiserParams, text: Any, start: int, stop: int, images: int, *, whole: bool
    ) -> Iterator[Tensor]:
        """The model's output; one `whole` batch gets the image conditioning as it is, also of rows that are skipped."""
        at_once = stop - start if fake("modules.shared").opts.batch_cond_uncond else images
        for first in range(start, stop, at_once):
            last = min(first + at_once, stop)
            some = cut(text, first - start, last - start)
            cond = {
                **(some if isinstance(some, DictWithShape) else {"c_crossattn": [some]}),
                "c_concat": [params.image_cond if whole else params.image_cond[first:last]],
            }
            yield self.inner_model(params.x[first:last], params.sigma[first:last], cond=cond)

    def _blend(self, latent: Tensor, sigma: Tensor) -> Tensor:
        blended = latent * self.nmask + self.init_latent * self.mask  # type: ignore[operator]
        if self.p.scripts is None:
            return blended
        blend = MaskBlendArgs(latent, self.nmask, self.init_latent, self.mask, blended, self, sigma)
        self.p.scripts.on_mask_blend(self.p, blend)
        return blend.blended_latent


def _pad(text: Any, tokens: int) -> Any:
    if isinstance(text, DictWithShape):
        return DictWithShape({**text, "crossattn": _pad(text["crossattn"], tokens)})
    empty = fake("modules.shared").sd_model.cond_stage_model_empty_prompt
    return torch.cat([text, empty.repeat(len(text), (tokens - text.shape[1]) // empty.shape[1], 1)], dim=1)


def completed_ratio(denoiser: CFGDenoiser, sigma: Tensor | None = None) -> Any:
    """How far a pass has come: by its steps, or by the timestep that the largest sigma is nearest to."""
    if fake("modules.shared").opts.refiner_switch_by_sample_steps or sigma is None:
        denoiser.p.extra_generation_params["Refiner switch by sampling steps"] = True
        return denoiser.step / denoiser.total_steps  # type: ignore[operator]
    largest = sigma.max()
    if hasattr(denoiser.inner_model, "sigmas"):
        timestep = int((denoiser.inner_model.sigmas - largest).abs().argmin())
    else:
        timestep = int(largest)  # what the family of timesteps calls sigma
    return (999 - timestep) / 1000


def apply_refiner(cfg_denoiser: CFGDenoiser, sigma: Tensor | None = None) -> bool:
    """Swap the refiner in when it is due; whether that happened."""
    p, opts = cfg_denoiser.p, fake("modules.shared").opts
    info, ratio = p.refiner_checkpoint_info, completed_ratio(cfg_denoiser, sigma)
    if p.refiner_switch_at is not None and ratio < p.refiner_switch_at:
        return False
    if info is None or fake("modules.shared").sd_model.sd_checkpoint_info is info:
        return False
    if getattr(p, "enable_hr", False):
        if opts.hires_fix_refiner_pass == ("first pass" if p.is_hr_pass else "second pass"):
            return False
        if opts.hires_fix_refiner_pass != "second pass":
            p.extra_generation_params["Hires refiner"] = opts.hires_fix_refiner_pass
    p.extra_generation_params["Refiner"] = info.short_title
    p.extra_generation_params["Refiner switch at"] = p.refiner_switch_at
    fake("modules.sd_models").reload_model_weights(info=info)
    p.setup_conds()
    cfg_denoiser.update_inner_model()
    return True
