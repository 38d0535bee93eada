"""Small random weights for the other extensions, that fit the small checkpoints of the WebUI in which they are tried.

`PYTHON -m tests.live_neighbours.weights WEBUI`, with the WebUI's own Python, writes into its folder what is missing:

- `tiny-sd15-h8`: tiny-sd15 with eight heads of attention, which self-attention guidance takes for granted;
- `tiny-sd15-wide`: with 320 channels in its deeper levels, since FreeU changes 320, 640 and 1280 channels only;
- ControlNets, T2I-Adapter, IP-Adapter and ControlNet-LLLite for SD1.5 and SDXL;
- an ADetailer detector that always finds something, where ultralytics is installed;
- an AnimateDiff motion module, where that extension is installed;
- an extension of a few lines: ControlNet's and AnimateDiff build each of their networks 320 channels wide, and this one
  lets them have the widths of the loaded UNet.

It needs tiny-sd15 and tiny-sdxl with their YAML files in the WebUI's folder of checkpoints.
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

HEADS, WIDE, MOTION = "tiny-sd15-h8", "tiny-sd15-wide", "tiny_mm_sd15.safetensors"
State = dict[str, Tensor]
UNET = "model.diffusion_model."
IMAGE_WIDTH = 1024


class Drawn:
    """Random weights from a seed; by default such that a layer keeps the size of what it is given."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def weight(self, *shape: int, gain: float = 1.0) -> Tensor:
        return gain * torch.randn(*shape, generator=self._generator) * math.prod(shape[1:]) ** -0.5

    def bias(self, size: int, scale: float = 0.1) -> Tensor:
        return scale * torch.randn(size, generator=self._generator)

    def layer(self, name: str, *shape: int, gain: float = 1.0) -> State:
        return {f"{name}.weight": self.weight(*shape, gain=gain), f"{name}.bias": self.bias(shape[0])}


def image_embedding() -> bytes:
    """What IP-Adapter's preprocessor gives, in the form in which the API takes it."""
    file = io.BytesIO()
    torch.save({"image_embeds": torch.randn(1, IMAGE_WIDTH, generator=torch.Generator().manual_seed(99))}, file)
    return file.getvalue()


def unet_of(checkpoint: Path) -> State:
    state = load_file(str(checkpoint))
    return {name[len(UNET) :]: value.float() for name, value in state.items() if name.startswith(UNET)}


def eight_heads(folder: Path) -> None:
    """Heads change no weight, only the YAML; one bias is changed so that the file has a hash of its own."""
    state, config = load_file(str(folder / "tiny-sd15.safetensors")), (folder / "tiny-sd15.yaml").read_text()
    assert "num_heads: 1" in config
    state[f"{UNET}out.2.bias"] = state[f"{UNET}out.2.bias"] + 0.01
    save_file(state, str(folder / f"{HEADS}.safetensors"))
    (folder / f"{HEADS}.yaml").write_text(config.replace("num_heads: 1", "num_heads: 8"))


def wide(folder: Path) -> None:
    """A new UNet, built by the WebUI's own class; its text encoder and decoder are tiny-sd15's."""
    import yaml
    from ldm.util import instantiate_from_config

    config = yaml.safe_load((folder / "tiny-sd15.yaml").read_text())
    unet = config["model"]["params"]["unet_config"]
    unet["params"].update(channel_mult=[1, 2, 10, 10], num_heads=8)
    torch.manual_seed(21)
    weights, drawn = instantiate_from_config(unet).state_dict(), Drawn(21)
    others = load_file(str(folder / "tiny-sd15.safetensors"))
    state = {name: value for name, value in others.items() if not name.startswith(UNET)}
    for name, value in weights.items():
        zero = value.ndim > 1 and not value.any()  # what training would begin with
        state[UNET + name] = drawn.weight(*value.shape) if zero else value.clone().contiguous()
    save_file(state, str(folder / f"{WIDE}.safetensors"))
    (folder / f"{WIDE}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def controlnet(unet: State, drawn: Drawn) -> State:
    """The UNet's encoder, an encoder for the hint, and a 1x1 convolution for each residual."""
    copied = ("time_embed.", "label_emb.", "input_blocks.", "middle_block.")
    state = {name: value for name, value in unet.items() if name.startswith(copied)}
    widths = [3, 16, 16, 32, 32, 96, 96, 256, state["input_blocks.0.0.weight"].shape[0]]
    for index, (before, after) in enumerate(itertools.pairwise(widths)):
        state |= drawn.layer(f"input_hint_block.{2 * index}", after, before, 3, 3, gain=2.5)
    for index, channels in enumerate(_output_channels(state)):
        state |= drawn.layer(f"zero_convs.{index}.0", channels, channels, 1, 1, gain=0.3)
    channels = state["middle_block.2.out_layers.3.bias"].shape[0]
    return state | drawn.layer("middle_block_out.0", channels, channels, 1, 1, gain=0.3)


def _output_channels(state: State) -> list[int]:
    """Of each input block: a residual block, a downsampler, or the first convolution."""
    count = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("input_blocks."))
    ends = ("0.out_layers.3.bias", "0.op.bias", "0.bias")
    names = (next(name for end in ends if (name := f"input_blocks.{index}.{end}") in state) for index in range(count))
    return [state[name].shape[0] for name in names]


def t2i_adapter(drawn: Drawn, *, folded: int, width: int = 32) -> State:
    """Four levels of two residual blocks, on a hint whose squares of `folded` pixels are channels."""
    state = drawn.layer("conv_in", width, 3 * folded**2, 3, 3)
    before = width
    for index, after in enumerate([width, width, 2 * width, 2 * width, *[4 * width] * 4]):
        if before != after:
            state |= drawn.layer(f"body.{index}.in_conv", after, before, 1, 1)
        state |= drawn.layer(f"body.{index}.block1", after, after, 3, 3)
        state |= drawn.layer(f"body.{index}.block2", after, after, 1, 1)
        before = after
    return state


def ip_adapter(unet: State, drawn: Drawn, tokens: int = 4) -> State:
    """Keys and values for each cross-attention, numbered 1, 3, ... in the order input, output, middle."""
    sides = ("input_blocks", "output_blocks", "middle_block")
    names = [name for name in unet if name.endswith("attn2.to_k.weight")]
    names.sort(key=lambda name: (sides.index(name.split(".")[0]), int(name.split(".")[1])))
    context = unet[names[0]].shape[1]
    state = drawn.layer("image_proj.proj", tokens * context, IMAGE_WIDTH)
    state |= {"image_proj.norm.weight": torch.ones(context), "image_proj.norm.bias": torch.zeros(context)}
    for index, name in enumerate(names):
        for part in ("to_k_ip", "to_v_ip"):
            state[f"ip_adapter.{2 * index + 1}.{part}.weight"] = drawn.weight(unet[name].shape[0], context)
    return state


def lllite(unet: State, drawn: Drawn, hidden: int = 8, mlp: int = 16) -> State:
    """A perceptron before each query of self-attention on the way down, fed with the hint at that level."""
    state: State = {}
    end = "transformer_blocks.0.attn1.to_q.weight"
    for name in sorted(name for name in unet if name.startswith("input_blocks.") and name.endswith(end)):
        own, width = "lllite_unet_" + name.removesuffix(".weight").replace(".", "_"), unet[name].shape[1]
        state |= drawn.layer(f"{own}.conditioning1.0", hidden // 2, 3, 4, 4)
        state |= drawn.layer(f"{own}.conditioning1.2", hidden, hidden // 2, 2, 2)
        state |= drawn.layer(f"{own}.down.0", mlp, width)
        state |= drawn.layer(f"{own}.mid.0", mlp, mlp + hidden)
        state |= drawn.layer(f"{own}.up.0", width, mlp, gain=2)
    return state


def detector(path: Path) -> None:
    """YOLOv8n whose middle stride always sees something, about 3/8 of the picture wide."""
    from ultralytics import YOLO

    torch.manual_seed(20)
    yolo = YOLO("yolov8n.yaml")
    with torch.no_grad():
        for index, branch in enumerate(yolo.model.model[-1].cv3):
            branch[-1].weight.mul_(0.1)
            branch[-1].bias.fill_(-20.0)
            if index == 1:
                branch[-1].bias[0] = 3.0
    path.parent.mkdir(parents=True, exist_ok=True)
    yolo.save(str(path))


def motion_module(extension: Path, path: Path) -> None:
    """Built by its own class, for a UNet that is 32 channels wide."""
    sys.path.insert(0, str(extension))
    import motion_module as theirs

    full = theirs.MotionModule
    theirs.MotionModule = lambda channels, **more: full(channels // 10, **more)
    weights = theirs.MotionWrapper("", "", theirs.MotionModuleType.AnimateDiffV3).state_dict()
    drawn = Drawn(22)
    drawn_anew = {
        name: drawn.weight(*value.shape) if value.ndim == 2 else value.clone() for name, value in weights.items()
    }
    save_file(drawn_anew, str(path))


WIDTHS = '''"""Widths of the loaded UNet for the networks that ControlNet's extension and AnimateDiff build."""
import sys

from modules import script_callbacks

motion = sys.modules.get("motion_module")
full = motion and motion.MotionModule


def follow(model):
    unet = model.model.diffusion_model
    if motion is not None:
        narrower = 320 // unet.model_channels
        motion.MotionModule = lambda channels, **more: full(channels // narrower, **more)
    guess = sys.modules.get("scripts.controlnet_model_guess")
    if guess is None:
        return
    table = guess.controlnet_sdxl_config if model.is_sdxl else guess.controlnet_default_config
    table.update(model_channels=unet.model_channels, channel_mult=list(unet.channel_mult))
    table["context_dim"] = unet.middle_block[1].transformer_blocks[0].attn2.to_k.in_features
    if model.is_sdxl:
        table.update(num_head_channels=unet.num_head_channels, adm_in_channels=unet.label_emb[0][0].in_features)
    else:
        table.update(num_heads=unet.num_heads)


script_callbacks.on_model_loaded(follow)
'''


def write(webui: Path) -> None:
    """Write what is missing; each file has a seed of its own, so that it does not depend on what is there."""
    checkpoints, controls = webui / "models/Stable-diffusion", webui / "models/ControlNet"
    sys.path.insert(0, str(webui / "repositories/stable-diffusion-stability-ai"))
    sd15, xl = (unet_of(checkpoints / f"tiny-{name}.safetensors") for name in ("sd15", "sdxl"))
    made: Mapping[str, Callable[[Drawn], Any]] = {
        "tiny_controlnet_sd15": lambda drawn: controlnet(sd15, drawn),
        "tiny_controlnet_sdxl": lambda drawn: controlnet(xl, drawn),
        "tiny_t2iadapter_sd15": lambda drawn: t2i_adapter(drawn, folded=8),
        "tiny_t2iadapter_sdxl": lambda drawn: t2i_adapter(drawn, folded=16),
        "tiny_ip-adapter_sd15": lambda drawn: ip_adapter(sd15, drawn),
        "tiny_lllite_sd15": lambda drawn: lllite(sd15, drawn),
        "tiny_lllite_sdxl": lambda drawn: lllite(xl, drawn),
    }
    controls.mkdir(parents=True, exist_ok=True)
    for seed, (name, make) in enumerate(made.items()):
        path = controls / f"{name}.safetensors"
        if not path.exists():
            save_file({key: value.contiguous() for key, value in make(Drawn(seed)).items()}, str(path))
    for name, build in ((HEADS, eight_heads), (WIDE, wide)):
        if not (checkpoints / f"{name}.safetensors").exists():
            build(checkpoints)
    animated = webui / "extensions/sd-webui-animatediff"
    if animated.exists() and not (found := animated / f"model/{MOTION}").exists():
        motion_module(animated, found)
    script = webui / "extensions/zz-tiny-controlnet/scripts/widths.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(WIDTHS)
    if not (found := webui / "models/adetailer/tiny_detector.pt").exists():
        try:
            detector(found)
        except ImportError:
            print("There is no ultralytics here, so there is no detector for ADetailer.")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.live_neighbours.weights", description=__doc__)
    parser.add_argument("webui", type=Path, help="the WebUI's folder")
    write(parser.parse_args().webui.resolve())


if __name__ == "__main__":
    main()
