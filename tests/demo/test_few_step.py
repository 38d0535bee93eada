"""Samplers at few steps on the embedded checkpoint: the cells, their cost, their distances, and the files."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from bench.kdiffusion import sampling as theirs
from bench.mixtures import SCHEDULES, Model, near_unit, start
from demo import __main__ as command
from demo import few_step
from demo.compare import tasks_for
from demo.few_step import CFGPP, NOISY, SAMPLERS, SETTINGS, batches, means, run_batch, run_few_step, strength_of
from demo.generate import generate, seeded_noise
from demo.picture import rgb_picture
from demo.sampling.samplers import sample_dpmpp_2m, sample_euler
from lib_fewstep.compare.prompts import Prompt
from lib_fewstep.compare.settings import Cell, cells
from lib_fewstep.compare.table import mean_curves, tabulate

SMALL = replace(SETTINGS, steps=(1, 2, 4), reference_steps=20)
IMAGES = 2


@pytest.fixture(scope="module")
def outcomes(model):
    return run_few_step(model, tasks_for(IMAGES), SMALL)


@pytest.fixture(scope="module")
def frame(outcomes):
    return tabulate(outcomes)


def cell(sampler="Euler", cfg=8.0, steps=2, prompt="a red circle", seed=0):
    return Cell(prompt, seed, "None", sampler, cfg, steps)


@pytest.mark.parametrize(
    ("mine", "reference"), [(sample_euler, theirs.sample_euler), (sample_dpmpp_2m, theirs.sample_dpmpp_2m)]
)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 50])
def test_the_ordinary_samplers_are_k_diffusions(mine, reference, schedule, steps):
    sigmas = SCHEDULES[schedule](steps)
    runs = [
        sampler(Model(*near_unit()), start(sigmas), sigmas, extra_args={"cond_scale": 3.0}, disable=True)
        for sampler in (mine, reference)
    ]
    assert runs[0].dtype == torch.float64
    assert float((runs[0] - runs[1]).abs().max()) < 1e-12


def test_every_cell_is_there_once(outcomes):
    tasks = tasks_for(IMAGES)
    wanted = cells(SMALL, [Prompt(task.prompt, seed=task.seed) for task in tasks], 0)
    assert [one.cell for one in outcomes] == wanted
    assert len(set(wanted)) == IMAGES * 2 * (1 + 6 * 3)
    assert {one.cell.seed for one in outcomes} == {task.seed for task in tasks}
    assert all(one.image.size == (16, 16) and not one.error for one in outcomes)


def test_batches_differ_in_prompt_and_seed_alone():
    wanted = cells(SMALL, [Prompt(task.prompt, seed=task.seed) for task in tasks_for(3)], 0)
    groups = batches(wanted)
    assert sorted((cell for group in groups for cell in group), key=wanted.index) == wanted
    for group in groups:
        assert [one.seed for one in group] == [0, 1, 2]
        assert len({replace(one, prompt="", seed=0) for one in group}) == 1


def test_evaluations_are_the_unets_calls(outcomes, frame):
    assert all(one.evaluations == one.cell.steps == one.details["unet_calls"] for one in outcomes)
    assert (frame["seconds"] > 0).all()


def test_the_unets_calls_are_counted(model):
    calls = []
    hook = model.unet.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    made = run_batch(model, [cell(seed=seed, steps=3) for seed in range(4)])
    hook.remove()
    assert calls == [8, 8, 8]
    assert [one.evaluations for one in made] == [3] * 4
    assert not model.unet._forward_hooks
    assert not model.unet._forward_pre_hooks


def test_only_references_have_no_distance(frame):
    assert (frame["psnr"].isna() == frame["reference"]).all()
    assert (frame["ssim"].isna() == frame["reference"]).all()
    assert frame["reference"].sum() == IMAGES * 2


def test_a_cell_is_what_the_demo_makes_alone(model, outcomes):
    one = next(one for one in outcomes if one.cell.sampler == "Euler" and one.cell.steps == 4)
    alone = generate(model, [one.cell.prompt], [one.cell.seed], steps=4, guidance=one.cell.cfg)
    levels = (np.asarray(picture, int) for picture in (one.image, rgb_picture(alone.latents[0].numpy())))
    assert abs(next(levels) - next(levels)).max() <= 1  # another size of batch rounds otherwise


@pytest.mark.parametrize("sampler", NOISY)
def test_noise_is_each_images_own(model, sampler):
    """An image is the same in any batch and on every run, whatever torch's own generator has drawn."""
    batch = [cell(sampler, steps=4, seed=seed) for seed in (5, 6)]
    together = run_batch(model, batch)
    torch.randn(7)
    alone = run_batch(model, batch[1:])[0]
    assert abs(np.asarray(together[1].image, int) - np.asarray(alone.image, int)).max() <= 1


def test_fresh_noise_is_not_that_of_the_start():
    noise = seeded_noise([3, 4], (16, 16))
    first, second = noise(), noise()
    assert float((first * second).mean().abs()) < 0.1
    assert torch.equal(first, seeded_noise([3, 4], (16, 16))())


def test_one_step_is_the_same_with_every_sampler(frame):
    spread = frame[frame["steps"] == 1].groupby(["seed", "cfg"])["psnr"].agg(lambda column: column.max() - column.min())
    assert (spread < 0.05).all()


def test_more_steps_come_nearer_to_the_reference(frame):
    euler = mean_curves(frame).query("sampler == 'Euler'")
    for _, line in euler.groupby("cfg"):
        assert line["psnr"].is_monotonic_increasing
        assert len(line) == 3


def test_cfgpp_guides_with_lambda():
    assert strength_of(cell()) == 8
    for sampler in CFGPP:
        assert strength_of(cell(sampler, steps=1)) == pytest.approx(8)
        assert 1 < strength_of(cell(sampler, steps=4)) < 8


def test_the_means_for_people(frame):
    lines = means(frame).splitlines()
    assert lines[1].split() == ["steps", "1", "2", "4"]
    assert len(lines) == 3 + 2 * len(SAMPLERS)


def test_the_files_of_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "run_columns", lambda model, tasks: [])
    monkeypatch.setattr(command, "run_guidance", lambda model, tasks: [])
    monkeypatch.setattr(command.report, "as_dict", lambda *_: {})
    monkeypatch.setattr(command.report, "table", lambda results: "")
    monkeypatch.setattr(few_step.run_few_step, "__defaults__", (replace(SMALL, steps=(1, 2), reference_steps=4),))
    paths = {name: tmp_path / "out" / name for name in ("curves.png", "comparison.csv", "grid.png")}
    words = [word for name, path in paths.items() for word in (f"--{name.split('.')[0]}", str(path))]
    monkeypatch.setattr(sys, "argv", ["demo", "--images", "1", "--out", str(tmp_path / "report.json"), *words])
    assert command.main() == 0
    written = pd.read_csv(paths["comparison.csv"])
    assert len(written) == 2 * (1 + 6 * 2)
    assert written["error"].isna().all()
    for name in ("curves.png", "grid.png"):
        with Image.open(paths[name]) as picture:
            assert len(picture.getcolors(maxcolors=10**6)) > 100
