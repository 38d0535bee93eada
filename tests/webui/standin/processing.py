"""`modules.processing`: a job and the order in which the host works through it."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from tests import unets
from tests.webui.standin.checkpoints import OPT_F, encode_pictures
from tests.webui.standin.denoiser import MaskBlendArgs
from tests.webui.standin.images import from_tensor, image_grid, save_image
from tests.webui.standin.infotext import VERSION, create_infotext
from tests.webui.standin.probe import probe
from tests.webui.standin.strict import StrictModule, fake

INPAINTING_CHANNELS = 5
IMAGE_UPSCALERS = ("None", "Lanczos", "Nearest")

SEEDS = 4294967294
CHECKPOINT, NO_CHECKPOINT = "sd_model_checkpoint", (None, "", "None", "none")
# What a `Processed` takes of its job; those in `TOLD` are in its `js()`, besides what it is given itself.
TOLD = (
    "subseed_strength",
    "width",
    "height",
    "sampler_name",
    "cfg_scale",
    "steps",
    "batch_size",
    "restore_faces",
    "sd_model_name",
    "sd_model_hash",
    "sd_vae_name",
    "sd_vae_hash",
    "seed_resize_from_w",
    "seed_resize_from_h",
    "denoising_strength",
    "extra_generation_params",
    "styles",
    "is_using_inpainting_conditioning",
)
TAKEN = (
    "token_merging_ratio",
    "token_merging_ratio_hr",
    "eta",
    "ddim_discretize",
    "s_churn",
    "s_tmin",
    "s_tmax",
    "s_noise",
    "s_min_uncond",
    "sampler_noise_scheduler_override",
)
LISTS = ("all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds")
OWN = (
    "prompt",
    "negative_prompt",
    "seed",
    "subseed",
    "index_of_first_image",
    "infotexts",
    "version",
    "face_restoration_model",
    "job_timestamp",
    "clip_skip",
)

_JOB: dict[str, Any] = {
    "outpath_samples": None,
    "outpath_grids": None,
    "prompt": "",
    "prompt_for_display": None,
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
    "do_not_reload_embeddings": False,
    "ddim_discretize": None,
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
    "firstpass_image": None,
}
_RUNNING: dict[str, Any] = {
    "scripts_value": None,
    "script_args_value": {},
    "scripts_setup_complete": False,
    "color_corrections": None,
    "paste_to": None,
    "sd_vae_name": None,
    "sd_vae_hash": None,
    "comments": {},
    "main_prompt": None,
    "main_negative_prompt": None,
    "firstpass_steps": None,
    "step_multiplier": 1,
    "sampler_noise_scheduler_override": None,
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
    "force_task_id": None,
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
    "all_hr_prompts": None,
    "all_hr_negative_prompts": None,
    "hr_prompts": None,
    "hr_negative_prompts": None,
    "hr_extra_network_data": None,
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
    "initial_noise_multiplier": None,
}
_IMG2IMG_RUNNING: dict[str, Any] = {
    "image_mask": None,
    "nmask": None,
    "latent_mask": None,
    "init_latent": None,
    "image_conditioning": None,
}


class ImageRNG:
    """Noise that depends on each image's own seed alone; the first call seeds torch with the last of them, too."""

    def __init__(self, shape: tuple[int, ...], seeds: list[int]) -> None:
        self.shape = shape
        self._seeds, self._last_seed = seeds, seeds[-1] if seeds else None
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def next(self) -> Tensor:
        """(images, channels, height, width); other noise at each call."""
        if self._last_seed is None:
            return self._drawn()
        torch.default_generator.manual_seed(self._last_seed)  # torch.manual_seed writes its callers down, for CUDA
        self._last_seed = None
        first, delta = self._drawn(), fake("modules.shared").opts.eta_noise_seed_delta
        if delta:
            self._generators = [torch.Generator().manual_seed(seed + delta) for seed in self._seeds]
        return first

    def _drawn(self) -> Tensor:
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

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the stand-in's {type(self).__name__} has no {name!r}")

    @property
    def sd_model(self) -> Any:
        """Whatever model is loaded now."""
        return fake("modules.shared").sd_model

    @sd_model.setter
    def sd_model(self, value: Any) -> None:
        pass

    @property
    def scripts(self) -> Any:
        """The runner of the tab's scripts. Once it and their arguments are there, the scripts' `setup` is called."""
        return self.scripts_value

    @scripts.setter
    def scripts(self, value: Any) -> None:
        self.scripts_value = value
        self._setup_if_complete()

    @property
    def script_args(self) -> Any:
        """The arguments of all scripts, after the number of the selected one: a list if the API has selected one."""
        return self.script_args_value

    @script_args.setter
    def script_args(self, value: Any) -> None:
        self.script_args_value = value
        self._setup_if_complete()

    def _setup_if_complete(self) -> None:
        if self.scripts and self.script_args and not self.scripts_setup_complete:
            self.setup_scripts()

    def save_samples(self) -> bool:
        """Whether the pictures are written to files."""
        opts, state = fake("modules.shared").opts, fake("modules.shared").state
        whole = not (state.interrupted or state.skipped)
        return bool(opts.samples_save and not self.do_not_save_samples and (opts.save_incomplete_images or whole))

    def comment(self, text: str) -> None:
        """Something to say under the picture."""
        self.comments[text] = 1

    def fill_fields_from_opts(self) -> None:
        """Take from the settings what the job leaves open."""
        opts = fake("modules.shared").opts
        for name in ("s_min_uncond", "s_churn", "s_tmin", "s_tmax", "s_noise"):
            if getattr(self, name) is None:
                setattr(self, name, getattr(opts, name))
        self.s_tmax = self.s_tmax or float("inf")

    def get_token_merging_ratio(self, for_hr: bool = False) -> float:
        """How much of the tokens is merged in a pass."""
        opts = fake("modules.shared").opts
        first: float = self.token_merging_ratio or opts.token_merging_ratio
        return (self.token_merging_ratio_hr or opts.token_merging_ratio_hr or first) if for_hr else first

    def setup_scripts(self) -> None:
        """The scripts' `setup`, once for a job and its copies."""
        self.scripts_setup_complete = True
        self.scripts.setup_scrips(self, is_ui=not self.is_api)

    def setup_prompts(self) -> None:
        """The prompts of all images."""
        count = self.batch_size * self.n_iter
        self.all_prompts = self.prompt if isinstance(self.prompt, list) else count * [self.prompt]
        negative = self.negative_prompt
        self.all_negative_prompts = negative if isinstance(negative, list) else len(self.all_prompts) * [negative]
        self.main_prompt, self.main_negative_prompt = self.all_prompts[0], self.all_negative_prompts[0]

    def parse_extra_network_prompts(self) -> None:
        """Take `<name:...>` out of the prompts of the batch."""
        self.prompts, self.extra_network_data = fake("modules.extra_networks").parse_prompts(self.prompts)

    def setup_conds(self) -> None:
        """Encode the prompts of the batch, over as many steps as the sampler is said to call the denoiser."""
        total_steps = _total_steps(self.sampler_name, self.steps)
        self.step_multiplier, self.firstpass_steps = total_steps // self.steps, total_steps
        size = (self.width, self.height)
        self.c, self.uc = _encode(self.sd_model, self.prompts, self.negative_prompts, size, (total_steps, None))

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
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        self.latent_scale_mode = shared.latent_upscale_modes.get(self.hr_upscaler or shared.latent_upscale_default_mode)
        if self.latent_scale_mode is None and self.hr_upscaler not in IMAGE_UPSCALERS:
            raise RuntimeError(f"there is no upscaler {self.hr_upscaler!r}")
        if self.hr_checkpoint_name and self.hr_checkpoint_name != "Use same checkpoint":
            self.hr_checkpoint_info = _checkpoint(self.hr_checkpoint_name)
            self.extra_generation_params["Hires checkpoint"] = self.hr_checkpoint_info.short_title
        if self.hr_sampler_name is not None and self.hr_sampler_name != self.sampler_name:
            self.extra_generation_params["Hires sampler"] = self.hr_sampler_name
        self.extra_generation_params["Hires prompt"] = _hires_prompt
        self.extra_generation_params["Hires negative prompt"] = _hires_negative_prompt
        self.extra_generation_params["Hires schedule type"] = None  # the sampler says it
        if self.hr_scheduler is None:
            self.hr_scheduler = self.scheduler
        self.calculate_target_resolution()
        if self.hr_second_pass_steps:
            self.extra_generation_params["Hires steps"] = self.hr_second_pass_steps
        self.extra_generation_params["Hires upscaler"] = self.hr_upscaler or shared.latent_upscale_default_mode
        self._refine_job_count()

    def _refine_job_count(self) -> None:
        """Two passes for each batch, unless that was said before for this request."""
        state = fake("modules.shared").state
        if state.processing_has_refined_job_count:
            return
        if state.job_count == -1:
            state.job_count = self.n_iter
        steps = self.steps + (self.hr_second_pass_steps or self.steps)
        fake("modules.shared").total_tqdm.updateTotal(steps * state.job_count)
        state.job_count, state.processing_has_refined_job_count = 2 * state.job_count, True

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

    def setup_prompts(self) -> None:
        """The prompts of all images, of both passes."""
        super().setup_prompts()
        if not self.enable_hr:
            return
        for name in ("prompt", "negative_prompt"):
            wanted = getattr(self, f"hr_{name}") or getattr(self, name)
            setattr(self, f"hr_{name}", wanted)
            every = wanted if isinstance(wanted, list) else self.batch_size * self.n_iter * [wanted]
            setattr(self, f"all_hr_{name}s", every)

    def parse_extra_network_prompts(self) -> None:
        """Take `<name:...>` out of the prompts of the batch."""
        super().parse_extra_network_prompts()
        if self.enable_hr:
            start, stop = self.iteration * self.batch_size, (self.iteration + 1) * self.batch_size
            self.hr_negative_prompts = self.all_hr_negative_prompts[start:stop]
            parsed = fake("modules.extra_networks").parse_prompts(self.all_hr_prompts[start:stop])
            self.hr_prompts, self.hr_extra_network_data = parsed

    def setup_conds(self) -> None:
        """Encode the prompts of the batch; in the second pass, where a refiner asks for it, only its own."""
        self.hr_c = self.hr_uc = None
        if self.is_hr_pass:
            self.calculate_hr_conds()
        else:
            super().setup_conds()

    def calculate_hr_conds(self) -> None:
        """Encode the prompts of the second pass, unless that is done."""
        if self.hr_c is not None:
            return
        steps = _total_steps(self.hr_sampler_name or self.sampler_name, self.hr_second_pass_steps or self.steps)
        size = (self.hr_upscale_to_x, self.hr_upscale_to_y)
        self.hr_c, self.hr_uc = _encode(
            self.sd_model, self.hr_prompts, self.hr_negative_prompts, size, (self.firstpass_steps, steps)
        )

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

    def sample_hr_pass(self, samples: Tensor) -> Any:
        """The second pass, which is decoded here; latents if the user has interrupted the first."""
        if self.hr_checkpoint_info is not None:
            fake("modules.sd_models").reload_model_weights(info=self.hr_checkpoint_info)
        if fake("modules.shared").state.interrupted:
            return samples
        self.is_hr_pass = True
        self.sampler = fake("modules.sd_samplers").create_sampler(
            self.hr_sampler_name or self.sampler_name, self.sd_model
        )
        self._save_first_pass(samples)
        samples = self._upscaled(samples)
        fake("modules.shared").state.nextjob()
        self.rng = ImageRNG(tuple(samples.shape[1:]), self.seeds)
        noise = self.rng.next()
        if not self.disable_extra_networks:
            fake("modules.extra_networks").activate(self, self.hr_extra_network_data)
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
        decoded = decode_latent_batch(self.sd_model, samples)
        self.is_hr_pass = False
        return decoded

    def _save_first_pass(self, samples: Tensor) -> None:
        opts = fake("modules.shared").opts
        if not (self.save_samples() and opts.save_images_before_highres_fix):
            return
        lists = (self.all_prompts, self.all_seeds, self.all_subseeds)
        for index, (seed, prompt) in enumerate(zip(self.seeds, self.prompts, strict=True)):
            image = fake("modules.sd_samplers").sample_to_image(samples, index, approximation=0)
            text = create_infotext(self, *lists, [], iteration=self.iteration, position_in_batch=index)
            file = {"info": text, "p": self, "suffix": "-before-highres-fix"}
            save_image(image, self.outpath_samples, "", seed, prompt, opts.samples_format, **file)

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
        if self.initial_noise_multiplier is None:
            self.initial_noise_multiplier = fake("modules.shared").opts.initial_noise_multiplier

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None:
        """Make the sampler of the whole job, and latents of images and mask."""
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        self.sampler = fake("modules.sd_samplers").create_sampler(self.sampler_name, self.sd_model)
        size = (self.width, self.height)
        latents = torch.stack([encode_image(image.convert("RGB").resize(size)) for image in self.init_images])
        self.init_latent = latents.expand(self.batch_size, -1, -1, -1) if len(latents) == 1 else latents
        if self.image_mask is not None:
            small = self.image_mask.convert("L").resize((self.width // OPT_F, self.height // OPT_F))
            anew = torch.from_numpy(np.asarray(small, dtype=np.float32) / 255).round()
            self.nmask = 1 - anew if self.inpainting_mask_invert else anew
            self.mask = 1 - self.nmask
            self.nmask, self.mask = (m.expand(latents.shape[1], -1, -1) for m in (self.nmask, self.mask))
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


class Processed:
    """What a job has made. Scripts may put anything of their own on it."""

    def __init__(
        self,
        p: Any,
        images_list: list[Any],
        seed: Any = -1,
        info: str = "",
        subseed: Any = None,
        all_prompts: list[str] | None = None,
        all_negative_prompts: list[str] | None = None,
        all_seeds: list[int] | None = None,
        all_subseeds: list[int] | None = None,
        index_of_first_image: int = 0,
        infotexts: list[str] | None = None,
        comments: str = "",
    ) -> None:
        opts = fake("modules.shared").opts
        self.images = images_list
        self.info = info
        self.comments = "".join(f"{comment}\n" for comment in p.comments)  # the argument is for nothing
        for name in (*TOLD, *TAKEN):
            setattr(self, name, getattr(p, name))
        self.image_cfg_scale = getattr(p, "image_cfg_scale", None)
        self.prompt, self.negative_prompt = _first(p.prompt), _first(p.negative_prompt)
        self.seed, self.subseed = (-1 if value is None else int(_first(value)) for value in (seed, subseed))
        firsts = (self.prompt, self.negative_prompt, self.seed, self.subseed)
        given = (all_prompts, all_negative_prompts, all_seeds, all_subseeds)
        for name, own, first in zip(LISTS, given, firsts, strict=True):
            setattr(self, name, own or getattr(p, name) or [first])
        self.infotexts = infotexts or len(images_list) * [info]
        vars(self).update(
            index_of_first_image=index_of_first_image,
            version=VERSION,
            face_restoration_model=opts.face_restoration_model if p.restore_faces else None,
            job_timestamp=fake("modules.shared").state.job_timestamp,
            clip_skip=opts.CLIP_stop_at_last_layers,
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the stand-in's Processed has no {name!r}")

    def js(self) -> str:
        """The `info` of the API's answer: the comments are not in it."""
        told = {name: getattr(self, name) for name in (*OWN, *LISTS, *TOLD)}
        told.update(prompt=self.all_prompts[0], negative_prompt=self.all_negative_prompts[0])
        return json.dumps(told, default=lambda thing: None)

    def infotext(self, p: Any, index: int) -> str:
        """The text of one image of the whole job."""
        place, batch = index % self.batch_size, index // self.batch_size
        lists = (self.all_prompts, self.all_seeds, self.all_subseeds)
        return create_infotext(p, *lists, comments=[], position_in_batch=place, iteration=batch)

    def get_token_merging_ratio(self, for_hr: bool = False) -> Any:
        """How much of the tokens was to be merged in a pass."""
        return getattr(self, f"token_merging_ratio{'_hr' if for_hr else ''}")


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


class DecodedSamples(list[Tensor]):
    """Pictures (3, height, width) from -1 to 1, which `post_sample` gets in the place of latents."""

    already_decoded = True


def decode_latent_batch(model: Any, batch: Tensor) -> DecodedSamples:
    """The pictures of latents; NansException if these are nothing but NaN."""
    fake("modules.devices").test_for_nans(batch, "unet")
    probe().sampled = batch.clone()
    return DecodedSamples(fake("modules.sd_samplers_common").decode_first_stage(model, batch))


def get_fixed_seed(seed: Any) -> Any:
    """The seed, or one by chance for -1 and for what is none."""
    if isinstance(seed, str):
        seed = int(seed) if seed.strip().lstrip("+-").isdigit() else -1
    return random.SystemRandom().randrange(SEEDS) if seed in (None, -1) else seed


def fix_seed(p: Any) -> None:
    """Give a job seeds that stay."""
    p.seed, p.subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)


def _before_every_sampling(p: Any, x: Tensor, noise: Tensor, c: Any, uc: Any) -> None:
    if p.scripts is not None:
        p.scripts.process_before_every_sampling(p=p, x=x, noise=noise, c=c, uc=uc)


def _total_steps(sampler_name: str, steps: int) -> int:
    config = fake("modules.sd_samplers").find_sampler_config(sampler_name)
    return config.total_steps(steps) if config else steps


def _encode(
    model: Any, prompts: list[str], negatives: list[str], size: tuple[int, int], steps: tuple[int, int | None]
) -> tuple[Any, Any]:
    """(positive, negative) over the steps of the first pass, and of the second if it is that one."""
    parser, (width, height) = fake("modules.prompt_parser"), size
    negative = parser.SdConditioning(negatives, is_negative_prompt=True, width=width, height=height)
    uncond = parser.get_learned_conditioning(model, negative, *steps)
    positive = parser.SdConditioning(prompts, width=width, height=height)
    return parser.get_multicond_learned_conditioning(model, positive, *steps), uncond


def _hires_prompt(p: Any, index: int, prompt_text: str, **_more: Any) -> str | None:
    return p.all_hr_prompts[index] if p.all_hr_prompts[index] != prompt_text else None


def _hires_negative_prompt(p: Any, index: int, negative_prompt: str, **_more: Any) -> str | None:
    return p.all_hr_negative_prompts[index] if p.all_hr_negative_prompts[index] != negative_prompt else None


def _checkpoint(name: str) -> Any:
    info = fake("modules.sd_models").get_closet_checkpoint_match(name)
    if info is None:
        raise RuntimeError(f"there is no checkpoint {name!r}")
    return info


def encode_image(image: Image.Image) -> Tensor:
    """(channels, height / 8, width / 8)."""
    pixels = torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1)[None] / 255
    return encode_pictures(pixels, fake("modules.shared").sd_model)[0]


def process_images(p: Any) -> Processed:
    """Work through a job. What the UNet raises goes out of here."""
    opts, models_of = fake("modules.shared").opts, fake("modules.sd_models")
    with probe().job(p):
        if p.scripts is not None:
            p.scripts.before_process(p)
        kept = {name: opts.data[name] for name in p.override_settings if name in opts.data}
        try:
            if models_of.get_closet_checkpoint_match(p.override_settings.get(CHECKPOINT)) is None:
                p.override_settings.pop(CHECKPOINT, None)
                models_of.reload_model_weights()
            for name, value in p.override_settings.items():
                opts.set(name, value, is_api=True, run_callbacks=False)
                if name == CHECKPOINT:
                    models_of.reload_model_weights()
            fake("modules.sd_samplers").fix_p_invalid_sampler_and_scheduler(p)
            return process_images_inner(p)
        finally:
            if p.override_settings_restore_afterwards:
                for name, value in kept.items():
                    setattr(opts, name, value)


@torch.no_grad()
def process_images_inner(p: Any) -> Processed:
    """The job itself, with the settings that it wants."""
    _settle(p)
    if p.scripts is not None:
        p.scripts.process(p)
    p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
    state = fake("modules.shared").state
    if state.job_count == -1:
        state.job_count = p.n_iter
    images: list[Any] = []
    infotexts: list[str] = []
    for number in range(p.n_iter):
        p.iteration = number
        state.skipped = False
        if state.interrupted or state.stopping_generation:
            break
        fake("modules.sd_models").reload_model_weights()
        _batch(p, number, images, infotexts)
    infotexts = infotexts or [Processed(p, []).infotext(p, 0)]
    first = _add_grid(p, images, infotexts)
    if not p.disable_extra_networks and p.extra_network_data:
        fake("modules.extra_networks").deactivate(p, p.extra_network_data)
    processed = Processed(
        p,
        images_list=images,
        seed=p.all_seeds[0],
        info=infotexts[0],
        subseed=p.all_subseeds[0],
        index_of_first_image=first,
        infotexts=infotexts,
    )
    if p.scripts is not None:
        p.scripts.postprocess(p, processed)
    return processed


def _settle(p: Any) -> None:
    seed, subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)
    opts = fake("modules.shared").opts
    p.restore_faces = opts.face_restoration if p.restore_faces is None else p.restore_faces
    p.tiling = opts.tiling if p.tiling is None else p.tiling
    if p.refiner_checkpoint not in NO_CHECKPOINT:
        p.refiner_checkpoint_info = _checkpoint(p.refiner_checkpoint)
    info = p.sd_model.sd_checkpoint_info
    if hasattr(p.sd_model, "fix_dimensions"):
        p.width, p.height = p.sd_model.fix_dimensions(p.width, p.height)
    p.sd_model_name, p.sd_model_hash = info.name_for_extra, info.shorthash
    p.fill_fields_from_opts()
    p.setup_prompts()
    images = range(len(p.all_prompts))
    p.all_seeds = seed if isinstance(seed, list) else [int(seed) + n * (p.subseed_strength == 0) for n in images]
    p.all_subseeds = subseed if isinstance(subseed, list) else [int(subseed) + n for n in images]


def _batch(p: Any, number: int, images: list[Any], infotexts: list[str]) -> None:
    state = fake("modules.shared").state
    start, stop = number * p.batch_size, (number + 1) * p.batch_size
    for name in ("prompts", "negative_prompts", "seeds", "subseeds"):
        setattr(p, name, getattr(p, f"all_{name}")[start:stop])
    channels = getattr(p.sd_model, "latent_channels", unets.LATENT_CHANNELS)
    p.rng = ImageRNG((channels, p.height // OPT_F, p.width // OPT_F), p.seeds)
    _before_batch(p, number)
    if p.n_iter > 1:
        state.job = f"Batch {number + 1} out of {p.n_iter}"
    samples = p.sample(
        conditioning=p.c,
        unconditional_conditioning=p.uc,
        seeds=p.seeds,
        subseeds=p.subseeds,
        subseed_strength=p.subseed_strength,
        prompts=p.prompts,
    )
    decoded = _decoded(p, samples)
    state.nextjob()
    if p.scripts is not None:
        p.scripts.postprocess_batch(p, images=torch.stack(decoded), batch_number=number)
        p.prompts, p.negative_prompts = p.all_prompts[start:stop], p.all_negative_prompts[start:stop]
        listed = fake("modules.scripts").PostprocessBatchListArgs(decoded)
        p.scripts.postprocess_batch_list(p, listed, batch_number=number)
        decoded = listed.images
    _finish_batch(p, decoded, images, infotexts)


def _before_batch(p: Any, number: int) -> None:
    batch = {"batch_number": number, "prompts": p.prompts, "seeds": p.seeds, "subseeds": p.subseeds}
    if p.scripts is not None:
        p.scripts.before_process_batch(p, **batch)
    p.parse_extra_network_prompts()
    if not p.disable_extra_networks:
        fake("modules.extra_networks").activate(p, p.extra_network_data)
    if p.scripts is not None:
        p.scripts.process_batch(p, **{**batch, "prompts": p.prompts})
    p.setup_conds()
    if number == 0:
        probe().note_params_txt(Processed(p, []).infotext(p, 0))


def _finish_batch(p: Any, decoded: list[Tensor], images: list[Any], infotexts: list[str]) -> None:
    """Pictures of (3, height, width) from 0 to 1, in files if that is wanted."""
    opts, is_saved = fake("modules.shared").opts, p.save_samples()
    for index, pixels in enumerate(decoded):
        p.batch_index = index
        image = _finished(p, pixels)
        if is_saved:
            text, kind = _text_in_batch(p, index), opts.samples_format
            save_image(image, p.outpath_samples, "", p.seeds[index], p.prompts[index], kind, info=text, p=p)
        images.append(image)
        infotexts.append(_text_in_batch(p, index))
        if opts.enable_pnginfo:
            image.info["parameters"] = infotexts[-1]


def _text_in_batch(p: Any, index: int = 0, *, use_main_prompt: bool = False) -> str:
    lists = (p.prompts, p.seeds, p.subseeds)
    of_image = {"index": index, "use_main_prompt": use_main_prompt, "all_negative_prompts": p.negative_prompts}
    return create_infotext(p, *lists, **of_image)


def _decoded(p: Any, samples: Any) -> list[Tensor]:
    """Pictures (3, height, width) from 0 to 1 of what `sample` gave, after the scripts' `post_sample`."""
    if p.scripts is not None:
        sampled = fake("modules.scripts").PostSampleArgs(samples)
        p.scripts.post_sample(p, sampled)
        samples = sampled.samples
    if not getattr(samples, "already_decoded", False):
        samples = decode_latent_batch(p.sd_model, samples)
    probe().note("latents", probe().sampled)
    return [(picture * 0.5 + 0.5).clamp(0, 1) for picture in samples]


def _finished(p: Any, pixels: Tensor) -> Image.Image:
    image = from_tensor(pixels)
    if p.scripts is None:
        return image
    finished = fake("modules.scripts").PostprocessImageArgs(image)
    p.scripts.postprocess_image(p, finished)
    overlay = fake("modules.scripts").PostProcessMaskOverlayArgs(p.batch_index, None, None)
    p.scripts.postprocess_maskoverlay(p, overlay)
    composed = fake("modules.scripts").PostprocessImageArgs(finished.image)
    p.scripts.postprocess_image_after_composite(p, composed)
    result: Image.Image = composed.image
    return result


def _add_grid(p: Any, images: list[Any], infotexts: list[str]) -> int:
    """Put a grid of the images before them, if the settings and the job want it; the index of the first image."""
    opts = fake("modules.shared").opts
    too_few = len(images) < 2 and opts.grid_only_if_multiple
    if p.do_not_save_grid or too_few or not (opts.return_grid or opts.grid_save):
        return 0
    grid, text = image_grid(images, p.batch_size), _text_in_batch(p, use_main_prompt=True)
    if opts.return_grid:
        infotexts.insert(0, text)
        images.insert(0, grid)
        if opts.enable_pnginfo:
            grid.info["parameters"] = text
    if opts.grid_save:
        short = not opts.grid_extended_filename
        of_job = (p.all_seeds[0], p.all_prompts[0], opts.grid_format)
        save_image(grid, p.outpath_grids, "grid", *of_job, info=text, short_filename=short, p=p, grid=True)
    return int(opts.return_grid)


def processing_module() -> StrictModule:
    """`modules.processing`."""
    return StrictModule(
        "modules.processing",
        Processed=Processed,
        StableDiffusionProcessing=StableDiffusionProcessing,
        StableDiffusionProcessingImg2Img=StableDiffusionProcessingImg2Img,
        StableDiffusionProcessingTxt2Img=StableDiffusionProcessingTxt2Img,
        create_infotext=create_infotext,
        fix_seed=fix_seed,
        get_fixed_seed=get_fixed_seed,
        opt_C=unets.LATENT_CHANNELS,
        opt_f=OPT_F,
        process_images=process_images,
        process_images_inner=process_images_inner,
        program_version=lambda: VERSION,
    )
