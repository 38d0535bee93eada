"""What users of this job report elsewhere: combinations that each stand for a kind."""

from __future__ import annotations

import re
import sys
from copy import copy

import pytest
import torch

from lib_fewstep.webui.highres.foreign_error import sentence_on
from tests.webui import standin
from tests.webui.exact import OURS, SCHEDULES, listening, made, off, refused, same, settings_of, timesteps
from tests.webui.standin import api
from tests.webui.test_pasting import pasted

PAPER = {"enabled": True, "preset": "Paper"}
LARGE = {"prompt": "a cat", "width": 96, "height": 80, "steps": 4, "seed": 1, "sampler_name": "Euler"}
HIRES = {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.7}
ENSD = 31337


@pytest.fixture
def sd1(unit):
    """The file's host with a small SD1 model, for one test."""
    unit.load_model("sd1")
    return unit


def hidiffusion(settings, **fields):
    return LARGE | fields | {"alwayson_scripts": {"HiDiffusion": {"args": [settings]}}}


def method_in(text):
    """The method that an infotext names; None where it has no key of ours."""
    keys = [part for part in text.split(", ") if part.startswith("HiDiffusion")]
    named = [part.split(": ")[1] for part in keys if part.startswith("HiDiffusion method: ")]
    assert bool(keys) == bool(named)
    return named[0] if named else None


class TestKeysOfOneImage:
    """They never appear in another's infotext."""

    @pytest.mark.parametrize(
        "order",
        [
            ["HiDiffusion", "None"],
            ["None", "HiDiffusion", "None"],
            ["HiDiffusion", "None", "Deep Shrink", "None"],
            ["Deep Shrink", "HiDiffusion", "None", "Deep Shrink"],
        ],
    )
    @pytest.mark.parametrize("on", [False, True])
    def test_cells_of_a_plot(self, sd1, order, on):
        ui = {"HiDiffusion": on, "fewstep_hires_txt2img_preset": "Paper"}
        cells = sd1.xyz({"[HiDiffusion] Method": order, "[HiDiffusion] Preset": ["Paper"]}, ui=ui, **LARGE)
        wanted = [None if method == "None" else method for method in order]
        assert [method_in(cell.infotexts[0]) for cell in cells] == wanted

    def test_values_of_one_cell_are_not_in_the_next(self, sd1):
        ui = {"HiDiffusion": True, "fewstep_hires_txt2img_preset": "Paper"}
        cells = sd1.xyz({"[HiDiffusion] RAU-Net": "False, True"}, ui=ui, **LARGE)
        assert ["HiDiffusion RAU-Net: False" in cell.infotexts[0] for cell in cells] == [True, False]

    @pytest.mark.parametrize("more", [{}, HIRES])
    def test_the_schedule_of_one_cell_is_not_in_the_next(self, sd1, more):
        """A sampler with a schedule of its own, then one without."""
        cells = sd1.xyz({"Sampler": ["TCD", "Euler", "LCM (reference grid)", "Heun"]}, **(LARGE | more))
        found = [re.search(r"Schedule type: ([^,]*)", cell.infotexts[0]) for cell in cells]
        assert [match and match[1] for match in found] == ["LCM grid", "Automatic", "LCM grid", "Automatic"]
        assert not any("Hires schedule type" in cell.infotexts[0] for cell in cells)

    def test_the_hires_sampler_of_one_cell_is_not_in_the_next(self, sd1):
        """As a plot does it: copies of one job, which share the infotext's parameters."""
        job, found = sd1.job("txt2img", **(LARGE | HIRES)), []
        api.start_job(job)
        for sampler in ("Heun", "Euler", "DPM++ 2M"):
            cell = copy(job)
            cell.hr_sampler_name = sampler
            match = re.search(
                r"Hires sampler: ([^,]*)", sys.modules["modules.processing"].process_images(cell).infotexts[0]
            )
            found.append(match and match[1])
        api.end_job(job)
        assert found == ["Heun", None, "DPM++ 2M"]

    def test_a_copy_before_hires_of_a_later_batch(self, sd1):
        """Only the hires pass acts, so no copy of a first pass has keys."""
        request = hidiffusion({"enabled": True, "trained_size": 128}, **HIRES, n_iter=3, save_images=True)
        with settings_of(sd1, save_images_before_highres_fix=True), listening(sd1) as listen:
            saved = listen(lambda params: (params.filename, params.pnginfo["parameters"]), kind="image_saved")
            result = sd1.api.txt2img(request)
        assert result.status == 200, result.message
        copies = [text for name, text in saved if "before-highres-fix" in name]
        assert len(copies) == 3
        assert [method_in(text) for text in copies] == [None] * 3
        assert {method_in(text) for text in result.infotexts} == {"HiDiffusion"}

    def test_the_noise_seed_of_a_hires_pass_is_not_in_a_later_copy(self, sd1):
        request = LARGE | HIRES | {"hr_sampler_name": "TCD", "n_iter": 2, "save_images": True}
        settings = {"save_images_before_highres_fix": True, "eta_noise_seed_delta": ENSD}
        with settings_of(sd1, **settings), listening(sd1) as listen:
            saved = listen(lambda params: (params.filename, params.pnginfo["parameters"]), kind="image_saved")
            result = sd1.api.txt2img(request)
        copies = [text for name, text in saved if "before-highres-fix" in name]
        assert ["ENSD" in text for text in copies] == [False, False]
        assert ["ENSD" in text for text in result.infotexts[-2:]] == [True, True]


def test_what_acted_in_the_hires_pass_alone_does_so_again(sd1):
    """Values over the preset Auto: the page reads them under Manual, which acts at any size."""
    values = {"enabled": True, "trained_size": 128, "t1": 0.8}
    result = sd1.api.txt2img(hidiffusion(values, **HIRES))
    assert "HiDiffusion preset: Manual" in result.infotexts[0]
    assert "HiDiffusion passes: Hires" in result.infotexts[0]
    again = pasted(sd1, "txt2img", result.infotexts[0])
    assert again.images[0].tobytes() == result.images[0].tobytes()


class TestDetailers:
    """They call the scripts' `process` on a copy of the job, before the host writes an image's infotext."""

    def made(self, host, monkeypatch, request, tab="txt2img"):
        runner = host.tabs[tab].runner
        host_own = type(runner).postprocess_image

        def postprocess_image(self, p, *args):
            host_own(self, p, *args)
            copied = copy(p)
            copied.scripts.process(copied)

        monkeypatch.setattr(type(runner), "postprocess_image", postprocess_image)
        result = getattr(host.api, tab)(request)
        monkeypatch.undo()
        assert result.status == 200, result.message
        return result

    @pytest.mark.parametrize(
        "settings", [{"enabled": True, "trained_size": 512}, {"enabled": True, "preset": "Paper", "t1": 0.3}]
    )
    def test_hidiffusion(self, sd1, monkeypatch, settings):
        alone = sd1.api.txt2img(hidiffusion(settings))
        assert self.made(sd1, monkeypatch, hidiffusion(settings)).infotexts == alone.infotexts

    def test_inversion(self, unit, monkeypatch):
        fields = {"init_images": [standin.as_base64(standin.picture(32, 24))], "denoising_strength": 0.6}
        request = LARGE | fields | {"sampler_name": "Euler CFG++", "width": 32, "height": 24}
        request |= {"alwayson_scripts": {"Few-Step": {"args": [{"invert": {"prompt": "a dog", "steps": 2}}]}}}
        alone = unit.api.img2img(request)
        assert "Few-Step invert: a dog" in alone.infotexts[0]
        assert self.made(unit, monkeypatch, request, "img2img").infotexts == alone.infotexts


class TestASampleOfItsOwn:
    """A script that replaces `p.sample`, as the img2img alternative test does."""

    def run(self, host, settings, *, fewstep=None, sampler="Euler"):
        scripts = {"HiDiffusion": settings, "Few-Step": fewstep}
        runner = host.tabs["txt2img"].runner
        p = host.job("txt2img", **LARGE | {"sampler_name": sampler})
        arguments = list(p.script_args)
        for title, given in scripts.items():
            if given is not None:
                arguments[runner.script(title).args_from] = given
        p.script_args = tuple(arguments)

        def sample(conditioning, unconditional_conditioning, **batch):
            p.sampler = sys.modules["modules.sd_samplers"].create_sampler(p.sampler_name, p.sd_model)
            x = p.rng.next()
            images = p.txt2img_image_conditioning(x)
            return p.sampler.sample(p, x, conditioning, unconditional_conditioning, image_conditioning=images)

        p.sample = sample
        return host.run_job(p)

    def test_no_key_and_a_line(self, sd1, log):
        result = self.run(sd1, PAPER)
        assert method_in(result.infotexts[0]) is None
        assert "HiDiffusion: nothing is done: a script of this job samples in its own way." in log()

    def test_guidance_acts_and_timesteps_do_not(self, sd1, log):
        settings = {"guidance": "lambda", "timesteps": [999, 499]}
        result = self.run(sd1, None, fewstep=settings, sampler="Euler CFG++")
        assert "Few-Step guidance: lambda" in result.infotexts[0]
        assert "Few-Step timesteps" not in result.infotexts[0]
        (line,) = (line for line in log() if "samples in its own way" in line)
        assert line.startswith("Few-Step:")
        assert line.endswith("timesteps, prior, inversion and hires CFG are left out.")

    def test_an_inversion_that_is_left_out_is_not_made(self, sd1, log):
        """Its own check would refuse it in txt2img, if it came so far."""
        settings = {"guidance": "lambda", "invert": {"prompt": "a dog", "steps": 2}}
        plain = self.run(sd1, None, fewstep={"guidance": "lambda"}, sampler="Euler CFG++")
        result = self.run(sd1, None, fewstep=settings, sampler="Euler CFG++")
        assert same(plain, result)
        assert not any("Inverting" in line for line in log())

    def test_a_refusal_is_told_and_leaves_no_key(self, sd1, log):
        result = self.run(sd1, None, fewstep={"timesteps": [999], "gamma": 5})
        assert "Few-Step" not in result.infotexts[0]
        assert "Few-Step: gamma = 5 is not allowed: it must be 0 to 1" in log()[-1]


class TestAnotherJob:
    """A job that another extension makes without this one's scripts: inside a job (a detailer), or by itself."""

    FIELDS = {"sampler_name": "Euler CFG++", "cfg_scale": 0.6, "steps": 4}

    def made(self, host):
        """The picture of such a job."""
        processing = sys.modules["modules.processing"]
        fields = LARGE | self.FIELDS | {"do_not_save_samples": True, "do_not_save_grid": True}
        p = processing.StableDiffusionProcessingTxt2Img(sd_model=host.shared.sd_model, **fields)
        p.scripts, p.script_args = None, []
        return processing.process_images(p).images[0].tobytes()

    def inside(self, host, listen, settings):
        """The same at the first step of a job with settings of Few-Step."""
        pictures = []

        def detail(params):
            if not pictures:
                pictures.append(None)
                pictures[0] = self.made(host)

        listen(detail)
        outer = LARGE | {"alwayson_scripts": {"Few-Step": {"args": [settings]}}}
        result = host.api.txt2img(outer)
        assert result.status == 200, result.message
        return pictures[0]

    def wanted(self, host, guidance):
        """The picture of a job whose own settings say the guidance."""
        scripts = {"alwayson_scripts": {"Few-Step": {"args": [{"guidance": guidance}]}}}
        result = host.api.txt2img(LARGE | self.FIELDS | scripts)
        return result.images[0].tobytes()

    @pytest.mark.parametrize("guidance", ["lambda", "cfg/12.5", "calibrated"])
    def test_the_guidance_of_the_job_around_it(self, unit, listen, guidance):
        assert self.inside(unit, listen, {"guidance": guidance}) == self.wanted(unit, guidance)

    def test_the_job_around_it_goes_before_the_settings_page(self, unit, listen):
        with settings_of(unit, fewstep_guidance="cfg/12.5"):
            assert self.inside(unit, listen, {"guidance": "lambda"}) == self.wanted(unit, "lambda")

    def test_a_job_around_it_that_says_nothing(self, unit, listen):
        """Neither its sampler nor its settings have to do with CFG++."""
        with settings_of(unit, fewstep_guidance="lambda"):
            assert self.inside(unit, listen, {"gamma": 0.5}) == self.wanted(unit, "lambda")

    def test_by_itself_the_guidance_of_the_settings_page(self, unit):
        assert self.made(unit) == self.wanted(unit, "calibrated")
        with settings_of(unit, fewstep_guidance="lambda"):
            assert self.made(unit) == self.wanted(unit, "lambda")

    def test_nothing_of_a_job_that_failed(self, unit):
        unit.fault(nan=1)
        failed = unit.api.txt2img(LARGE | {"alwayson_scripts": {"Few-Step": {"args": [{"guidance": "lambda"}]}}})
        assert failed.status == 500
        assert self.made(unit) == self.wanted(unit, "calibrated")

    def test_only_guidance_and_gamma_are_handed_on(self, unit, listen):
        """Timesteps and a start of its own belong to the outer job's passes."""
        assert self.inside(unit, listen, {"guidance": "lambda", "timesteps": [999, 499]}) == self.wanted(unit, "lambda")


class TestNamesOfASampler:
    """An alias, or the name that another extension gives it, means the same."""

    @pytest.mark.parametrize("field", ["sampler_name", "hr_sampler_name"])
    def test_an_alias(self, unit, field):
        fields = HIRES | {"cfg_scale": 0.6}
        by = {name: made(unit, None, **fields | {field: name}) for name in ("Euler CFG++", "euler_cfg_pp")}
        with settings_of(unit, fewstep_guidance="lambda"):
            results = [made(unit, None, **fields | {field: name}) for name in by]
        assert same(*results)
        assert not same(results[0], by["Euler CFG++"])
        assert all("Few-Step guidance: lambda" in result.infotexts[0] for result in results)

    def test_a_renamed_sampler_inverts(self, unit):
        """Dynamic thresholding puts an entry of its own into the WebUI's list, around the sampler's constructor."""
        samplers, common = sys.modules["modules.sd_samplers"], sys.modules["modules.sd_samplers_common"]
        own = samplers.all_samplers_map["Euler CFG++"]
        renamed = common.SamplerData("Euler CFG++_dynthres1", own.constructor, [], own.options)
        fields = {"init_images": [standin.as_base64(standin.picture(32, 24))], "denoising_strength": 0.6}
        wanted = made(unit, {"invert": True}, **fields, sampler_name="Euler CFG++")
        samplers.all_samplers_map[renamed.name] = renamed
        try:
            result = made(unit, {"invert": True}, **fields, sampler_name=renamed.name)
        finally:
            del samplers.all_samplers_map[renamed.name]
        assert same(result, wanted)


class TestNoiseSeeds:
    """What "eta noise seed delta" changes stands in the infotext."""

    @pytest.mark.parametrize("sampler", OURS)
    def test_an_image_that_follows_it_says_so(self, unit, sampler):
        plain = made(unit, sampler_name=sampler)
        with settings_of(unit, eta_noise_seed_delta=ENSD):
            result = made(unit, sampler_name=sampler)
        assert "ENSD" not in plain.infotexts[0]
        assert (f"ENSD: {ENSD}" in result.infotexts[0]) is not same(plain, result)
        assert "ENSD" not in made(unit, sampler_name=sampler).infotexts[0]

    @pytest.mark.parametrize("sampler", ["TCD", "LCM (reference grid)", "SA-Solver"])
    def test_without_eta_and_in_a_hires_pass(self, unit, sampler):
        with settings_of(unit, eta_noise_seed_delta=ENSD, eta_ancestral=0.0):
            assert f"ENSD: {ENSD}" in made(unit, sampler_name=sampler).infotexts[0]
        with settings_of(unit, eta_noise_seed_delta=ENSD):
            assert f"ENSD: {ENSD}" in made(unit, **HIRES | {"hr_sampler_name": sampler}).infotexts[0]

    def test_in_a_plot_only_where_it_counts(self, unit):
        with settings_of(unit, eta_noise_seed_delta=ENSD):
            cells = unit.xyz({"Sampler": "TCD, Euler, TCD"}, prompt="a cat", width=32, height=24, steps=4, seed=1)
        assert ["ENSD" in cell.infotexts[0] for cell in cells] == [True, False, True]

    def test_samplers_without_noise_do_not(self, unit):
        with settings_of(unit, eta_noise_seed_delta=ENSD):
            assert "ENSD" not in made(unit, sampler_name="Euler CFG++").infotexts[0]


class TestExactGrids:
    """The WebUI's setting to discard a sigma leaves them alone."""

    @pytest.mark.parametrize("schedule", SCHEDULES)
    @pytest.mark.parametrize("steps", [1, 4, 20])
    @pytest.mark.parametrize("sampler", ["Euler", "TCD", "Euler CFG++"])
    def test_the_same_timesteps(self, unit, log, schedule, steps, sampler):
        fields = {"sampler_name": sampler, "scheduler": schedule, "steps": steps}
        plain, wanted = made(unit, **fields), timesteps(unit)
        with settings_of(unit, always_discard_next_to_last_sigma=True):
            result = made(unit, **fields)
        assert timesteps(unit) == wanted
        assert same(plain, result)
        assert "Discard" not in result.infotexts[0]
        assert len([line for line in log() if "setting to discard a sigma is left out" in line]) == 1

    def test_all_50_steps_of_the_lcm_grid(self, unit):
        with settings_of(unit, always_discard_next_to_last_sigma=True):
            made(unit, scheduler="LCM grid", steps=50)
        assert len(timesteps(unit)) == 50

    def test_samplers_that_always_discard_one_still_do(self, unit, log):
        plain = made(unit, sampler_name="DPM2", scheduler="LCM grid")
        with settings_of(unit, always_discard_next_to_last_sigma=True):
            assert same(plain, made(unit, sampler_name="DPM2", scheduler="LCM grid"))
        assert not any("exact" in line for line in log())

    def test_in_a_hires_pass(self, unit):
        fields = HIRES | {"hr_scheduler": "Trailing", "scheduler": "Karras"}
        made(unit, **fields)
        wanted = timesteps(unit)[-2:]
        with settings_of(unit, always_discard_next_to_last_sigma=True):
            made(unit, **fields)
        assert timesteps(unit)[-2:] == wanted

    def test_other_schedules_follow_the_setting(self, unit):
        plain = made(unit, scheduler="Karras")
        with settings_of(unit, always_discard_next_to_last_sigma=True):
            result = made(unit, scheduler="Karras")
        assert not same(plain, result)
        assert "Discard penultimate sigma: True" in result.infotexts[0]


@pytest.mark.parametrize("sampler", OURS)
def test_a_hires_pass_at_denoising_strength_0(unit, sampler):
    """It has no step; the image is the first pass's, larger."""
    result = made(unit, **HIRES | {"sampler_name": sampler, "denoising_strength": 0.0})
    assert result.images[0].size == (64, 48)


class TestInversionOfABatch:
    """Several init images with infotexts of their own."""

    def pictures(self, *texts):
        made = []
        for seed, text in enumerate(texts):
            picture = standin.picture(32, 24, seed)
            picture.info["parameters"] = text
            made.append(picture)
        return made

    def inverted(self, host, pictures, **fields):
        fields = {"sampler_name": "Euler CFG++", "denoising_strength": 0.6, "init_images": pictures} | fields
        ui = {"Few-Step": True, "Invert with CFG++": True}
        return host.img2img(ui=ui, prompt="a dog", width=32, height=24, steps=4, seed=1, cfg_scale=3.0, **fields)

    def test_each_has_its_own_prompts(self, unit):
        texts = [
            "a cat\nNegative prompt: bad\nSteps: 3, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 32x24",
            "a house\nSteps: 3, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 32x24",
        ]
        pictures = self.pictures(*texts)
        result = self.inverted(unit, pictures, batch_size=2)
        alone = [self.inverted(unit, [picture]) for picture in pictures]
        for row, single in enumerate(alone):
            assert off(result.latents[row : row + 1], single.latents) < 1e-4
        assert "Few-Step invert: a cat" in result.infotexts[0]
        assert "Few-Step invert negative: bad" in result.infotexts[0]
        assert "Few-Step invert: a house" in result.infotexts[1]
        assert "Few-Step invert negative" not in result.infotexts[1]
        assert not unit.errors

    def test_negative_prompts_of_different_lengths(self, unit):
        long = " ".join(["bad"] * 90)
        texts = [
            f"a cat\nNegative prompt: {text}\nSteps: 3, Sampler: Euler, Seed: 1, CFG scale: 7" for text in (long, "bad")
        ]
        assert self.inverted(unit, self.pictures(*texts), batch_size=2).status == 200

    def test_different_steps_are_refused(self, unit):
        pictures = self.pictures(*(f"a cat\nSteps: {n}, Sampler: Euler, CFG scale: 7, Seed: 1" for n in (3, 5)))
        with pytest.raises(Exception, match="need 3 and 5 steps of inversion, but a batch has one number of them"):
            self.inverted(unit, pictures, batch_size=2)


class TestGuidanceOfEachPass:
    """Lambda has a field of its own, and a hires pass a CFG of its own."""

    LAMBDA = {"guidance": "lambda"}
    PAGE = {"prompt": "a cat", "width": 32, "height": 24, "steps": 4, "seed": 1, "sampler_name": "Euler CFG++"}

    def test_lambda_in_its_own_field_is_lambda_on_the_slider(self, unit):
        wanted = made(unit, self.LAMBDA, sampler_name="Euler CFG++", cfg_scale=0.6)
        result = made(unit, self.LAMBDA | {"cfgpp_lambda": 0.6}, sampler_name="Euler CFG++", cfg_scale=7.0)
        assert same(wanted, result)
        assert "CFG scale: 7.0" in result.infotexts[0]
        assert "Few-Step lambda: 0.6" in result.infotexts[0]

    def test_from_the_page_and_back(self, unit):
        result = unit.txt2img(
            ui={"Few-Step": True, "CFG++ guidance": "lambda", "Lambda": 0.6}, cfg_scale=7.0, **self.PAGE
        )
        assert same(result, made(unit, self.LAMBDA, sampler_name="Euler CFG++", cfg_scale=0.6))
        pasted = unit.paste("txt2img", result.infotexts[0])
        assert pasted["Lambda"] == 0.6
        assert pasted["CFG++ guidance"] == "lambda"

    def test_the_page_keeps_a_lambda_that_another_guidance_does_not_use(self, unit):
        ui = {"Few-Step": True, "CFG++ guidance": "calibrated", "Lambda": 0.6}
        result = unit.txt2img(ui=ui, cfg_scale=3.0, **self.PAGE)
        assert same(result, made(unit, {}, sampler_name="Euler CFG++"))
        assert "lambda" not in result.infotexts[0]

    def test_inversion_uses_it(self, unit):
        fields = {"init_images": [standin.as_base64(standin.picture(32, 24))], "denoising_strength": 0.6}
        fields |= {"sampler_name": "Euler CFG++"}
        wanted = made(unit, self.LAMBDA | {"invert": True}, **fields, cfg_scale=0.6)
        result = made(unit, self.LAMBDA | {"invert": True, "cfgpp_lambda": 0.6}, **fields, cfg_scale=7.0)
        assert same(wanted, result)

    @pytest.mark.parametrize("sampler", ["Euler", "DDIM", "Euler CFG++"])
    def test_a_hires_pass_with_a_cfg_of_its_own(self, unit, listen, sampler):
        scales = listen(lambda params: params.denoiser.p.cfg_scale)
        result = made(unit, {"hires_cfg": 5.0}, **HIRES | {"hr_sampler_name": sampler}, cfg_scale=1.5)
        assert set(scales[:4]) == {1.5}
        assert set(scales[4:]) == {5.0}
        assert "CFG scale: 1.5" in result.infotexts[0]
        assert "Few-Step hires CFG: 5.0" in result.infotexts[0]
        assert unit.paste("txt2img", result.infotexts[0])["Hires CFG"] == 5.0

    def test_other_passes_have_no_such_key(self, unit):
        assert "hires CFG" not in made(unit, {"hires_cfg": 5.0}).infotexts[0]

    def test_advice_where_lambda_would_guide_an_ordinary_pass(self, unit, log):
        fields = HIRES | {"sampler_name": "Euler CFG++", "hr_sampler_name": "Euler", "cfg_scale": 0.6}
        sentence = "The hires pass with Euler runs at CFG 0.6, which does not guide it: set Hires CFG."
        made(unit, self.LAMBDA, **fields)
        assert log().count(sentence) == 1
        made(unit, self.LAMBDA | {"hires_cfg": 7}, **fields)
        made(unit, self.LAMBDA, **fields | {"hr_sampler_name": "Euler CFG++"})
        made(unit, self.LAMBDA | {"cfgpp_lambda": 0.6}, **fields | {"cfg_scale": 7.0})
        assert log().count(sentence) == 1

    @pytest.mark.parametrize("zero", [0, 0.0])
    def test_zero_leaves_it_to_the_jobs_cfg(self, unit, zero):
        plain = made(unit, self.LAMBDA, **HIRES | {"sampler_name": "Euler CFG++"})
        result = made(
            unit, self.LAMBDA | {"cfgpp_lambda": zero, "hires_cfg": zero}, **HIRES | {"sampler_name": "Euler CFG++"}
        )
        assert same(plain, result)
        assert plain.infotexts == result.infotexts

    def test_a_small_cfg_is_pasted_as_lambda(self, unit):
        """The page's slider does not go below 1."""
        result = made(unit, self.LAMBDA, sampler_name="Euler CFG++", cfg_scale=0.6)
        assert unit.paste("txt2img", result.infotexts[0])["Lambda"] == 0.6

    def test_the_cfg_of_a_hires_pass_goes_before_lambda(self, unit):
        fields = HIRES | {"sampler_name": "Euler CFG++"}
        wanted = made(unit, self.LAMBDA | {"hires_cfg": 0.3}, **fields, cfg_scale=0.6)
        assert same(wanted, made(unit, self.LAMBDA | {"hires_cfg": 0.3, "cfgpp_lambda": 0.6}, **fields))

    def test_a_comparison_of_cfgs_is_one(self, unit):
        settings = {"steps": [2], "cfg": [1, 5], "samplers": ["Euler CFG++"], "methods": ["None"], "reference_steps": 3}
        request = LARGE | {"script_name": "Few-step comparison", "script_args": [settings]}
        scripts = {"Few-Step": {"args": [self.LAMBDA | {"cfgpp_lambda": 0.6}]}}
        first, *others = unit.api.txt2img(request | {"alwayson_scripts": scripts}).jobs[-2:]
        assert not any(torch.equal(first.latents[0], other.latents[0]) for other in others)

    @pytest.mark.parametrize("page", ["lambda", "calibrated"])
    def test_an_axis_of_guidances_leaves_it_to_lambda(self, unit, page):
        ui = {"Few-Step": True, "CFG++ guidance": page, "Lambda": 0.6}
        fields = self.PAGE | {"cfg_scale": 3.0}
        cells = unit.xyz({"[Few-Step] Guidance": ["calibrated", "lambda"]}, ui=ui, **fields)
        assert same(cells[0], made(unit, {}, sampler_name="Euler CFG++"))
        assert same(cells[1], made(unit, self.LAMBDA, sampler_name="Euler CFG++", cfg_scale=0.6))

    @pytest.mark.parametrize("guidance", ["calibrated", "cfg/12.5"])
    def test_lambda_with_another_guidance_is_refused(self, unit, guidance):
        message = refused(unit, {"guidance": guidance, "cfgpp_lambda": 0.6}, sampler_name="Euler CFG++")
        assert f"cfgpp_lambda = 0.6 is not allowed with guidance = '{guidance}'" in message


class TestTiles:
    """Tiled Diffusion and its like put a sampler's denoiser to work on tiles: these decide, not the whole image."""

    @pytest.fixture
    def tiled(self, sd1, monkeypatch):
        """Four tiles of half the sides, one after the other, in every sampler that is created."""
        samplers = sys.modules["modules.sd_samplers"]
        create = samplers.create_sampler

        def creating(name, model):
            sampler = create(name, model)
            denoiser = sampler.model_wrap_cfg.inner_model
            whole = denoiser.forward

            def forward(x, sigma, cond):
                rows = [[whole(tile, sigma, cond=cond) for tile in row.chunk(2, -1)] for row in x.chunk(2, -2)]
                return torch.cat([torch.cat(row, -1) for row in rows], -2)

            denoiser.forward = forward
            return sampler

        monkeypatch.setattr(samplers, "create_sampler", creating)
        return sd1

    def images(self, host, settings, **fields):
        result = host.api.txt2img(hidiffusion(settings, **LARGE | {"width": 128, "height": 128} | fields))
        assert result.status == 200, result.message
        assert not host.errors
        return result

    @pytest.mark.parametrize("method", ["HiDiffusion", "Deep Shrink"])
    def test_of_the_trained_size(self, tiled, method, log):
        plain = self.images(tiled, {"enabled": False})
        result = self.images(tiled, {"enabled": True, "method": method, "trained_size": 64})
        assert same(result, plain)
        assert method_in(result.infotexts[0]) is None
        assert "HiDiffusion acted" not in result.infotexts[0]
        first, second = log()
        assert "at 128x128, 4 steps" in first
        assert "at 64x64, 4 steps (first pass): nothing is done: 64x64 is not above" in second
        assert second.endswith("another extension runs the UNet at this size.")

    @pytest.mark.parametrize("method", ["HiDiffusion", "Deep Shrink"])
    def test_above_it(self, tiled, method, log):
        plain = self.images(tiled, {"enabled": False}, width=192, height=192)
        settings = {"enabled": True, "method": method, "trained_size": 64}
        result = self.images(tiled, settings, width=192, height=192)
        assert not same(result, plain)
        assert method_in(result.infotexts[0]) == method
        assert ["at 192x192" in line for line in log()] == [True, False]
        assert "at 96x96, 4 steps (first pass): " in log()[1]


class Pinned:
    """A neighbour that adds a map to a projection's tokens, and has one for each size that it was made for."""

    def __init__(self, module):
        self.module, self.maps, self.complete = module, {}, False
        module.forward = self.forward

    def forward(self, x):
        if not self.complete:
            self.maps[x.shape[1]] = torch.full(x.shape[1:], 0.1)
        nearest = min(self.maps, key=lambda size: abs(size - x.shape[1]))
        return type(self.module).forward(self.module, x + self.maps[nearest])


class TestForeignErrors:
    """A wrong size raised inside a neighbour: an image without the method, and one sentence that names both."""

    def queries(self, host):
        return [module.to_q for module in host.unet.modules() if hasattr(module, "to_q")]

    @pytest.mark.parametrize("method", ["HiDiffusion", "Deep Shrink"])
    @pytest.mark.parametrize(
        "fields",
        [
            {},
            HIRES | {"hr_second_pass_steps": 1},
            {"s_churn": 1.0},
            {"sampler_name": "Euler CFG++"},
            {"sampler_name": "Euler a"},
        ],
    )
    def test_one_that_holds_a_size(self, sd1, method, fields, log):
        settings = {"enabled": True, "preset": "Paper", "method": method, "passes": "First"}
        plain = sd1.api.txt2img(hidiffusion({"enabled": False}, **fields))
        ours = sd1.api.txt2img(hidiffusion(settings, **fields))
        assert not same(ours, plain)
        neighbours = [Pinned(query) for query in self.queries(sd1)]
        alone = sd1.api.txt2img(hidiffusion({"enabled": False}, **fields))
        for neighbour in neighbours:
            neighbour.complete = True
        result = sd1.api.txt2img(hidiffusion(settings, **fields))
        for query in self.queries(sd1):
            del query.forward
        assert result.status == 200, result.message
        assert same(result, alone)
        assert method_in(result.infotexts[0]) is None
        told = [line for line in log() if line.startswith("HiDiffusion: ")]
        assert told == result.comments.strip().splitlines()
        assert len(told) == 1
        assert told[0].startswith(f"HiDiffusion: {__name__} of another extension cannot work on the feature maps that")
        assert told[0].endswith("This pass is made without the method: switch one of the two off.")
        assert "The size of tensor a" in told[0]
        assert same(sd1.api.txt2img(hidiffusion(settings, **fields)), ours)
        assert same(sd1.api.txt2img(hidiffusion({"enabled": False}, **fields)), plain)

    def test_in_the_middle_of_a_pass(self, sd1):
        """There the image cannot be begun again: what was drawn is drawn."""
        plain = sd1.api.txt2img(hidiffusion({"enabled": False}))
        calls = []

        def failing(x):
            calls.append(1)
            if len(calls) > 3:
                raise RuntimeError("a wrong size")
            return type(query).forward(query, x)

        query = self.queries(sd1)[0]
        query.forward = failing
        answer = sd1.api.txt2img(hidiffusion(PAPER))
        del query.forward
        assert answer.status == 422
        assert answer.message == (
            f"HiDiffusion: {__name__} of another extension cannot work on the feature maps that HiDiffusion changes "
            "(RuntimeError: a wrong size). Switch one of the two off."
        )
        assert same(sd1.api.txt2img(hidiffusion({"enabled": False})), plain)

    @pytest.mark.parametrize("settings", [{"enabled": False}, {"enabled": True}, PAPER])
    def test_errors_of_its_own_are_its_own(self, sd1, settings):
        """Where the method does nothing, or where it fails without the method, too."""
        for query in self.queries(sd1):
            query.forward = raising(RuntimeError("no such size"))
        assert sd1.api.txt2img(hidiffusion(settings)).message == "no such size"
        for query in self.queries(sd1):
            del query.forward
        sd1.errors.clear()

    @pytest.mark.parametrize(
        "error", [torch.cuda.OutOfMemoryError("no size is left"), KeyError("size"), OSError("size")]
    )
    def test_what_is_no_wrong_size(self, sd1, error, log):
        query = self.queries(sd1)[0]
        query.forward = raising(error)
        assert sd1.api.txt2img(hidiffusion(PAPER)).status == 500
        assert not [line for line in log() if "another extension" in line]
        del query.forward
        sd1.errors.clear()

    def test_the_name_of_an_installed_extension(self):
        path = "/webui/extensions/sd-webui-other/scripts/part.py"
        names = {"__name__": "scripts.part", "torch": torch}
        exec(compile("def forward(): torch.zeros(3) + torch.zeros(4)", path, "exec"), names)
        try:
            names["forward"]()
        except RuntimeError as error:
            told = sentence_on(error, "HiDiffusion")
        assert told.startswith("sd-webui-other/scripts/part.py of another extension cannot work")


def raising(error):
    def forward(*_):
        raise error

    return forward
