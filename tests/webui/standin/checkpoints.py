"""Small checkpoints in the layouts of the real ones, and `modules.sd_models`, `sd_unet` and `devices`."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from ldm.modules import attention
from torch import Tensor, nn
from torch.nn import functional

from tests import unets
from tests.webui.standin import kdiff
from tests.webui.standin.probe import probe
from tests.webui.standin.strict import Strict, StrictModule, fake

WORDS_PER_CHUNK = 75
TOKENS_PER_CHUNK = 77
OPT_F = 8
FLOW_CHANNELS = 16
FLOW_SHIFT = 3.0


@dataclass(frozen=True)
class Recipe:
    """How a checkpoint is made. Checkpoints with the same `layout` reload in place."""

    build: Callable[[], nn.Module]
    layout: str
    version: str
    parameterization: str = "eps"
    inpainting: bool = False
    flow: bool = False


class Transformer(nn.Module):
    """A model without `input_blocks`, as SD3 is."""

    def __init__(self, channels: int = unets.LATENT_CHANNELS) -> None:
        super().__init__()
        self.x_embedder = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, timesteps: Tensor, context: Any = None) -> Tensor:
        """One evaluation."""
        result: Tensor = self.x_embedder(x)
        return result


def _transformer(channels: int = unets.LATENT_CHANNELS) -> nn.Module:
    torch_state = torch.get_rng_state()
    unet = Transformer(channels).eval().requires_grad_(False)
    torch.set_rng_state(torch_state)
    unets.redraw(unet, 0)
    return unet


RECIPES = {
    "sd1": Recipe(unets.sd1_unet, "sd1", "sd1"),
    "sd1-other": Recipe(partial(unets.sd1_unet, 7), "sd1", "sd1"),
    "sd1-inpaint": Recipe(partial(unets.sd1_unet, 8, in_channels=9), "sd1-inpaint", "sd1", inpainting=True),
    "bk-sdm": Recipe(unets.bk_sdm_unet, "bk-sdm", "sd1"),
    "sd2": Recipe(partial(unets.sd2_unet, 9), "sd2", "sd2"),
    "sd2-v": Recipe(partial(unets.sd2_unet, 10), "sd2-v", "sd2", parameterization="v"),
    "sdxl": Recipe(unets.sdxl_unet, "sdxl", "sdxl"),
    "sdxl-other": Recipe(partial(unets.sdxl_unet, 7), "sdxl", "sdxl"),
    "sdxl-turbo": Recipe(partial(unets.sdxl_unet, 11), "sdxl", "sdxl"),
    "sdxl-inpaint": Recipe(partial(unets.sdxl_unet, 12, in_channels=9), "sdxl-inpaint", "sdxl", inpainting=True),
    "sdxl-refiner": Recipe(unets.refiner_unet, "sdxl-refiner", "sdxl"),
    "dit": Recipe(_transformer, "dit", "sd3"),
    "sd3": Recipe(partial(_transformer, FLOW_CHANNELS), "sd3", "sd3", flow=True),
}


class CheckpointInfo(Strict):
    """A checkpoint file, as the host lists it."""

    def __init__(self, name: str, recipe: Recipe) -> None:
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        short = name.rpartition("/")[2]
        super().__init__(
            "CheckpointInfo",
            filename=f"/webui/models/Stable-diffusion/{name}.safetensors",
            name=f"{name}.safetensors",
            name_for_extra=short,
            model_name=name.replace("/", "_"),
            hash=sha256[10:18],
            sha256=sha256,
            shorthash=sha256[:10],
            title=f"{name}.safetensors [{sha256[:10]}]",
            short_title=f"{short} [{sha256[:10]}]",
            metadata={},
            _recipe=recipe,
        )


class DictWithShape(dict[str, Tensor]):
    """SDXL's conditioning: the text and the sizes; its shape is the text's."""

    @property
    def shape(self) -> torch.Size:
        """The shape of the text part."""
        return self["crossattn"].shape


class DiffusionWrapper(nn.Module):
    """What holds the UNet: puts inpainting channels and text where it expects them."""

    def __init__(self, unet: nn.Module, inpainting: bool) -> None:
        super().__init__()
        self.diffusion_model = unet
        self.conditioning_key = "hybrid" if inpainting else "crossattn"

    def forward(self, x: Tensor, t: Tensor, c_concat: list[Tensor], c_crossattn: list[Tensor]) -> Tensor:
        """One evaluation, by `sd_unet.current_unet` if there is one."""
        if self.conditioning_key == "hybrid":
            x = torch.cat([x, *c_concat], dim=1)
        replacement = fake("modules.sd_unet").current_unet
        if replacement is not None:
            answer: Tensor = replacement.forward(x, t, c_crossattn[0])
            return answer
        probe().note_call(x, t)
        return probe().spoil(self.diffusion_model(x, t, context=c_crossattn * unets.DEEPEST))


class LoadedModel(nn.Module):
    """What every `shared.sd_model` has: a UNet, its text encoder, and what kind of model it is."""

    parameterization = "eps"
    cond_stage_key = "txt"
    lowvram = False

    def __init__(self, info: CheckpointInfo, unet: nn.Module) -> None:
        super().__init__()
        version = info._recipe.version
        self.model = DiffusionWrapper(unet, info._recipe.inpainting)
        self.device = torch.device("cpu")
        self.is_sd1, self.is_sd2, self.is_sd3 = (version == name for name in ("sd1", "sd2", "sd3"))
        self.is_sdxl, self.is_ssd = version in ("sdxl", "ssd"), version == "ssd"
        self.is_sdxl_inpaint = self.is_sdxl and info._recipe.inpainting
        self.cond_stage_model_empty_prompt = _encode("", TOKENS_PER_CHUNK)[None]
        self.name_as(info)

    def name_as(self, info: CheckpointInfo) -> None:
        """Bear the checkpoint's names."""
        self.sd_checkpoint_info = info
        self.sd_model_checkpoint = info.filename
        self.sd_model_hash = info.shorthash

    def get_learned_conditioning(self, texts: list[str]) -> Tensor | DictWithShape:
        """(texts, tokens, width); a text beyond 75 words takes a second chunk of tokens."""
        longest = max(len(text.split()) for text in texts)
        chunks = max(1, -(-longest // WORDS_PER_CHUNK))
        encoded = torch.stack([_encode(text, chunks * TOKENS_PER_CHUNK) for text in texts])
        sized = self.is_sdxl or self.is_sd3
        return DictWithShape(crossattn=encoded, vector=encoded[:, 0]) if sized else encoded


class StableDiffusionModel(LoadedModel):
    """A model of SD1, SD2 or SDXL, with the schedule that they share."""

    def __init__(self, info: CheckpointInfo, unet: nn.Module) -> None:
        super().__init__(info, unet)
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.register_buffer("alphas_cumprod", torch.cumprod(1 - betas, 0).float())
        self.num_timesteps = 1000
        self.parameterization = info._recipe.parameterization
        self.latent_channels = unets.LATENT_CHANNELS

    def apply_model(self, x: Tensor, t: Tensor, cond: dict[str, list[Tensor]]) -> Tensor:
        """The UNet's prediction (noise, or v)."""
        return _prediction(self, x, t, cond)


def _prediction(model: Any, x: Tensor, t: Tensor, cond: dict[str, Any]) -> Tensor:
    """What the UNet answers; SDXL's text comes beside its sizes, others' alone."""
    text = [cond["crossattn"]] if "crossattn" in cond else cond["c_crossattn"]
    answer: Tensor = model.model(x, t, cond["c_concat"], text)
    return answer


class FlowDenoiser(kdiff.external.DiscreteSchedule):
    """A flow model as a function of sigma, which runs from 0 to 1."""

    def __init__(self, model: Any, sigmas: Tensor) -> None:
        super().__init__(sigmas, quantize=False)
        self.inner_model = model

    def forward(self, x: Tensor, sigma: Tensor, **kwargs: Any) -> Tensor:
        """The denoised image."""
        answer: Tensor = self.inner_model.apply_model(x, sigma, **kwargs)
        return answer


class FlowModel(LoadedModel):
    """A model of SD3: it makes its own denoiser and adds noise in its own way.

    As in the host it does have `alphas_cumprod` and the parameterization "eps": only `is_sd3`, `create_denoiser`
    and `add_noise_to_latent` tell it from the others.
    """

    def __init__(self, info: CheckpointInfo, unet: nn.Module) -> None:
        super().__init__(info, unet)
        places = torch.arange(1, 1001) / 1000
        self.register_buffer("_sigmas", FLOW_SHIFT * places / (1 + (FLOW_SHIFT - 1) * places))
        self.alphas_cumprod = 1 / (self._sigmas**2 + 1)
        self.latent_channels = FLOW_CHANNELS

    def apply_model(self, x: Tensor, t: Tensor, cond: dict[str, list[Tensor]]) -> Tensor:
        """The denoised image; `t` is sigma."""
        answer: Tensor = x - _prediction(self, x, t * 1000, cond) * t.view(-1, 1, 1, 1)
        return answer

    def create_denoiser(self) -> FlowDenoiser:
        """What the samplers take instead of their own."""
        return FlowDenoiser(self, self._sigmas)

    def add_noise_to_latent(self, x: Tensor, noise: Tensor, amount: Tensor) -> Tensor:
        """A mixture of both."""
        return x * (1 - amount) + noise * amount

    def fix_dimensions(self, width: int, height: int) -> tuple[int, int]:
        """Multiples of 16."""
        return width // 16 * 16, height // 16 * 16


def encode_pictures(pictures: Tensor, model: Any) -> Tensor:
    """A crude VAE: latents of (images, 3, height, width) from 0 to 1, from the mean colours."""
    colours = functional.avg_pool2d(pictures.float(), OPT_F) * 2 - 1
    mean = colours.mean(1, keepdim=True)
    return torch.cat([colours, mean.expand(-1, model.latent_channels - 3, -1, -1)], dim=1)


def decode_latents(latents: Tensor, pixels: int = OPT_F) -> Tensor:
    """The same VAE's way back: (images, 3, pixels * height, pixels * width), from -1 to 1 if the latents are."""
    return functional.interpolate(latents[:, :3].float(), scale_factor=pixels, mode="nearest")


def _encode(text: str, tokens: int) -> Tensor:
    seed = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
    return unets.contexts(1, seed, tokens)[0]


class Checkpoints:
    """The checkpoint files of a host and the loading of them."""

    def __init__(self, model_loaded: Callable[[LoadedModel], Any]) -> None:
        self.recipes = dict(RECIPES)
        self.listed: dict[str, CheckpointInfo] = {}
        self._model_loaded = model_loaded
        for name, recipe in RECIPES.items():
            self._list(name, recipe)

    def add(self, name: str, like: str, build: Callable[[], nn.Module] | None = None) -> CheckpointInfo:
        """A checkpoint under a name of the test's choosing; `build` makes its UNet."""
        recipe = self.recipes[like]
        return self._list(name, recipe if build is None else replace(recipe, build=build))

    def _list(self, name: str, recipe: Recipe) -> CheckpointInfo:
        self.recipes[name] = recipe
        info = CheckpointInfo(name, recipe)
        self.listed[info.title] = info
        return info

    def find(self, text: str | None) -> CheckpointInfo | None:
        """The checkpoint of that title, name or hash."""
        names = ("title", "name", "model_name", "name_for_extra", "shorthash", "short_title")
        exact = [info for info in self.listed.values() if text in (getattr(info, name) for name in names)]
        return exact[0] if exact else None

    def titles(self, use_short: bool = False) -> list[str]:
        """What users choose from."""
        return [info.short_title if use_short else info.title for info in self.listed.values()]

    def selected(self) -> CheckpointInfo:
        """The checkpoint of the settings."""
        info = self.find(fake("modules.shared").opts.sd_model_checkpoint)
        if info is None:
            raise RuntimeError("no checkpoint is selected")
        return info

    def load(self, info: CheckpointInfo) -> LoadedModel:
        """A new model object."""
        kind = FlowModel if info._recipe.flow else StableDiffusionModel
        model = kind(info, copy.deepcopy(self._unet(info))).eval()
        fake("modules.shared").sd_model = model
        replace_attention()
        self._model_loaded(model)
        return model

    def reload(self, sd_model: Any = None, info: CheckpointInfo | None = None) -> LoadedModel:
        """`reload_model_weights`: nothing, or in place with strict=False, or a new object for another layout."""
        info = info or self.selected()
        model: LoadedModel = sd_model or fake("modules.shared").sd_model
        loaded = model.sd_checkpoint_info
        if loaded.title == info.title:
            return model
        if loaded._recipe.layout != info._recipe.layout:
            return self.load(info)
        model.model.load_state_dict(
            {f"diffusion_model.{k}": v for k, v in self._unet(info).state_dict().items()}, False
        )
        model.name_as(info)
        replace_attention()
        self._model_loaded(model)
        return model

    def _unet(self, info: CheckpointInfo) -> nn.Module:
        return _built(info._recipe.build)


@cache
def _built(build: Callable[[], nn.Module]) -> nn.Module:
    """A UNet that is only read: models are copies of it."""
    return build()


_attention_forward = attention.CrossAttention.forward


def replace_attention() -> None:
    """What loading a model does: a new `CrossAttention.forward` on the class."""

    def forward(self: Any, x: Tensor, context: Any = None, mask: Any = None, **_more: Any) -> Tensor:
        answer: Tensor = _attention_forward(self, x, context=context, mask=mask)
        return answer

    attention.CrossAttention.forward = forward


@contextmanager
def attention_restored() -> Iterator[None]:
    """Give the class its own forward back at the end."""
    try:
        yield
    finally:
        attention.CrossAttention.forward = _attention_forward


class NansException(Exception):  # noqa: N818 (the host's name)
    """The UNet gave nothing but NaN."""


def test_for_nans(x: Tensor, where: str) -> None:
    """Raise NansException if there is nothing but NaN."""
    if not fake("modules.shared").cmd_opts.disable_nan_check and bool(torch.isnan(x).all()):
        raise NansException(f"there is nothing but NaN in the {where}")


test_for_nans.__test__ = False  # type: ignore[attr-defined]  # no test of ours, the host's name


class ModelData(Strict):
    """`sd_models.model_data`: the loaded model, or None; asking loads nothing."""

    def __init__(self) -> None:
        super().__init__("sd_models.model_data")

    @property
    def sd_model(self) -> LoadedModel | None:
        """The loaded model."""
        loaded: LoadedModel | None = fake("modules.shared").sd_model
        return loaded


def model_modules(checkpoints: Checkpoints) -> list[StrictModule]:
    """`modules.sd_models`, `modules.sd_unet` and `modules.devices`."""

    def reload_model_weights(sd_model: Any = None, info: Any = None, forced_reload: bool = False) -> Any:
        return checkpoints.reload(sd_model, info)

    cpu, single = torch.device("cpu"), torch.float32
    return [
        StrictModule(
            "modules.sd_models",
            CheckpointInfo=CheckpointInfo,
            checkpoint_tiles=checkpoints.titles,
            checkpoints_list=checkpoints.listed,
            model_data=ModelData(),
            get_closet_checkpoint_match=checkpoints.find,
            reload_model_weights=reload_model_weights,
            select_checkpoint=checkpoints.selected,
        ),
        StrictModule("modules.sd_unet", current_unet=None, current_unet_option=None, unet_options=[]),
        StrictModule(
            "modules.devices",
            NansException=NansException,
            autocast=lambda disable=False: nullcontext(),
            without_autocast=lambda disable=False: nullcontext(),
            cpu=cpu,
            device=cpu,
            dtype=single,
            dtype_unet=single,
            dtype_vae=single,
            dtype_inference=single,
            fp8=False,
            get_optimal_device=lambda: cpu,
            test_for_nans=test_for_nans,
            torch_gc=lambda: None,
            unet_needs_upcast=False,
        ),
    ]
