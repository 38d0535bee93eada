"""What the documents say is true: tables, lines of the console, the example of the library."""

from __future__ import annotations

import re
from functools import cache

import pytest
import torch

from demo.sampling.denoiser import training_sigmas
from lib_fewstep import sampling
from lib_fewstep.highres import HighResSession, HighResSettings, ModelHints
from lib_fewstep.highres.methods.base import Target
from lib_fewstep.highres.methods.hidiffusion import HiDiffusion
from lib_fewstep.sampling import calibrated, trailing_timesteps
from lib_fewstep.unet import inspect_unet
from tests.docs.pages import API, PAGES, READMES, SETTINGS, TRANSLATED, blocks, name_of, read
from tests.unets import call, contexts, latents, sd1_unet, sdxl_unet
from tools.settings_table import PAGES as LANGUAGES
from tools.settings_table import TABLES, with_tables

UNETS = {"SD1": cache(sd1_unet), "SDXL": cache(sdxl_unet)}
PASS = re.compile(r"\[Few-Step\] (HiDiffusion|Deep Shrink) on (\w+) at (\d+)x(\d+), (\d+) steps \((\w+) pass\): .*")
LAMBDA = re.compile(r"\[Few-Step\] (.+ CFG\+\+): CFG ([\d.]+) is lambda ([\d.]+) \(calibrated, (\d+) steps\)\.")
CFGPP = {
    "Euler CFG++": sampling.sample_euler_cfgpp,
    "Euler a CFG++": sampling.sample_euler_ancestral_cfgpp,
    "DPM++ 2M CFG++": sampling.sample_dpmpp_2m_cfgpp,
}
LINES = dict.fromkeys(re.findall(r"^\[Few-Step\].*$", "\n".join(read(page) for page in PAGES), re.MULTILINE))
each_readme = pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
each_settings_page = pytest.mark.parametrize("page", LANGUAGES, ids=name_of)


def test_the_tables_are_in_both_languages():
    assert list(LANGUAGES) == [SETTINGS, TRANSLATED[SETTINGS]]


@each_settings_page
def test_the_tables_are_up_to_date(page):
    text = read(page)
    assert with_tables(text, LANGUAGES[page]()) == text, "run: python -m tools.settings_table"


@each_settings_page
def test_every_table_is_there(page):
    assert set(re.findall(r"<!-- end of (.+?) -->", read(page))) == set(TABLES)


@each_settings_page
def test_every_sampler_has_its_row(page):
    """With the number of evaluations that the tests of the samplers prove."""
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| (2?N(?: - 1)?) \|$", read(page), re.MULTILINE)
    twice = {"DPM++ 2S a CFG++"}
    ours = ["TCD", "LCM (reference grid)", "SA-Solver", "Rectified flow"]
    expected = [*CFGPP, *twice, "DPM++ 2M SDE CFG++", *ours]
    assert dict(rows) == {name: "2N - 1" if name in twice else "N" for name in expected}
    assert len(rows) == len([name for name in sampling.__all__ if name.startswith("sample_")])


@each_settings_page
def test_the_presets_values_are_those_of_the_code(page):
    """T1, T2 and aggressive, in the order of the table."""
    table = read(page).split("| T1 | T2 |")[1].split("\n\n")[0]
    found = re.findall(r"^\| (?:SD1|SDXL)[^|]*\| ([\d.]+)[^|]*\| ([\d.]+) \| (yes|no|是|否)", table, re.MULTILINE)
    sizes = [("SD1", 255), ("SD1", 256), ("SDXL", 511), ("SDXL", 512), ("SDXL", 128)]
    kinds = [ModelHints()] * 4 + [ModelHints(turbo=True)]
    bands = [
        HiDiffusion().preset(Target(inspect_unet(UNETS[family]()), (side, side), 50, hints))
        for (family, side), hints in zip(sizes, kinds, strict=True)
    ]
    assert [(float(t1), float(t2), aggressive in ("yes", "是")) for t1, t2, aggressive in found] == [
        (values.t1, values.t2, values.aggressive) for values in bands
    ]


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_console_is_the_real_one(line):
    assert line in (_of_pass(line), _of_lambda(line))


def _of_pass(line):
    found = PASS.fullmatch(line)
    if found is None:
        return None
    method, family, width, height, steps, kind = found.groups()
    size, hints = (int(height) // 8, int(width) // 8), ModelHints(pass_=kind)
    return (
        f"[Few-Step] {HighResSession(UNETS[family](), HighResSettings(method=method), size, int(steps), hints).report}"
    )


def _of_lambda(line):
    """With the schedule "Trailing"."""
    found = LAMBDA.fullmatch(line)
    if found is None:
        return None
    sampler, cfg, _, steps = found.groups()
    sigmas = torch.cat([training_sigmas()[trailing_timesteps(int(steps))], torch.zeros(1)])
    strength = calibrated(CFGPP[sampler], sigmas, float(cfg))
    return f"[Few-Step] {sampler}: CFG {cfg} is lambda {strength:.3g} (calibrated, {steps} steps)."


@each_readme
def test_the_readme_shows_lines_of_the_console(page):
    assert len(re.findall(r"^\[Few-Step\]", read(page), re.MULTILINE)) >= 2


def test_the_library_example_runs():
    (example,) = (block.text for block in blocks(read(API)) if "HighResSession" in block.text)
    unet, called = sd1_unet(), []
    for written, small in (("(128, 128)", "(88, 88)"), ("steps=20", "steps=2"), ("range(20)", "range(2)")):
        assert written in example
        example = example.replace(written, small)
    example = example.replace("...  ", "called.append(run())  ")

    def run():
        return call(unet, latents((88, 88), batch=1), contexts(1))

    scope = {"unet": unet, "called": called, "run": run}
    plain = run()
    exec(compile(example, name_of(API), "exec"), scope)
    assert len(called) == 2
    assert not torch.equal(called[0], plain)
    assert scope["session"].report.active_steps == (0, 1)
