"""HiDiffusion's accordion: its line, what is folded away, what is pasted into it, through a strict stand-in."""

from __future__ import annotations

import html
import re
import sys

import gradio as gr
import pytest

from lib_fewstep.highres import HighResSettings
from lib_fewstep.options import options_of
from tests.webui import standin
from tests.webui.exact import SCRIPTS, same
from tests.webui.standin import infotext

pytestmark = pytest.mark.long

TABS = ("txt2img", "img2img")
SOURCE = ("Resize by", "Width of the picture", "Height of the picture")
KOHYA = {
    "DSHF_s1": "0.2",
    "DSHF_d1": "2",
    "DSHF_s2": "0.35",
    "DSHF_d2": "5",
    "DSHF_scaler": "bilinear",
    "DSHF_down": "0.6",
    "DSHF_up": "1.7",
    "DSHF_smooth": "False",
    "DSHF_early": "True",
    "DSHF_one": "True",
}


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def running(request):
    with standin.webui(request.param, SCRIPTS) as made:
        yield made


@pytest.fixture
def host(running):
    """The host with a fresh page; a test leaves no errors behind."""
    for tab in running.tabs.values():
        tab.changed.clear()
    yield running
    assert not running.errors


def hires(name, tab="txt2img"):
    return f"fewstep_hires_{tab}_{name}"


def set_on(host, tab, values):
    """Change components as the user does; by id, or without what stands before it."""
    page = host.tabs[tab]
    for name, value in values.items():
        known = (name, f"{tab}_{name}", hires(name, tab))
        page.trigger(next(i for i in known if i in page.components_by_elem_id), "change", value)


def line(host, tab="txt2img", **values):
    """HiDiffusion's line after components have changed."""
    set_on(host, tab, values)
    host.tabs[tab].trigger(hires("refresh", tab), "click")
    return html.unescape(host.tabs[tab].value(hires("line", tab)))


def generated(host, log, tab="txt2img", **fields):
    """The lines of the log about the passes that the page then really starts, with the accordion open."""
    before = len(log())
    job = {"prompt": "a cat", "seed": 1, "sampler_name": "Euler", **fields}
    if tab == "img2img":
        job["init_images"] = [standin.picture(64, 64)]
    getattr(host, tab)(ui={f"{hires('enabled', tab)}-checkbox": True}, **job)
    return [said for said in log()[before:] if said.startswith(("HiDiffusion", "Deep Shrink"))]


def steps_of_log(said):
    """(size, executed steps, steps of RAU-Net, of Deep Shrink, whether windows act) that a line of the log names."""
    size, executed = re.search(r"at (\d+x\d+), (\d+) steps", said).groups()
    spans = {}
    for part, first, last in re.findall(
        r"(downsampler|pool|attention|shrinking) [^;]*? on steps? (\d+)(?:-(\d+))?", said
    ):
        spans.setdefault({"pool": "downsampler"}.get(part, part), []).extend([int(first), int(last or first)])
    raunet, shrinking = (
        (min(spans[part]), max(spans[part])) if part in spans else None for part in ("downsampler", "shrinking")
    )
    return size, int(executed), raunet, shrinking, "attention" in spans


def steps_of_line(said):
    size = re.search(r"\d+x\d+", said)[0]
    spans = {
        method: tuple(map(int, found))
        for method, *found in re.findall(r"([\w -]+) on steps (\d+)-(\d+) of (\d+)", said)
    }
    spans = {method.strip(): span for method, span in spans.items()}
    raunet, shrinking = spans.get("RAU-Net"), spans.get("Deep Shrink")
    executed = (raunet or shrinking)[2]
    return size, executed, raunet and raunet[:2], shrinking and shrinking[:2], "window attention in" in said


class TestTheLine:
    @pytest.mark.parametrize("tab", TABS)
    @pytest.mark.parametrize("method", ["HiDiffusion", "Deep Shrink"])
    def test_it_says_what_the_log_says_afterwards(self, host, log, tab, method):
        changed = {"method": method, "trained_size": 64, "width": 120, "height": 96, "steps": 11}
        changed |= {"denoising_strength": 0.8} if tab == "img2img" else {}
        said = line(host, tab, **changed)
        (logged,) = generated(host, log, tab, steps=11)
        assert steps_of_line(said) == steps_of_log(logged)
        assert said.startswith("SDXL, 120x96: " if "SDXL" in logged else "SD1, 120x96: ")

    def test_a_preset_and_manual_values_count(self, host, log):
        said = line(host, preset="Manual", t1=0.75, window_attention=False, width=64, height=64, steps=8)
        (logged,) = generated(host, log, steps=8)
        assert steps_of_line(said) == steps_of_log(logged)
        assert steps_of_line(said)[2:] == ((1, 6), None, False)

    @pytest.mark.parametrize("tab", TABS)
    def test_why_nothing_will_be_done(self, host, log, tab):
        said = line(host, tab, width=64, height=64, steps=4, denoising_strength=0.6)
        (logged,) = generated(host, log, tab, steps=4)
        reason = re.search(r"nothing is done: (.*)\.$", logged)[1]
        assert said == f"At 64x64 nothing will be done: {reason}"

    def test_denoising_strength_decides_in_img2img(self, host, log):
        large = {"trained_size": 64, "width": 120, "height": 96, "steps": 6}
        assert "RAU-Net" in line(host, "img2img", **large, denoising_strength=0.5)
        said = line(host, "img2img", denoising_strength=0.3)
        (logged,) = generated(host, log, "img2img", steps=6)
        assert "at denoising strength 0.3 the composition is already fixed" in said
        assert said.removeprefix("At 120x96 nothing will be done: ") in logged
        assert "RAU-Net" in line(host, "img2img", passes="All")

    @pytest.mark.parametrize(
        "size",
        [
            {"hr_scale": 1.5},
            {"hr_scale": 1.55},
            {"hr_resize_x": 144, "hr_resize_y": 0},
            {"hr_resize_x": 0, "hr_resize_y": 120},
            {"hr_resize_x": 144, "hr_resize_y": 112},
            {"hr_resize_x": 164, "hr_resize_y": 100},
            {"hr_resize_x": 100, "hr_resize_y": 164},
        ],
    )
    def test_hires_fix_has_two_passes(self, host, log, size):
        fields = {
            "trained_size": 64,
            "width": 72,
            "height": 64,
            "steps": 6,
            "hires_steps": 5,
            "denoising_strength": 0.7,
        }
        said = line(host, **fields, **{"txt2img_hr-checkbox": True}, **size)
        first, second = said.split("<br>")
        one, two = generated(host, log, steps=6)
        assert first.startswith("First pass: At 72x64 nothing will be done")
        assert "nothing is done" in one
        assert second.startswith("Hires pass: SD")
        assert steps_of_line(second) == steps_of_log(two)
        assert "<br>" not in line(host, **{"txt2img_hr-checkbox": False})

    def test_hires_fix_is_judged_by_its_denoising_strength(self, host):
        said = line(host, **{"txt2img_hr-checkbox": True}, denoising_strength=0.3)
        assert "at denoising strength 0.3" in said.split("<br>")[1]
        assert "at denoising strength" not in said.split("<br>")[0]

    @pytest.mark.parametrize(
        ("tab", "fields"),
        [
            ("txt2img", {}),
            ("txt2img", {"txt2img_hr-checkbox": True, "denoising_strength": 0.6}),
            ("img2img", {"denoising_strength": 0.8}),
        ],
    )
    def test_custom_timesteps_set_the_steps(self, host, log, tab, fields):
        few_step = {f"fewstep_sampling_{tab}_enabled-checkbox": True}
        few_step |= {f"fewstep_sampling_{tab}_timesteps": "999 800 700 600 500 400 300 200 100 50"}
        said = line(host, tab, trained_size=64, width=120, height=96, steps=3, **few_step, **fields)
        lines = generated(host, log, tab, steps=3)
        for one, logged in zip(said.split("<br>"), lines, strict=True):
            assert steps_of_line(one) == steps_of_log(logged)
        assert "of 10" in said if tab == "txt2img" else "of 8" in said
        assert "of 3" in line(host, tab, **{f"fewstep_sampling_{tab}_enabled-checkbox": False}) or tab == "img2img"
        said = line(host, tab, **few_step | {f"fewstep_sampling_{tab}_timesteps": "<b>"})
        assert said.startswith("timesteps = ['<b>'] is not allowed")
        assert "&lt;b&gt;" in host.tabs[tab].value(hires("line", tab))

    @pytest.mark.parametrize(
        ("model", "steps"),
        [
            ({}, 2),
            ({"noise_schedule": "Kolors"}, 3),
            ({"noise_schedule": "Custom", "trained_steps": 1100}, 3),
            ({"noise_schedule": "Kolors", "enabled-checkbox": False}, 2),
        ],
    )
    def test_custom_timesteps_are_counted_in_the_chosen_noise_schedule(self, host, model, steps):
        few_step = {"fewstep_sampling_img2img_enabled-checkbox": True}
        few_step |= {"fewstep_sampling_img2img_timesteps": "1099 850 600 100"}
        own = {f"fewstep_models_img2img_{name}": value for name, value in ({"enabled-checkbox": True} | model).items()}
        size = {"trained_size": 64, "width": 120, "height": 96, "denoising_strength": 0.8}
        assert re.search(rf"of (the )?{steps}\b", line(host, "img2img", **size, **few_step, **own))

    def test_an_engine_runs_instead(self, host, monkeypatch):
        engine = type("<i>Engine", (), {})()
        monkeypatch.setattr(sys.modules["modules.sd_unet"], "current_unet", engine)
        assert line(host) == "At 512x512 nothing will be done: <i>Engine runs instead of the loaded UNet"
        assert "&lt;i&gt;" in host.tabs["txt2img"].value(hires("line"))

    @pytest.mark.parametrize(
        ("option", "tab", "yields"),
        [
            ("token_merging_ratio", "txt2img", (True, True)),
            ("token_merging_ratio_hr", "txt2img", (False, True)),
            ("token_merging_ratio_img2img", "txt2img", (False, False)),
            ("token_merging_ratio", "img2img", (True,)),
            ("token_merging_ratio_img2img", "img2img", (True,)),
            ("token_merging_ratio_hr", "img2img", (False,)),
        ],
    )
    def test_token_merging_has_a_setting_for_each_kind_of_pass(self, host, monkeypatch, option, tab, yields):
        monkeypatch.setitem(host.shared.opts.data, option, 0.4)
        fields = {"trained_size": 64, "width": 120, "height": 96, "steps": 6, "denoising_strength": 0.7}
        fields |= {"txt2img_hr-checkbox": True} if tab == "txt2img" else {}
        said = line(host, tab, **fields).split("<br>")
        assert tuple("because token merging" in one for one in said) == yields

    def test_resize_by_takes_the_pictures_size(self, host):
        page = host.tabs["img2img"]
        line(host, "img2img", trained_size=64, denoising_strength=0.6, scale=2)
        by, across, down = (next(c for c in page.components if c.label == label) for label in SOURCE)
        for component, value in ((by, 1), (across, 96), (down, 72)):
            page.changed[component._id] = value
        assert ", 192x144: RAU-Net on steps 1-" in line(host, "img2img", steps=9)
        page.changed[across._id] = 0
        assert line(host, "img2img") == "There is no picture to resize yet."
        page.changed[by._id] = 0
        assert "512x512" in line(host, "img2img")

    def test_it_counts_what_yields_to_others(self, host):
        big = {"trained_size": 64, "width": 120, "height": 96, "steps": 6}
        said = line(host, **big)
        assert f"window attention in {10 if 'SDXL' in said else 5} transformer blocks" in said
        host.shared.opts.set("token_merging_ratio", 0.4)
        try:
            said = line(host)
        finally:
            host.shared.opts.set("token_merging_ratio", 0.0)
        assert said.endswith("; window attention is off, because token merging works on the same blocks")
        assert "transformer blocks" not in said

    def test_what_cannot_be_done_is_a_sentence(self, host):
        assert line(host, width=8) == "size = 8x512 is not allowed: both sides must be at least 16 pixels."
        assert line(host, width=512, trained_size=32).startswith("trained_size = 32 is not allowed")
        assert line(host, trained_size=0, width=None) == ""

    def test_without_a_model(self, host, monkeypatch):
        monkeypatch.setattr(sys.modules["modules.shared"], "sd_model", None)
        assert line(host) == "No model is loaded yet."
        host.tabs["txt2img"].trigger("fewstep_sampling_txt2img_refresh", "click")
        assert host.tabs["txt2img"].value("fewstep_sampling_txt2img_line") == "No model is loaded yet."

    def test_the_tabs_are_independent(self, host):
        before = line(host, "img2img")
        line(host, "txt2img", width=1024, height=1024)
        assert html.unescape(host.tabs["img2img"].value(hires("line", "img2img"))) == before


class TestFolding:
    @pytest.mark.parametrize("tab", TABS)
    @pytest.mark.parametrize("method", ["HiDiffusion", "Deep Shrink"])
    @pytest.mark.parametrize("preset", ["Auto", "Paper", "Manual"])
    def test_only_what_is_used_is_shown(self, host, tab, method, preset):
        page = host.tabs[tab]
        page.trigger(hires("method", tab), "change", method)
        page.trigger(hires("preset", tab), "change", preset)
        news = page.trigger(hires("refresh", tab), "click")
        assert news[hires("manual", tab)]["visible"] == (preset == "Manual")
        groups = [answer["visible"] for block, answer in news.items() if isinstance(block, gr.Group)]
        assert groups == [method == "HiDiffusion", method == "Deep Shrink"]


class TestKohyasInfotext:
    @pytest.mark.parametrize("tab", TABS)
    def test_it_fills_the_accordion(self, host, tab):
        said = ", ".join(
            f"{key}: {value}" for key, value in {"Steps": "20", "Sampler": "Euler", "Seed": "1", **KOHYA}.items()
        )
        script = host.tabs[tab].runner.script("HiDiffusion")
        names = dict(zip(map(id, script.controls), options_of(HighResSettings), strict=True))
        changes = infotext.paste(f"a cat\n{said}", host.tabs[tab].fields)
        filled = {names[id(component)]: value for component, value in changes if id(component) in names}
        assert filled.pop("raunet") is True, "what Deep Shrink does not use is as the page shows it first"
        own = {"enabled", "method", "preset", "passes", "d1", "d2", "s1", "s2", "scaler", "downscale", "upscale"}
        own |= {"smooth_scaling", "early_out"}
        assert {name: filled[name] for name in own} == {
            "enabled": True,
            "method": "Deep Shrink",
            "preset": "Manual",
            "passes": "First",
            "d1": 2,
            "d2": 5,
            "s1": 0.2,
            "s2": 0.35,
            "scaler": "bilinear",
            "downscale": 0.6,
            "upscale": 1.7,
            "smooth_scaling": False,
            "early_out": True,
        }

    def test_all_passes_where_it_says_so_and_nothing_from_others(self, host):
        from lib_fewstep.webui.highres.infotext import PASTING

        assert PASTING["passes"]({**KOHYA, "DSHF_one": "False"}) == "All"
        assert PASTING["passes"]({key: value for key, value in KOHYA.items() if key != "DSHF_one"}) == "Auto"
        assert PASTING["enabled"]({"Steps": "20"}) is False
        assert PASTING["scaler"]({**KOHYA, "DSHF_scaler": "lanczos"}) is None
        assert PASTING["method"]({**KOHYA, "HiDiffusion method": "HiDiffusion"}) == "HiDiffusion"


def test_what_is_sent_from_tab_to_tab_is_the_same_in_both(host):
    """The WebUI takes fields along whose second part is the same object in both tabs, in the same order."""
    sent = {}
    for tab in TABS:
        runner = host.tabs[tab].runner
        for title in ("HiDiffusion", "Few-Step"):
            script = runner.script(title)
            own = [function for _, function in script.infotext_fields if function in script.paste_field_names]
            sent.setdefault(title, []).append((own, [type(c) for c, f in script.infotext_fields if f in own]))
    for title, (left, right) in sent.items():
        assert left == right, title
    assert len(sent["HiDiffusion"][0][0]) == len(options_of(HighResSettings))
    assert gr.File not in sent["Few-Step"][0][1]


def test_a_default_of_passes_is_shown_and_used_and_written(host):
    request = {"prompt": "x", "width": 96, "height": 80, "steps": 4, "seed": 1}

    def sent(**settings):
        return host.api.txt2img(
            request | {"alwayson_scripts": {"HiDiffusion": {"args": [{"preset": "Paper", **settings}]}}}
        )

    plain, changed = host.api.txt2img(request), sent()
    assert not same(plain, changed)
    host.shared.opts.set("fewstep_passes", "Hires")
    try:
        host.reload_ui()
        assert [host.tabs[tab].value(hires("passes", tab)) for tab in TABS] == ["Hires", "Hires"]
        assert same(plain, sent()), "this is no hires pass"
        assert same(changed, sent(passes="All"))
        first = sent(only_one_pass=True)
        assert same(changed, first)
        assert "HiDiffusion passes: First" in first.infotexts[0]
        second = host.api.txt2img(
            request
            | {
                "alwayson_scripts": {"HiDiffusion": {"args": [{"preset": "Paper"}]}},
                "enable_hr": True,
                "hr_scale": 1.5,
                "hr_upscaler": "Latent",
                "denoising_strength": 0.7,
            }
        )
        assert "HiDiffusion passes: Hires" in second.infotexts[0]
    finally:
        host.shared.opts.set("fewstep_passes", "Auto")
        host.reload_ui()


def test_the_line_is_said_in_the_language_of_the_page(host):
    host.shared.opts.localization = "zh_CN"
    try:
        small, large = line(host, width=64, height=64), line(host, trained_size=64, width=1024, height=1024)
    finally:
        host.shared.opts.localization = "None"
    for said in (small, large):
        rest = re.sub("Auto|Paper|All|RAU-Net|SDXL|SD1|Transformer", "", said)
        assert re.search("[\u4e00-\u9fff]", rest)
        assert not re.search("[A-Za-z]{2,}", rest), said
    host.shared.opts.localization = "a language without our words"
    try:
        assert "nothing will be done" in line(host, width=64, height=64)
    finally:
        host.shared.opts.localization = "None"
