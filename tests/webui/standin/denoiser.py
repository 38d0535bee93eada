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
from tests.webui.standin.checkpoints import DictWithShape, test_for_nans
from tests.webui.standin.probe import probe
from tests.webui.standin.strict import fake


class InterruptedException(BaseException):
    """The user has interrupted or skipped."""


@dataclass
class Conditioning:
    """Prompts of one batch: for each image its AND parts, as (encoded text, weight)."""

    images: list[list[tuple[Any, float]]]

    def rows(self) -> tuple[Any, list[list[tuple[int, float]]]]:
        """All parts as one batch, and for each image its (row, weight)."""
        parts = [part for image in self.images for part, _ in image]
        rows = iter(range(len(parts)))
        return join(parts), [[(next(rows), weight) for _, weight in image] for image in self.images]


def join(parts: list[Any]) -> Any:
    """Encoded texts as one batch; shorter ones repeat their last token."""
    if isinstance(parts[0], DictWithShape):
        return DictWithShape({key: join([part[key] for part in parts]) for key in parts[0]})
    if parts[0].dim() == 1:
        return torch.stack(parts)
    longest = max(len(part) for part in parts)
    return torch.stack([torch.cat([part, part[-1:].expand(longest - len(part), -1)]) for part in parts])


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
        cond: Conditioning,
        cond_scale: float,
        s_min_uncond: float,
        image_cond: Tensor,
    ) -> Tensor:
        """One step's guided output; `x` is (images, channels, height, width)."""
        shared = fake("modules.shared")
        probe().before_evaluation(self.step)
        if shared.state.interrupted or shared.state.skipped:
            raise InterruptedException
        if apply_refiner(self):
            cond, uncond = self.sampler.sampler_extra_args["cond"], self.sampler.sampler_extra_args["uncond"]
        params, parts = self._rows(x, sigma, uncond, cond, image_cond)
        run_callbacks("cfg_denoiser", params)
        output = self._both(params, len(x), self._skips_uncond(sigma, s_min_uncond), parts)
        denoised_params = CFGDenoisedParams(output, *self._progress(), self.inner_model)
        run_callbacks("cfg_denoised", denoised_params)
        test_for_nans(output, "unet")
        if self.need_last_noise_uncond:
            self.last_noise_uncond = output[-len(x) :].clone()
        guided = _guide(output, parts, len(x), cond_scale * self.cond_scale_miltiplier)
        guided = self._blend(guided, sigma)
        self.sampler.last_latent = self.get_pred_x0(x, guided, sigma)
        after = AfterCFGCallbackParams(guided, *self._progress())
        run_callbacks("cfg_after_cfg", after)
        self.step += 1
        return after.x

    def _progress(self) -> tuple[int, int]:
        state = fake("modules.shared").state
        return state.sampling_step, state.sampling_steps

    def _rows(
        self, x: Tensor, sigma: Tensor, uncond: Any, cond: Conditioning, image_cond: Tensor
    ) -> tuple[CFGDenoiserParams, list[list[tuple[int, float]]]]:
        text, parts = cond.rows()
        repeats = [index for index, image in enumerate(parts) for _ in image] + list(range(len(x)))
        params = CFGDenoiserParams(
            x[repeats], image_cond[repeats], sigma[repeats], *self._progress(), text, uncond, self
        )
        return params, parts

    def _skips_uncond(self, sigma: Tensor, s_min_uncond: float) -> bool:
        opts = fake("modules.shared").opts
        if opts.skip_early_cond > 0 and self.step / self.total_steps <= opts.skip_early_cond:  # type: ignore[operator]
            self.p.extra_generation_params["Skip Early CFG"] = opts.skip_early_cond
            return True
        takes_turns = self.step % 2 == 1 or opts.s_min_uncond_all
        return bool(takes_turns and s_min_uncond > 0 and float(sigma[0]) < s_min_uncond)

    def _both(self, params: CFGDenoiserParams, images: int, skip: bool, parts: list[list[tuple[int, float]]]) -> Tensor:
        """The output of all rows: conditional first, unconditional (or a copy of the conditional) last."""
        rows = len(params.x) - images
        text, uncond = params.text_cond, params.text_uncond
        texts = [(text, 0, rows)] if skip else [(text, 0, rows), (uncond, rows, rows + images)]
        if not skip and text.shape[1] == uncond.shape[1]:
            both = (
                DictWithShape({k: torch.cat([text[k], uncond[k]]) for k in text})
                if isinstance(text, DictWithShape)
                else torch.cat([text, uncond])
            )
            texts = [(both, 0, rows + images)]
        output = torch.cat([part for span in texts for part in self._calls(params, *span, images)])
        if skip:
            output = torch.cat([output, output[[image[0][0] for image in parts]]])
        return output

    def _calls(self, params: CFGDenoiserParams, text: Any, start: int, stop: int, images: int) -> Iterator[Tensor]:
        at_once = stop - start if fake("modules.shared").opts.batch_cond_uncond else images
        for first in range(start, stop, at_once):
            last = min(first + at_once, stop)
            cond = {
                "c_crossattn": [_plain(cut(text, first - start, last - start))],
                "c_concat": [params.image_cond[first:last]],
            }
            yield self.inner_model(params.x[first:last], params.sigma[first:last], cond=cond)

    def _blend(self, guided: Tensor, sigma: Tensor) -> Tensor:
        if self.mask is None or self.nmask is None or self.init_latent is None:
            return guided
        blended = guided * self.nmask + self.init_latent * self.mask
        if self.p.scripts is None:
            return blended
        blend = MaskBlendArgs(guided, self.nmask, self.init_latent, self.mask, blended, self, sigma)
        self.p.scripts.on_mask_blend(self.p, blend)
        return blend.blended_latent


def _plain(text: Any) -> Tensor:
    return text["crossattn"] if isinstance(text, DictWithShape) else text


def _guide(output: Tensor, parts: list[list[tuple[int, float]]], images: int, scale: float) -> Tensor:
    uncond = output[-images:]
    guided = uncond.clone()
    for index, image in enumerate(parts):
        for row, weight in image:
            guided[index] += (output[row] - uncond[index]) * (weight * scale)
    return guided


def apply_refiner(denoiser: CFGDenoiser) -> bool:
    """Swap the refiner in when it is due; whether that happened."""
    p, opts = denoiser.p, fake("modules.shared").opts
    info = p.refiner_checkpoint_info
    if info is None or p.refiner_switch_at is None:
        return False
    if denoiser.step / denoiser.total_steps < p.refiner_switch_at:  # type: ignore[operator]
        return False
    if fake("modules.shared").sd_model.sd_checkpoint_info is info:
        return False
    if getattr(p, "enable_hr", False) and opts.hires_fix_refiner_pass != "both passes":
        wanted = "second pass" if p.is_hr_pass else "first pass"
        if opts.hires_fix_refiner_pass != wanted:
            return False
    p.extra_generation_params["Refiner"] = info.short_title
    p.extra_generation_params["Refiner switch at"] = p.refiner_switch_at
    fake("modules.sd_models").reload_model_weights(info=info)
    p.setup_conds()
    denoiser.update_inner_model()
    return True
