"""Requests of the API, and its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tests.contract.helpers import (
    SMALL,
    act,
    module,
    recorded,
    register,
)
from tests.webui import standin


class TestApi:
    @pytest.mark.parametrize(
        ("sent", "received"),
        [
            ([], (False, "a", 0.5, 3)),
            ([True, "b"], (True, "b", 0.5, 3)),
            ([None, "b", 1, 2, 3, 4], (None, "b", 1, 2)),
            ([{"enabled": True}], ({"enabled": True}, "a", 0.5, 3)),
        ],
    )
    def test_arguments(self, host: Any, sent: list[Any], received: tuple[Any, ...]) -> None:
        assert host.api.txt2img({**SMALL, "alwayson_scripts": {"rEcOrDeR": {"args": sent}}}).status == 200
        assert recorded("process")[0]["args"] == received

    def test_a_dict_in_the_place_of_the_list_fails(self, host: Any) -> None:
        result = host.api.txt2img({**SMALL, "alwayson_scripts": {"Recorder": {"args": {"enabled": True}}}})
        assert (result.status, result.error) == (500, "KeyError")

    def test_an_unknown_script_is_refused(self, host: Any) -> None:
        result = host.api.txt2img({**SMALL, "alwayson_scripts": {"Nobody": {"args": []}}})
        assert (result.status, "'Nobody'" in result.message) == (422, True)

    def test_img2img_takes_base64(self, host: Any) -> None:
        picture = standin.picture(64, 64)
        sent = host.api.img2img({**SMALL, "init_images": [standin.as_base64(picture)]})
        assert torch.equal(sent.latents, host.img2img(**SMALL, init_images=[picture]).latents)
        assert host.api.img2img(SMALL).status == 404

    def test_unknown_samplers_become_the_first_one_and_schedulers_are_cut_off(self, host: Any) -> None:
        names = {
            "Nobody": ("DPM++ 2M", "Automatic"),
            "Euler Karras": ("Euler", "Karras"),
            "DDIM": ("DDIM", "Automatic"),
        }
        for name, expected in names.items():
            p = host.api.txt2img({**SMALL, "sampler_name": name}).p
            assert (p.sampler_name, p.scheduler) == expected

    def test_a_registered_sampler_is_found(self, host: Any) -> None:
        assert module("sd_samplers").get_sampler_and_scheduler("Mine", None)[0] == "DPM++ 2M"

        def sample(model: Any, x: Any, sigmas: Any, extra_args: Any, callback: Any = None, disable: Any = None) -> Any:
            return model(x, sigmas[0] * x.new_ones(len(x)), **extra_args)

        register(sample)
        host.txt2img(**{**SMALL, "sampler_name": "Mine"})
        assert (host.probe.launches, len(host.probe.calls)) == ([("Mine", 4)], 1)

    def test_settings_are_restored_only_if_the_configuration_had_them(self, host: Any) -> None:
        data = host.shared.opts.data
        data["img2img_fix_steps"] = False
        data.pop("skip_early_cond", None)
        overridden = {"img2img_fix_steps": True, "skip_early_cond": 0.5}
        host.api.txt2img({**SMALL, "override_settings": overridden})
        assert host.shared.opts.img2img_fix_steps is False
        assert host.shared.opts.skip_early_cond == 0.5

    def test_what_a_request_leaves_out_is_filled(self, host: Any) -> None:
        p = host.api.txt2img({"width": 64, "height": 64}).p
        assert (p.steps, p.cfg_scale, p.sampler_name, p.scheduler) == (50, 7.0, "Euler", "Automatic")
        assert (p.prompt, p.seed, p.batch_size, p.n_iter, p.enable_hr) == ("", -1, 1, 1, False)
        assert (p.denoising_strength, p.hr_scale, p.s_min_uncond, p.eta) == (None, 2.0, 0.0, None)
        assert (p.is_api, p.override_settings) == (True, {})

    def test_fields_of_no_job_are_ignored(self, host: Any) -> None:
        assert host.api.txt2img({**SMALL, "nothing": 1}).status == 200

    def test_a_setting_may_be_kept_from_requests(self, host: Any) -> None:
        opts = host.shared.opts
        for name, restricted in (("mine_open", False), ("mine_closed", True)):
            opts.add_option(name, host.shared.OptionInfo(1, name, section=("a", "A"), restrict_api=restricted))
        seen: list[Any] = []
        act(process=lambda p, *args: seen.append((opts.mine_open, opts.mine_closed)))
        host.api.txt2img({**SMALL, "override_settings": {"mine_open": 2, "mine_closed": 2}})
        assert seen == [(2, 1)]
        assert opts.mine_open == 1

    def test_settings_may_stay(self, host: Any) -> None:
        host.shared.opts.data["img2img_fix_steps"] = False
        stays = {"override_settings": {"img2img_fix_steps": True}, "override_settings_restore_afterwards": False}
        host.api.txt2img({**SMALL, **stays})
        assert host.shared.opts.img2img_fix_steps is True


class TestAnswers:
    def test_comments_are_for_the_page_alone(self, host: Any) -> None:
        act(before_process=lambda p, *args: p.comment("mind the gap"))
        result = host.api.txt2img(SMALL)
        assert result.comments == "mind the gap\n"
        info = json.loads(result.info)
        assert "mind the gap" not in result.info
        assert (info["seed"], info["sampler_name"], info["infotexts"]) == (1, "Euler", result.infotexts)

    def test_pictures_keep_their_text(self, host: Any) -> None:
        made = host.txt2img(**SMALL).images[0]
        images = module("images")
        assert images.read_info_from_image(made)[0].startswith("a cat")
        p = host.api.img2img({**SMALL, "init_images": [standin.as_base64(made)]}).p
        assert p.init_images[0].info["parameters"] == made.info["parameters"]
        assert images.read_info_from_image(standin.picture(8, 8)) == (None, {})

    def test_lists_of_samplers_and_schedulers(self, host: Any) -> None:
        first = {"name": "DPM++ 2M", "aliases": ["k_dpmpp_2m"], "options": {"scheduler": "karras"}}
        assert host.api.samplers()[0] == first
        register(len, {"second_order": True})
        assert host.api.samplers()[-1]["options"] == {"second_order": "True"}
        register(len, {"scheduler": None}, name="Bad")
        with pytest.raises(ValueError, match="options"):
            host.api.samplers()
        assert host.api.schedulers()[5] == {
            "name": "sgm_uniform",
            "label": "SGM Uniform",
            "aliases": ["SGMUniform"],
            "default_rho": -1,
            "need_inner_model": True,
        }

    def test_a_sent_scheduler_is_looked_up_after_before_process(self, host: Any) -> None:
        seen: list[Any] = []
        act(before_process=lambda p, *args: seen.append((p.sampler_name, p.scheduler)))
        p = host.api.txt2img({**SMALL, "sampler_name": "Euler", "scheduler": "karras"}).p
        assert (seen, p.scheduler) == ([("Euler", "karras")], "Karras")

    def test_functions_in_infotexts(self, host: Any) -> None:
        p = host.job("txt2img", **SMALL)
        p.extra_generation_params.update(Asked=lambda index, **more: f"image {index}", Raises=lambda **more: 1 / 0)
        text = host.run_job(p).infotexts[0]
        assert "Asked: image 0" in text
        assert "Raises" not in text

    def test_what_the_answer_tells(self, host: Any) -> None:
        told = json.loads(host.api.txt2img({**SMALL, "batch_size": 2}).info)
        assert (told["all_seeds"], told["all_prompts"], told["index_of_first_image"]) == ([1, 2], 2 * ["a cat"], 0)
        assert (told["steps"], told["cfg_scale"], told["sampler_name"]) == (4, 7.0, "Euler")
        assert (told["width"], told["height"], told["sd_model_name"], told["styles"]) == (64, 64, "sd1", [])
        assert told["sd_model_hash"] == host.shared.sd_model.sd_model_hash
        assert sorted(told) == [
            "all_negative_prompts",
            "all_prompts",
            "all_seeds",
            "all_subseeds",
            "batch_size",
            "cfg_scale",
            "clip_skip",
            "denoising_strength",
            "extra_generation_params",
            "face_restoration_model",
            "height",
            "index_of_first_image",
            "infotexts",
            "is_using_inpainting_conditioning",
            "job_timestamp",
            "negative_prompt",
            "prompt",
            "restore_faces",
            "sampler_name",
            "sd_model_hash",
            "sd_model_name",
            "sd_vae_hash",
            "sd_vae_name",
            "seed",
            "seed_resize_from_h",
            "seed_resize_from_w",
            "steps",
            "styles",
            "subseed",
            "subseed_strength",
            "version",
            "width",
        ]
