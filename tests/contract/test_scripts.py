"""Scripts that are selected, and what a job has made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.helpers import (
    SMALL,
    act,
    module,
    recorded,
    script,
)


def choices(dropdown: Any) -> list[str]:
    """What a dropdown offers; some versions of gradio have pairs of label and value."""
    return [choice[0] if isinstance(choice, tuple) else choice for choice in dropdown.choices]


class TestSelectableScripts:
    @staticmethod
    def seen() -> list[Any]:
        """What the script's `run` was given."""
        found: list[Any] = script("selectable").module.seen
        return found

    def test_they_stand_behind_the_always_on_ones(self, host: Any) -> None:
        runner = host.tabs["txt2img"].runner
        assert runner.titles[-3:] == ["X/Y/Z plot", "Twice", "Later"]
        assert host.tabs["img2img"].runner.titles[-2:] == ["X/Y/Z plot", "Twice"]
        assert runner.script("Twice").args_from >= max(script.args_to for script in runner.alwayson_scripts)
        assert (runner.script("twice").alwayson, runner.script("Recorder").alwayson) == (False, True)
        assert (runner.script("Recorder").group.visible, runner.script("Twice").group.visible) == (True, False)

    def test_the_dropdown_shows_the_groups_of_the_selected_one(self, host: Any) -> None:
        tab = host.tabs["txt2img"]
        dropdown = tab.runner.inputs[0]
        assert choices(dropdown) == ["None", *tab.runner.titles]
        changed = tab.trigger("script_list", "change", "Twice")
        shown = [changed[tab.runner.script(title).group]["visible"] for title in tab.runner.titles]
        assert shown == [title == "Twice" for title in tab.runner.titles]
        assert len(host.txt2img(**SMALL).jobs) == 2

    def test_an_infotext_selects_a_script(self, host: Any) -> None:
        text = "a cat\nSteps: 4, Seed: 1, Size: 64x64"
        assert host.paste("txt2img", text)["Script"] == "None"
        assert host.paste("txt2img", f"{text}, Script: Twice")["Script"] == "Twice"

    def test_from_the_page(self, host: Any) -> None:
        result = host.txt2img(script="Twice", ui={"Twice count": 3}, **SMALL)
        assert self.seen() == [((3, "work"), tuple, "task(txt2img)")]
        assert [image.width for image in result.images] == [64, 128, 192]
        assert result.latents.shape == (1, 4, 8, 24)
        assert [job.latents[0].shape[-1] for job in result.jobs] == [8, 16, 24]
        assert [len(job.calls) for job in host.probe.jobs] == [4, 4, 4]
        assert [job.launches for job in host.probe.jobs] == 3 * [[("Euler", 4)]]
        assert host.probe.hooks.count("setup") == 1
        assert [job.hooks[0] for job in host.probe.jobs] == 3 * ["before_process"]
        with pytest.raises(LookupError, match="Thrice"):
            host.txt2img(script="Thrice", **SMALL)

    def test_none_leaves_the_job_to_the_page_and_breaks_the_api(self, host: Any) -> None:
        result = host.txt2img(script="Twice", ui={"Twice mode": "nothing"}, **SMALL)
        assert (result.status, len(result.images)) == (200, 1)
        answer = host.api.txt2img({**SMALL, "script_name": "twice", "script_args": [1, "nothing"]})
        assert (answer.status, answer.error) == (500, "AttributeError")

    def test_from_the_api(self, host: Any) -> None:
        result = host.api.txt2img({**SMALL, "script_name": "tWiCe", "script_args": [2, "work"]})
        assert self.seen() == [((2, "work"), list, "scripts_txt2img")]
        assert [image.size for image in result.images] == [image.size for image in result.processed.images]
        assert json.loads(result.info)["infotexts"] == result.infotexts
        assert (
            host.api.txt2img({**SMALL, "script_name": "Twice", "script_args": [1, ""], "send_images": False}).images
            == []
        )
        refused = host.api.txt2img({**SMALL, "script_name": "Recorder"})
        assert (refused.status, "'Recorder'" in refused.message) == (422, True)
        assert host.api.txt2img({**SMALL, "alwayson_scripts": {"Twice": {"args": []}}}).status == 422

    def test_a_list_of_another_length_moves_the_arguments_behind_it(self, host: Any) -> None:
        recorder = {"alwayson_scripts": {"Recorder": {"args": [True, "b"]}}}
        result = host.api.txt2img({**SMALL, **recorder, "script_name": "Twice", "script_args": [1, "work", "more"]})
        assert result.p.script_args[-5:] == [1, "work", "more", 2, "work"]
        assert recorded("process")[0]["args"] == (True, "b", 0.5, 3)
        assert host.api.txt2img({**SMALL, "script_name": "Later", "script_args": [1]}).error == "ValueError"
        host.api.txt2img({**SMALL, "script_name": "Twice", "script_args": [1]})
        assert self.seen()[-1][0] == (1, 2)  # a list that is too short, and the next script's first argument

    def test_a_job_of_its_own_is_set_up_when_it_has_scripts_and_arguments(self, host: Any) -> None:
        p = host.job("txt2img", **SMALL)
        other = module("processing").StableDiffusionProcessingTxt2Img(**SMALL)
        other.scripts = p.scripts
        before = len(recorded("setup"))
        other.script_args = p.script_args
        other.script_args = p.script_args
        assert len(recorded("setup")) == before + 1


class TestProcessed:
    def test_it_has_the_jobs_fields(self, host: Any) -> None:
        processed = host.txt2img(**{**SMALL, "prompt": "a cat", "negative_prompt": "a dog"}, batch_size=2).processed
        assert (processed.prompt, processed.negative_prompt) == ("a cat", "a dog")
        assert (processed.width, processed.height, processed.steps, processed.sampler_name) == (64, 64, 4, "Euler")
        assert (processed.seed, processed.all_seeds, processed.all_prompts) == (1, [1, 2], 2 * ["a cat"])
        assert (processed.index_of_first_image, processed.clip_skip, processed.sd_vae_name) == (0, 1, None)
        with pytest.raises(AttributeError, match="nothing"):
            _ = processed.nothing

    def test_it_can_be_made_without_a_run(self, host: Any) -> None:
        p = host.job("txt2img", **SMALL)
        p.comment("said")
        processed = module("processing").Processed(p, ["image"], seed=[7], info="text")
        assert (processed.seed, processed.subseed, processed.infotexts) == (7, -1, ["text"])
        assert (processed.all_prompts, processed.all_seeds, processed.comments) == (["a cat"], [7], "said\n")
        told = json.loads(processed.js())
        assert {"seed", "job_timestamp", "face_restoration_model", "styles", "version"} <= told.keys()
        assert not {"info", "images", "comments", "eta"} & told.keys()

    def test_a_seed_by_chance_is_not_the_jobs(self, host: Any) -> None:
        result = host.txt2img(**{**SMALL, "seed": -1})
        assert (result.p.seed, result.processed.seed >= 0) == (-1, True)
        fixed = host.job("txt2img", **{**SMALL, "seed": -1})
        module("processing").fix_seed(fixed)
        assert min(fixed.seed, fixed.subseed) >= 0
        assert module("processing").get_fixed_seed("12") == 12

    def test_a_grid_stands_in_front_where_the_page_wants_one(self, host: Any) -> None:
        result = host.txt2img(**SMALL, batch_size=2, do_not_save_grid=False)
        assert [image.size for image in result.images] == [(128, 64), (64, 64), (64, 64)]
        assert (result.processed.index_of_first_image, len(result.infotexts)) == (1, 3)
        assert len(list((host.data_path / "outputs" / "txt2img-grids").rglob("grid-0000.png"))) == 1
        assert len(host.api.txt2img({**SMALL, "batch_size": 2}).images) == 2

    def test_nothing_came_of_an_interrupted_job(self, host: Any) -> None:
        act(process=lambda p, *args: host.shared.state.stop_generating())
        result = host.api.txt2img(SMALL)
        assert (result.status, result.images, result.latents, len(result.infotexts)) == (200, [], None, 1)
