"""What the README says is true: its table, its requests, its links, its lines of log."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from demo.schedule import training_sigmas
from lib_fewstep.compare.plan import read_plan
from lib_fewstep.hires import HiResSession, HiResSettings
from lib_fewstep.sampling import FewStepSettings, calibrated, sample_euler_cfgpp, trailing_timesteps
from lib_fewstep.webui.arguments import hires_settings
from lib_fewstep.webui.comparison_arguments import comparison_settings
from lib_fewstep.webui.few_step_arguments import few_step_settings
from tests.models import call, contexts, latents, sd1_unet, sdxl_unet, webui_attention
from tools.settings_table import with_tables

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def test_the_tables_are_up_to_date():
    assert with_tables(README) == README, "run: python -m tools.settings_table"


def test_the_requests_are_accepted():
    sent = [json.loads(text) for language, text in BLOCKS if language == "json"]
    (compared,) = (comparison_settings(r["script_args"]) for r in sent if r.get("script_name") == "Few-step comparison")
    assert (compared.steps, compared.methods) == ((4, 8, 16), ("None", "HiDiffusion"))
    requests = [request["alwayson_scripts"] for request in sent if "alwayson_scripts" in request]
    lightning, timesteps = (few_step_settings(r["Few-Step"]["args"]) for r in requests if "Few-Step" in r)
    assert (lightning.preset, lightning.keep) == ("SDXL-Lightning 4 steps", ("cfg",))
    assert timesteps == FewStepSettings(timesteps=(999, 749, 499, 249))
    (hires,) = (hires_settings(r["HiDiffusion"]["args"]) for r in requests if "HiDiffusion" in r)
    assert hires == HiResSettings()
    (listed,) = re.findall(r'`(\{"args": \[true.*?\})`', README)
    assert hires_settings(json.loads(listed)["args"]) == HiResSettings(method="Deep Shrink", preset="Paper")


def test_the_command_s_example_is_accepted(tmp_path):
    (example,) = (text for language, text in BLOCKS if language == "yaml")
    (tmp_path / "comparison.yaml").write_text(example)
    plan = read_plan(tmp_path / "comparison.yaml")
    assert len(plan.cells) == 4 * 2 * (1 + 3 * 3)
    (words,) = (line.split() for line in README.splitlines() if line.startswith("python -m lib_fewstep.compare"))
    assert {word for word in words if word.startswith("--")} == {"--server", "--config", "--out"}


def test_the_library_example_runs():
    (example,) = (text for language, text in BLOCKS if language == "python")
    unet = sd1_unet()
    example = example.replace("latent_size=(128, 128)", "latent_size=(88, 88)").replace("steps=20", "steps=2")
    example = example.replace("range(20)", "range(2)").replace("...  ", "called.append(run())  ")
    called = []

    def run():
        return call(unet, latents((88, 88), batch=1), contexts(1))

    with webui_attention():
        plain = run()
    scope = {"unet": unet, "called": called, "run": run}
    with webui_attention():
        exec(compile(example, "README.md", "exec"), scope)
    assert len(called) == 2
    assert not torch.equal(called[0], plain)
    assert scope["session"].report.active_steps == (0, 1)


@pytest.mark.parametrize("size", [(256, 256), (128, 128)])
def test_the_lines_of_log_are_the_real_ones(size):
    report = HiResSession(sdxl_unet(), HiResSettings(), size, 30).report
    assert f"[Few-Step] {report}\n" in README


def test_the_lambda_of_the_log_is_the_real_one():
    sigmas = torch.cat([training_sigmas()[trailing_timesteps(8)], torch.zeros(1)])
    strength = calibrated(sample_euler_cfgpp, sigmas, 7)
    assert f"[Few-Step] Euler CFG++: CFG 7 is lambda {strength:.3g} (calibrated, 8 steps).\n" in README


def test_every_relative_link_leads_somewhere():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
