"""Low-rank changes: Kohya's names, and that a file does what the training did."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from demo.model import checkpoint
from demo.model.layouts import LAYOUTS
from demo.model.lora import add_low_rank, apply_low_rank, changeable, kohya_name, save_low_rank

NAMES = {
    "input_blocks.1.1.transformer_blocks.0.attn1.to_q": "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
    "input_blocks.2.1.proj_in": "down_blocks_0_attentions_1_proj_in",
    "input_blocks.7.0.emb_layers.1": "down_blocks_2_resnets_0_time_emb_proj",
    "input_blocks.10.0.in_layers.2": "down_blocks_3_resnets_0_conv1",
    "middle_block.0.in_layers.2": "mid_block_resnets_0_conv1",
    "middle_block.1.transformer_blocks.0.ff.net.0.proj": "mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj",
    "middle_block.2.out_layers.3": "mid_block_resnets_1_conv2",
    "output_blocks.5.0.skip_connection": "up_blocks_1_resnets_2_conv_shortcut",
    "output_blocks.11.1.proj_out": "up_blocks_3_attentions_2_proj_out",
}
"""As they are in published files, such as LCM-LoRA for SD1.5 in Kohya's form."""


@pytest.mark.parametrize(("name", "key"), NAMES.items())
def test_names_of_sd15(name, key):
    assert kohya_name(name, sized=False) == f"lora_unet_{key}"


def test_names_of_sdxl_are_the_unets_own():
    name = "input_blocks.4.1.transformer_blocks.1.attn2.to_out.0"
    assert kohya_name(name, sized=True) == "lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_out_0"


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_every_layer_of_every_block_has_a_name_of_its_own(layout):
    unet = checkpoint.build(layout).unet
    names = [name for name, _ in changeable(unet)]
    assert len({kohya_name(name, sized=layout.sized) for name in names}) == len(names)
    blocks = {name.rsplit(".transformer_blocks", 1)[0].split(".")[1] for name in names if name.startswith("output")}
    assert len(blocks) == len(unet.output_blocks)
    assert not any(name.endswith((".op", ".conv", "time_embed.0", "out.2")) for name in names)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_a_file_does_what_the_trained_layers_did(layout, tmp_path):
    model = checkpoint.build(layout)
    for weight in model.unet.parameters():
        nn.init.normal_(weight, std=weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.1)
    plain, trained = copy.deepcopy(model.unet), copy.deepcopy(model.unet)
    add_low_rank(trained, 4)
    given = model.conditioning(["a red house"], torch.tensor([[128, 128, 0, 0, 128, 128]]))
    x, times = torch.randn(1, 4, 16, 16), torch.tensor([500])
    with torch.no_grad():
        before = model.unet(x, times, **given)
        assert torch.equal(trained(x, times, **given), before)
        for _, layer in changeable(trained):
            layer.parametrizations["weight"][0].up.normal_(std=0.2)
        expected = trained(x, times, **given)
        save_low_rank(trained, tmp_path / "lora.safetensors", {}, sized=layout.sized)
        apply_low_rank(plain, tmp_path / "lora.safetensors", sized=layout.sized)
        found = plain(x, times, **given)
    changed = float((expected - before).std())
    assert changed > 0.05 * float(before.std())
    assert float((found - expected).std()) < 0.02 * changed  # float16 in the file
    kinds = {key.rsplit(".", 2 if key.endswith("weight") else 1)[1] for key in load_file(tmp_path / "lora.safetensors")}
    assert kinds == {"lora_down", "lora_up", "alpha"}


def test_only_the_changes_are_trained():
    unet = checkpoint.build(LAYOUTS["sd15"]).unet
    add_low_rank(unet, 2)
    trained = {name for name, weight in unet.named_parameters() if weight.requires_grad}
    assert trained
    assert all(name.endswith((".0.down", ".0.up")) for name in trained)
