"""Prompts over the steps, and extra networks in them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.contract.helpers import (
    HIRES,
    SMALL,
    module,
    recorded,
)


class TestPrompts:
    @pytest.mark.parametrize(
        ("prompt", "schedule"),
        [
            ("a cat", [[10, "a cat"]]),
            ("cat [hat:4]", [[4, "cat "], [10, "cat hat"]]),
            ("a [cat:dog:0.5] sits", [[5, "a cat sits"], [10, "a dog sits"]]),
            ("cat [hat::0.2]", [[2, "cat hat"], [10, "cat "]]),
            ("cat [hat", [[10, "cat [hat"]]),
            ("cat [hat]", [[10, "cat [hat]"]]),
        ],
    )
    def test_schedules(self, host: Any, prompt: str, schedule: list[Any]) -> None:
        parser = module("prompt_parser")
        assert parser.get_learned_conditioning_prompt_schedules([prompt], 10) == [schedule]

    def test_fractions_go_on_counting_in_the_second_pass(self, host: Any) -> None:
        schedules = module("prompt_parser").get_learned_conditioning_prompt_schedules
        assert schedules(["cat [hat:0.7]"], 10, 20) == [[[20, "cat hat"]]]
        assert schedules(["cat [hat:1.7]"], 10, 20) == [[[14, "cat "], [20, "cat hat"]]]
        assert schedules(["cat [hat:13]"], 10, 20) == [[[3, "cat "], [20, "cat hat"]]]

    def test_the_conditioning_depends_on_the_step(self, host: Any) -> None:
        host.txt2img(**{**SMALL, "prompt": "a [cat:dog:0.5]"})
        texts = [params.text_cond for params in recorded("denoiser")]
        assert [torch.equal(texts[0], text) for text in texts] == [True, True, True, False]
        host.txt2img(**{**SMALL, "prompt": "a [cat:dog:0.5]", "sampler_name": "Heun"})
        texts = [params.text_cond for params in recorded("denoiser")][4:]
        assert [torch.equal(texts[0], text) for text in texts] == [*5 * [True], False, False]

    def test_batches_are_put_together(self, host: Any) -> None:
        parser, model = module("prompt_parser"), host.shared.sd_model
        prompts = parser.SdConditioning(["a AND [b:c:2] :0.5", "d"], width=64, height=32)
        cond = parser.get_multicond_learned_conditioning(model, prompts, 4)
        rows, text = parser.reconstruct_multicond_batch(cond, 0)
        assert rows == [[(0, 1.0), (1, 0.5)], [(2, 1.0)]]
        later = parser.reconstruct_multicond_batch(cond, 3)[1]
        assert [torch.equal(*both) for both in zip(text, later, strict=True)] == [True, False, True]
        uncond = parser.get_learned_conditioning(model, parser.SdConditioning(["x"], copy_from=prompts), 4)
        assert parser.reconstruct_cond_batch(uncond, 0).shape == (1, 77, 64)
        assert parser.SdConditioning(["x"], copy_from=prompts).width == 64

    @pytest.mark.parametrize("long_first", [True, False])
    def test_unconditional_texts_of_different_lengths_are_not_put_together(self, host: Any, long_first: bool) -> None:
        parser = module("prompt_parser")
        texts = ["bad " * 90, "bad"][:: 1 if long_first else -1]
        prompts = parser.SdConditioning(texts, is_negative_prompt=True, width=64, height=32)
        uncond = parser.get_learned_conditioning(host.shared.sd_model, prompts, 4)
        with pytest.raises(RuntimeError):
            parser.reconstruct_cond_batch(uncond, 0)

    def test_extra_networks_are_taken_out(self, host: Any) -> None:
        networks = module("extra_networks")
        prompts, found = networks.parse_prompts(["a <lora:fast:0.5:unet=1> cat", "b"])
        assert prompts == ["a  cat", "b"]
        assert [params.items for params in found["lora"]] == [["fast", "0.5", "unet=1"]]
        assert found["lora"][0].named == {"unet": "1"}
        result = host.txt2img(**{**SMALL, "prompt": "a cat<lora:fast:1>"})
        assert torch.equal(result.latents, host.txt2img(**SMALL).latents)
        assert result.infotexts[0].startswith("a cat<lora:fast:1>")
        assert recorded("after_extra_networks_activate")[0]["extra_network_data"]["lora"][0].items[0] == "fast"

    def test_a_registered_network_is_activated(self, host: Any) -> None:
        networks, log = module("extra_networks"), []

        class Mine(networks.ExtraNetwork):
            def activate(self, p: Any, params_list: Any) -> None:
                log.append([params.items for params in params_list])

            def deactivate(self, p: Any) -> None:
                log.append("off")

        networks.register_extra_network(Mine("mine"))
        host.txt2img(**{**SMALL, "prompt": "a cat <mine:x>"})
        assert log == [[["x"]], "off"]
        host.txt2img(**{**SMALL, "prompt": "a cat <mine:x>"}, **HIRES)
        assert log[2:] == [[["x"]], [["x"]], "off"]  # once for each pass
