"""`modules.processing`: a job and the order in which the host works through it."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from tests import models
from tests.webui.standin.denoiser import Conditioning, MaskBlendArgs, cut
from tests.webui.standin.infotext import create_infotext
from tests.webui.standin.probe import probe
from tests.webui.standin.strict import StrictModule, fake

OPT_F = 8
INPAINTING_CHANNELS = 5
IMAGE_UPSCALERS = ("None", "Lanczos", "Nearest")

_JOB: dict[str, Any] = {
    "outpath_samples": None,
    "outpath_grids": None,
    "prompt": "",
    "negative_prompt": "",
    "styles": [],
    "seed": -1,
    "subseed": -1,
    "subseed_strength": 0,
    "seed_resize_from_h": -1,
    "seed_resize_from_w": -1,
    "seed_enable_extras": True,
    "sampler_name": None,
    "scheduler": None,
    "batch_size": 1,
    "n_iter": 1,
    "steps": 50,
    "cfg_scale": 7.0,
    "width": 512,
    "height": 512,
    "restore_faces": None,
    "tiling": None,
    "do_not_save_samples": False,
    "do_not_save_grid": False,
    "extra_generation_params": {},
    "overlay_images": None,
    "eta": None,
    "denoising_strength": None,
    "s_min_uncond": None,
    "s_churn": None,
    "s_tmax": None,
    "s_tmin": None,
    "s_noise": None,
    "override_settings": {},
    "override_settings_restore_afterwards": True,
    "sampler_index": None,
    "refiner_checkpoint": None,
    "refiner_switch_at": None,
    "token_merging_ratio": 0,
    "token_merging_ratio_hr": 0,
    "disable_extra_networks": False,
    "scripts": None,
    "script_args": (),
}
_RUNNING: dict[str, Any] = {
    "sampler": None,
    "is_using_inpainting_conditioning": False,
    "is_hr_pass": False,
    "is_api": False,
    "c": None,
    "uc": None,
    "rng": None,
    "iteration": 0,
    "all_prompts": None,
    "all_negative_prompts": None,
    "all_seeds": None,
    "all_subseeds": None,
    "prompts": None,
    "negative_prompts": None,
    "seeds": None,
    "subseeds": None,
    "extra_network_data": None,
    "refiner_checkpoint_info": None,
    "sd_model_name": None,
    "sd_model_hash": None,
    "user": None,
    "scripts_setup_complete": False,
}
_TXT2IMG: dict[str, Any] = {
    "enable_hr": False,
    "denoising_strength": 0.75,
    "firstphase_width": 0,
    "firstphase_height": 0,
    "hr_scale": 2.0,
    "hr_upscaler": None,
    "hr_second_pass_steps": 0,
    "hr_resize_x": 0,
    "hr_resize_y": 0,
    "hr_checkpoint_name": None,
    "hr_sampler_name": None,
    "hr_scheduler": None,
    "hr_prompt": "",
    "hr_negative_prompt": "",
}
_TXT2IMG_RUNNING: dict[str, Any] = {
    "hr_checkpoint_info": None,
    "hr_upscale_to_x": 0,
    "hr_upscale_to_y": 0,
    "truncate_x": 0,
    "truncate_y": 0,
    "applied_old_hires_behavior_to": None,
    "latent_scale_mode": None,
    "hr_c": None,
    "hr_uc": None,
}
_IMG2IMG: dict[str, Any] = {
    "denoising_strength": 0.75,
    "init_images": None,
    "resize_mode": 0,
    "image_cfg_scale": None,
    "mask": None,
    "mask_blur": 4,
    "inpainting_fill": 1,
    "inpaint_full_res": False,
    "inpaint_full_res_padding": 0,
    "inpainting_mask_invert": 0,
    "initial_noise_multiplier": 1.0,
}
_IMG2IMG_RUNNING: dict[str, Any] = {
    "image_mask": None,
    "nmask": None,
    "latent_mask": None,
    "init_latent": None,
    "image_conditioning": None,
}


class ImageRNG:
    """Noise that depends on each image's own seed alone."""

    def __init__(self, shape: tuple[int, ...], seeds: list[int]) -> None:
        self.shape = shape
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def next(self) -> Tensor:
        """(images, channels, height, width); other noise at each call."""
        return torch.stack([torch.randn(self.shape, generator=generator) for generator in self._generators])


class StableDiffusionProcessing:
    """A job. Scripts may put anything of their own on it; reading what is not there is an AttributeError."""

    fields: dict[str, Any] = _JOB
    running: dict[str, Any] = _RUNNING

    def __init__(self, sd_model: Any = None, **fields: Any) -> None:
        unknown = fields.keys() - self.fields.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        for name, value in {**self.fields, **self.running, **fields}.items():
            setattr(self, name, copy.copy(value) if isinstance(value, dict | list) else value)
        opts = fake("modules.shared").opts
        for name in ("s_min_uncond", "s_churn", "s_tmin", "s_tmax", "s_noise"):
            if getattr(self, name) is None:
                setattr(self, name, getattr(opts, name))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the stand-in's {type(self).__name__} has no {name!r}")

    @property
    def sd_model(self) -> Any:
        """Whatever model is loaded now."""
        return fake("modules.shared").sd_model

    @sd_model.setter
    def sd_model(self, value: Any) -> None:
        pass

    def get_token_merging_ratio(self, for_hr: bool = False) -> float:
        """How much of the tokens is merged in a pass."""
        opts = fake("modules.shared").opts
        first: float = self.token_merging_ratio or opts.token_merging_ratio
        return (self.token_merging_ratio_hr or opts.token_merging_ratio_hr or first) if for_hr else first

    def setup_scripts(self) -> None:
        """The scripts' `setup`, once for a job and its copies."""
        if self.scripts is not None and not self.scripts_setup_complete:
            self.scripts_setup_complete = True
            self.scripts.setup(self)

    def setup_conds(self) -> None:
        """Encode the prompts of the batch."""
        self.c, self.uc = _encode(self.sd_model, self.prompts, self.negative_prompts)

    def get_conds(self) -> tuple[Any, Any]:
        """(positive, negative) of the running pass."""
        return self.c, self.uc

    def txt2img_image_conditioning(self, x: Tensor, width: int | None = None, height: int | None = None) -> Tensor:
        """What an inpainting model is given where there is nothing to keep; others ignore it."""
        if self.sd_model.model.conditioning_key != "hybrid":
            return x.new_zeros(len(x), INPAINTING_CHANNELS, 1, 1)
        self.is_using_inpainting_conditioning = True
        return torch.cat([torch.ones_like(x[:, :1]), torch.zeros_like(x)], dim=1)

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None:
        """Get ready, after the scripts' `process`."""

    def sample(self, conditioning: Any, unconditional_conditioning: Any, **_batch: Any) -> Tensor:
        """One batch of latents."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what is large."""
        self.sampler = self.c = self.uc = None


class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    """From noise, with a second pass if `enable_hr`."""

    fields = {**_JOB, **_TXT2IMG}
    running = {**_RUNNING, **_TXT2IMG_RUNNING}

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None:
        """Work out the second pass."""
        if not self.enable_hr:
            return
        shared = fake("modules.shared")
        self.latent_scale_mode = shared.latent_upscale_modes.get(self.hr_upscaler or shared.latent_upscale_default_mode)
        if self.latent_scale_mode is None and self.hr_upscaler not in IMAGE_UPSCALERS:
            raise RuntimeError(f"there is no upscaler {self.hr_upscaler!r}")
        if self.hr_checkpoint_name:
            self.hr_checkpoint_info = _checkpoint(self.hr_checkpoint_name)
            self.extra_generation_params["Hires checkpoint"] = self.hr_checkpoint_info.short_title
        self.calculate_target_resolution()
        if self.hr_second_pass_steps:
            self.extra_generation_params["Hires steps"] = self.hr_second_pass_steps
        self.extra_generation_params["Hires upscaler"] = self.hr_upscaler or shared.latent_upscale_default_mode

    def calculate_target_resolution(self) -> None:
        """The size of the second pass, and how much of it is cut off."""
        if not self.hr_resize_x and not self.hr_resize_y:
            self.extra_generation_params["Hires upscale"] = self.hr_scale
            self.hr_upscale_to_x = int(self.width * self.hr_scale)
            self.hr_upscale_to_y = int(self.height * self.hr_scale)
            return
        self.extra_generation_params["Hires resize"] = f"{self.hr_resize_x}x{self.hr_resize_y}"
        factor = max(self.hr_resize_x / self.width, self.hr_resize_y / self.height)
        self.hr_upscale_to_x, self.hr_upscale_to_y = int(self.width * factor), int(self.height * factor)
        if self.hr_resize_x and self.hr_resize_y:
            self.truncate_x = (self.hr_upscale_to_x - self.hr_resize_x) // OPT_F
            self.truncate_y = (self.hr_upscale_to_y - self.hr_resize_y) // OPT_F

    def get_conds(self) -> tuple[Any, Any]:
        """(positive, negative) of the running pass."""
        return (self.hr_c, self.hr_uc) if self.is_hr_pass else (self.c, self.uc)

    def setup_conds(self) -> None:
        """Encode the prompts of the batch, and in the second pass its own."""
        super().setup_conds()
        if self.is_hr_pass:
            self.calculate_hr_conds()

    def calculate_hr_conds(self) -> None:
        """Encode the prompts of the second pass."""
        prompts = [self.hr_prompt or prompt for prompt in self.prompts]
        negatives = [self.hr_negative_prompt or negative for negative in self.negative_prompts]
        self.hr_c, self.hr_uc = _encode(self.sd_model, prompts, negatives)

    def sample(self, conditioning: Any, unconditional_conditioning: Any, **_batch: Any) -> Tensor:
        """One batch of latents, from both passes."""
        self.sampler = fake("modules.sd_samplers").create_sampler(self.sampler_name, self.sd_model)
        x = self.rng.next()
        _before_every_sampling(self, x, x, conditioning, unconditional_conditioning)
        image_conditioning = self.txt2img_image_conditioning(x)
        samples = self.sampler.sample(
            self, x, conditioning, unconditional_conditioning, image_conditioning=image_conditioning
        )
        return self.sample_hr_pass(samples) if self.enable_hr else samples

    def sample_hr_pass(self, samples: Tensor) -> Tensor:
        """The second pass."""
        if self.hr_checkpoint_info is not None:
            fake("modules.sd_models").reload_model_weights(info=self.hr_checkpoint_info)
        if fake("modules.shared").state.interrupted:
            return samples
        self.is_hr_pass = True
        self.sampler = fake("modules.sd_samplers").create_sampler(
            self.hr_sampler_name or self.sampler_name, self.sd_model
        )
        samples = self._upscaled(samples)
        self.rng = ImageRNG(tuple(samples.shape[1:]), self.seeds)
        noise = self.rng.next()
        self.calculate_hr_conds()
        if self.scripts is not None:
            self.scripts.before_hr(self)
        _before_every_sampling(self, samples, noise, self.hr_c, self.hr_uc)
        samples = self.sampler.sample_img2img(
            self,
            samples,
            noise,
            self.hr_c,
            self.hr_uc,
            steps=self.hr_second_pass_steps or self.steps,
            image_conditioning=self.txt2img_image_conditioning(samples),
        )
        self.sampler = None
        self.is_hr_pass = False
        return samples

    def _upscaled(self, samples: Tensor) -> Tensor:
        size = (self.hr_upscale_to_y // OPT_F, self.hr_upscale_to_x // OPT_F)
        samples = functional.interpolate(samples, size=size, **(self.latent_scale_mode or {"mode": "nearest"}))
        top, left = self.truncate_y // 2, self.truncate_x // 2
        bottom, right = (self.truncate_y + 1) // 2, (self.truncate_x + 1) // 2
        return samples[:, :, top : samples.shape[2] - bottom, left : samples.shape[3] - right]


class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    """From images, or from parts of them where there is a mask (white is painted anew)."""

    fields = {**_JOB, **_IMG2IMG}
    running = {**_RUNNING, **_IMG2IMG_RUNNING}

    def __init__(self, sd_model: Any = None, **fields: Any) -> None:
        super().__init__(sd_model, **fields)
        self.image_mask = self.mask
        self.mask = None

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None:
        """Make the sampler of the whole job, and latents of images and mask."""
        self.sampler = fake("modules.sd_samplers").create_sampler(self.sampler_name, self.sd_model)
        size = (self.width, self.height)
        latents = torch.stack([encode_image(image.convert("RGB").resize(size)) for image in self.init_images])
        self.init_latent = latents.expand(self.batch_size, -1, -1, -1) if len(latents) == 1 else latents
        if self.image_mask is not None:
            small = self.image_mask.convert("L").resize((self.width // OPT_F, self.height // OPT_F))
            anew = torch.from_numpy(np.asarray(small, dtype=np.float32) / 255).round()
            self.nmask = 1 - anew if self.inpainting_mask_invert else anew
            self.mask = 1 - self.nmask
            self.nmask, self.mask = (m.expand(models.LATENT_CHANNELS, -1, -1) for m in (self.nmask, self.mask))
        self.image_conditioning = self._image_conditioning()

    def _image_conditioning(self) -> Tensor:
        latent = self.init_latent
        if self.sd_model.model.conditioning_key != "hybrid":
            return latent.new_zeros(len(latent), INPAINTING_CHANNELS, 1, 1)
        self.is_using_inpainting_conditioning = True
        anew = torch.ones_like(latent[0]) if self.nmask is None else self.nmask
        return torch.cat([anew[:1].expand(len(latent), -1, -1, -1), latent * (1 - anew)], dim=1)

    def sample(self, conditioning: Any, unconditional_conditioning: Any, **_batch: Any) -> Tensor:
        """One batch of latents."""
        noise = self.rng.next()
        if self.initial_noise_multiplier != 1.0:
            self.extra_generation_params["Noise multiplier"] = self.initial_noise_multiplier
            noise = noise * self.initial_noise_multiplier
        _before_every_sampling(self, self.init_latent, noise, conditioning, unconditional_conditioning)
        samples: Tensor = self.sampler.sample_img2img(
            self,
            self.init_latent,
            noise,
            conditioning,
            unconditional_conditioning,
            image_conditioning=self.image_conditioning,
        )
        if self.mask is None:
            return samples
        blended = samples * self.nmask + self.init_latent * self.mask
        blend = MaskBlendArgs(samples, self.nmask, self.init_latent, self.mask, blended)
        if self.scripts is not None:
            self.scripts.on_mask_blend(self, blend)
        return blend.blended_latent


@dataclass
class Processed:
    """What a job has made."""

    p: Any
    images: list[Any]
    seed: int
    info: str
    infotexts: list[str] = field(default_factory=list)
    index_of_first_image: int = 0
    all_prompts: list[str] = field(default_factory=list)
    all_seeds: list[int] = field(default_factory=list)


def _before_every_sampling(p: Any, x: Tensor, noise: Tensor, c: Any, uc: Any) -> None:
    if p.scripts is not None:
        p.scripts.process_before_every_sampling(p=p, x=x, noise=noise, c=c, uc=uc)


def _encode(model: Any, prompts: list[str], negatives: list[str]) -> tuple[Conditioning, Any]:
    images = []
    for prompt in prompts:
        parts = [_weighted(part) for part in prompt.split(" AND ")]
        images.append([(_first(model.get_learned_conditioning([text])), weight) for text, weight in parts])
    return Conditioning(images), model.get_learned_conditioning(negatives)


def _weighted(part: str) -> tuple[str, float]:
    text, _, weight = part.rpartition(":")
    try:
        return text.strip(), float(weight)
    except ValueError:
        return part.strip(), 1.0


def _first(encoded: Any) -> Any:
    row = cut(encoded, 0, 1)
    return type(row)({key: value[0] for key, value in row.items()}) if isinstance(row, dict) else row[0]


def _checkpoint(name: str) -> Any:
    info = fake("modules.sd_models").get_closet_checkpoint_match(name)
    if info is None:
        raise RuntimeError(f"there is no checkpoint {name!r}")
    return info


def encode_image(image: Image.Image) -> Tensor:
    """A crude VAE: (channels, height / 8, width / 8) from the mean colours."""
    small = image.resize((image.width // OPT_F, image.height // OPT_F), Image.Resampling.BOX)
    colours = torch.from_numpy(np.asarray(small, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1
    return torch.cat([colours, colours.mean(0, keepdim=True)])


def decode_latents(samples: Tensor) -> Tensor:
    """(images, 3, height, width) from 0 to 1."""
    return functional.interpolate(samples[:, :3].clamp(-1, 1) / 2 + 0.5, scale_factor=OPT_F, mode="nearest")


def process_images(p: Any) -> Processed:
    """Work through a job. What the UNet raises goes out of here."""
    opts = fake("modules.shared").opts
    if p.scripts is not None:
        p.scripts.before_process(p)
    kept = {name: opts.data[name] for name in p.override_settings if name in opts.data}
    try:
        for name, value in p.override_settings.items():
            opts.set(name, value, is_api=True, run_callbacks=False)
        fake("modules.sd_models").reload_model_weights()
        return _process(p)
    finally:
        if p.override_settings_restore_afterwards:
            opts.data.update(kept)


@torch.no_grad()
def _process(p: Any) -> Processed:
    _settle(p)
    if p.scripts is not None:
        p.scripts.process(p)
    p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
    state = fake("modules.shared").state
    images: list[Any] = []
    infotexts: list[str] = []
    for number in range(p.n_iter):
        p.iteration = number
        state.skipped = False
        if state.interrupted or state.stopping_generation:
            break
        fake("modules.sd_models").reload_model_weights()
        _batch(p, number, images, infotexts)
    processed = Processed(p, images, p.all_seeds[0], create_infotext(p), infotexts, 0, p.all_prompts, p.all_seeds)
    if p.scripts is not None:
        p.scripts.postprocess(p, processed)
    return processed


def _settle(p: Any) -> None:
    if p.seed in (None, -1, ""):
        p.seed = random.SystemRandom().randrange(2**32)
    count = p.batch_size * p.n_iter
    info = p.sd_model.sd_checkpoint_info
    p.sd_model_name, p.sd_model_hash = info.name_for_extra, info.shorthash
    p.refiner_checkpoint_info = _checkpoint(p.refiner_checkpoint) if p.refiner_checkpoint else None
    p.all_prompts = p.prompt if isinstance(p.prompt, list) else count * [p.prompt]
    p.all_negative_prompts = count * [p.negative_prompt]
    p.all_seeds = [int(p.seed) + index for index in range(count)]
    p.all_subseeds = count * [p.subseed]


def _batch(p: Any, number: int, images: list[Any], infotexts: list[str]) -> None:
    start, stop = number * p.batch_size, (number + 1) * p.batch_size
    for name in ("prompts", "negative_prompts", "seeds", "subseeds"):
        setattr(p, name, getattr(p, f"all_{name}")[start:stop])
    p.rng = ImageRNG((models.LATENT_CHANNELS, p.height // OPT_F, p.width // OPT_F), p.seeds)
    p.extra_network_data = {}
    batch = {"batch_number": number, "prompts": p.prompts, "seeds": p.seeds, "subseeds": p.subseeds}
    if p.scripts is not None:
        p.scripts.before_process_batch(p, **batch)
        p.scripts.after_extra_networks_activate(p, extra_network_data=p.extra_network_data, **batch)
        p.scripts.process_batch(p, **batch)
    p.setup_conds()
    if number == 0:
        probe().params_txt = create_infotext(p)
    samples = p.sample(conditioning=p.c, unconditional_conditioning=p.uc, seeds=p.seeds, prompts=p.prompts)
    samples = _after_sampling(p, samples)
    decoded = list(decode_latents(samples))
    if p.scripts is not None:
        p.scripts.postprocess_batch(p, torch.stack(decoded), batch_number=number)
        listed = fake("modules.scripts").PostprocessBatchListArgs(decoded)
        p.scripts.postprocess_batch_list(p, listed, batch_number=number)
        decoded = listed.images
    for index, pixels in enumerate(decoded):
        images.append(_finished(p, pixels))
        infotexts.append(create_infotext(p, start + index))


def _after_sampling(p: Any, samples: Tensor) -> Tensor:
    if p.scripts is not None:
        sampled = fake("modules.scripts").PostSampleArgs(samples)
        p.scripts.post_sample(p, sampled)
        samples = sampled.samples
    probe().latents.append(samples.clone())
    return samples


def _finished(p: Any, pixels: Tensor) -> Image.Image:
    image = Image.fromarray((pixels.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    if p.scripts is None:
        return image
    finished = fake("modules.scripts").PostprocessImageArgs(image)
    p.scripts.postprocess_image(p, finished)
    composed = fake("modules.scripts").PostprocessImageArgs(finished.image)
    p.scripts.postprocess_image_after_composite(p, composed)
    result: Image.Image = composed.image
    return result


def processing_module() -> StrictModule:
    """`modules.processing`."""
    return StrictModule(
        "modules.processing",
        Processed=Processed,
        StableDiffusionProcessing=StableDiffusionProcessing,
        StableDiffusionProcessingImg2Img=StableDiffusionProcessingImg2Img,
        StableDiffusionProcessingTxt2Img=StableDiffusionProcessingTxt2Img,
        opt_C=models.LATENT_CHANNELS,
        opt_f=OPT_F,
        process_images=process_images,
    )
