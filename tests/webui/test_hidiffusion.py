"""The always-on script, driven through a strict stand-in of the WebUI."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from lib_fewstep.highres import HighResSettings
from lib_fewstep.options import options_of, page_fields
from lib_fewstep.unet import Place, Scaling, install
from tests.unets import describe
from tests.webui import standin
from tests.webui.exact import settings_of

SCRIPTS = Path(__file__).parents[2] / "scripts"
BASE = {"prompt": "a cat", "width": 96, "height": 80, "steps": 4, "seed": 1, "sampler_name": "Euler"}
ON = {"enabled": True, "preset": "Paper"}
SAMPLERS = ["Euler", "Euler a", "Heun", "DDIM", "DDIM CFG++"]
ADAPTIVE = pytest.param("DPM adaptive", marks=pytest.mark.long)


@pytest.fixture
def host(request, sd1):
    """The host of this file with a small SD1 model, or with the one that the test names; nothing is left behind.

    Of the settings that a request overrides, the WebUI gives those back that are in its config.json.
    """
    sd1.load_model(getattr(request, "param", "sd1"))
    with settings_of(sd1), as_before(sd1):
        yield sd1
    sd1.load_model("sd1")


@pytest.fixture
def fresh():
    """A host of the test's own, which it may reload; nothing is left behind on the model."""
    with standin.webui("sd1", SCRIPTS) as made, as_before(made):
        yield made


@contextmanager
def as_before(host):
    """Afterwards the model and the number of callbacks are as they were."""
    callbacks = {kind: len(registered) for kind, registered in host.callbacks.kinds.items()}
    unet, before = host.unet, describe(host.unet)
    yield
    assert describe(unet) == before
    assert {kind: len(registered) for kind, registered in host.callbacks.kinds.items()} == callbacks


def request(settings=None, **fields):
    scripts = {} if settings is None else {"alwayson_scripts": {"HiDiffusion": {"args": settings}}}
    return BASE | fields | scripts


def txt2img(host, settings=None, **fields):
    result = host.api.txt2img(request(settings, **fields))
    assert result.status == 200, result.message
    assert not host.errors
    return result


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.latents, b.latents, strict=True))


@pytest.mark.parametrize("host", ["sd1", "sd2", "sdxl", "sd1-inpaint", "sdxl-turbo"], indirect=True)
def test_effect_determinism_and_no_trace(host, log):
    plain = txt2img(host)
    first = txt2img(host, [ON])
    assert not same(plain, first)
    assert "HiDiffusion method: HiDiffusion, HiDiffusion preset: Paper" in first.infotexts[0]
    assert same(first, txt2img(host, [ON]))
    after = txt2img(host)
    assert same(plain, after)
    assert "HiDiffusion" not in after.infotexts[0]
    own = [line for line in log() if line.startswith("HiDiffusion")]
    assert len(own) == 2
    assert "at 96x80, 4 steps (first pass)" in own[0]


def test_below_its_size_auto_does_nothing_says_so_and_takes_the_infotext_back(host, log):
    result = txt2img(host, [{"enabled": True}])
    assert same(result, txt2img(host))
    assert "HiDiffusion" not in result.infotexts[0]
    assert [line for line in log() if "nothing is done: 96x80 is not above 1.6 times" in line]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers(host, sampler):
    plain = txt2img(host, sampler_name=sampler)
    result = txt2img(host, [ON | {"raunet": False}], sampler_name=sampler)
    assert not same(plain, result)
    assert same(result, txt2img(host, [ON | {"raunet": False}], sampler_name=sampler))


@pytest.mark.parametrize("sampler", ["Euler", "Heun"])
def test_the_method_acts_on_the_steps_that_it_names(host, sampler, monkeypatch):
    """Of 10 steps RAU-Net takes the first 4, whether a step is one evaluation or two."""
    seen = []
    from lib_fewstep.highres import HighResSession

    original = HighResSession.at_step
    monkeypatch.setattr(HighResSession, "at_step", lambda self, i: seen.append(i) or original(self, i))
    txt2img(host, [ON], sampler_name=sampler, steps=10)
    assert sorted(set(seen)) == list(range(10))
    assert seen == sorted(seen)
    assert len(seen) == len([call for call in host.probe.calls if call.launch == 0])


MODELS = {
    "v": {"kind": "v"},
    "v with zero terminal SNR": {"kind": "v", "zero_snr": "On"},
    "EDM": {"kind": "EDM"},
    "EDM v": {"kind": "EDM v"},
    "rectified flow": {"kind": "rectified flow"},
    "Kolors": {"noise_schedule": "Kolors"},
    "Cosine": {"noise_schedule": "Cosine"},
    "custom": {"noise_schedule": "Custom", "trained_steps": 500},
    "shifted": {"shift": 2},
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_method_acts_on_the_same_steps_of_every_kind_of_model(host, model, monkeypatch):
    """RAU-Net on the first 2 of 6 steps, windows on all of them."""
    seen = []
    from lib_fewstep.highres import HighResSession

    original = HighResSession.at_step
    monkeypatch.setattr(HighResSession, "at_step", lambda self, i: original(self, i) or seen.append(acting(self, i)))
    scripts = {"Model sampling": {"args": [model]}}
    plain = txt2img(host, steps=6, alwayson_scripts=scripts)
    found = txt2img(host, steps=6, alwayson_scripts=scripts | {"HiDiffusion": {"args": [ON]}})
    assert seen == [(index, 2 if index < 2 else 1) for index in range(6)]
    assert found.latents.isfinite().all()
    assert not same(found, plain)


def acting(session, index):
    """A step, and how many parts act on it."""
    assert session.acting
    return index, len(session.schedule.steps[index])


@pytest.mark.parametrize("sampler", [*SAMPLERS, ADAPTIVE])
def test_every_kind_of_progress_stays_within_the_pass(host, sampler, monkeypatch):
    seen = []
    from lib_fewstep.highres import HighResSession

    original = HighResSession.at_step
    monkeypatch.setattr(HighResSession, "at_step", lambda self, i: seen.append(i) or original(self, i))
    less = {"cfg_scale": 1.0} if sampler == "DPM adaptive" else {}  # 66 evaluations instead of 156
    txt2img(host, [ON], sampler_name=sampler, steps=7, **less)
    assert seen[0] == 0
    assert 5 <= seen[-1] <= 6
    assert min(seen) >= 0
    assert max(seen) <= 6
    if sampler != "DPM adaptive":  # it tries a step, and goes back when the step was too large
        assert seen == sorted(seen)


def test_hires_fix_judges_each_pass_by_its_own_size(host, log):
    """A trained size of 128 pixels: the first pass is below 1.6 times its area, the second above."""
    fields = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.7, "hr_upscaler": "Latent"}
    auto = [{"enabled": True, "trained_size": 128}]
    plain, result = txt2img(host, **fields), txt2img(host, auto, **fields)
    assert not same(plain, result)
    assert "nothing is done" in log()[0]
    assert "at 192x160" in log()[1]
    assert "(hires pass)" in log()[1]
    assert "window attention" in log()[1]
    assert "HiDiffusion method: HiDiffusion, HiDiffusion trained size: 128" in result.infotexts[0]


@pytest.mark.parametrize(
    ("passes", "acts"), [("First", [True, False]), ("Hires", [False, True]), ("All", [True, True])]
)
def test_passes(host, log, passes, acts):
    fields = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.4, "hr_upscaler": "Latent"}
    txt2img(host, [ON | {"passes": passes}], **fields)
    assert ["nothing is done" not in line for line in log()] == acts


def test_a_weak_second_pass_is_left_alone_by_default(host, log):
    txt2img(host, [ON], enable_hr=True, hr_scale=1.5, denoising_strength=0.4, hr_upscaler="Latent")
    assert "denoising strength 0.4" in log()[1]


def test_img2img_and_inpainting(host, log):
    picture, mask = standin.as_base64(standin.picture(96, 80)), standin.as_base64(standin.mask_picture(96, 80))
    for extra, name in (({}, "img2img"), ({"mask": mask}, "inpaint")):
        fields = {"init_images": [picture], "denoising_strength": 0.8, **extra}
        plain = host.api.img2img(request(**fields))
        result = host.api.img2img(request([ON], **fields))
        assert (plain.status, result.status) == (200, 200)
        assert not same(plain, result)
        assert f"({name} pass)" in log()[-1]
        assert not host.errors


def test_batches_and_counts(host):
    singles = [txt2img(host, [ON], seed=seed) for seed in (1, 2, 3, 4)]
    batch = txt2img(host, [ON], batch_size=2, n_iter=2)
    assert len(batch.latents) == 4
    for single, latent in zip(singles, batch.latents, strict=True):
        assert float((single.latents[0] - latent).abs().max() / latent.std()) < 1e-4


def test_several_passes_on_one_sampler(host):
    picture = standin.as_base64(standin.picture(96, 80))
    fields = {"init_images": [picture], "denoising_strength": 0.8, "n_iter": 2}
    twice = host.api.img2img(request([ON], **fields))
    assert twice.status == 200
    assert not host.errors
    plain = host.api.img2img(request(**fields))
    assert not any(torch.equal(a, b) for a, b in zip(plain.latents, twice.latents, strict=True))


@pytest.mark.parametrize("fault", [{"interrupt": 2}, {"skip": 1}])
def test_interrupt_and_skip(host, fault):
    plain = txt2img(host)
    host.fault(**fault)
    host.api.txt2img(request([ON]))
    assert same(plain, txt2img(host))


@pytest.mark.parametrize("block", [0, 3, 4, 12, 16, 20, 24])
@pytest.mark.parametrize("method", ["HiDiffusion", "Deep Shrink"])
def test_an_error_in_the_unet(host, block, method):
    plain = txt2img(host)
    fault = host.fault(block=block, step=0, error=RuntimeError("out of memory"))
    result = host.api.txt2img(request([ON | {"method": method}]))
    assert fault.fired
    assert result.status == 500
    assert same(plain, txt2img(host))


def test_what_an_earlier_run_left_on_the_model_is_removed_first(host):
    plain = txt2img(host)
    install(host.unet, {Place("input", 1): Scaling(before=(lambda h: 2 * h,))})
    assert same(plain, txt2img(host))


def test_unloading_the_script_cleans_the_model(fresh):
    before = describe(fresh.unet)
    install(fresh.unet, {Place("input", 1): Scaling()})
    for callback in list(fresh.callbacks.kinds["script_unloaded"]):
        callback.callback()
    assert describe(fresh.unet) == before


def job_of_a_bare_sampler(host):
    sampler_type = type(
        "Sampler", (), {"funcname": "sample_euler", "launch_sampling": lambda self, steps, func: func()}
    )
    p = host.job("txt2img", **BASE)
    p.sampler = sampler_type()
    return p


def test_another_extensions_wrapper_around_the_launch_stays(host):
    """On one sampler that serves several passes, each launch goes through both."""
    room, p, calls = sys.modules["lib_fewstep.webui.highres.sampling_pass"], job_of_a_bare_sampler(host), []
    own = p.sampler.launch_sampling
    wrapper = p.sampler.launch_sampling = lambda steps, func: calls.append(steps) or own(steps, func)
    for _ in range(3):
        running = room.SamplingPass(room.HighResRequest(HighResSettings(preset="Paper")), p, (10, 12))
        room.SamplingPass(room.HighResRequest(None), p, (10, 12)).attach()  # one that never launches
        running.attach()
        assert p.sampler.launch_sampling(5, lambda: "latents") == "latents"
        assert vars(p.sampler) == {"launch_sampling": wrapper}
    assert calls == [5, 5, 5]


def test_a_wrapper_that_comes_after_ours_is_called_once(host):
    room, p, calls = sys.modules["lib_fewstep.webui.highres.sampling_pass"], job_of_a_bare_sampler(host), []
    room.SamplingPass(room.HighResRequest(HighResSettings(preset="Paper")), p, (10, 12)).attach()
    ours = p.sampler.launch_sampling
    p.sampler.launch_sampling = lambda steps, func: calls.append(steps) or ours(steps, func)
    assert p.sampler.launch_sampling(5, lambda: "latents") == "latents"
    assert calls == [5]


def test_a_change_of_the_samplers_class_after_ours_acts(host, monkeypatch):
    room, p, calls = sys.modules["lib_fewstep.webui.highres.sampling_pass"], job_of_a_bare_sampler(host), []
    room.SamplingPass(room.HighResRequest(HighResSettings(preset="Paper")), p, (10, 12)).attach()
    own = type(p.sampler).launch_sampling
    changed = lambda self, steps, func: calls.append(steps) or own(self, steps, func)  # noqa: E731
    monkeypatch.setattr(type(p.sampler), "launch_sampling", changed)
    assert p.sampler.launch_sampling(5, lambda: "latents") == "latents"
    assert calls == [5]


def test_a_sampler_behind_a_proxy_is_launched(host):
    class Proxy:
        def __init__(self, behind):
            vars(self)["behind"] = behind

        def __getattr__(self, name):
            return getattr(self.behind, name)

    room, p = sys.modules["lib_fewstep.webui.highres.sampling_pass"], job_of_a_bare_sampler(host)
    p.sampler = Proxy(p.sampler)
    room.SamplingPass(room.HighResRequest(HighResSettings(preset="Paper")), p, (10, 12)).attach()
    assert p.sampler.launch_sampling(5, lambda: "latents") == "latents"


def test_split_cond_and_uncond_agree_with_batched(host):
    together = txt2img(host, [ON])
    apart = txt2img(host, [ON], override_settings={"batch_cond_uncond": False})
    assert float((together.latents[0] - apart.latents[0]).abs().max() / apart.latents[0].std()) < 5e-5


def test_a_refiner_of_the_same_layout(host):
    fields = {"refiner_checkpoint": "sd1-other", "refiner_switch_at": 0.5}
    plain, result = txt2img(host, **fields), txt2img(host, [ON], **fields)
    assert not same(plain, result)
    host.load_model("sd1")
    assert same(txt2img(host, **fields), plain)
    host.load_model("sd1")


def test_a_refiner_of_another_layout_is_followed(log):
    with standin.webui("sdxl", SCRIPTS) as host:
        unet, before = host.unet, describe(host.unet)
        result = host.api.txt2img(request([ON], refiner_checkpoint="sdxl-refiner", refiner_switch_at=0.5))
        assert result.status == 200
        assert host.unet is not unet
        assert describe(unet) == before
        assert not host.errors
        assert any("nothing is done: the SDXL refiner" in line for line in log())
        assert not any(hasattr(block, "fewstep_block") for block in host.unet.input_blocks)


BAD = [
    ([{"enabled": True, "t1": -0.5}], "t1 = -0.5 is not allowed: it must be 0 to 1"),
    ([{"enabled": True, "method": "Magic"}], "method = 'Magic' is not allowed"),
    ([{"enabled": True, "windows": True}], "'windows' is not a setting"),
    ([{"enabled": True, "method": "Deep Shrink", "d1": 12, "preset": "Paper"}], "it must be 1 to 9 with SDXL"),
    ([["enabled", True]], "must be a dict of settings"),
    ([True, "HiDiffusion", "Paper", True, "yes"], "window_attention = 'yes' is not allowed"),
]


@pytest.mark.parametrize(("args", "sentence"), BAD)
@pytest.mark.parametrize("host", ["sdxl"], indirect=True)
def test_bad_arguments_fail_visibly_before_sampling(host, args, sentence):
    result = host.api.txt2img(request(args))
    assert result.status == 422
    assert "HiDiffusion: " in result.message
    assert sentence in result.message
    assert not host.probe.calls
    assert txt2img(host)


def test_a_transformer_model_is_refused():
    with standin.webui("dit", SCRIPTS) as host:
        result = host.api.txt2img(request([ON]))
        assert result.status == 422
        assert "is not a UNet of Stable Diffusion" in result.message
        assert host.api.txt2img(request()).status == 200


def test_the_smallest_size_is_refused_with_a_sentence(host):
    result = host.api.txt2img(request([ON], width=8, height=8))
    assert result.status == 422
    assert "size = 8x8 is not allowed" in result.message


def test_positional_arguments_mean_what_the_page_means(host):
    listed = txt2img(host, [True, "Deep Shrink", "Paper"])
    assert same(listed, txt2img(host, [{"method": "Deep Shrink", "preset": "Paper"}]))
    page = host.txt2img(**BASE, ui={"HiDiffusion": True, _elem("method"): "Deep Shrink", _elem("preset"): "Paper"})
    assert same(listed, page)


def test_an_engine_that_replaces_the_unet_is_named(host, log, monkeypatch):
    class TensorRT:
        def forward(self, x, *args, **kwargs):
            return torch.zeros_like(x)

    monkeypatch.setattr(sys.modules["modules.sd_unet"], "current_unet", TensorRT())
    result = txt2img(host, [ON])
    assert "nothing is done: TensorRT runs instead of the loaded UNet" in log()[0]
    assert "HiDiffusion" not in result.infotexts[0]


def test_a_small_unet_without_a_middle_block(log):
    with standin.webui("bk-sdm", SCRIPTS) as host:
        plain = host.api.txt2img(BASE)
        assert not same(plain, txt2img(host, [ON]))
        assert same(plain, host.api.txt2img(BASE))
    assert "SD1 at" in log()[0]
    assert "window attention in 3 transformer blocks" in log()[0]


@pytest.mark.parametrize(
    ("options", "rival"),
    [({"hypertile_enable_unet": True}, "HyperTile"), ({"token_merging_ratio": 0.4}, "token merging")],
)
def test_window_attention_yields_to_others_by_name(fresh, log, options, rival):
    if rival == "HyperTile":  # it comes as an extension with the host, and brings its option
        fresh.shared.opts.add_option("hypertile_enable_unet", fresh.shared.OptionInfo(False))
    txt2img(fresh, [ON], override_settings=options)
    assert "window attention in" not in log()[0]
    assert f"window attention is off, because {rival}" in log()[0]


def test_paste(host):
    result = txt2img(host, [{"method": "Deep Shrink", "preset": "Manual", "d1": 4, "early_out": True, "passes": "All"}])
    pasted = host.paste("txt2img", result.infotexts[0])
    labels = {option.label: name for name, option in options_of(HighResSettings).items()}
    ours = {labels[label]: value for label, value in pasted.items() if label in labels}
    set_here = {"method": "Deep Shrink", "preset": "Manual", "d1": 4, "early_out": True, "passes": "All"}
    shown = {name: field.shown for name, field in page_fields(HighResSettings).items() if name != "enabled"}
    assert ours == shown | set_here
    assert pasted["HiDiffusion"] is True


def test_the_page(host):
    for tab in ("txt2img", "img2img"):
        labels = host.tabs[tab].labels
        assert "HiDiffusion" in labels
        assert {option.label for name, option in options_of(HighResSettings).items() if name != "enabled"} <= set(
            labels
        )
        assert not host.tabs[tab].duplicate_labels
        assert set(host.tabs[tab].components_by_elem_id) >= {_elem("method", tab), _elem("d1", tab)}


def test_a_plots_cells_are_single_images(host):
    page = {"HiDiffusion": True, _elem("preset"): "Paper"}
    cells = host.xyz({"Seed": "1, 2", "Steps": "2, 3"}, ui=page, **BASE)
    singles = [txt2img(host, [ON], seed=seed, steps=steps) for steps in (2, 3) for seed in (1, 2)]
    assert len(cells) == 4
    for cell in cells:
        assert sum(torch.equal(cell.latents[0], single.latents[0]) for single in singles) == 1


@pytest.mark.parametrize("reimport", [False, True])
def test_a_reload_of_the_ui(fresh, reimport):
    before, listeners = txt2img(fresh, [ON]), names(fresh)
    fresh.reload_ui(reimport=reimport)
    assert names(fresh) == listeners
    assert len(set(listeners)) == len(listeners) > 0
    assert same(before, txt2img(fresh, [ON]))


def test_without_the_page(log):
    with standin.webui("sd1", SCRIPTS, nowebui=True) as host:
        assert host.api.txt2img(request([ON])).status == 200
        assert "window attention in 5 transformer blocks" in log()[0]


@pytest.mark.parametrize(
    ("missing", "installs"),
    [((), []), (("safetensors", "skimage"), ["install safetensors", "install scikit-image"])],
)
def test_the_installer_installs_only_what_is_missing(missing, installs):
    shipped = {"torch", "safetensors", "numpy", "PIL", "matplotlib", "pandas", "skimage"} - set(missing)
    with standin.webui("sd1", SCRIPTS, installed=tuple(shipped)) as host:
        assert host.run_installer(SCRIPTS.parent / "install.py") == installs


def _elem(name, tab="txt2img"):
    return f"fewstep_hires_{tab}_{name}"


def names(host):
    return [entry.callback.__module__ for entry in host.callbacks.kinds["cfg_denoiser"]]
