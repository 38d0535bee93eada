"""The other extensions: where each comes from, and the request that switches it on."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tests.live.client import encoded, get, get_from_root
from tests.live_neighbours.weights import HEADS, MOTION, WIDE, image_embedding

SD15, XL, INPAINTING = f"{HEADS}.safetensors", "tiny-sdxl.safetensors", "tiny-sd15-inpainting.safetensors"
SIDE = 192
BOTH, THEIRS, REFUSED = "both act", "theirs alone", "refused"
"""What may become of ours and theirs together; unless both act, a sentence in the log or in the answer names them."""


@dataclass(frozen=True)
class Neighbour:
    """An extension in one of its modes.

    `sign` begins the title of its script; `scripts` are what a request says of it. `fields` and `settings` are those
    that it needs besides; `odd` is a size that it can have by itself. `outcome` says what becomes of it beside a
    method, where that is not that both act, by the name of the situation.
    """

    repository: str
    sign: str
    scripts: Callable[[], Mapping[str, Any]] = dict
    fields: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str = SD15
    outcome: Callable[[str], str] = lambda _: BOTH
    size: tuple[int, int] = (SIDE, SIDE)
    odd: tuple[int, int] = (200, 136)

    def missing(self) -> str | None:
        """How to install it, if it is not."""
        titles = [title for tab in get("scripts").values() for title in tab]
        if any(title.startswith(self.sign) for title in titles):
            return None
        address, commit = f"https://github.com/{self.repository}", COMMITS[self.repository]
        return f"Install {address} in this WebUI (tried: {commit}), and see tests/live_neighbours/weights.py."


def args(title: str, *values: Any) -> Callable[[], Mapping[str, Any]]:
    """The always-on script with these arguments."""
    return lambda: {title: {"args": list(values)}}


@cache
def picture() -> str:
    """A drawing as an encoded PNG."""
    image = Image.new("RGB", (SIDE, SIDE), (30, 60, 90))
    draw = ImageDraw.Draw(image)
    draw.ellipse((30, 40, 130, 150), fill=(220, 170, 60))
    draw.rectangle((96, 24, 175, 65), fill=(200, 40, 120))
    return encoded(np.asarray(image))


def unit(model: str | None, module: str = "none", **values: Any) -> Callable[[], Mapping[str, Any]]:
    """A unit of ControlNet with the model whose name begins so."""

    def scripts() -> Mapping[str, Any]:
        names = get_from_root("controlnet/model_list")["model_list"] if model else ["None"]
        name = next((found for found in names if found.startswith(model or "")), None)
        assert name, f"python -m tests.live_neighbours.weights WEBUI makes {model}"
        given = {"enabled": True, "resize_mode": "Crop and Resize", "model": name, "module": module}
        return {"controlnet": {"args": [given | {"image": picture()} | values]}}

    return scripts


def ip_adapter(**values: Any) -> Callable[[], Mapping[str, Any]]:
    """IP-Adapter with an embedding in the place of an image, which would need CLIP's weights."""

    def scripts() -> Mapping[str, Any]:
        embedding = base64.b64encode(image_embedding()).decode()
        return unit("tiny_ip-adapter_sd15", "ip-adapter_clip_h", image=None, ipadapter_input=[embedding], **values)()

    return scripts


@cache
def half() -> str:
    """A mask of the left half."""
    image = Image.new("RGB", (SIDE, SIDE), "black")
    ImageDraw.Draw(image).rectangle((0, 0, SIDE // 2, SIDE), fill="white")
    return encoded(np.asarray(image))


def tiled(method: str) -> Callable[[], Mapping[str, Any]]:
    """Tiles of 16x16 latent pixels (128x128), with 8 in common."""
    tiles = [True, method, False, True, 1024, 1024, 16, 16, 8, 4]
    return args("tiled diffusion", *tiles, "None", 2.0, False, 10, 1, 1, 64, False, False, False, False)


def incantations(**changed: Any) -> Callable[[], Mapping[str, Any]]:
    """All 38 arguments, with some changed by their number: `_12=True` switches PAG on."""
    semantic = [False, 11.0, 0, 150, False, 1.0, 0.8, 3.0, 0.0, 0, 150, 4]
    perturbed = [False, 0, 0, 150, False, "Constant", 0, 100, False]
    others = [False, False, 2, 0.1, 0.5, 0.0, "", 0.0, 25, 1, False, False, False, "BREAK", "-", 0.2, 10]
    values = [*semantic, *perturbed, *others]
    for name, value in changed.items():
        values[int(name[1:])] = value
    return args("incantations", *values)


def regional(mode: str) -> Callable[[], Mapping[str, Any]]:
    """Two columns; BREAK in the prompt is between their texts."""
    columns = [True, False, "Matrix", "Columns", "Mask", "Prompt", "1,1", "0.2", False, False, False, mode]
    return args("regional prompter", *columns, [], "0", "0", "0.4", None, "0", "0", False)


@cache
def dynamic_prompts() -> str:
    """The title of its script, which has a version."""
    return next(
        (title for title in get("scripts")["txt2img"] if title.startswith("dynamic prompts")), "dynamic prompts"
    )


def drawn() -> Mapping[str, Any]:
    """A word of each brace is drawn by the seed."""
    chosen = [True, False, 1, False, False, False, 1.1, 1.5, 100, 0.7, False, False, True, False, False, 0, "", ""]
    return {dynamic_prompts(): {"args": chosen}}


def silenced() -> Mapping[str, Any]:
    """All of them switched off: some act unless a request switches them off, others after any infotext.

    ControlNet needs no switching off, and its units in a request make AnimateDiff fail.
    """
    own_way = ("controlnet", "DeepCache", "animatediff")
    titles = [title for title in get("scripts")["txt2img"] if title.startswith(SIGNS) and not title.startswith(own_way)]
    return (
        {title: {"args": [False]} for title in titles}
        | {"animatediff": {"args": [{"enable": False}]}}
        | incantations()()
    )


def animated() -> Mapping[str, Any]:
    """Three frames at once."""
    return {
        "animatediff": {
            "args": [{"enable": True, "model": MOTION, "video_length": 3, "batch_size": 3, "format": ["PNG"]}]
        }
    }


CONTROLNET = "Mikubill/sd-webui-controlnet"
TILES = "pkuliyi2015/multidiffusion-upscaler-for-automatic1111"
INCANTATIONS = "v0xie/sd-webui-incantations"
REGIONS = {"prompt": "a cat BREAK a red dog"}
FREEU = (
    True,
    0,
    1,
    0,
    "Version 2",
    1.2,
    0.9,
    0.0,
    0.5,
    0.0,
    1.0,
    1.4,
    0.2,
    0.0,
    0.5,
    0.0,
    1.0,
    1.4,
    0.5,
    0.0,
    0.5,
    0.0,
    1.0,
)
DETAILS = {
    "ad_model": "tiny_detector.pt",
    "ad_confidence": 0.05,
    "ad_mask_k": 1,
    "ad_denoising_strength": 0.6,
    "ad_inpaint_only_masked": True,
    "ad_use_inpaint_width_height": True,
    "ad_inpaint_width": SIDE,
    "ad_inpaint_height": SIDE,
}
MIMIC = (True, 5.0, 90.0, "Constant", 0.0, "Constant", 0.0, 4.0, True, "MEAN", "AD", 1.0)
NO_CACHE = {"deepcache_enable_pass": "disable"}
CACHE = {
    "deepcache_enable_pass": "both passes",
    "deepcache_cache_resnet_level": 0,
    "deepcache_cache_enable_step_percentage": 0.0,
    "deepcache_full_run_step_rate": 2,
}


def read_in_the_middle(situation: str) -> str:
    """Windows act beside one who reads the middle block's map, and nothing of Deep Shrink."""
    return THEIRS if situation.startswith("Deep Shrink") else BOTH


def only_halved(situation: str) -> str:
    """Deep Shrink may halve feature maps, which needs even sides."""
    return THEIRS if situation == "Deep Shrink, odd size" else BOTH


def switched_off_in_the_second(situation: str) -> str:
    """It holds the sizes of the first pass, and is off in the second, where ours acts."""
    return BOTH if situation == "hires fix" else THEIRS


def holding_the_first_size(situation: str) -> str:
    """Deep Shrink's sizes change from step to step, and it holds those of the first one."""
    return REFUSED if situation.startswith("Deep Shrink") else switched_off_in_the_second(situation)


def always(outcome: str) -> Callable[[str], str]:
    """The same in every situation with a method."""
    return lambda _: outcome


NEIGHBOURS = {
    "ControlNet": Neighbour(CONTROLNET, "controlnet", unit("tiny_controlnet_sd15")),
    "ControlNet, more important": Neighbour(
        CONTROLNET, "controlnet", unit("tiny_controlnet_sd15", control_mode="ControlNet is more important")
    ),
    "ControlNet, SDXL": Neighbour(CONTROLNET, "controlnet", unit("tiny_controlnet_sdxl"), checkpoint=XL),
    "ControlNet, inpainting checkpoint": Neighbour(
        CONTROLNET,
        "controlnet",
        unit("tiny_controlnet_sd15"),
        {"hr_upscaler": "Lanczos"},  # the WebUI itself cannot enlarge latents for such a checkpoint
        checkpoint=INPAINTING,
        outcome=always(THEIRS),
    ),
    "T2I-Adapter": Neighbour(CONTROLNET, "controlnet", unit("tiny_t2iadapter_sd15")),
    "IP-Adapter": Neighbour(CONTROLNET, "controlnet", ip_adapter()),
    "IP-Adapter with a mask": Neighbour(
        CONTROLNET, "controlnet", ip_adapter(effective_region_mask=half()), size=(128, 128), odd=(192, 128)
    ),
    "LLLite": Neighbour(CONTROLNET, "controlnet", unit("tiny_lllite_sd15"), outcome=switched_off_in_the_second),
    "LLLite, SDXL": Neighbour(
        CONTROLNET, "controlnet", unit("tiny_lllite_sdxl"), checkpoint=XL, outcome=holding_the_first_size
    ),
    "reference": Neighbour(CONTROLNET, "controlnet", unit(None, "reference_only", threshold_a=0.5)),
    "AnimateDiff": Neighbour("continue-revolution/sd-webui-animatediff", "animatediff", animated),
    "ADetailer": Neighbour("Bing-su/adetailer", "adetailer", args("adetailer", True, False, DETAILS)),
    "MultiDiffusion": Neighbour(TILES, "tiled diffusion", tiled("MultiDiffusion")),
    "Mixture of Diffusers": Neighbour(TILES, "tiled diffusion", tiled("Mixture of Diffusers")),
    "Tiled VAE": Neighbour(
        TILES, "tiled vae", args("tiled vae", True, 256, 16, True, True, True, False), size=(320, 320), odd=(328, 320)
    ),
    "Regional Prompter": Neighbour(
        "hako-mikan/sd-webui-regional-prompter",
        "regional prompter",
        regional("Attention"),
        REGIONS,
        outcome=only_halved,
    ),
    "Regional Prompter, latent": Neighbour(
        "hako-mikan/sd-webui-regional-prompter", "regional prompter", regional("Latent"), REGIONS
    ),
    "SAG": Neighbour(
        "ashen-sensored/sd_webui_SAG",
        "self attention guidance",
        args("self attention guidance", True, 0.75, 1.0),
        outcome=read_in_the_middle,
    ),
    "PAG": Neighbour(INCANTATIONS, "incantations", incantations(_12=True, _13=3.0)),
    "SEG": Neighbour(INCANTATIONS, "incantations", incantations(_12=True, _13=3.0, _0=True)),
    "FreeU": Neighbour("ljleb/sd-webui-freeu", "freeu", args("freeu", *FREEU), checkpoint=f"{WIDE}.safetensors"),
    "DeepCache": Neighbour(
        "aria1th/sd-webui-deepcache-standalone", "DeepCache", settings=CACHE, outcome=always(THEIRS)
    ),
    "dynamic thresholding": Neighbour(
        "mcmonkeyprojects/sd-dynamic-thresholding",
        "dynamic thresholding",
        args("dynamic thresholding (cfg scale fix)", *MIMIC),
        {"cfg_scale": 15},
    ),
    "Dynamic Prompts": Neighbour(
        "adieyal/sd-dynamic-prompts", "dynamic prompts", drawn, {"prompt": "a {red|blue|green} cat, {2$$a|b|c}"}
    ),
    "Kohya Hires.fix": Neighbour(
        "wcde/sd-webui-kohya-hiresfix",
        "kohya hires.fix",
        args("kohya hires.fix", True, True, 3, 4, 0.5, 0.5, "bicubic", 0.5, 2.0, True, False),
    ),
}

COMMITS = {
    CONTROLNET: "56cec5b",
    TILES: "22798f6",
    INCANTATIONS: "980d638",
    "adieyal/sd-dynamic-prompts": "e8326b5",
    "aria1th/sd-webui-deepcache-standalone": "08bf052",
    "ashen-sensored/sd_webui_SAG": "83d66a6",
    "Bing-su/adetailer": "36189cb",
    "continue-revolution/sd-webui-animatediff": "a88e889",
    "Coyote-A/ultimate-upscale-for-automatic1111": "2322caa",
    "hako-mikan/sd-webui-regional-prompter": "be62345",
    "ljleb/sd-webui-freeu": "7568492",
    "mcmonkeyprojects/sd-dynamic-thresholding": "73e4e04",
    "wcde/sd-webui-kohya-hiresfix": "05af987",
}
"""With which all of this was tried last, in the WebUI 1.10.1."""

SIGNS = tuple({neighbour.sign for neighbour in NEIGHBOURS.values()})
