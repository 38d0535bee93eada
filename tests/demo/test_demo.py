"""The embedded checkpoint: its file, its generations, and the cure that it shows."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open

from demo import checkpoint, compare, report
from demo.columns import COLUMNS, DOUBLE, HIDIFFUSION
from demo.compare import run_columns, tasks_for
from demo.generate import generate
from demo.judge import is_exact, judge
from demo.text import UnknownPromptError
from tests.models import describe

KEYS = {"native", "plain_2x", "hidiffusion_2x", "deep_shrink_2x", "plain_wide", "hidiffusion_wide"}


def test_the_file_is_small_and_in_the_webuis_layout():
    assert checkpoint.DEFAULT_PATH.stat().st_size <= 25e6
    with safe_open(checkpoint.DEFAULT_PATH, framework="pt") as file:
        names = set(file.keys())
        assert int(file.metadata()["steps"]) == int(file.metadata()["planned_steps"])
    assert {name.split(".")[0] for name in names} == {"model", "cond_stage_model"}
    assert "model.diffusion_model.input_blocks.3.0.op.weight" in names
    assert "model.diffusion_model.output_blocks.8.2.conv.weight" in names


def test_a_batch_equals_single_images(model):
    prompts, seeds = ["a red circle", "a blue square"], [3, 4]
    together = generate(model, prompts, seeds, (16, 16), steps=4).latents
    for row in range(2):
        alone = generate(model, prompts[row : row + 1], seeds[row : row + 1], (16, 16), steps=4).latents
        assert float((together[row] - alone[0]).abs().max()) < 1e-4


def test_a_generation_is_reproducible_and_leaves_the_model_alone(model):
    before, random_state = describe(model.unet), torch.get_rng_state()
    first = generate(model, ["a red circle"], [1], DOUBLE, HIDIFFUSION, steps=4)
    second = generate(model, ["a red circle"], [1], DOUBLE, HIDIFFUSION, steps=4)
    assert torch.equal(first.latents, second.latents)
    assert describe(model.unet) == before
    assert torch.equal(torch.get_rng_state(), random_state)


def test_the_prompt_is_followed_at_the_trained_size(model):
    tasks = tasks_for(12)
    made = generate(model, [task.prompt for task in tasks], [task.seed for task in tasks]).latents.numpy()
    exact = sum(is_exact(judge(latent), task.shape, task.colour) for latent, task in zip(made, tasks, strict=True))
    assert exact >= 10


def test_the_method_cures_duplication(model):
    """Six images; the shares of many are `make quality`'s."""
    tasks = tasks_for(6)
    prompts, seeds = [task.prompt for task in tasks], [task.seed for task in tasks]
    exact = {}
    for name, settings in (("plain", None), ("HiDiffusion", HIDIFFUSION)):
        made = generate(model, prompts, seeds, DOUBLE, settings).latents.numpy()
        exact[name] = sum(is_exact(judge(x), t.shape, t.colour) for x, t in zip(made, tasks, strict=True))
    assert exact["HiDiffusion"] >= 5
    assert exact["plain"] <= 4


def test_the_report_has_its_keys(model, monkeypatch, tmp_path):
    monkeypatch.setattr(compare, "WARM_UP_STEPS", 1)
    monkeypatch.setattr(compare.generate_chunk, "__defaults__", (2,))
    results = run_columns(model, tasks_for(2))
    path = tmp_path / "out" / "report.json"
    report.write(report.as_dict(results, [], {}), path)
    written = json.loads(path.read_text())
    assert written["images"] == 2
    for key in ("exact", "interval", "unet_seconds"):
        assert set(written[key]) == KEYS
    assert all(low <= written["exact"][key] <= high for key, (low, high) in written["interval"].items())
    assert {column.key for column in COLUMNS} == KEYS
    assert len(report.table(results).splitlines()) == 7


def test_an_unknown_word_is_named(model):
    with pytest.raises(UnknownPromptError, match=r"'hexagon'.*it knows: a, red"):
        generate(model, ["a red hexagon"], [1])


def test_a_missing_checkpoint_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m demo\.train"):
        checkpoint.load(tmp_path / "none.safetensors")
