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

from tests import models
from tests.webui.standin.probe import probe
from tests.webui.standin.strict import Strict, StrictModule, fake

WORDS_PER_CHUNK = 75
TOKENS_PER_CHUNK = 77


@dataclass(frozen=True)
class Recipe:
    """How a checkpoint is made. Checkpoints with the same `layout` reload in place."""

    build: Callable[[], nn.Module]
    layout: str
    version: str
    parameterization: str = "eps"
    inpainting: bool = False


class Transformer(nn.Module):
    """A model without `input_blocks`, as SD3 is."""

    def __init__(self) -> None:
        super().__init__()
        self.x_embedder = nn.Conv2d(models.LATENT_CHANNELS, models.LATENT_CHANNELS, 1)

    def forward(self, x: Tensor, timesteps: Tensor, context: Any = None) -> Tensor:
        """One evaluation."""
        result: Tensor = self.x_embedder(x)
        return result


def _transformer() -> nn.Module:
    torch_state = torch.get_rng_state()
    unet = Transformer().eval().requires_grad_(False)
    torch.set_rng_state(torch_state)
    models.redraw(unet, 0)
    return unet


RECIPES = {
    "sd1": Recipe(models.sd1_unet, "sd1", "sd1"),
    "sd1-other": Recipe(partial(models.sd1_unet, 7), "sd1", "sd1"),
    "sd1-inpaint": Recipe(partial(models.sd1_unet, 8, in_channels=9), "sd1-inpaint", "sd1", inpainting=True),
    "sd2": Recipe(partial(models.sd2_unet, 9), "sd2", "sd2"),
    "sd2-v": Recipe(partial(models.sd2_unet, 10), "sd2-v", "sd2", parameterization="v"),
    "sdxl": Recipe(models.sdxl_unet, "sdxl", "sdxl"),
    "sdxl-other": Recipe(partial(models.sdxl_unet, 7), "sdxl", "sdxl"),
    "sdxl-turbo": Recipe(partial(models.sdxl_unet, 11), "sdxl", "sdxl"),
    "sdxl-inpaint": Recipe(partial(models.sdxl_unet, 12, in_channels=9), "sdxl-inpaint", "sdxl", inpainting=True),
    "sdxl-refiner": Recipe(models.refiner_unet, "sdxl-refiner", "sdxl"),
    "dit": Recipe(_transformer, "dit", "sd3"),
}


class CheckpointInfo(Strict):
    """A checkpoint file, as the host lists it."""

    def __init__(self, name: str, recipe: Recipe) -> None:
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        super().__init__(
            "CheckpointInfo",
            filename=f"/webui/models/Stable-diffusion/{name}.safetensors",
            name=f"{name}.safetensors",
            name_for_extra=name,
            model_name=name,
            hash=sha256[10:18],
            sha256=sha256,
            shorthash=sha256[:10],
            title=f"{name}.safetensors [{sha256[:10]}]",
            short_title=f"{name} [{sha256[:10]}]",
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
        depths = [len(m.transformer_blocks) for m in self.diffusion_model.modules() if hasattr(m, "transformer_blocks")]
        return probe().spoil(self.diffusion_model(x, t, context=c_crossattn * max(depths, default=1)))


class StableDiffusionModel(nn.Module):
    """`shared.sd_model`: a UNet, its schedule, its text encoder and its (crude) VAE."""

    def __init__(self, info: CheckpointInfo, unet: nn.Module) -> None:
        super().__init__()
        recipe = info._recipe
        self.model = DiffusionWrapper(unet, recipe.inpainting)
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.register_buffer("alphas_cumprod", torch.cumprod(1 - betas, 0).float())
        self.num_timesteps = 1000
        self.parameterization = recipe.parameterization
        self.latent_channels = models.LATENT_CHANNELS
        self.lowvram = False
        self.device = torch.device("cpu")
        self.is_sd1, self.is_sd2, self.is_sdxl, self.is_sd3 = (
            recipe.version == version for version in ("sd1", "sd2", "sdxl", "sd3")
        )
        self.is_ssd = False
        self.is_sdxl_inpaint = self.is_sdxl and recipe.inpainting
        self.name_as(info)

    def name_as(self, info: CheckpointInfo) -> None:
        """Bear the checkpoint's names."""
        self.sd_checkpoint_info = info
        self.sd_model_checkpoint = info.filename
        self.sd_model_hash = info.hash

    def apply_model(self, x: Tensor, t: Tensor, cond: dict[str, list[Tensor]]) -> Tensor:
        """The UNet's prediction (noise, or v)."""
        answer: Tensor = self.model(x, t, **cond)
        return answer

    def get_learned_conditioning(self, texts: list[str]) -> Tensor | DictWithShape:
        """(texts, tokens, width); a text beyond 75 words takes a second chunk of tokens."""
        longest = max(len(text.split()) for text in texts)
        chunks = max(1, -(-longest // WORDS_PER_CHUNK))
        encoded = torch.stack([_encode(text, chunks * TOKENS_PER_CHUNK) for text in texts])
        return DictWithShape(crossattn=encoded, vector=encoded[:, 0]) if self.is_sdxl else encoded


def _encode(text: str, tokens: int) -> Tensor:
    seed = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
    return models.contexts(1, seed, tokens)[0]


class Checkpoints:
    """The checkpoint files of a host and the loading of them."""

    def __init__(self, model_loaded: Callable[[StableDiffusionModel], Any]) -> None:
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
        exact = [i for i in self.listed.values() if text in (i.title, i.name, i.model_name, i.shorthash, i.short_title)]
        return exact[0] if exact else None

    def selected(self) -> CheckpointInfo:
        """The checkpoint of the settings."""
        info = self.find(fake("modules.shared").opts.sd_model_checkpoint)
        if info is None:
            raise RuntimeError("no checkpoint is selected")
        return info

    def load(self, info: CheckpointInfo) -> StableDiffusionModel:
        """A new model object."""
        model = StableDiffusionModel(info, copy.deepcopy(self._unet(info))).eval()
        fake("modules.shared").sd_model = model
        replace_attention()
        self._model_loaded(model)
        return model

    def reload(self, sd_model: Any = None, info: CheckpointInfo | None = None) -> StableDiffusionModel:
        """`reload_model_weights`: nothing, or in place with strict=False, or a new object for another layout."""
        info = info or self.selected()
        model: StableDiffusionModel = sd_model or fake("modules.shared").sd_model
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
    def sd_model(self) -> StableDiffusionModel | None:
        """The loaded model."""
        loaded: StableDiffusionModel | None = fake("modules.shared").sd_model
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
