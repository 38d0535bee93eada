"""Checkpoints, how they are loaded, and what becomes of the blocks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from ldm.modules import attention

from tests.contract.helpers import (
    HIRES,
    SMALL,
    loaded,
    module,
    on,
)
from tests.webui import standin


class TestModels:
    def test_a_refiner_of_the_same_layout_is_loaded_in_place_before_the_callback(self, host: Any) -> None:
        model, unet = host.shared.sd_model, host.unet
        seen: list[str] = []
        on("cfg_denoiser", lambda params: seen.append(loaded(host)))
        result = host.txt2img(**SMALL, refiner_checkpoint="sd1-other", refiner_switch_at=0.5)
        assert seen == ["sd1", "sd1", "sd1-other", "sd1-other"]
        assert host.shared.sd_model is model
        assert host.unet is unet
        assert "Refiner switch at: 0.5" in result.infotexts[0]
        refined = copy.deepcopy(unet.state_dict())
        host.load_model("sd1-other")
        for name, weight in host.unet.state_dict().items():
            assert torch.equal(refined[name], weight)

    def test_renamed_parameters_are_silently_not_loaded(self, host: Any) -> None:
        block, kind = host.unet.input_blocks[1], type(host.unet.input_blocks[1])
        weight, out = block[0].in_layers[2].weight.clone(), host.unet.out[2].weight.clone()
        try:
            host.unet.input_blocks[1] = kind(block)
            host.load_model("sd1-other")
            assert torch.equal(block[0].in_layers[2].weight, weight)
            assert not torch.equal(host.unet.out[2].weight, out)
        finally:
            host.unet.input_blocks[1] = block
            host.load_model("sdxl")  # so that all of SD1 is read again

    def test_a_refiner_of_another_layout_is_another_model(self, host: Any) -> None:
        clean, model = host.txt2img(**SMALL), host.shared.sd_model
        host.txt2img(**SMALL, refiner_checkpoint="sdxl", refiner_switch_at=0.5)
        assert host.shared.sd_model is not model
        again = host.txt2img(**SMALL)
        assert loaded(host) == "sd1"
        assert torch.equal(again.latents, clean.latents)

    def test_a_hires_checkpoint_serves_the_second_pass(self, host: Any) -> None:
        seen: list[str] = []
        on("cfg_denoiser", lambda params: seen.append(loaded(host)))
        fields = {**SMALL, **HIRES, "hr_checkpoint_name": "sd1-other"}
        for _ in range(2):
            seen.clear()
            host.txt2img(**fields)
            assert seen == [*4 * ["sd1"], *4 * ["sd1-other"]]

    @pytest.mark.parametrize("name", ["sd1", "sd1-other", "sd1-inpaint", "sdxl", "sdxl-other"])
    def test_every_checkpoint_generates(self, host: Any, name: str) -> None:
        model = host.load_model(name)
        result = host.api.txt2img(SMALL)
        assert (result.status, result.message) == (200, "")
        assert bool(torch.isfinite(result.latents).all())
        kind = "sdxl" if name.startswith("sdxl") else "sd1"
        flags = {flag: getattr(model, f"is_{flag}") for flag in ("sd1", "sd2", "sdxl", "ssd", "sd3")}
        assert flags == {flag: flag == kind for flag in flags}
        assert model.parameterization == "eps"

    @pytest.mark.parametrize("model", ["sd1", "sd1-inpaint"])
    @pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
    def test_inpainting_keeps_what_is_not_masked(self, host: Any, model: str, sampler: str) -> None:
        host.load_model(model)
        images = {"init_images": [standin.picture(64, 64)], "mask": standin.mask_picture(64, 64)}
        result = host.img2img(**{**SMALL, "sampler_name": sampler}, **images, mask_blur=0, denoising_strength=0.9)
        kept = result.p.init_latent[..., :4]
        assert torch.equal(result.latents[..., :4], kept)
        assert not torch.allclose(result.latents[..., 4:], result.p.init_latent[..., 4:], atol=0.1)

    def test_another_unet_implementation_bypasses_the_blocks(self, host: Any) -> None:
        class Unet:
            def forward(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
                return torch.zeros_like(x)

        module("sd_unet").current_unet = Unet()
        assert host.api.txt2img(SMALL).status == 200
        assert host.probe.calls == []

    def test_odd_sizes_lean_on_the_resizing_cat(self, host: Any) -> None:
        host.txt2img(**SMALL)
        assert host.cat.resized == 0
        host.txt2img(**{**SMALL, "width": 264, "height": 200})
        assert host.cat.resized > 0
        assert host.probe.calls[0].size == (25, 33)

    def test_loading_replaces_the_attention_class_method(self, host: Any) -> None:
        def mine(self: Any, x: Any, context: Any = None, mask: Any = None) -> Any:
            return x

        attention.CrossAttention.forward = mine
        host.load_model("sd1-other")
        assert attention.CrossAttention.forward is not mine

    def test_names_of_a_checkpoint(self, host: Any) -> None:
        info = host.shared.sd_model.sd_checkpoint_info
        assert (info.name, info.name_for_extra, info.model_name) == ("sd1.safetensors", "sd1", "sd1")
        assert (info.title, info.short_title) == (f"sd1.safetensors [{info.shorthash}]", f"sd1 [{info.shorthash}]")
        assert (info.shorthash, len(info.hash)) == (info.sha256[:10], 8)
        assert host.shared.sd_model.sd_model_hash == info.shorthash
        assert host.shared.sd_model.sd_model_checkpoint == info.filename
        find = module("sd_models").get_closet_checkpoint_match
        for name in (info.name, info.name_for_extra, info.title, info.short_title, info.shorthash):
            assert find(name) is info
        assert find("nobody") is None
        assert module("sd_models").model_data.sd_model is host.shared.sd_model

    @pytest.mark.parametrize(
        ("upscaler", "fields", "sizes"),
        [
            ("Latent", {"hr_scale": 1.5}, ((12, 12), (96, 96))),
            ("Latent (nearest)", {"hr_resize_x": 72, "hr_resize_y": 88}, ((11, 9), (72, 88))),
            ("None", {"hr_scale": 1.5}, ((12, 12), (96, 96))),
            ("Lanczos", {"hr_resize_x": 96, "hr_resize_y": 72}, ((9, 12), (96, 72))),
            ("Nearest", {"hr_resize_x": 96, "hr_resize_y": 0}, ((12, 12), (96, 96))),
        ],
    )
    def test_sizes_of_the_second_pass(self, host: Any, upscaler: str, fields: Any, sizes: Any) -> None:
        result = host.txt2img(**{**SMALL, **HIRES, **fields, "hr_upscaler": upscaler})
        assert (host.probe.calls[-1].size, result.images[0].size) == sizes

    def test_latents_may_be_upscaled_in_four_ways(self, host: Any) -> None:
        names = ["Latent", "Latent (antialiased)", "Latent (bicubic)", "Latent (nearest)"]
        modes = host.shared.latent_upscale_modes
        assert {*names} <= {*modes}
        assert host.shared.latent_upscale_default_mode == "Latent"
        assert [(modes[name]["mode"], modes[name]["antialias"]) for name in names] == [
            ("bilinear", False),
            ("bilinear", True),
            ("bicubic", False),
            ("nearest", False),
        ]

    def test_an_upscaler_that_is_not_there_ends_the_job(self, host: Any) -> None:
        result = host.api.txt2img({**SMALL, **HIRES, "hr_upscaler": "Nobody's"})
        assert result.status == 500
        assert host.probe.launches == []


class TestPlaces:
    def test_models_have_a_folder(self, host: Any) -> None:
        folder = Path(module("paths").models_path)
        (folder / "mine").mkdir()
        assert folder.is_dir()
