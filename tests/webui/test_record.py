"""The record of what images cost, driven through a strict stand-in of the WebUI."""

from __future__ import annotations

import copy
import csv
import json
import re
import sys
import time
from contextlib import contextmanager

import pytest
import torch

from lib_fewstep.compare.record import COLUMNS
from tests.webui import standin
from tests.webui.exact import listening, passes_of, settings_of, unchanged

BASE = {"prompt": "a cat", "width": 96, "height": 80, "steps": 4, "seed": 1, "sampler_name": "Euler", "cfg_scale": 3.0}
ON = {"override_settings": {"fewstep_record": True}}
HIRES = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.6, "hr_upscaler": "Latent"}
COST = re.compile(r'Few-Step cost: "(\d+) evals, (\d+\.\d+) s"')


@pytest.fixture
def host(sd1):
    """A host without a record; a test leaves nothing on the model, in its hooks, settings and errors."""
    file(sd1).unlink(missing_ok=True)
    with unchanged(sd1):
        yield sd1
    assert not sd1.errors


def file(host):
    return host.data_path / "outputs" / "fewstep-record.csv"


def rows(host):
    with file(host).open(newline="") as table:
        return list(csv.DictReader(table))


def run(host, **fields):
    tab = host.api.img2img if "init_images" in fields else host.api.txt2img
    result = tab(BASE | fields)
    assert result.status == 200, result.message
    return result


def cost(result, image=0):
    found = COST.search(result.infotexts[image])
    return int(found[1]), float(found[2])


@contextmanager
def sampling_time():
    """The seconds that samplers spend in `launch_sampling`, taken from outside of what is measured."""
    spent = []
    sampler = sys.modules["modules.sd_samplers_common"].Sampler
    original = sampler.launch_sampling

    def launch_sampling(self, steps, func):
        started = time.perf_counter()
        try:
            return original(self, steps, func)
        finally:
            spent.append(time.perf_counter() - started)

    sampler.launch_sampling = launch_sampling
    try:
        yield spent
    finally:
        sampler.launch_sampling = original


def samplers(host):
    return [entry["name"] for entry in host.api.samplers()]


def test_it_is_off_by_default_and_can_be_switched_on_in_the_settings(host):
    assert host.shared.opts.fewstep_record is False
    result = run(host)
    assert "Few-Step cost" not in result.infotexts[0]
    assert not file(host).exists()
    assert "fewstep_record" in host.settings


def test_it_changes_no_image(host):
    assert torch.equal(run(host).latents, run(host, **ON).latents)


def test_the_evaluations_are_the_counted_calls_for_every_sampler(host):
    names = samplers(host)
    assert len(names) >= 20
    for name in names:
        result = run(host, sampler_name=name, **ON)
        calls = host.probe.calls
        row = rows(host)[-1]
        assert row["sampler"] == name
        assert cost(result)[0] == int(row["evaluations"]) == int(row["unet_calls"]) == len(calls), name
        assert float(row["unet_rows"]) == sum(call.rows for call in calls), name


def test_the_seconds_add_up_to_the_sampling_time(host):
    for fields in ({}, {"batch_size": 3}, {"n_iter": 2}, HIRES, {"sampler_name": "Heun"}):
        file(host).unlink(missing_ok=True)
        with sampling_time() as spent:
            result = run(host, **fields, **ON)
        total = sum(float(row["seconds"]) for row in rows(host))
        assert total == pytest.approx(sum(spent), rel=0.05)
        unet = sum(float(row["unet_seconds"]) for row in rows(host))
        assert 0 < unet <= total
        assert cost(result)[1] == pytest.approx(float(rows(host)[0]["seconds"]), rel=0.006)


def test_a_row_says_what_was_run(host):
    run(host, **ON, seed=5, batch_size=2, n_iter=2)
    table = rows(host)
    assert tuple(table[0]) == COLUMNS
    assert [row["seed"] for row in table] == ["5", "6", "7", "8"]
    expected = {"model": "sd1", "width": "96", "height": "80", "batch": "2", "sampler": "Euler", "steps": "4"}
    expected |= {"cfg": "3.0", "evaluations": "4", "unet_calls": "4", "unet_rows": "8.0", "method": ""}
    expected |= {"peak_memory_mib": ""}
    assert all(row.items() >= expected.items() for row in table)
    row = table[0]
    assert float(row["seconds_per_step"]) == pytest.approx(float(row["seconds"]) / 4, abs=1e-4)
    time.strptime(row["time"][:19], "%Y-%m-%dT%H:%M:%S")


def test_split_calls_are_more_calls_of_the_unet_but_not_more_evaluations(host):
    with settings_of(host, batch_cond_uncond=False):
        run(host, **ON)
    (row,) = rows(host)
    assert (row["evaluations"], row["unet_calls"], row["unet_rows"]) == ("4", "8", "8.0")


def test_the_passes_of_a_hires_fix_are_added_up(host):
    hires = {"HiDiffusion": {"args": [{"preset": "Paper"}]}}
    run(host, **ON, **HIRES, steps=6, hr_second_pass_steps=4, alwayson_scripts=hires)
    (row,) = rows(host)
    assert int(row["evaluations"]) == len(host.probe.calls) == 10
    assert (row["width"], row["height"]) == ("192", "160")
    assert (row["method"], row["active_steps"]) == ("HiDiffusion", "1-6 + 1-4")
    assert float(row["seconds_per_step"]) == pytest.approx(float(row["seconds"]) / 10, abs=1e-4)


def test_a_method_that_did_nothing_is_not_named(host):
    run(host, **ON, alwayson_scripts={"HiDiffusion": {"args": [{"passes": "Hires"}]}})
    assert rows(host)[0]["method"] == ""


def test_batches_do_not_share_their_active_steps(host):
    shrink = {"method": "Deep Shrink", "preset": "Paper", "s1": 0.5, "s2": 0.75}
    run(host, **ON, n_iter=2, alwayson_scripts={"HiDiffusion": {"args": [shrink]}})
    assert [(row["method"], row["active_steps"]) for row in rows(host)] == [("Deep Shrink", "1-3")] * 2


def test_img2img_and_inpainting_are_recorded(host):
    image = standin.picture(96, 80)
    for fields in ({}, {"mask": standin.mask_picture(96, 80)}):
        run(host, **ON, init_images=[image], denoising_strength=0.5, **fields)
        assert int(rows(host)[-1]["evaluations"]) == len(host.probe.calls) > 0


def test_another_model_in_the_middle_is_counted_too(host):
    host.checkpoints.add("other", "sdxl")
    try:
        run(host, **ON, steps=6, refiner_checkpoint="other", refiner_switch_at=0.5)
        assert int(rows(host)[0]["unet_calls"]) == len(host.probe.calls) == 6
    finally:
        host.load_model("sd1")


@pytest.mark.parametrize("fault", [{"interrupt": 2}, {"skip": 2}])
def test_a_stopped_image_has_no_record(host, fault):
    host.fault(**fault)
    result = run(host, **ON)
    assert "Few-Step cost" not in result.infotexts[0]
    assert not file(host).exists()


def test_after_an_error_nothing_is_left_and_the_next_image_is_recorded(host):
    host.fault(block="input_blocks.1", step=2, error=RuntimeError("out of memory"))
    assert host.api.txt2img(BASE | ON).status == 500
    run(host, **ON)
    assert [row["evaluations"] for row in rows(host)] == ["4"]


def test_a_cell_of_a_plot_does_not_keep_the_cost_of_another(host):
    first, second = host.xyz({"Steps": "2, 3"}, **(BASE | ON))
    assert (cost(first)[0], cost(second)[0]) == (2, 3)
    host.xyz({"Steps": "2, 3"}, **BASE)
    assert len(rows(host)) == 2


def test_a_file_with_other_columns_is_left_alone(host, log):
    file(host).parent.mkdir(parents=True, exist_ok=True)
    file(host).write_text("seed,seconds\n1,2\n")
    result = run(host, **ON)
    assert cost(result)[0] == 4
    assert file(host).read_text() == "seed,seconds\n1,2\n"
    assert any("fewstep-record.csv has other columns" in line for line in log())


@pytest.mark.parametrize("value", ["yes", 1, None, ["x"]])
def test_a_setting_that_is_no_switch_is_off_and_said(host, log, value):
    result = run(host, override_settings={"fewstep_record": value})
    assert "Few-Step cost" not in result.infotexts[0]
    assert any(
        line.startswith("fewstep_record = ") and line.endswith("Until it is corrected, False is used.")
        for line in log()
    )


def test_a_file_that_is_no_table_is_left_alone(host, log):
    file(host).parent.mkdir(parents=True, exist_ok=True)
    file(host).write_bytes(b"\xff\xfe\x00time")
    assert cost(run(host, **ON))[0] == 4
    assert file(host).read_bytes() == b"\xff\xfe\x00time"
    assert any(line.startswith("The record of 1 images could not be written") for line in log())


def test_an_earlier_batch_s_cost_is_gone_when_the_next_one_samples(host):
    with listening(host) as listen:
        seen = listen(lambda params: "Few-Step cost" in params.denoiser.p.extra_generation_params)
        run(host, **ON, n_iter=2)
    assert len(seen) == 8
    assert not any(seen)


def test_another_listener_to_the_sampler_s_steps_stays(host):
    """What somebody else has put onto the sampler's instance is there again after strips."""
    from types import SimpleNamespace

    from lib_fewstep.webui.record.sampling_pass import RecordedPass, Recording

    heard = []
    sampler = SimpleNamespace(callback_state=heard.append, launch_sampling=lambda steps, func: func())
    others = sampler.callback_state
    predictions = []
    RecordedPass(Recording(predictions=predictions), SimpleNamespace(sampler=sampler)).attach()
    sampler.launch_sampling(1, lambda: sampler.callback_state({"denoised": torch.zeros(1)}))
    assert len(predictions) == len(heard) == 1
    assert sampler.callback_state == others
    assert set(vars(sampler)) == {"callback_state", "launch_sampling"}


def test_a_wrapper_that_never_ran_does_not_run_later(host):
    """With two kinds of wrappers on a sampler, attached anew before its pass, each kind runs once."""
    from types import SimpleNamespace

    from lib_fewstep.webui.common.launch import AroundPass

    ran = []

    def kind(name):
        def start(self):
            ran.append(name)

        return type(name, (AroundPass,), {"start": start, "close": lambda self: None})

    p = SimpleNamespace(sampler=SimpleNamespace(launch_sampling=lambda steps, func: func()))
    first, second = kind("first"), kind("second")
    for _ in range(3):
        first(p).attach()
        second(p).attach()
    assert p.sampler.launch_sampling(1, lambda: "image") == "image"
    assert sorted(ran) == ["first", "second"]
    assert set(vars(p.sampler)) == {"launch_sampling"}
    assert not passes_of(p)


def test_a_copy_of_the_job_that_runs_meanwhile_is_another_job(host):
    """Neither the record nor the method takes the copy's evaluations for the job's own."""
    method = {"alwayson_scripts": {"HiDiffusion": {"args": [{"enabled": True, "preset": "Paper"}]}}}
    alone, copies = run(host, **ON, **method), []

    def meanwhile(params):
        if params.denoiser.step == 2 and not copies:
            other = copy.copy(params.denoiser.p)
            other.scripts, other.steps = None, 9
            copies.append(other)
            sys.modules["modules.processing"].process_images(other)

    with listening(host) as listen:
        listen(meanwhile)
        result = run(host, **ON, **method)
    assert len(copies) == 1
    assert cost(result)[0] == cost(alone)[0] == 4
    assert rows(host)[-1]["active_steps"] == rows(host)[0]["active_steps"]


def test_a_folder_that_cannot_be_written_to_costs_no_image(host, log):
    folder = file(host).parent
    folder.mkdir(parents=True, exist_ok=True)
    moved = folder.rename(folder.with_name("moved"))
    folder.write_text("a file where the folder was")
    try:
        assert cost(run(host, **ON))[0] == 4
        assert any(line.startswith("The record of 1 images could not be written") for line in log())
    finally:
        folder.unlink()
        moved.rename(folder)


def test_a_pasted_infotext_ignores_the_cost(host):
    result = run(host, **ON)
    changed = host.paste("txt2img", result.infotexts[0])
    assert not any("cost" in str(label).lower() for label in changed)
    assert "Few-Step cost" in json.loads(result.info)["infotexts"][0]
