"""The rows of an evaluation, and what the host's denoiser does around it."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from tests.contract.helpers import (
    SMALL,
    act,
    listening,
    loaded,
    on,
    recorded,
    register,
)
from tests.webui import standin


class TestRows:
    def test_conditional_rows_come_first(self, host: Any) -> None:
        host.txt2img(**{**SMALL, "prompt": "a cat AND a dog :0.5", "batch_size": 2})
        params = recorded("denoiser")[0]
        assert params.x.shape[0] == params.text_cond.shape[0] + params.text_uncond.shape[0] == 6
        assert host.probe.calls[0].rows == 6

    def test_split_rows_give_the_same_image(self, host: Any) -> None:
        both = host.txt2img(**SMALL)
        host.shared.opts.batch_cond_uncond = False
        split = host.txt2img(**SMALL)
        assert [call.rows for call in host.probe.calls] == 8 * [1]
        assert torch.allclose(both.latents, split.latents, rtol=1e-4, atol=1e-3)

    def test_prompts_of_different_length_are_evaluated_apart(self, host: Any) -> None:
        host.txt2img(**{**SMALL, "prompt": 80 * "cat "})
        assert [(call.step, call.rows) for call in host.probe.calls[:4]] == [(0, 1), (0, 1), (1, 1), (1, 1)]

    def test_skipped_unconditional_rows_are_copies(self, host: Any) -> None:
        host.shared.opts.skip_early_cond = 0.5
        outputs: list[torch.Tensor] = []
        on("cfg_denoised", lambda params: outputs.append(params.x))
        host.txt2img(**SMALL)
        assert [call.rows for call in host.probe.calls] == [1, 1, 1, 2]
        assert torch.equal(outputs[0][0], outputs[0][1])
        assert not torch.equal(outputs[3][0], outputs[3][1])

    def test_s_min_uncond_skips_every_other_one_below_it(self, host: Any) -> None:
        host.txt2img(**SMALL, s_min_uncond=100.0)
        assert [call.rows for call in host.probe.calls] == [2, 1, 2, 1]

    @pytest.mark.parametrize("sampler", ["Euler", "Euler a", "Heun", "DDIM", "DDIM CFG++"])
    def test_a_batch_equals_single_images(self, host: Any, sampler: str) -> None:
        fields = {**SMALL, "sampler_name": sampler}
        batch = host.txt2img(**fields, batch_size=2, n_iter=2)
        singles = [host.txt2img(**{**fields, "seed": seed}).latents for seed in (1, 2, 3, 4)]
        assert torch.allclose(batch.latents, torch.cat(singles), rtol=1e-4, atol=1e-3)
        assert [text.split("Seed: ")[1][0] for text in batch.infotexts] == list("1234")

    def test_the_same_seed_gives_the_same_image(self, host: Any) -> None:
        assert torch.equal(host.txt2img(**SMALL).latents, host.txt2img(**SMALL).latents)

    def test_torch_is_seeded_with_the_last_image_of_a_batch(self, host: Any) -> None:
        act(process_before_every_sampling=lambda *args, **kwargs: drawn.append(float(torch.randn(()))))
        drawn: list[float] = []
        for _ in range(2):
            host.txt2img(**SMALL, batch_size=2)
        torch.manual_seed(2)
        torch.randn(4, 8, 8)
        assert drawn[0] == drawn[1]

    def test_the_first_noise_of_an_image_is_that_of_its_seed_on_the_cpu(self, host: Any) -> None:
        host.txt2img(**SMALL, batch_size=2)
        noise = recorded("process_before_every_sampling")[0]["noise"]
        for row, seed in zip(noise, (1, 2), strict=True):
            assert torch.equal(row, torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)))

    @pytest.mark.parametrize("delta", [0, 31337])
    def test_noise_between_the_steps_goes_on_from_there(self, host: Any, delta: int) -> None:
        """Or is that of another seed: the "eta noise seed delta"; the first noise stays."""
        host.shared.opts.eta_noise_seed_delta = delta
        drawn: list[torch.Tensor] = []

        def sample(model: Any, x: Any, sigmas: Any, extra_args: Any, callback: Any, disable: Any) -> Any:
            drawn.append(sys.modules["k_diffusion.sampling"].torch.randn_like(x))
            return x

        register(sample)
        host.txt2img(**{**SMALL, "sampler_name": "Mine"})
        generator = torch.Generator().manual_seed(1)
        first = torch.randn(4, 8, 8, generator=generator)
        assert torch.equal(recorded("process_before_every_sampling")[0]["noise"][0], first)
        generator = torch.Generator().manual_seed(1 + delta) if delta else generator
        assert torch.equal(drawn[0][0], torch.randn(4, 8, 8, generator=generator))

    @pytest.mark.parametrize(("sampler", "eta", "noted"), [("Euler a", None, True), ("Euler a", 0.0, False)])
    def test_the_infotext_names_that_seed(self, host: Any, sampler: str, eta: float | None, noted: bool) -> None:
        host.shared.opts.eta_noise_seed_delta = 31337
        text = host.txt2img(**{**SMALL, "sampler_name": sampler, "eta": eta}).infotexts[0]
        assert ("ENSD: 31337" in text) is noted
        assert "ENSD" not in host.txt2img(**SMALL).infotexts[0]

    def test_guidance_of_one_does_not_skip_rows(self, host: Any) -> None:
        host.txt2img(**SMALL, cfg_scale=1.0)
        assert [call.rows for call in host.probe.calls] == 4 * [2]

    def test_parts_of_a_prompt_are_added_by_their_weights(self, host: Any) -> None:
        outputs: list[torch.Tensor] = []
        on("cfg_denoised", lambda params: outputs.append(params.x.clone()))
        fields = {**SMALL, "prompt": "a cat :2 AND a dog :0.5", "batch_size": 2, "steps": 1}
        host.txt2img(**fields, cfg_scale=3.0)
        parts, uncond = outputs[0][:4].unflatten(0, (2, 2)), outputs[0][4:]
        weights = torch.tensor([2.0, 0.5]).view(1, 2, 1, 1, 1)
        expected = uncond + 3.0 * ((parts - uncond[:, None]) * weights).sum(1)
        assert torch.allclose(recorded("after_cfg")[0].x, expected, rtol=1e-4, atol=1e-4)

    def test_what_callbacks_get(self, host: Any) -> None:
        host.txt2img(**SMALL)
        params = recorded("denoiser")[0]
        assert (params.x.shape, params.sigma.shape, params.image_cond.shape) == ((2, 4, 8, 8), (2,), (2, 5, 1, 1))
        assert (params.text_cond.shape, params.text_uncond.shape) == ((1, 77, 64), (1, 77, 64))
        after = recorded("after_cfg")[0]
        assert (after.x.shape, after.sampling_step, after.total_sampling_steps) == ((1, 4, 8, 8), 0, 4)

    def test_callbacks_change_what_follows(self, host: Any) -> None:
        clean = host.txt2img(**SMALL).latents
        changes = {
            "cfg_denoised": lambda params: params.x.mul_(0.5),
            "cfg_after_cfg": lambda params: setattr(params, "x", params.x * 0.5),
            "cfg_denoiser": lambda params: setattr(params, "x", params.x * 0.5),
        }
        for kind, change in changes.items():
            with listening(kind, change):
                assert not torch.equal(host.txt2img(**SMALL).latents, clean), kind
        with listening("cfg_denoised", lambda params: setattr(params, "x", params.x * 0.5)):
            assert torch.equal(host.txt2img(**SMALL).latents, clean)  # it is not read back

    def test_sdxl_has_a_dict_of_texts(self, host: Any) -> None:
        host.load_model("sdxl")
        host.txt2img(**SMALL)
        params = recorded("denoiser")[0]
        assert {*params.text_cond} == {*params.text_uncond} == {"crossattn", "vector"}
        assert params.text_cond.shape == params.text_cond["crossattn"].shape


class TestDenoiser:
    def test_ngms_is_noted(self, host: Any) -> None:
        assert "NGMS: 100.0" in host.txt2img(**SMALL, s_min_uncond=100.0).infotexts[0]
        host.shared.opts.s_min_uncond_all = True
        text = host.txt2img(**SMALL, s_min_uncond=100.0).infotexts[0]
        assert [call.rows for call in host.probe.calls] == [1, 1, 1, 1]
        assert "NGMS all steps: True" in text

    def test_without_uncond_the_scale_is_one(self, host: Any) -> None:
        host.shared.opts.skip_early_cond = 1.0
        low, high = (host.txt2img(**SMALL, cfg_scale=scale).latents for scale in (1.0, 9.0))
        assert torch.equal(low, high)

    def test_the_last_uncond_is_kept_on_demand(self, host: Any) -> None:
        seen: list[Any] = []

        def sample(model: Any, x: Any, sigmas: Any, extra_args: Any, callback: Any, disable: Any) -> Any:
            model.need_last_noise_uncond, model.cond_scale_miltiplier = True, 0.0
            guided = model(x, sigmas[0] * x.new_ones(len(x)), **extra_args)
            seen.append(torch.equal(guided, model.last_noise_uncond))
            return guided

        register(sample)
        host.txt2img(**{**SMALL, "sampler_name": "Mine"})
        assert seen == [True]

    @pytest.mark.parametrize(("sampler", "before"), [("Euler", False), ("DDIM", True)])
    def test_mask_blends(self, host: Any, sampler: str, before: bool) -> None:
        blends: list[Any] = []
        act(on_mask_blend=lambda p, mba, *args: blends.append((mba.is_final_blend, mba.denoiser)))
        images = {"init_images": [standin.picture(64, 64)], "mask": standin.mask_picture(64, 64)}
        host.img2img(**{**SMALL, "sampler_name": sampler}, **images)
        assert [final for final, _ in blends] == [*(len(blends) - 1) * [False], True]
        assert blends[0][1].mask_before_denoising is before

    def test_padding(self, host: Any) -> None:
        host.shared.opts.pad_cond_uncond = True
        text = host.txt2img(**{**SMALL, "prompt": 80 * "cat "}).infotexts[0]
        assert [call.rows for call in host.probe.calls] == 4 * [2]
        assert "Pad conds: True" in text

    @pytest.mark.parametrize(("by_steps", "first"), [(False, 3), (True, 2)])
    def test_the_refiner_is_due_by_sigma_or_by_steps(self, host: Any, by_steps: bool, first: int) -> None:
        host.shared.opts.refiner_switch_by_sample_steps = by_steps
        seen: list[str] = []
        on("cfg_denoiser", lambda params: seen.append(loaded(host)))
        fields = {"refiner_checkpoint": "sd1-other", "refiner_switch_at": 0.5, "scheduler": "SGM Uniform"}
        text = host.txt2img(**SMALL, **fields).infotexts[0]
        assert seen.index("sd1-other") == (2 if by_steps else first - 1)
        assert ("Refiner switch by sampling steps: True" in text) is by_steps
