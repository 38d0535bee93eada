"""Generations of the WebUI's stand-in: methods, passes, samplers, schedules, presets, priors, inversion, plots."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from lib_fewstep.sampling.presets import PRESETS
from tests.webui import standin
from tools.fingerprint.standin import (
    HIRES,
    LARGE,
    SMALL,
    ask,
    both,
    few_step,
    from_page,
    hidiffusion,
    image,
    inpainting,
    picture,
    plot,
    seen,
    webui,
    without_times,
)
from tools.fingerprint.table import Generation

PAPER = {"preset": "Paper"}
SHRINK = {"preset": "Paper", "method": "Deep Shrink"}
MODELS = ("sd1", "sd2", "sd2-v", "sdxl", "sdxl-turbo", "sd1-inpaint", "sdxl-inpaint")
METHODS: dict[str, dict[str, Any]] = {
    "HiDiffusion Auto": {"trained_size": 64},
    "HiDiffusion Paper": PAPER,
    "HiDiffusion Manual": {"preset": "Manual", "t1": 0.7, "t2": 0.4, "aggressive": False},
    "Deep Shrink Auto": {"method": "Deep Shrink", "trained_size": 64},
    "Deep Shrink Paper": SHRINK,
    "Deep Shrink Manual": {"method": "Deep Shrink", "preset": "Manual", "s1": 0.4, "s2": 0.8, "d2": 5},
}
CFGPP = ("Euler CFG++", "Euler a CFG++", "DPM++ 2M CFG++", "DPM++ 2S a CFG++", "DPM++ 2M SDE CFG++")
KEEPS_NO_NOISE = ("Euler CFG++", "DPM++ 2M CFG++")
ONCE = ("DPM fast", "DPM adaptive", "DDIM", "DDIM CFG++")
"""Samplers with schedules of their own, to which no timesteps can be given."""

VALUES = {
    "[HiDiffusion] T1": "0.4, 1",
    "[HiDiffusion] T2": "0.4, 1",
    "[HiDiffusion] Downscale": "0.25, 0.5",
    "[HiDiffusion] Upscale": "2, 3",
    "[HiDiffusion] Depth 1": "3, 5",
    "[HiDiffusion] Depth 2": "3, 5",
    "[HiDiffusion] Stop 1": "0.4, 1",
    "[HiDiffusion] Stop 2": "0.4, 1",
    "[HiDiffusion] Preset": "Auto, Paper",
    "[HiDiffusion] Scaler": "bicubic, nearest",
    "[Few-Step] Preset": '"SDXL-Lightning 2 steps", TCD',
    "[Few-Step] Gamma": "0, 0.5",
    "[Few-Step] Timesteps": '"999, 499", 999 600 200',
    "[Few-Step] Prior": "None, cats.safetensors",
    "[Few-Step] Prompts": "prompts.tsv, 2, 7",
}
"""Of axes without choices, or whose first two choices say little."""

WITH: dict[str, dict[str, Any]] = {
    "[Few-Step] Guidance": {"sampler_name": "Euler CFG++"},
    "[Few-Step] Gamma": {"sampler_name": "TCD"},
    "[Few-Step] Prior": {"steps": 1},
}
PROMPTS = "prompt\tseed\tstep\tcfg\tsampler\nred\t5\t3\t2\t4\ngreen\t6\t2\t4\t3\n"
COMPARISON = "Few-step comparison"
COMPARED = {"steps": [1, 2], "cfg": [3], "samplers": ["Euler", "Euler CFG++"], "reference_steps": 3, "images": True}
TIMES = {"time", "seconds", "unet_seconds", "seconds_per_step", "peak_memory_mib"}


def generations() -> Iterator[Generation]:
    """All of them; each model is loaded once."""
    for model in MODELS:
        with webui(model) as host:
            yield from _methods(host, model)
            if model in ("sd1", "sdxl"):
                yield from _passes(host, model)
    with webui("sd1") as host:
        yield from _beside_the_method(host)
        yield from _axes(host, "[HiDiffusion]", LARGE)
        yield from _record(host)
        yield from _comparisons(host)
    with webui("unit") as host:
        yield from _samplers(host)
        yield from _schedules(host)
        yield from _presets(host)
        yield from _few_step(host)
        yield from _priors(host)
        yield from _inversions(host)
        yield from _axes(host, "[Few-Step]", SMALL)
    for model in ("unit-v", "unit-xl"):
        with webui(model) as host:
            for sampler in _samplers_of(host):
                yield f"standin {model} {sampler}", partial(image, host, SMALL | {"sampler_name": sampler})
    yield from _page_settings()


def _methods(host: standin.Host, model: str) -> Iterator[Generation]:
    yield f"standin {model} plain txt2img", partial(image, host, LARGE)
    for name, settings in METHODS.items():
        yield f"standin {model} {name} txt2img", partial(image, host, LARGE | hidiffusion(settings))
    fields = LARGE | inpainting(96, 80)
    yield f"standin {model} HiDiffusion Paper inpainting", partial(image, host, fields | hidiffusion(PAPER))
    if model == "sdxl":
        fields = LARGE | {"steps": 8} | hidiffusion(PAPER)
        yield "standin sdxl HiDiffusion aggressive txt2img", partial(image, host, fields)


def _passes(host: standin.Host, model: str) -> Iterator[Generation]:
    """Each kind of pass, the passes that a request chooses, batches and odd sizes."""
    for method, settings in (("HiDiffusion", PAPER), ("Deep Shrink", SHRINK)):
        start = f"standin {model} {method}"
        for passes in ("Auto", "All", "First", "Hires"):
            fields = LARGE | HIRES | hidiffusion(settings | {"passes": passes})
            yield f"{start} hires fix passes {passes}", partial(image, host, fields)
        weak = LARGE | HIRES | {"denoising_strength": 0.4} | hidiffusion(settings)
        yield f"{start} hires fix weak", partial(image, host, weak)
        yield f"{start} img2img", partial(image, host, LARGE | picture(96, 80) | hidiffusion(settings))
        weak = LARGE | picture(96, 80) | {"denoising_strength": 0.3} | hidiffusion(settings)
        yield f"{start} img2img weak", partial(image, host, weak)
        strong = LARGE | inpainting(96, 80) | {"denoising_strength": 1} | hidiffusion(settings)
        yield f"{start} inpainting strong", partial(image, host, strong)
        several = LARGE | {"batch_size": 2, "n_iter": 2, "steps": 2} | hidiffusion(settings)
        yield f"{start} batches", partial(image, host, several)
        yield f"{start} odd size", partial(image, host, LARGE | {"width": 104, "height": 72} | hidiffusion(settings))
    fields = LARGE | HIRES | hidiffusion({"trained_size": 128})
    yield f"standin {model} HiDiffusion Auto hires fix", partial(image, host, fields)


def _beside_the_method(host: standin.Host) -> Iterator[Generation]:
    """HiDiffusion with each sampler, from the list of the API and from the page, with a refiner, with Few-Step."""
    for sampler in _samplers_of(host):
        fields = LARGE | {"sampler_name": sampler} | hidiffusion(PAPER)
        yield f"standin sd1 HiDiffusion with {sampler}", partial(image, host, fields)
    listed = [True, "Deep Shrink", "Manual", True, True, False, 0.4, 0.0, "All", 0, 2, 5, 0.4, 0.8, "area", 0.5, 2.0]
    yield "standin sd1 API list of HiDiffusion", partial(image, host, LARGE | hidiffusion(*listed))
    yield "standin sd1 API list of HiDiffusion, short", partial(image, host, LARGE | hidiffusion(True, "Deep Shrink"))
    old = SHRINK | {"only_one_pass": True}
    yield "standin sd1 only one pass", partial(image, host, LARGE | HIRES | hidiffusion(old))
    for name, ui in {
        "HiDiffusion": {"HiDiffusion": True, "fewstep_hires_txt2img_preset": "Paper"},
        "Deep Shrink": {
            "HiDiffusion": True,
            "Method": "Deep Shrink",
            "fewstep_hires_txt2img_preset": "Manual",
            "Stop 1": 0.7,
            "Smooth scaling": False,
        },
    }.items():
        yield f"standin sd1 page {name}", partial(from_page, host, ui, LARGE)
    together = both(PAPER, {"timesteps": [999, 600, 300], "guidance": "lambda"})
    fields = LARGE | {"sampler_name": "Euler CFG++"} | together
    yield "standin sd1 HiDiffusion and Few-Step", partial(image, host, fields)
    fields = LARGE | {"refiner_checkpoint": "sd1-other", "refiner_switch_at": 0.5} | hidiffusion(PAPER)
    yield "standin sd1 HiDiffusion with a refiner", partial(_then_reload, host, "sd1", fields)


def _then_reload(host: standin.Host, model: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A generation that leaves another model, before the first is loaded again."""
    result = image(host, fields)
    host.load_model(model)
    return result


def _samplers_of(host: standin.Host) -> list[str]:
    return [entry["name"] for entry in host.api.samplers()]


def _samplers(host: standin.Host) -> Iterator[Generation]:
    """Each sampler, the host's too, in each kind of pass; of those with guidance each way to read CFG."""
    kinds: dict[str, dict[str, Any]] = {
        "txt2img": {},
        "hires fix": HIRES,
        "img2img": picture(),
        "inpainting": inpainting(),
        "batches": {"batch_size": 2, "n_iter": 2},
        "AND prompts": {"prompt": "a cat AND a dog :0.5", "negative_prompt": "bad"},
    }
    for sampler in _samplers_of(host):
        for kind, fields in kinds.items():
            yield f"standin unit {sampler} {kind}", partial(image, host, SMALL | fields | {"sampler_name": sampler})
        if sampler not in ONCE:
            fields = few_step({"timesteps": [999, 741, 502, 260]}) | {"sampler_name": sampler}
            yield f"standin unit {sampler} timesteps", partial(image, host, SMALL | fields)
    for sampler in CFGPP:
        for guidance in ("calibrated", "cfg/12.5", "lambda"):
            fields = SMALL | {"sampler_name": sampler, "steps": 6} | few_step({"guidance": guidance})
            yield f"standin unit {sampler} guidance {guidance}", partial(image, host, fields)
        fields = SMALL | {"sampler_name": sampler, "s_min_uncond": 3, "eta": 0.5}
        yield f"standin unit {sampler} eta and s_min_uncond", partial(image, host, fields)


def _schedules(host: standin.Host) -> Iterator[Generation]:
    for entry in host.api.schedulers():
        for sampler in ("Euler", "DPM++ 2M CFG++"):
            fields = {"scheduler": entry["label"], "sampler_name": sampler}
            yield f"standin unit {sampler} schedule {entry['label']}", partial(image, host, SMALL | fields)
    for label in ("Trailing", "LCM grid"):
        fields = SMALL | HIRES | {"scheduler": label, "hr_second_pass_steps": 3}
        yield f"standin unit hires fix schedule {label}", partial(image, host, fields)


def _presets(host: standin.Host) -> Iterator[Generation]:
    for name in PRESETS:
        yield f"standin unit preset {name}", partial(image, host, SMALL | few_step({"preset": name}))
    kept = {"preset": "TCD", "keep": ["steps", "cfg"]}
    yield "standin unit preset that keeps steps and CFG", partial(image, host, SMALL | few_step(kept))


def _few_step(host: standin.Host) -> Iterator[Generation]:
    """Gamma, timesteps in passes, the list of the API, the page, a refiner."""
    tcd = SMALL | {"sampler_name": "TCD"}
    for gamma in (0, 0.3, 0.8, 1):
        yield f"standin unit gamma {gamma}", partial(image, host, tcd | few_step({"gamma": gamma}))
    for kind, fields in {"hires fix": HIRES, "img2img": picture(), "inpainting": inpainting()}.items():
        custom = few_step({"timesteps": "999, 741 502,260"})
        yield f"standin unit timesteps {kind}", partial(image, host, SMALL | fields | custom)
    listed = few_step(True, "TCD", "lambda", 0.6, "999 500")
    yield "standin unit API list of Few-Step", partial(image, host, tcd | listed)
    yield "standin unit disabled", partial(image, host, tcd | few_step({"enabled": False, "gamma": 1}))
    ui = {"Few-Step": True, "CFG++ guidance": "cfg/12.5", "Timesteps": "999 600 300"}
    yield "standin unit page", partial(from_page, host, ui, SMALL | {"sampler_name": "Euler CFG++"})
    fields = SMALL | {"sampler_name": "Euler CFG++", "refiner_checkpoint": "unit-other", "refiner_switch_at": 0.5}
    yield "standin unit Euler CFG++ with a refiner", partial(_then_reload, host, "unit", fields)


def _priors(host: standin.Host) -> Iterator[Generation]:
    """From reference images, which are kept under a name, and from that file."""
    fields = SMALL | {"sampler_name": "LCM (reference grid)", "steps": 1, "scheduler": "Trailing"}
    images = [standin.as_base64(standin.picture(*size)) for size in ((32, 24), (16, 40))]
    sources = {
        "images": {"images": images},
        "images, saved": {"images": images, "save": "cats"},
        "file": {"statistics": "cats"},
    }
    for name, prior in sources.items():
        yield f"standin unit prior from {name}", partial(image, host, fields | few_step({"prior": prior}))
    several = fields | {"steps": 2, "batch_size": 2, "n_iter": 2} | few_step({"prior": {"images": images}})
    yield "standin unit prior batches", partial(image, host, several)
    second = fields | HIRES | {"hr_second_pass_steps": 3} | few_step({"prior": {"images": images}})
    yield "standin unit prior hires fix", partial(image, host, second)


def _inversions(host: standin.Host) -> Iterator[Generation]:
    given = {"prompt": "a dog", "negative_prompt": "bad", "steps": 3}
    for sampler in KEEPS_NO_NOISE:
        for kind, fields in {"img2img": picture(), "inpainting": inpainting()}.items():
            asked = SMALL | fields | {"sampler_name": sampler} | few_step({"invert": given})
            yield f"standin unit inversion {sampler} {kind}", partial(image, host, asked)
    yield "standin unit inversion by the infotext", partial(_inverted, host)


def _inverted(host: standin.Host) -> dict[str, Any]:
    """An image of the host's own, inverted by what its infotext says."""
    fields = SMALL | {"sampler_name": "Euler CFG++"}
    own = standin.as_base64(ask(host, fields | {"prompt": "a dog, big", "negative_prompt": "bad: x"}).images[0])
    return image(host, fields | picture() | {"init_images": [own]} | few_step({"invert": True}))


def _axes(host: standin.Host, start: str, base: dict[str, Any]) -> Iterator[Generation]:
    """A plot of every axis of ours whose label begins with `start`, and plots of several."""
    prompts = host.data_path / "models" / "FewStep" / "prompts"
    prompts.mkdir(parents=True, exist_ok=True)
    (prompts / "prompts.tsv").write_text(PROMPTS, encoding="utf-8")
    axes = {axis.label: axis for axis in _axis_options() if axis.label.startswith(start)}
    yield f"standin axes {start}", partial(list, axes)
    for label, axis in axes.items():
        chosen = VALUES.get(label) or ", ".join(axis.choices()[:3])
        others = {"[HiDiffusion] Preset": "Paper"} if start == "[HiDiffusion]" and "Preset" not in label else {}
        cells = partial(plot, host, {label: chosen} | others, base | WITH.get(label, {}))
        yield f"standin axis {label}", cells
    if start == "[HiDiffusion]":
        several = {"[HiDiffusion] Method": "None, Deep Shrink", "Steps": "2, 3", "[HiDiffusion] Preset": "Paper"}
    else:
        several = {"[Few-Step] Preset": "TCD, None", "Steps": "2, 3", "CFG Scale": "1, 2"}
    yield f"standin axes {start} together", partial(plot, host, several, base)


def _axis_options() -> list[Any]:
    """The list to which the extension adds its axes, as it finds it itself: in the X/Y/Z plot's module."""
    loaded = sys.modules["modules.scripts"].scripts_data
    found: list[Any] = next(data.module for data in loaded if data.path.endswith("xyz_grid.py")).axis_options
    return found


def _record(host: standin.Host) -> Iterator[Generation]:
    on = {"override_settings": {"fewstep_record": True}}
    for kind, fields in {
        "txt2img": {"batch_size": 2},
        "hires fix": HIRES | hidiffusion(PAPER),
        "img2img": picture(96, 80) | {"sampler_name": "Heun"},
    }.items():
        yield f"standin record {kind}", partial(_recorded, host, LARGE | on | fields)


def _recorded(host: standin.Host, fields: dict[str, Any]) -> list[Any]:
    """The images, and the rows that they add to the file."""
    path = host.data_path / "outputs" / "fewstep-record.csv"
    path.unlink(missing_ok=True)
    images = image(host, fields)
    return [images, _without_times(path.read_text(encoding="utf-8"))]


def _without_times(table: str) -> list[list[str]]:
    """The cells of a CSV table, but for what is measured."""
    header, *rows = csv.reader(io.StringIO(table))
    return [header, *([cell for name, cell in zip(header, row, strict=True) if name not in TIMES] for row in rows)]


def _comparisons(host: standin.Host) -> Iterator[Generation]:
    listed = ["1, 2", "3", ["Euler", "TCD"], ["None"], 1, "Heun", 2, False, True, "None", 8, 0]
    methods = {"methods": ["None", "HiDiffusion", "Deep Shrink"], "seeds": 2, "steps": [1]}
    for name, args in {
        "as a dict": [COMPARED],
        "of methods and seeds": [COMPARED | methods],
        "of prompts": [COMPARED | {"prompts": "prompts.tsv", "steps": [1]}],
        "with strips": [COMPARED | {"strips": True, "images": False}],
        "as a list": listed,
    }.items():
        yield f"standin comparison {name}", partial(_compared, host, args)


def _compared(host: standin.Host, args: list[Any]) -> list[Any]:
    """The cells' images and infotexts, and the table; not the drawings, which have words."""
    paper = hidiffusion(PAPER)
    result = ask(host, LARGE | paper | {"script_name": COMPARISON, "script_args": args})
    last = seen(host, result)
    table = json.loads(result.info)["extra_generation_params"][COMPARISON]
    latents = [latent for job in result.jobs for latent in job.latents]
    return [last, latents, len(result.images), _without_times(without_times(table))]


def _page_settings() -> Iterator[Generation]:
    """What the settings page changes in images whose request says nothing."""
    with webui("unit", fewstep_guidance="lambda", fewstep_hidden_samplers=["TCD"]) as host:
        fields = SMALL | {"sampler_name": "Euler CFG++", "cfg_scale": 0.6}
        yield "standin setting guidance", partial(image, host, fields)
        offered = host.tabs["txt2img"].components_by_elem_id["txt2img_sampling"].choices
        yield "standin setting hidden samplers", partial(list, offered)
    for passes in ("First", "Hires"):
        with webui("sd1", fewstep_passes=passes) as host:
            fields = LARGE | HIRES | hidiffusion(PAPER)
            yield f"standin setting passes {passes}", partial(image, host, fields)
