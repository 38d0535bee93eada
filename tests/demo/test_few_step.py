"""Samplers at few steps on the embedded checkpoint: the cells, their cost, their distances, and the files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.kdiffusion import sampling as theirs
from bench.mixtures import SCHEDULES, Model, near_unit, start
from demo.compare import loaded, tasks_for
from demo.few_step import (
    SETTINGS,
    batches,
    draw_few_step_curves,
    draw_few_step_grid,
    means,
    run_batch,
    run_few_step,
)
from demo.model.layouts import LAYOUTS
from demo.sampling.generate import seeded_noise
from demo.sampling.named import CFGPP, schedule, strength
from demo.sampling.samplers import sample_dpmpp_2m, sample_euler
from lib_fewstep.compare.prompts import Prompt
from lib_fewstep.compare.settings import Cell, cells
from lib_fewstep.compare.table import mean_curves, tabulate

SD15 = LAYOUTS["sd15"]
SMALL = replace(SETTINGS, steps=(1, 2, 4), reference_steps=12)
IMAGES = 2


@pytest.fixture(scope="module")
def outcomes():
    return run_few_step(SD15, tasks_for(IMAGES), SMALL)


@pytest.fixture(scope="module")
def frame(outcomes):
    return tabulate(outcomes)


def cell(sampler="Euler", cfg=8.0, steps=2, prompt="a red house", seed=0):
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
    assert len(set(wanted)) == IMAGES * (1 + 5 * 3)
    assert {one.cell.seed for one in outcomes} == {task.seed for task in tasks}
    assert all(one.image.size == (128, 128) and not one.error for one in outcomes)


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


def test_the_unets_calls_are_counted():
    calls, unet = [], loaded(SD15).unet
    hook = unet.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    made = run_batch(SD15, [cell(seed=seed, steps=3) for seed in range(4)])
    hook.remove()
    assert calls == [8, 8, 8]
    assert [one.evaluations for one in made] == [3] * 4
    assert not unet._forward_hooks
    assert not unet._forward_pre_hooks


def test_only_references_have_no_distance(frame):
    assert (frame["psnr"].isna() == frame["reference"]).all()
    assert (frame["ssim"].isna() == frame["reference"]).all()
    assert frame["reference"].sum() == IMAGES


@pytest.mark.parametrize("sampler", ["LCM (reference grid)", "SA-Solver"])
def test_noise_is_each_pictures_own(sampler):
    """An image is the same in any batch and on every run, whatever torch's own generator has drawn."""
    batch = [cell(sampler, steps=4, seed=seed) for seed in (5, 6)]
    together = run_batch(SD15, batch)
    torch.randn(7)
    alone = run_batch(SD15, batch[1:])[0]
    assert abs(np.asarray(together[1].image, int) - np.asarray(alone.image, int)).max() <= 1


def test_fresh_noise_is_not_that_of_the_start():
    noise = seeded_noise([3, 4], (128, 128))
    first, second = noise(), noise()
    assert float((first * second).mean().abs()) < 0.1
    assert torch.equal(first, seeded_noise([3, 4], (128, 128))())


def test_one_step_is_the_same_with_every_sampler(frame):
    spread = frame[frame["steps"] == 1].groupby(["seed", "cfg"])["psnr"].agg(lambda column: column.max() - column.min())
    assert (spread < 0.05).all()


def test_more_steps_come_nearer_to_the_reference(frame):
    euler = mean_curves(frame).query("sampler == 'Euler'")
    for _, line in euler.groupby("cfg"):
        assert line["psnr"].is_monotonic_increasing
        assert len(line) == 3


def test_cfgpp_guides_with_lambda():
    assert strength("Euler", 8.0, schedule("Trailing", 4)) == 8
    for sampler in CFGPP:
        assert strength(sampler, 8.0, schedule("Trailing", 1)) == pytest.approx(8)
        assert 1 < strength(sampler, 8.0, schedule("Trailing", 4)) < 8


def test_the_means_for_people(frame):
    lines = means(frame).splitlines()
    assert lines[1].split() == ["steps", "1", "2", "4"]
    assert len(lines) == 3 + len(SMALL.samplers)


def test_the_pictures_are_drawn(outcomes, frame, tmp_path):
    draw_few_step_curves(frame, tmp_path / "curves.png")
    draw_few_step_grid(outcomes, tmp_path / "grid.png")
    assert all(path.stat().st_size > 20_000 for path in tmp_path.iterdir())
