"""The embedded checkpoints: their files, that they follow prompts, and the cure that they show."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from safetensors import safe_open

from demo.compare import loaded, run, tasks_for
from demo.model import checkpoint
from demo.model.layouts import LAYOUTS, LORAS, Layout
from demo.model.lora import changeable, kohya_name
from demo.sampling.generate import generate
from demo.ways import DOUBLE, HIDIFFUSION, SIZES, distilled, without_lora
from tests.unets import describe

FILES = [layout.path for layout in LAYOUTS.values()]
LORA_FILES = [layout.lora_path(kind) for layout in LAYOUTS.values() for kind in LORAS]
KEYS = {
    "sd15": (
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
        "model.diffusion_model.input_blocks.3.0.op.weight",
        "model.diffusion_model.output_blocks.8.2.conv.weight",
        "first_stage_model.decoder.conv_out.weight",
    ),
    "sdxl": (
        "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight",
        checkpoint.TEXT_ENCODER_MARK,
        "model.diffusion_model.label_emb.0.0.weight",
        "model.diffusion_model.input_blocks.6.0.op.weight",
        "first_stage_model.encoder.conv_in.weight",
    ),
}


def header(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata(), {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118


def test_the_files_are_small():
    assert all(path.stat().st_size <= 30e6 for path in FILES)
    assert all(path.stat().st_size <= 4e6 for path in LORA_FILES)
    assert sum(path.stat().st_size for path in (*FILES, *LORA_FILES)) <= 64e6


def test_the_checkpoints_say_what_they_are(layout):
    said, kinds = header(layout.path)
    assert said["modelspec.architecture"] == layout.architecture
    assert said["modelspec.resolution"] == "128x128"
    assert said["modelspec.title"] == layout.title
    assert said["modelspec.license"] == "MIT"
    assert set(kinds.values()) == {"F16"}
    assert set(KEYS[layout.name]) <= set(kinds)


@pytest.mark.parametrize("kind", LORAS)
def test_the_loras_have_kohyas_names(layout, kind):
    said, kinds = header(layout.lora_path(kind))
    layers = [name for name, _ in changeable(checkpoint.build(layout).unet)]
    named = {kohya_name(name, sized=layout.sized) for name in layers}
    assert set(kinds) == {
        f"{name}.{part}" for name in named for part in ("lora_down.weight", "lora_up.weight", "alpha")
    }
    assert said["ss_network_module"] == "networks.lora"


def test_a_batch_equals_single_pictures(layout):
    prompts, seeds = ["a red house", "a blue fish on a yellow background"], [3, 4]
    together = generate(loaded(layout), prompts, seeds, steps=4).latents
    for row in range(2):
        alone = generate(loaded(layout), prompts[row : row + 1], seeds[row : row + 1], steps=4).latents
        assert float((together[row] - alone[0]).abs().max()) < 1e-3


def test_a_picture_is_reproducible_and_leaves_the_model_alone(layout):
    unet = loaded(layout).unet
    before, random_state = describe(unet), torch.get_rng_state()
    first, second = (
        generate(loaded(layout), ["a red house"], [1], DOUBLE, HIDIFFUSION, steps=4).latents for _ in range(2)
    )
    assert torch.equal(first, second)
    assert describe(unet) == before
    assert torch.equal(torch.get_rng_state(), random_state)


@lru_cache
def native(layout):
    """Twelve pictures of the trained size, in 20 guided steps."""
    (result,) = run(layout, SIZES[:1], tasks_for(12), chunk=12)
    return result


def test_the_prompt_is_followed_at_the_trained_size(layout):
    assert native(layout).hits >= 10


def test_the_method_cures_repetition(layout):
    """Four pictures; the shares of many are `make quality`'s."""
    plain, cured = run(layout, SIZES[1:3], tasks_for(4))
    assert plain.hits <= 1
    assert cured.hits >= plain.hits + 2


@pytest.mark.parametrize("kind", LORAS)
def test_four_distilled_steps_are_right(layout, kind):
    """And nearer to what the model makes in 20 guided steps of the same noise than without the LoRA."""
    taught = distilled(kind, 4)
    few, alone = run(layout, [taught, without_lora(taught)], tasks_for(12), chunk=12)
    assert few.hits >= 10
    apart = [
        np.mean([(a.picture - b.picture) ** 2 for a, b in zip(one.images, native(layout).images, strict=True)])
        for one in (few, alone)
    ]
    assert apart[0] < 0.92 * apart[1]


def test_a_missing_checkpoint_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(Layout, "path", tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors is missing.*make train"):
        checkpoint.load(LAYOUTS["sd15"])
