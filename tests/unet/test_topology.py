"""What `inspect_unet` reads from real layouts, and what it refuses."""

from __future__ import annotations

import pytest
from torch import nn

from lib_fewstep.unet import Place, UnsupportedModel, inspect_unet
from tests.unets import (
    bk_sdm_tiny_unet,
    bk_sdm_unet,
    refiner_unet,
    sd1_unet,
    sd2_unet,
    sdxl_unet,
    sdxs_09_unet,
    sdxs_unet,
)

LAYOUTS = [
    (sd1_unet, "SD1", (3, 6, 9), (2, 5, 8), 512),
    (sd2_unet, "SD2", (3, 6, 9), (2, 5, 8), 512),
    (sdxl_unet, "SDXL", (3, 6), (2, 5), 1024),
    (refiner_unet, "SDXL refiner", (3, 6, 9), (2, 5, 8), 1024),
    (bk_sdm_unet, "SD1", (2, 4, 6), (1, 3, 5), 512),
    (bk_sdm_tiny_unet, "SD1", (2, 4), (1, 3), 512),
    (sdxs_unet, "SD1", (2, 4), (1, 3), 512),
    (sdxs_09_unet, "SD2", (2, 4), (1, 3), 512),
]


@pytest.mark.parametrize(("make", "family", "down", "up", "trained"), LAYOUTS)
def test_layouts(make, family, down, up, trained):
    topology = inspect_unet(make())
    assert (topology.family, topology.downsamplers, topology.upsamplers) == (family, down, up)
    assert topology.trained_size == trained
    assert not topology.inpainting


def test_sd2_is_also_told_by_its_context_width():
    assert inspect_unet(sd1_unet(context_dim=1024)).family == "SD2"


@pytest.mark.parametrize("make", [sd1_unet, sdxl_unet])
def test_nine_input_channels_are_inpainting(make):
    assert inspect_unet(make(in_channels=9)).inpainting


@pytest.mark.parametrize("make", [sd1_unet, sdxl_unet, refiner_unet, bk_sdm_unet, sdxs_unet])
def test_pairs_are_those_of_the_skips(make):
    """The host appends each input block's output to a stack and pops one for each output block."""
    unet = make()
    topology = inspect_unet(unet)
    stack = list(range(len(unet.input_blocks)))
    assert {(stack.pop(), j) for j in range(len(unet.output_blocks))} == set(topology.pairs)


def test_attention_blocks_with_their_depth():
    topology = inspect_unet(sdxl_unet(depth=3))
    inputs = [Place("input", i) for i in (4, 5, 7, 8)]
    outputs = [Place("output", j) for j in (0, 1, 2, 3, 4, 5)]
    assert [attention.place for attention in topology.attention] == inputs + outputs
    assert {attention.depth for attention in topology.attention} == {3}


def test_attention_without_self_attention_does_not_count():
    """Windows would cut nothing there."""
    places = [attention.place for attention in inspect_unet(sdxs_09_unet()).attention]
    assert places == [Place("input", 3), Place("input", 5), *(Place("output", j) for j in range(4))]


class MotionModule(nn.Module):
    """As AnimateDiff appends them to blocks: attention between frames, in transformer blocks of another kind."""

    def __init__(self):
        super().__init__()
        layer = nn.ModuleDict({"attention_blocks": nn.ModuleList([nn.Linear(4, 4)]), "ff": nn.Linear(4, 4)})
        self.temporal_transformer = nn.Module()
        self.temporal_transformer.transformer_blocks = nn.ModuleList([layer])


def with_motion_modules(unet):
    """One in every block with an attention or not, before an upsampler."""
    for block in (*unet.input_blocks[1:], *unet.output_blocks):
        at = len(block) - 1 if type(block[-1]).__name__ == "Upsample" else len(block)
        block.insert(at, MotionModule())
    return unet


@pytest.mark.parametrize("make", [sd1_unet, sd2_unet, sdxl_unet, refiner_unet, sdxs_unet])
def test_motion_modules_are_no_spatial_attention(make):
    assert inspect_unet(with_motion_modules(make())) == inspect_unet(make())


def test_levels_are_those_of_the_feature_maps():
    """Measured on a run: how often the feature map that enters a block's attention has been halved."""
    import torch

    unet = sd1_unet()
    topology = inspect_unet(unet)
    seen = {}
    for attention in topology.attention:
        place = attention.place
        block = getattr(unet, f"{place.side}_blocks")[place.index]
        block[1].register_forward_pre_hook(lambda _, args, place=place: seen.update({place: args[0].shape[-1]}))
    with torch.no_grad():
        unet(torch.zeros(1, 4, 64, 64), torch.zeros(1), torch.zeros(1, 7, 64))
    assert {place: 64 >> topology.level(place) for place in seen} == seen


class DiT(nn.Module):
    def __init__(self):
        super().__init__()
        self.joint_blocks = nn.ModuleList([nn.Linear(4, 4)])


def without_upsampler():
    unet = sd1_unet()
    del unet.output_blocks[2][-1]
    return unet


def empty():
    unet = sd1_unet()
    unet.input_blocks = nn.ModuleList()
    return unet


UNSUPPORTED = [
    DiT,
    empty,
    without_upsampler,
    lambda: nn.Linear(4, 4),
    lambda: sd1_unet(num_res_blocks=3),
    lambda: sd1_unet(channel_mult=[1, 2]),
    lambda: sd1_unet(conv_resample=False),
    lambda: sd1_unet(use_spatial_transformer=False, context_dim=None),
]


@pytest.mark.parametrize("make", UNSUPPORTED)
def test_anything_else_is_refused_with_a_sentence(make):
    unet = make()
    with pytest.raises(UnsupportedModel, match=r"^The model \((\w+)\) has .*\.$") as refusal:
        inspect_unet(unet)
    assert f"({type(unet).__name__})" in str(refusal.value)


def test_sizes_of_feature_maps_are_rounded_up_at_each_downsampler():
    topology = inspect_unet(sd1_unet())
    sizes = [topology.size_at(Place("input", index), (17, 22)) for index in (1, 3, 4, 7, 10)]
    assert sizes == [(17, 22), (17, 22), (9, 11), (5, 6), (3, 3)]
    assert all(isinstance(side, int) for size in sizes for side in size)
