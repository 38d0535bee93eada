"""The script "Model sampling" inside of a UNet of a real layout: what an LCM checkpoint is given."""

from __future__ import annotations

import sys
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import save_file

from lib_fewstep.models.guidance_embedding import embedded
from tests.webui import standin
from tests.webui.exact import SCRIPTS, same, settings_of, unchanged
from tests.webui.guided import BASE, rows

NAME = "model.diffusion_model.time_embed.cond_proj.weight"
LCM = BASE | {"sampler_name": "LCM", "scheduler": "Automatic"}

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def running():
    with standin.webui("sd1", SCRIPTS) as made:
        yield made


@pytest.fixture
def projected(running, tmp_path):
    """The loaded checkpoint has a projection of the guidance scale."""
    width = running.unet.time_embed[0].in_features
    projection = torch.randn(width, 256, generator=torch.Generator().manual_seed(0)) / 16
    path = tmp_path / "lcm.safetensors"
    save_file({NAME: projection}, path)
    with unchanged(running), patch.object(running.shared.sd_model.sd_checkpoint_info, "filename", str(path)):
        yield projection
    assert not running.unet.time_embed._forward_pre_hooks
    assert not running.errors


def made(host, **fields):
    result = host.api.txt2img(LCM | fields)
    assert result.status == 200, result.message
    return result


def test_the_slider_goes_into_the_time_embedding(running, projected):
    """Beside the sum by hand; each step has one row."""
    seen = []
    handle = running.unet.time_embed[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    try:
        made(running, cfg_scale=8.0)
        given = seen.copy()
        assert rows(running) == [1] * LCM["steps"]
        seen.clear()
        with settings_of(running, fewstep_detect_kind=False):
            made(running, cfg_scale=1.0)
    finally:
        handle.remove()
    added = (projected.double() @ embedded(8.0, 256)).float()
    for with_scale, without in zip(given, seen, strict=True):
        torch.testing.assert_close(with_scale, without + added)


def test_the_scale_and_not_the_negative_prompt_changes_the_image(running, projected):
    eight = made(running, cfg_scale=8.0)
    assert same(eight, made(running, cfg_scale=8.0, negative_prompt="something else"))
    assert not same(eight, made(running, cfg_scale=2.0))
    assert "CFG scale: 8" in eight.infotexts[0]


def test_a_hires_pass_has_it_too(running, projected):
    fields = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.7, "hr_upscaler": "Latent"}
    eight = made(running, cfg_scale=8.0, **fields)
    assert set(rows(running)) == {1}
    assert not same(eight, made(running, cfg_scale=2.0, **fields))


def test_a_refiner_that_takes_no_scale_is_guided_by_it(running, projected):
    """From the evaluation after the one that changes the model: what that one guides by is chosen before."""
    made(running, cfg_scale=8.0, sampler_name="Euler", steps=6, refiner_checkpoint="sd1-other", refiner_switch_at=0.5)
    found = rows(running)
    running.load_model("sd1")
    assert found[:3] == [1] * 3
    assert found[4:] == [2] * 2


def test_the_negative_prompt_is_said_to_have_no_effect(running, projected):
    words = "the negative prompt has no effect"
    assert words in made(running, negative_prompt="a dog").comments
    assert words not in made(running, negative_prompt="").comments


def test_sdxls_refiner_is_told_no_sizes():
    """It takes a score where SDXL takes a size."""
    with standin.webui("sdxl-refiner", SCRIPTS) as host:
        told = sys.modules["lib_fewstep.webui.models.sizes"]
        with patch.object(told, "with_sizes", side_effect=AssertionError("sizes are told")):
            scripts = {"Model sampling": {"args": [{"size": "As trained"}]}}
            assert host.api.txt2img(BASE | {"alwayson_scripts": scripts}).status == 200


def test_a_failing_pass_leaves_nothing(running, projected):
    def fail(*_):
        raise RuntimeError("planted")

    handle = running.unet.register_forward_hook(fail)
    try:
        assert running.api.txt2img(LCM).status == 500
    finally:
        handle.remove()
    running.errors.clear()
