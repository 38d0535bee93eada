"""The benchmark measures what it says, on layouts that are small enough for a test."""

from __future__ import annotations

import json
import sys
from functools import partial

import pytest
import torch
from torch import nn

from bench import __main__ as command
from bench.memory import LiveMemory
from bench.methods import METHODS, TOME, ready
from bench.overhead import out_of_window, window_share
from bench.reference import diffusers_twin, evaluate_twin
from bench.speed import THEIRS, measure, memory_of, runs, twins_of, work_of
from bench.table import size_table
from bench.unets import LAYOUTS, Layout, SDXLUNet, conditioning, evaluate_at, latent, random_weights
from lib_fewstep.unet import inspect_unet
from tests.unets import webui_cat

SMALL = Layout("SDXL", LAYOUTS["SDXL"].reference_name, 1024, partial(SDXLUNet, 64, (1, 2), 64))
STEPS = 5
PARAMETERS = {"SD1.5": 859_520_964, "SDXL": 2_567_463_684}
"""Of the published checkpoints."""


@pytest.fixture(scope="module")
def small():
    with webui_cat(), torch.inference_mode():
        yield twins_of(SMALL, random_weights(SMALL.make()))


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layouts_are_those_of_the_checkpoints(name):
    with torch.device("meta"):
        unet = LAYOUTS[name].make()
    assert sum(weight.numel() for weight in unet.parameters()) == PARAMETERS[name]
    assert inspect_unet(unet).family == {"SD1.5": "SD1", "SDXL": "SDXL"}[name]
    assert inspect_unet(unet).trained_size == LAYOUTS[name].trained


def test_the_reference_has_the_same_weights_and_takes_the_same_conditions(small):
    twin = diffusers_twin(small.unet)
    ours = evaluate_at(small.unet, (16, 24), 2)
    theirs = evaluate_twin(twin, latent(small.unet, (16, 24), 2), conditioning(small.unet, 2))
    assert float((ours - theirs).abs().max() / theirs.std()) < 2e-5
    own = {weight.data_ptr() for weight in small.unet.parameters()}
    assert {weight.data_ptr() for weight in twin.parameters()} <= own, "no memory of its own"


def test_the_work_is_that_of_the_formulas():
    """A convolution's is twice its weights at each place, attention's that of two products."""
    with torch.device("meta"):
        small = SMALL.make()
    plain = twins_of(SMALL, small)
    grown = work_of(plain, "plain", 32, 1, 0, 1) - 4 * work_of(plain, "plain", 16, 1, 0, 1)
    tokens = [(32 // 2**level) ** 2 for level in (1, 2)]
    depths = {1: 5 * 1, 2: 5 * 2 + 2}
    places = {level: 2 * 2 * tokens[level - 1] ** 2 * 64 * 2**level * depths[level] for level in depths}
    quarter = sum(cost - 4 * cost / 16 for cost in places.values())
    fixed = 1e12 * grown - quarter
    once = -3 * _work_that_size_leaves_alone(small)
    assert fixed == pytest.approx(once, rel=1e-6)


def _work_that_size_leaves_alone(unet):
    """Of the time's and the size's embeddings, and of the text's keys and values, for one image."""
    embeddings = [*unet.time_embed.modules(), *unet.label_emb.modules()]
    embeddings += [layer for block in unet.modules() if hasattr(block, "emb_layers") for layer in block.emb_layers]
    linear = sum(2 * layer.weight.numel() for layer in embeddings if isinstance(layer, nn.Linear))
    crossed = [block.attn2 for block in unet.modules() if hasattr(block, "attn2")]
    return linear + sum(2 * 77 * (attn.to_k.weight.numel() + attn.to_v.weight.numel()) for attn in crossed)


def test_the_memory_is_what_is_alive_at_once():
    x = torch.zeros(1000)
    with LiveMemory([x]) as live:
        y = x + 1
        z = y * 2
        del y
        z.view(10, 100).add_(1)
        x.add_(z)
    assert live.peak == 2 * 4000
    with LiveMemory([x]) as live:
        torch.cat([x, x, x])
        torch.cat([x, x])
    assert live.peak == 3 * 4000


@pytest.mark.parametrize("method", [*METHODS, TOME])
def test_a_method_is_there_for_a_step_and_gone_afterwards(small, method):
    plain = evaluate_at(small.unet, (16, 16), 1)
    with ready(small.unet, method, 16, 10, 0):
        changed = evaluate_at(small.unet, (16, 16), 1)
    assert not torch.equal(plain, changed)
    assert torch.equal(evaluate_at(small.unet, (16, 16), 1), plain)


def test_a_run_is_the_sum_of_its_steps(small):
    rows = measure(small, 8, STEPS, 2, 1)
    assert set(rows) == {"plain", TOME, *METHODS, *(THEIRS + name for name in ("plain", *list(METHODS)[:3]))}
    assert all(cost["seconds"] > 0 for cost in rows.values())
    assert rows["plain"]["seconds"] == pytest.approx(sum(rows["plain"]["rounds"]) / 2), "one kind of step, two rounds"
    places = {"plain": ("plain", 0), "rad": ("RAU-Net", 0), "pool": ("RAU-Net", 1)}
    work = {part: work_of(small, method, 8, STEPS, index, 1) for part, (method, index) in places.items()}
    assert rows["plain"]["tflop"] == pytest.approx(STEPS * work["plain"])
    assert rows["RAU-Net"]["tflop"] == pytest.approx(work["rad"] + work["pool"] + (STEPS - 2) * work["plain"])
    assert rows["RAU-Net"]["mib"] == memory_of(small, "plain", 8, STEPS, 0, 1)
    assert all(len(run) == STEPS for run in runs(small.unet, 8, STEPS).values())


def test_what_is_not_computed_has_its_work_all_the_same(small):
    rows = measure(small, 8, 1, 0, 1)
    assert not any("seconds" in cost for cost in rows.values())
    assert rows["MSW-MSA"]["tflop"] < rows["plain"]["tflop"]
    assert "reference" not in size_table("small", rows)


def test_what_is_slower_larger_or_behind_is_said():
    rows = {
        "plain": {"seconds": 10.0, "rounds": [9.0, 10.0, 12.0], "tflop": 10.0, "mib": 100.0},
        "RAU-Net": {"seconds": 5.0, "rounds": [5.0, 4.0, 6.0], "tflop": 4.0, "mib": 101.0},
        "Deep Shrink": {"seconds": 11.0, "rounds": [11.0, 11.0, 11.0], "tflop": 9.0, "mib": 90.0},
        f"{THEIRS}plain": {"seconds": 20.0, "rounds": [20.0, 19.0, 21.0]},
        f"{THEIRS}RAU-Net": {"seconds": 8.0, "rounds": [8.0, 7.0, 10.0]},
    }
    table = size_table("any", rows)
    assert "80%" in table
    assert "RAU-Net is 1.0% larger than plain" in table
    assert "Deep Shrink is 10.0% slower than plain" in table
    assert "RAU-Net: 2.00x (1.80 to 2.50), the reference 2.50x (2.10 to 2.71) over its own plain model" in table


def test_the_command_writes_its_report(small, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(command.LAYOUTS, "SDXL", SMALL)
    words = ["bench", "--models", "SDXL", "--sizes", "64", "--steps", "1", "--repeats", "1", "--no-samplers", "--out"]
    monkeypatch.setattr(sys, "argv", [*words, str(tmp_path / "new" / "report.json")])
    command.main()
    report = json.loads((tmp_path / "new" / "report.json").read_text())
    assert report["models"]["SDXL"]["sizes"]["64"]["plain"]["seconds"] > 0
    assert report["record"]["evaluation_us"] > 0
    assert "a session is built, put in and removed in" in capsys.readouterr().out


def test_windows_are_a_part_of_their_block(small):
    assert 0 < window_share(small.unet, 16) < 1


def test_an_idle_session_is_measured(small):
    idle = out_of_window(small.unet, 8)
    assert 0 < idle["us"] < 1e6
    assert idle["share"] > 0
