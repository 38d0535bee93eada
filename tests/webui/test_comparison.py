"""The script "Few-step comparison", driven through a strict stand-in of the WebUI."""

from __future__ import annotations

import io
import json
import sys
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lib_fewstep.compare.settings import Cell, ComparisonSettings
from tests.docs.light import LIGHT
from tests.webui import standin
from tests.webui.exact import SCRIPTS, listening, passes_of, settings_of, unchanged

pytestmark = pytest.mark.long

TITLE = "Few-step comparison"
BASE = {"prompt": "a cat", "width": 96, "height": 80, "steps": 9, "seed": 1, "sampler_name": "Heun", "cfg_scale": 2.0}
SMALL = {"steps": [1, 3], "cfg": [3], "samplers": ["Euler", "Euler CFG++"], "reference_steps": 6}
COLUMNS = ["prompt", "seed", "method", "sampler", "cfg", "steps", "reference"]


OF_PICTURES = pytest.mark.parametrize("host", ["sd1"], indirect=True)
"""Where pixels are compared, a real UNet makes another picture with each sampler."""


@pytest.fixture(scope="module")
def running():
    """A host with a model that costs next to nothing: for the most part, what it makes does not matter."""
    with patch.dict(standin.RECIPES, light=LIGHT), standin.webui("light", SCRIPTS) as made:
        yield made


@pytest.fixture
def host(request, running):
    """That host, or with the model that the test names; a comparison leaves it as it was."""
    running.load_model(getattr(request, "param", "light"))
    with unchanged(running):
        yield running
    assert running.shared.state.textinfo is None


def request(settings, **fields):
    return BASE | {"script_name": TITLE, "script_args": [settings]} | fields


def compare(host, settings, **fields):
    tab = host.api.img2img if "init_images" in fields else host.api.txt2img
    result = tab(request(settings, **fields))
    assert result.status == 200, result.message
    return result


def table(result):
    text = json.loads(result.info)["extra_generation_params"][TITLE]
    return pd.read_csv(io.StringIO(text), keep_default_na=False, na_values={"psnr": "", "ssim": "", "seconds": ""})


def single(host, **fields):
    result = host.api.txt2img(BASE | fields)
    assert result.status == 200, result.message
    return result


def cells_of(frame):
    return [Cell(**row) for row in frame[COLUMNS].to_dict("records")]


def pixels(picture):
    return np.asarray(picture.convert("RGB"))


def test_every_combination_is_there_once_after_its_reference(host):
    settings = {"steps": [1, 2], "cfg": [2, 5], "samplers": ["Euler", "TCD"], "methods": ["None", "Deep Shrink"]}
    frame = table(compare(host, settings | {"seeds": 2, "reference_steps": 4}))
    assert len(frame) == 2 * 2 * (1 + 2 * 2 * 2)
    assert len(set(cells_of(frame))) == len(frame)
    assert list(frame["seed"].unique()) == [1, 2]
    assert frame["reference"].sum() == 4
    assert not frame["error"].any()


@OF_PICTURES
def test_a_cell_equals_a_run_with_the_same_arguments(host):
    settings = SMALL | {"methods": ["None", "HiDiffusion"], "images": True}
    paper = {"HiDiffusion": {"args": [{"enabled": False, "preset": "Paper"}]}}
    found = compare(host, settings, alwayson_scripts=paper)
    images = found.images[2:]
    cells = cells_of(table(found))
    assert len(images) == len(cells) == 9
    for image, cell in zip(images, cells, strict=True):
        method = {"enabled": cell.method != "None"}
        alone = single(
            host,
            steps=cell.steps,
            cfg_scale=cell.cfg,
            sampler_name=cell.sampler,
            alwayson_scripts={"HiDiffusion": {"args": [method]}},
        )
        assert np.array_equal(pixels(image), pixels(alone.images[0])), cell


@OF_PICTURES
def test_as_set_is_what_the_accordion_says(host):
    paper = {"HiDiffusion": {"args": [{"preset": "Paper"}]}}
    settings = {"steps": [3], "samplers": ["Euler"], "cfg": [2], "images": True, "reference_steps": 4}
    found = compare(host, settings, alwayson_scripts=paper)
    alone = single(host, steps=3, sampler_name="Euler", alwayson_scripts=paper)
    assert np.array_equal(pixels(found.images[3]), pixels(alone.images[0]))
    assert "HiDiffusion method" in found.infotexts[3]


@OF_PICTURES
def test_the_distance_is_to_the_reference_of_the_same_cfg(host):
    found = compare(host, SMALL | {"cfg": [2, 6], "images": True})
    frame, images = table(found), found.images[2:]
    for start in (0, 5):
        reference = pixels(images[start])
        assert np.isnan(frame.loc[start, "psnr"])
        for index in range(start + 1, start + 5):
            shown = pixels(images[index])
            assert frame.loc[index, "psnr"] == pytest.approx(peak_signal_noise_ratio(reference, shown))
            assert frame.loc[index, "ssim"] == pytest.approx(structural_similarity(reference, shown, channel_axis=2))


def test_evaluations_are_the_counted_calls(host):
    found = compare(host, {"steps": [1, 4], "cfg": [3], "samplers": ["Euler", "Heun", "DPM++ 2S a CFG++", "DDIM"]})
    assert not table(found)["error"].any()
    frame = table(found)
    assert list(frame["evaluations"]) == [len(job.calls) for job in found.jobs]
    assert (frame["unet_calls"] == frame["evaluations"]).all()
    assert (frame.loc[frame["evaluations"] > 0, "seconds"] > 0).all()


def test_the_answer_has_grid_curves_and_infotexts(host):
    found = compare(host, SMALL)
    assert len(found.images) == len(found.infotexts) == 2
    assert found.processed.index_of_first_image == 2
    assert 'Script: Few-step comparison, Comparison steps: "1, 3"' in found.infotexts[0]
    assert "Comparison reference steps: 6" in found.infotexts[0]
    assert "5 of 5 cells done." in found.comments


def test_strips_hold_the_prediction_of_each_step(host):
    found = compare(host, {"steps": [1, 3], "cfg": [3], "samplers": ["Euler"], "strips": True, "reference_steps": 4})
    strips = found.images[2:]
    assert len(strips) == 3
    widths = sorted(strip.width for strip in strips)
    assert widths[0] < widths[1] < widths[2]


@OF_PICTURES
def test_a_strip_ends_with_the_image(host):
    """Euler's last prediction is its image, so the strip holds the image's own pixels."""
    settings = {"steps": [2], "cfg": [3], "samplers": ["Euler"], "reference_steps": 1, "strips": True, "images": True}
    found = compare(host, settings, width=128, height=128)
    image, strip = pixels(found.images[-1]), pixels(found.images[3])
    height, width = image.shape[:2]
    assert any(
        np.array_equal(strip[top : top + height, left : left + width], image)
        for top in range(strip.shape[0] - height + 1)
        for left in range(strip.shape[1] - width + 1)
    )


def test_the_page_s_values_mean_what_the_dict_means(host):
    ui = {
        "fewstep_comparison_txt2img_steps": "1 3",
        "fewstep_comparison_txt2img_cfg": "3",
        "fewstep_comparison_txt2img_samplers": ["Euler", "Euler CFG++"],
        "fewstep_comparison_txt2img_reference_steps": 6,
    }
    page = host.txt2img(script=TITLE, ui=ui, **BASE)
    assert cells_of(table(page)) == cells_of(table(compare(host, SMALL)))


def test_the_page_saves_pictures_and_table(host):
    tables, curves = ({*host.data_path.rglob(name)} for name in ("*few-step-comparison*.csv", "*few-step-curves*.png"))
    with settings_of(host, grid_save=True):
        ui = {"fewstep_comparison_txt2img_steps": "1"}
        page = host.txt2img(script=TITLE, ui=ui, do_not_save_grid=False, **BASE)
    (path,) = {*host.data_path.rglob("*few-step-comparison*.csv")} - tables
    assert str(path) in page.comments
    assert path.read_bytes().decode() == json.loads(page.info)["extra_generation_params"][TITLE]
    assert Image.open(path.with_suffix(".png")).size == page.images[0].size
    assert len({*host.data_path.rglob("*few-step-curves*.png")} - curves) == 1


def test_pasting_an_infotext_fills_the_page(host):
    settings = SMALL | {"methods": ["None", "HiDiffusion"], "cfg": [2.5], "strips": True}
    changed = host.paste("txt2img", compare(host, settings).infotexts[0])
    assert changed["Script"] == TITLE
    assert {name: changed[name] for name in ("Steps", "CFG", "Samplers", "Methods", "Strips")} == {
        "Steps": "1, 3",
        "CFG": "2.5",
        "Samplers": ["Euler", "Euler CFG++"],
        "Methods": ["None", "HiDiffusion"],
        "Strips": True,
    }


def test_progress_counts_the_cells_that_are_left(host, listen):
    state, bar = host.shared.state, host.shared.total_tqdm
    seen = listen(lambda params: (state.textinfo, (state.job_count, bar._tqdm.total)))
    compare(host, SMALL)
    texts = list(dict.fromkeys(text for text, _ in seen))
    assert texts == [f"{left} of 5 cells left" for left in (5, 4, 3, 2, 1)]
    assert {counts for _, counts in seen} == {(5, 6 + 2 * (1 + 3))}


@pytest.fixture
def listen(host):
    with listening(host) as add:
        yield add


def test_an_interrupt_keeps_what_is_done(host):
    host.fault(interrupt=1, launch=2)
    found = compare(host, SMALL)
    frame = table(found)
    assert list(frame["error"]) == ["", "", "stopped", "not run", "not run"]
    assert frame["psnr"].notna().sum() == 1
    assert "2 of 5 cells done, 1 failed (stopped), 2 not run." in found.comments


def test_a_skipped_cell_is_stopped_and_the_rest_goes_on(host):
    host.fault(skip=1, launch=2)
    assert list(table(compare(host, SMALL))["error"]) == ["", "", "stopped", "", ""]


def test_a_failing_cell_shows_its_error_and_the_rest_goes_on(host):
    host.fault(block="input_blocks.1", launch=2, step=1, error=RuntimeError("out of memory"))
    found = compare(host, SMALL)
    assert list(table(found)["error"]) == ["", "", "out of memory", "", ""]
    assert "4 of 5 cells done, 1 failed (out of memory)." in found.comments


def test_stopping_after_the_image_keeps_it(host, listen):
    seen = listen(lambda params: len(host.probe.jobs) == 2 and host.shared.state.stop_generating())
    found = compare(host, SMALL)
    assert any(seen) is False
    assert list(table(found)["error"]) == ["", "", "not run", "not run", "not run"]


def test_a_batch_is_one_image_a_cell_and_nothing_of_a_cell_stays_on_the_job(host):
    found = compare(host, SMALL | {"images": True}, batch_size=2, n_iter=2)
    assert len(found.images) == 2 + 5
    assert not table(found)["error"].any()
    assert found.p.extra_generation_params == {}
    assert (found.p.batch_size, found.p.n_iter, found.p.steps, found.p.sampler_name) == (2, 2, 9, "Heun")


def test_a_grid_of_one_image_does_not_take_the_image_s_place(host):
    with settings_of(host, grid_only_if_multiple=False, return_grid=True):
        page = host.txt2img(script=TITLE, ui={"fewstep_comparison_txt2img_steps": "1"}, do_not_save_grid=False, **BASE)
    assert all(len(job.p.all_prompts) == 1 for job in page.jobs)
    assert not list(host.data_path.rglob("*grid-0*"))


def test_after_strips_the_sampler_is_as_it_was(host, listen):
    samplers = listen(lambda params: params.denoiser.sampler)
    compare(host, SMALL | {"strips": True})
    assert len(samplers) > 5
    assert not any({"callback_state", "launch_sampling"} & set(vars(sampler)) for sampler in samplers)
    assert not any(passes_of(sampler.p) for sampler in samplers)


@pytest.mark.parametrize(("name", "value"), [("sampler", "Heun"), ("steps", 2), ("cfg", 7.0)])
def test_a_cell_that_ran_otherwise_is_an_error(host, name, value):
    from types import SimpleNamespace

    from lib_fewstep.options import SettingError
    from lib_fewstep.webui.comparison.run import _check_run

    cell = Cell("a cat", 1, "None", "Euler", 3.0, 4)
    ran = {"sampler": "Euler", "steps": 4, "cfg": 3.0}
    _check_run(cell, SimpleNamespace(records=[SimpleNamespace(**ran)]))
    with pytest.raises(SettingError, match=f"{name} = .* was changed to {value!r}"):
        _check_run(cell, SimpleNamespace(records=[SimpleNamespace(**(ran | {name: value}))]))


def test_a_strip_that_cannot_be_decoded_fails_its_cell_alone(host, monkeypatch):
    own = sys.modules["lib_fewstep.webui.common.host.images"]
    picture, calls = own.picture, []

    def fails(latent):
        calls.append(latent)
        if len(calls) == 8:
            raise RuntimeError("out of memory")
        return picture(latent)

    monkeypatch.setattr(own, "picture", fails)
    assert list(table(compare(host, SMALL | {"strips": True}))["error"]) == ["", "", "out of memory", "", ""]


def test_what_cannot_be_saved_is_still_shown(host, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(sys.modules["modules.images"], "save_image", full)
    found = compare(host, SMALL, do_not_save_grid=False)
    page = host.txt2img(
        script=TITLE,
        ui={"fewstep_comparison_txt2img_steps": "1"},
        **(BASE | {"do_not_save_grid": False, "do_not_save_samples": True}),
    )
    assert len(found.images) == len(page.images) == 2
    assert "Nothing was saved: no space left on device" in page.comments


def test_aliases_are_samplers_too(host):
    frame = table(compare(host, {"steps": [1], "cfg": [3], "samplers": ["euler_cfg_pp"], "reference_steps": 2}))
    assert list(frame["sampler"]) == ["DPM++ 2M", "Euler CFG++"]
    assert not frame["error"].any()


def test_without_a_reference_there_is_no_distance(host):
    host.fault(block="input_blocks.1", launch=0, step=1, error=RuntimeError("out of memory"))
    frame = table(compare(host, SMALL))
    assert list(frame["error"]) == ["out of memory", "", "", "", ""]
    assert frame["psnr"].isna().all()


def test_when_every_cell_fails_there_are_still_pictures(host):
    wrong = {"HiDiffusion": {"args": [{"t1": 7}]}}
    found = compare(host, SMALL, alwayson_scripts=wrong)
    assert all("t1 = 7 is not allowed" in error for error in table(found)["error"])
    assert len(found.images) == 2


def test_what_another_setting_changes_is_an_error_in_the_cell(host):
    custom = {"Few-Step": {"args": [{"timesteps": [999, 600]}]}}
    errors = table(compare(host, SMALL, alwayson_scripts=custom))["error"]
    assert all("was changed to 2" in error for error in errors)


def test_a_preset_leaves_to_the_comparison_what_it_compares(host):
    preset = {"Few-Step": {"args": [{"preset": "SDXL-Lightning 4 steps"}]}}
    frame = table(compare(host, SMALL, alwayson_scripts=preset))
    assert not frame["error"].any()
    assert set(frame["schedule"]) == {"Trailing"}


def test_prompts_come_from_a_file(host):
    folder = host.data_path / "models" / "FewStep" / "prompts"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "set.tsv").write_text("p\tseed\nred\t5\ngreen\t8\nblue\t\n")
    settings = {"steps": [1], "cfg": [3], "samplers": ["Euler"], "reference_steps": 2, "prompts": "set.tsv"}
    frame = table(compare(host, settings))
    assert list(zip(frame["prompt"], frame["seed"], strict=True))[::2] == [("red", 5), ("green", 8), ("blue", 1)]
    assert len(table(compare(host, settings | {"prompt_limit": 2}))) == 4
    (folder / "twice.tsv").write_text("p\tseed\tstep\nred\t5\t10\nred\t5\t20\nred\t6\t\n")
    seeds = table(compare(host, settings | {"prompts": "twice.tsv", "seeds": 2}))["seed"]
    assert list(seeds[::2]) == [5, 6, 7]


def test_img2img_and_hires_fix(host):
    image = {"init_images": [standin.picture(96, 80)], "denoising_strength": 0.6}
    frame = table(compare(host, SMALL, **image))
    assert not frame["error"].any()
    hires = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.5, "hr_upscaler": "Latent"}
    frame = table(compare(host, SMALL, **hires))
    assert not frame["error"].any()
    assert set(frame["width"]) == {192}


def test_a_random_seed_is_the_same_for_all(host):
    frame = table(compare(host, SMALL, seed=-1))
    assert frame["seed"].nunique() == 1
    assert frame["seed"][0] >= 0


REFUSED = [
    ({"steps": []}, "steps = () is not allowed"),
    ({"steps": [0]}, "steps = 0 is not allowed: it must be whole numbers from 1 to 1000"),
    ({"steps": [2, 2]}, "it must have each value only once"),
    ({"steps": ["four"]}, "steps = 'four' is not allowed"),
    ({"cfg": [-1]}, "cfg = -1 is not allowed: it must be numbers from 0 to 100"),
    ({"cfg": [float("nan")]}, "cfg = nan is not allowed"),
    ({"samplers": ["Eular"]}, "samplers = 'Eular' is not allowed"),
    ({"reference_sampler": "Best"}, "reference_sampler = 'Best' is not allowed"),
    (
        {"methods": ["None", "Kohya"]},
        "methods = 'Kohya' is not allowed: it must be As set or None or HiDiffusion or Deep Shrink",
    ),
    ({"methods": ["None", "None"]}, "it must have each value only once"),
    ({"seeds": 0}, "seeds = 0 is not allowed: it must be 1 to 1000"),
    ({"prompts": "nowhere.txt"}, "nowhere.txt"),
    ({"prompts": "../../etc/passwd"}, "the name of a file"),
    ({"cfg": [10**400]}, "is not allowed: it must be numbers from 0 to 100"),
    ({"samplers": ["Euler CFG++", "euler_cfg_pp"]}, "it must have each value only once"),
    ({"seeds": 1000, "steps": list(range(1, 200))}, "399000 images"),
    ({"stepz": [1]}, "Did you mean steps?"),
]


@pytest.mark.parametrize(("settings", "said"), REFUSED)
def test_wrong_settings_are_named_before_the_first_image(host, settings, said):
    result = host.api.txt2img(request(settings))
    assert result.status == 422, result.message
    assert result.message.startswith(TITLE)
    assert said in result.message
    assert not host.probe.calls


def test_the_methods_are_those_that_the_accordion_offers(host):
    """Also for a client of the API, which learns them from the description of the script's arguments."""
    from lib_fewstep.webui.comparison.arguments import METHODS

    for is_img2img in (False, True):
        (script,) = (
            item for item in host.api.script_info() if (item["name"], item["is_img2img"]) == ("hidiffusion", is_img2img)
        )
        (argument,) = (argument for argument in script["args"] if argument["label"] == "Method")
        assert script["is_alwayson"]
        assert ("As set", "None", *argument["choices"]) == METHODS


def test_a_wrong_number_on_the_page_is_named():
    from lib_fewstep.webui.comparison.arguments import FIELDS, comparison_settings

    with pytest.raises(ValueError, match="steps = 'x' is not allowed"):
        comparison_settings(["1, x", *[field.shown for field in FIELDS.values()][1:]])
    with pytest.raises(ValueError, match="script_args has 20 values"):
        comparison_settings(["1"] * 20)
    with pytest.raises(ValueError, match="script_args has 0 values: it must have one dict"):
        comparison_settings([])
    assert comparison_settings([{}]) == ComparisonSettings()
