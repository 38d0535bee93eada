"""The text under an image."""

from __future__ import annotations

from typing import Any

from tests.contract.helpers import (
    HIRES,
    SMALL,
    module,
    on,
)


class TestInfotext:
    def test_values_are_quoted_and_read_back(self, host: Any) -> None:
        p = host.job("txt2img", **SMALL)
        values = {"Plain": "x", "Comma": "a, b", "Colon": "a: b", "Quote": 'say "x", y', "Number": 0.5}
        p.extra_generation_params.update(values)
        text = host.run_job(p).infotexts[0]
        assert 'Comma: "a, b", Colon: "a: b"' in text
        parsed = module("infotext_utils").parse_generation_parameters(text)
        assert {key: parsed[key] for key in values} == {key: str(value) for key, value in values.items()}

    def test_keys_with_other_characters_do_not_come_back(self, host: Any) -> None:
        p = host.job("txt2img", **SMALL)
        p.extra_generation_params["CFG++ mode"] = "x"
        text = host.run_job(p).infotexts[0]
        assert "CFG++ mode" not in module("infotext_utils").parse_generation_parameters(text)

    def test_what_is_set_while_sampling_reaches_the_image_only(self, host: Any) -> None:
        p = host.job("txt2img", **SMALL)
        on("cfg_denoiser", lambda params: params.denoiser.p.extra_generation_params.update(Late="yes"))
        result = host.run_job(p)
        assert "Late: yes" in result.infotexts[0]
        assert "Late" not in result.params_txt
        assert "Steps: 4" in result.params_txt

    def test_the_whole_text(self, host: Any) -> None:
        text = host.txt2img(**{**SMALL, "negative_prompt": "a dog"}, cfg_scale=2.5).infotexts[0]
        known = host.shared.sd_model.sd_model_hash
        start = "a cat\nNegative prompt: a dog\nSteps: 4, Sampler: Euler, Schedule type: Automatic, CFG scale: 2.5"
        assert text.startswith(f"{start}, Seed: 1, Size: 64x64, Model hash: {known}, Model: sd1, Version: ")

    def test_the_text_of_a_second_pass(self, host: Any) -> None:
        text = host.txt2img(**SMALL, **{**HIRES, "hr_second_pass_steps": 3, "hr_prompt": "a bird"}).infotexts[0]
        line = text.split("Model: sd1, ")[1].split(", Version")[0]
        ours = [
            "Denoising strength: 0.5",
            "Hires prompt: a bird",
            "Hires upscale: 2.0",
            "Hires steps: 3",
            "Hires upscaler: Latent",
        ]
        assert line == ", ".join(ours)

    def test_what_a_text_says_besides_its_fields(self, host: Any) -> None:
        read = module("infotext_utils").parse_generation_parameters
        fields = read("a cat,\nsitting\nNegative prompt: a dog\nSteps: 4, Seed: 1, Size: 64x72")
        assert (fields["Prompt"], fields["Negative prompt"]) == ("a cat,\nsitting", "a dog")
        assert (fields["Size-1"], fields["Size-2"], fields["Steps"]) == ("64", "72", "4")
        assert (fields["Clip skip"], fields["Hires resize-1"], fields["Schedule type"]) == ("1", 0, "Automatic")
        assert read("a cat\nSteps: 4, Seed: 1")["Prompt"] == "a cat\nSteps: 4, Seed: 1"  # too few to be fields
        assert "Seed" not in read("a cat\nSteps: 4, Seed: 1, Size: 64x72", skip_fields=["Seed"])

    def test_a_list_has_a_value_for_each_image(self, host: Any) -> None:
        p = host.job("txt2img", **SMALL, batch_size=2)
        p.extra_generation_params["Each"] = ["one", "two"]
        assert [text.split("Each: ")[1][:3] for text in host.run_job(p).infotexts] == ["one", "two"]
