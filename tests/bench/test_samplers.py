"""The samplers' measure: its exact flow, its counters, its orders of convergence, and whom it calls behind."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest
import torch

from bench.kdiffusion import sampling as theirs
from bench.mixtures import Mixture, Model, one
from bench.sampler_checkpoint import from_shapes
from bench.sampler_list import BASES, ENTRIES, Entry, Path, sampled
from bench.sampler_mixtures import Consistency, exact_flow, root_energy
from bench.sampler_report import Point, Section, sampler_table
from bench.samplers import measure_samplers, sampler_picture
from demo.compare import tasks_for
from demo.pictures.judge import SMALLEST_FIT
from demo.pictures.scenes import KINDS, draw, random_scene
from lib_fewstep import sampling as ours

DATA = Mixture(((0.3, -1.5, 0.4), (0.7, 0.8, 0.6)))
HIGH, LOW = 10.0, 0.1
NAMED = {entry.name: entry for entry in ENTRIES}
UNIT = torch.randn(64, 1, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_exact_flow_of_a_gaussian():
    """It keeps a sample's distance from the mean in standard deviations."""
    found = exact_flow(one(0.5, 0.8), 14.6 * UNIT, 14.6)
    expected = 0.5 + 0.8 / (0.8**2 + 14.6**2) ** 0.5 * (14.6 * UNIT - 0.5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


def test_the_exact_flow_of_a_mixture_keeps_shares():
    x = 14.6 * UNIT
    found = exact_flow(DATA, x, 14.6)
    torch.testing.assert_close(DATA.below(found, 0.0), DATA.below(x, 14.6), rtol=0, atol=1e-8)


def test_a_perfect_consistency_model_ends_where_the_flow_does():
    x = 5.0 * UNIT
    found = Consistency(DATA)(x, x.new_full((len(x),), 5.0))
    torch.testing.assert_close(found, exact_flow(DATA, x, 5.0), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "order"), [("Euler", 1), ("Heun", 2), ("DPM++ 2M", 2), ("DPM2", 2)])
def test_order_of_convergence(name, order):
    """On evenly spaced log(sigma), with the flow's way from the lowest level to the end added exactly."""
    x, errors = HIGH * UNIT, []
    for steps in (80, 160):
        sigmas = torch.logspace(1, -1, steps + 1, dtype=torch.float64)
        end = sampled(NAMED[name], Model(DATA), UNIT, sigmas, lambda: UNIT)
        errors.append(float((exact_flow(DATA, end, LOW) - exact_flow(DATA, x, HIGH)).square().mean().sqrt()))
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.15)


@pytest.fixture(scope="module")
def report():
    """A small measurement, through JSON."""
    return json.loads(json.dumps(measure_samplers((4, 8), 100, checkpoint=False)))


def test_counters_count(report):
    flow, noisy = (report["sections"][index]["samplers"] for index in (0, 4))
    evaluations = {name: [point["evaluations"] for point in points] for name, points in (flow | noisy).items()}
    assert evaluations["Euler"] == evaluations["DPM++ 2M CFG++"] == evaluations["SA-Solver"] == [4, 8]
    assert evaluations["DPM fast"] == [4, 8]
    assert evaluations["Heun"] == evaluations["DPM++ SDE"] == evaluations["DPM++ 2S a CFG++"] == [3, 7]


def test_no_sampler_is_missing(report):
    """Of k-diffusion's and of this project's, each is measured somewhere; that of flows is not for such models."""
    runs = [inspect.getsource(entry.run) for entry in ENTRIES]
    names = {name for name in (*dir(theirs), *dir(ours)) if name.startswith("sample_")}
    for name in sorted(names - {"sample_rectified_flow"}):
        assert any(f"{name}(" in source for source in runs), name
    measured = {name for section in report["sections"] for name in section["samplers"]}
    assert measured == set(NAMED)
    mine = {name for name, entry in NAMED.items() if entry.run in vars(ours).values()}
    assert mine == {*BASES, "LCM (WebUI's grid)"}


def test_without_guidance_no_cfgpp_sampler_differs_from_its_base(report):
    for section in report["sections"][:8]:
        for compared in section["comparisons"]:
            if "CFG++" in compared["sampler"]:
                assert compared["ratio"] == pytest.approx(1, abs=1e-9)
                assert not compared["behind"]


def bad(model, x, sigmas, **more):
    """Euler's method that stops half way to the image."""
    return 0.5 * theirs.sample_euler(model, x, sigmas, **more)


def test_the_table_marks_who_is_behind():
    def errors(run):
        end = sampled(Entry("", run), Model(DATA), UNIT, torch.tensor([10.0, 3.0, 1.0, 0.0]), lambda: UNIT)
        off = (end - exact_flow(DATA, HIGH * UNIT, HIGH)).square().view(8, -1).mean(dim=1).sqrt()
        return [Point(4, off.numpy())]

    def shown(run):
        section = Section("mixture", "error", 0.0, {"Euler": errors(theirs.sample_euler), "Euler CFG++": errors(run)})
        return sampler_table({"budgets": [4], "sections": [section.as_dict()]})

    worse, alike = shown(bad), shown(theirs.sample_euler)
    assert "Behind the base without guidance: 1 of 1" in worse
    assert next(line for line in worse.splitlines() if "x Euler" in line).endswith("<")
    assert "Behind the base without guidance: 0 of 1" in alike
    assert not any(line.endswith("<") for line in alike.splitlines())


def test_a_difference_within_the_noise_is_not_behind():
    rng = np.random.default_rng(0)
    same = rng.normal(1, 0.1, 8)
    section = Section("", "", 0.0, {"Euler": [Point(4, same)], "Euler CFG++": [Point(4, np.roll(same, 1) + 1e-3)]})
    assert [one["behind"] for one in section.as_dict()["comparisons"]] == [False]


def test_exact_samples_are_at_the_floor_and_others_are_not():
    """The expected energy distance of n samples is 2 / n times the integral of F (1 - F): 1 / sqrt(pi) for N(0, 1)."""
    found = [root_energy(one().draw((1000,), seed), one()) ** 2 for seed in range(50)]
    assert np.mean(found) == pytest.approx(2 / 1000 / np.pi**0.5, rel=0.3)
    assert root_energy(one(0.3).draw((1000,)), one()) > 5 * np.mean(found) ** 0.5


def test_two_draws_from_one_level_share_their_way():
    """As on a Brownian path: the correlation of the way to 5 with that to 2, both from 10, is sqrt(5 / 8)."""
    generator = torch.Generator().manual_seed(0)
    noise = Path(lambda: torch.randn(20000, generator=generator, dtype=torch.float64))
    first, second, other = noise(10.0, 5.0), noise(10.0, 2.0), noise(2.0, 1.0)
    assert float(second.var()) == pytest.approx(1, abs=0.05)
    assert float((first * second).mean()) == pytest.approx((5 / 8) ** 0.5, abs=0.05)
    assert float((second * other).mean()) == pytest.approx(0, abs=0.05)


def test_things_of_the_prompt_are_near():
    tasks = tasks_for(6)
    rng = np.random.default_rng(0)
    right = np.stack([draw(random_scene(rng, (task.kind, task.colour))) for task in tasks])
    assert from_shapes(right, tasks).max() < 1 - SMALLEST_FIT
    assert from_shapes(np.roll(right, 1, axis=0), tasks).min() == 1  # of another colour
    others = [(kind, task.colour) for task in tasks for kind in KINDS if kind != task.kind]
    others = np.stack([draw(random_scene(rng, other)) for other in others])
    assert from_shapes(others, [task for task in tasks for _ in range(len(KINDS) - 1)]).min() > 1 - SMALLEST_FIT


def test_the_picture_is_written(report, tmp_path):
    report = report | {"sections": report["sections"][:4]}
    sampler_picture(report, tmp_path / "new" / "samplers.png")
    assert (tmp_path / "new" / "samplers.png").stat().st_size > 20_000
