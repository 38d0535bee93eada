"""Requests to the script "Guidance"."""

from __future__ import annotations

from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.options import options_of
from tests.webui import standin

BASE = {"prompt": "a cat", "negative_prompt": "a dog", "width": 64, "height": 48, "steps": 4, "seed": 1}
BASE |= {"sampler_name": "Euler", "cfg_scale": 3.0}
HOSTS = ["Euler", "Euler a", "Heun", "DPM2", "DPM++ SDE", "DPM++ 2M", "DPM++ 2M SDE"]
HOSTS += ["DPM fast", "DPM adaptive", "LCM", "DDIM", "DDIM CFG++"]
NEUTRAL = {name: getattr(GuidanceSettings(), name) for name in options_of(GuidanceSettings) if name != "enabled"}
EVERYTHING = {"start": 0.25, "schedule": "CFG++", "rescale": 0.5, "apg_eta": 0.2, "apg_threshold": 3}
EVERYTHING |= {"apg_momentum": -0.3, "threshold_mimic": 1.5, "nag_scale": 2, "pag_scale": 2, "seg_scale": 1}
EVERYTHING |= {"sag_scale": 0.5}
HIRES = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.7, "hr_upscaler": "Latent"}
IMAGE = {"init_images": [standin.picture(64, 48)], "denoising_strength": 0.75}
MASK = IMAGE | {"mask": standin.mask_picture(64, 48)}
MANY = " ".join(["word"] * 80)
JOBS = {"hires": HIRES, "img2img": IMAGE, "inpainting": MASK, "long prompt": {"prompt": MANY}}
"""Jobs other than a first pass with a short prompt, by their names."""


def answer(host, guidance=None, *, few_step=None, large=None, **fields):
    """What came of a request with the settings of the three scripts."""
    scripts = {"Guidance": guidance, "Few-Step": few_step, "HiDiffusion": large}
    given = {name: {"args": [settings]} for name, settings in scripts.items() if settings is not None}
    tab = host.api.img2img if "init_images" in fields else host.api.txt2img
    return tab(BASE | {"alwayson_scripts": given} | fields)


def made(host, guidance=None, **fields):
    """What came of a request that must succeed."""
    result = answer(host, guidance, **fields)
    assert result.status == 200, result.message
    assert not host.errors
    return result


def refused(host, guidance, **fields):
    """The sentence that refuses a request, before any evaluation."""
    result = answer(host, guidance, **fields)
    assert result.status == 422, (result.status, result.message)
    assert not host.probe.calls
    return result.message


def rows(host):
    """The rows of each call of the UNet."""
    return [call.rows for call in host.probe.calls]


def own_listeners(host):
    """The functions of the script that the host calls before each evaluation."""
    return [entry.callback for entry in host.callbacks.kinds["cfg_denoiser"] if "guidance" in entry.callback.__module__]
