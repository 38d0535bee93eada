"""Generations of the library alone: sessions on small UNets, samplers on mixtures whose denoised images are exact."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from bench import mixtures
from lib_fewstep import sampling
from lib_fewstep.highres import HighResSession, HighResSettings, ModelHints
from lib_fewstep.options import options_of
from lib_fewstep.sampling import FewStepSettings, prior
from lib_fewstep.sampling.presets import PRESETS, recognise
from tests import unets
from tools.fingerprint.table import Generation

SIZE, ODD, STEPS = (12, 16), (13, 9), 5
PAPER = {"preset": "Paper"}
SHRINK = {"preset": "Paper", "method": "Deep Shrink"}
EARLY = {"preset": "Manual", "method": "Deep Shrink", "s1": 0.4, "s2": 0.8}

FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "SD1": unets.sd1_unet,
    "SD1 inpainting": partial(unets.sd1_unet, in_channels=9),
    "SD2": unets.sd2_unet,
    "SDXL": unets.sdxl_unet,
    "SDXL inpainting": partial(unets.sdxl_unet, in_channels=9),
}
METHODS: dict[str, dict[str, Any]] = {
    "HiDiffusion Auto": {"trained_size": 64},
    "HiDiffusion Paper": PAPER,
    "HiDiffusion Manual": {"preset": "Manual", "t1": 0.6, "t2": 0.4, "aggressive": False},
    "HiDiffusion windows": PAPER | {"raunet": False},
    "HiDiffusion RAU-Net": PAPER | {"window_attention": False, "t1": 1.0},
    "Deep Shrink Auto": {"method": "Deep Shrink", "trained_size": 64},
    "Deep Shrink Paper": SHRINK,
    "Deep Shrink Manual": EARLY | {"d1": 2, "d2": 5, "smooth_scaling": False},
}
SHRINKS: dict[str, dict[str, Any]] = {
    "bilinear": {"scaler": "bilinear"},
    "area": {"scaler": "area"},
    "nearest": {"scaler": "nearest"},
    "nearest-exact": {"scaler": "nearest-exact"},
    "early out": {"early_out": True},
    "factors": {"downscale": 0.3, "upscale": 1.7},
    "one stage": {"s2": 0.0},
}
HINTS: dict[str, dict[str, Any]] = {
    "Turbo": {"turbo": True},
    "Playground": {"playground": True},
    "ControlNet": {"controlnet": True},
    "a hires pass": {"pass_": "hires", "denoise": 0.6},
    "a weak img2img pass": {"pass_": "img2img", "denoise": 0.3},
}
SIZES = (SIZE, (255, 255), (256, 320), (511, 512), (512, 512))
"""Of plans: other thresholds hold from the larger ones on."""

NAMES = [
    ("sdxl_lightning_4step", ()),
    ("dreamshaperXL_v21TurboDPMSDE", ()),
    ("sd15", ("lcm-lora-sdv1-5",)),
    ("sd15", ("Hyper-SD15-8steps-CFG-lora",)),
    ("dmd2_sdxl_4step_unet_fp16", ()),
    ("pcm_sdxl_normalcfg_8step", ()),
    ("realisticVision", ("yoso_lora", "tcd")),
    ("deliberate_v2", ()),
]


def generations() -> Iterator[Generation]:
    """All of them."""
    yield from _sessions()
    yield from _plans()
    yield from _samplers()
    yield from _schedules()
    yield from _presets()
    yield "library prior", _prior
    yield "library inversion", _inversion
    for settings in (HighResSettings, FewStepSettings):
        yield f"library keys of {settings.__name__}", partial(_keys, settings)


def _sessions() -> Iterator[Generation]:
    for family in FAMILIES:
        for kind, settings in METHODS.items():
            yield f"library {family} {kind}", partial(_session, family, settings)
    for family in ("SD1", "SDXL"):
        for kind, settings in (("HiDiffusion", PAPER), ("Deep Shrink", SHRINK)):
            yield f"library {family} {kind} odd size", partial(_session, family, settings, size=ODD)
            yield f"library {family} {kind} batch", partial(_session, family, settings, batch=3, steps=3)
    for kind, settings in SHRINKS.items():
        yield f"library SD1 Deep Shrink {kind}", partial(_session, "SD1", EARLY | settings)
    yield "library SDXL HiDiffusion aggressive", partial(_session, "SDXL", PAPER, steps=8)
    yield "library SD1 HiDiffusion bfloat16", partial(_session, "SD1", PAPER, precision=torch.bfloat16)
    yield "library SD1 Deep Shrink bfloat16", partial(_session, "SD1", SHRINK, precision=torch.bfloat16)
    yield "library SDXL refiner", partial(_session, "SDXL refiner", PAPER, steps=2)
    for kind, hints in HINTS.items():
        yield f"library SDXL HiDiffusion in {kind}", partial(_session, "SDXL", PAPER, hints=hints, steps=8)


@cache
def _unet(family: str) -> nn.Module:
    """One for all sessions, since each leaves it as it was."""
    return unets.refiner_unet() if family == "SDXL refiner" else FAMILIES[family]()


def _session(
    family: str,
    settings: dict[str, Any],
    *,
    size: tuple[int, int] = SIZE,
    batch: int = 1,
    steps: int = STEPS,
    hints: dict[str, Any] | None = None,
    precision: torch.dtype | None = None,
) -> list[Tensor]:
    """The model's answers of all steps, each from the sum of those before."""
    unet = _unet(family) if precision is None else unets.in_precision(FAMILIES[family](), precision)
    dtype = precision or torch.float32
    x = unets.latents(size, batch, channels=unet.in_channels).to(dtype)
    context = unets.contexts(batch).to(dtype)
    answers: list[Tensor] = []
    with (
        unets.webui_attention(),
        unets.webui_cat(),
        HighResSession(unet, HighResSettings(**settings), size, steps, ModelHints(**hints or {})) as session,
    ):
        for step in range(steps):
            session.at_step(step)
            answer = unets.call(unet, x, context, 900 - 100 * step)
            x[:, :4] -= 0.1 * answer
            answers.append(answer)
    return answers


def _plans() -> Iterator[Generation]:
    """On which of 50 steps the parts of a method act, without running them."""
    for family in FAMILIES:
        for kind, settings in METHODS.items():
            yield (
                f"library plans {family} {kind}",
                partial(_acting_steps, family, [(settings, size, {}) for size in SIZES]),
            )
    for kind, hints in HINTS.items():
        yield f"library plans SDXL in {kind}", partial(_acting_steps, "SDXL", [(PAPER, size, hints) for size in SIZES])
    for family in FAMILIES:
        widths = [({}, (64, width), {}) for width in range(64, 420)]
        yield f"library plans {family} of all widths", partial(_acting_steps, family, widths)
    widths = [({}, (64, width), {"turbo": True}) for width in range(64, 128)]
    yield "library plans SDXL Turbo of all widths", partial(_acting_steps, "SDXL", widths)
    strengths = [(PAPER, SIZE, {"pass_": "img2img", "denoise": percent / 100}) for percent in range(101)]
    yield "library plans of all denoising strengths", partial(_acting_steps, "SD1", strengths)


def _acting_steps(family: str, passes: list[tuple[dict[str, Any], tuple[int, int], dict[str, Any]]]) -> list[Any]:
    """For each pass (settings, latent size, hints) the steps of each part."""
    return [
        list(
            HighResSession(
                _unet(family), HighResSettings(**settings), size, 50, ModelHints(**hints)
            ).report.planned.values()
        )
        for settings, size, hints in passes
    ]


def _samplers() -> Iterator[Generation]:
    """Every sampler of the package over two schedules, with each of its own options."""
    for name in sorted(name for name in sampling.__all__ if name.startswith("sample_")):
        function = getattr(sampling, name)
        takes = inspect.signature(function).parameters
        options: list[dict[str, float]] = [{}]
        options += [{"eta": eta} for eta in (0.0, 0.5) if "eta" in takes]
        options += [{"gamma": gamma} for gamma in (0.0, 0.7, 1.0) if "gamma" in takes]
        for schedule in mixtures.SCHEDULES:
            for chosen in options:
                suffix = "".join(f" {key} {value}" for key, value in chosen.items())
                yield f"library {name} {schedule}{suffix}", partial(_sampled, function, schedule, chosen)


def _sampled(function: Any, schedule: str, options: dict[str, float]) -> list[Tensor]:
    """A run of each number of steps in single precision, as the WebUI has it."""
    images = []
    for steps in (1, 2, 6):
        sigmas = mixtures.SCHEDULES[schedule](steps).float()
        x = mixtures.start(sigmas, (2, 4, 6, 5)).float()
        given: dict[str, Any] = dict(options)
        if "noise_sampler" in inspect.signature(function).parameters:
            given["noise_sampler"] = mixtures.noise_sampler(x.shape, dtype=x.dtype)
        model = mixtures.Model(*mixtures.near_unit())
        images.append(function(model, x, sigmas, extra_args={"cond_scale": 3.0}, disable=True, **given))
    return images


def _schedules() -> Iterator[Generation]:
    yield "library trailing timesteps", lambda: [sampling.trailing_timesteps(steps) for steps in range(1, 101)]
    yield "library LCM timesteps", lambda: [sampling.lcm_timesteps(steps) for steps in range(1, 51)]
    yield "library sigmas", lambda: sampling.sigmas_at([999, 700.5, 300, 19, 0], mixtures.SCHEDULE)


def _presets() -> Iterator[Generation]:
    for name in PRESETS:
        yield f"library preset {name}", partial(_preset, name)
    yield "library recognised presets", lambda: [_recognised(checkpoint, loras) for checkpoint, loras in NAMES]


def _preset(name: str) -> list[Any]:
    """Its values, and for each CFG++ sampler the lambda that its CFG means over its schedule."""
    preset = PRESETS[name]
    values = [preset.sampler, preset.schedule, preset.steps, preset.most_steps, preset.cfg, preset.most_cfg]
    values += [preset.gamma, preset.timesteps, preset.trailing, preset.prior, preset.checkpoint, preset.lora]
    grid = sampling.lcm_timesteps if preset.schedule == "LCM grid" else sampling.trailing_timesteps
    sigmas = sampling.sigmas_at(preset.timesteps or grid(preset.steps), mixtures.SCHEDULE)
    functions = [getattr(sampling, each) for each in sorted(sampling.__all__) if each.endswith("_cfgpp")]
    samplers = [function for function in functions if function is not sampling.invert_cfgpp]
    return [values, [sampling.calibrated(each, sigmas, preset.cfg, eta) for each in samplers for eta in (0.5, 1.0)]]


def _recognised(checkpoint: str, loras: tuple[str, ...]) -> str | None:
    found = recognise(checkpoint, loras)
    return None if found is None else found.preset.name


def _prior() -> list[Tensor]:
    """Measured, kept in a file, and what a run starts from."""
    measured = prior.measure([unets.latents((6, 5), 1)[0], unets.latents((3, 8), 1, seed=2)[0]])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "prior.safetensors"
        prior.save(measured, path)
        read = prior.load(path)
    return [read.mean, read.std, read.start(unets.latents((4, 4)), unets.latents((4, 4), seed=3), 14.6)]


def _inversion() -> list[Tensor]:
    """From an image to its noise, with several numbers of refinements."""
    sigmas, image = mixtures.trailing(6).float(), unets.latents((4, 4))
    return [
        sampling.invert_cfgpp(
            mixtures.Model(*mixtures.near_unit()),
            image,
            sigmas,
            extra_args={"cond_scale": 0.4},
            disable=True,
            refinements=refinements,
        )
        for refinements in (0, 2, 5)
    ]


def _keys(settings: type[Any]) -> dict[str, Any]:
    """Names, labels, infotext keys, defaults and limits of settings, without their help."""
    return {
        name: [
            option.label,
            option.infotext,
            getattr(settings(), name),
            option.choices,
            option.low,
            option.high,
            option.step,
        ]
        for name, option in options_of(settings).items()
    }
