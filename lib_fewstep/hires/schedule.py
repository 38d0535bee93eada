"""Which part of a method acts on which step: arithmetic on settings, without a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from lib_fewstep.hires.settings import HiResSettings, ModelHints
from lib_fewstep.options import SettingError, options_of
from lib_fewstep.unet import Topology

PIXELS_PER_LATENT = 8
SMALLEST_SIDE = 2
"""In latent pixels: below it nothing is left to bring down."""

_AUTO_AREA = 1.6
_AUTO_DENOISE = 0.5
_AGGRESSIVE_SHARE = 8 / 50
_TURBO_TRAINED_SIZE = 512
_LARGE_SIDE = {"SD1": 256, "SD2": 256, "SDXL": 512}


@dataclass(frozen=True)
class Shrink:
    """Deep Shrink on one step: the depth (1 is the first input block), the factors and how to resize."""

    depth: int
    down: float
    up: float
    scaler: str
    early_out: bool

    @property
    def restores(self) -> bool:
        """Whether the way up undoes the way down, so that the size is restored exactly."""
        return abs(self.down * self.up - 1.0) < 1e-6


@dataclass(frozen=True)
class Step:
    """What acts on one step: the strided downsampler (RAD), the pool, window attention, Deep Shrink."""

    rad: bool = False
    pool: bool = False
    windows: bool = False
    shrink: Shrink | None = None

    @property
    def active(self) -> bool:
        """Whether anything acts."""
        return self != Step()


@dataclass(frozen=True)
class Schedule:
    """One `Step` for each step of the pass; `reason` says why none is active, `notes` which settings are idle."""

    steps: tuple[Step, ...]
    reason: str | None = None
    notes: tuple[str, ...] = ()

    def when(self, part: Literal["rad", "pool", "windows", "shrink"]) -> tuple[int, ...]:
        """The steps, counted from 0, on which a part acts."""
        return tuple(i for i, step in enumerate(self.steps) if getattr(step, part))


@dataclass(frozen=True)
class Band:
    """Default thresholds for a family and size, as shares of the steps (HiDiffusion, reference implementation)."""

    t1: float
    t2: float
    aggressive: bool


def make_schedule(
    settings: HiResSettings, topology: Topology, latent_size: tuple[int, int], steps: int, hints: ModelHints
) -> Schedule:
    """What happens on each of the `steps` that this pass executes at `latent_size` (height, width).

    Raises SettingError for a size or step count that cannot be sampled and for a depth beyond the model.
    """
    _check_pass(latent_size, steps)
    idle = (Step(),) * steps
    reason = _why_not(settings, topology, latent_size, hints)
    if reason is not None:
        return Schedule(idle, reason)
    if settings.method == "Deep Shrink":
        schedule = _deep_shrink(settings, topology, steps)
    else:
        schedule = _hidiffusion(settings, topology, band(topology, latent_size, hints), steps)
    if not any(step.active for step in schedule.steps):
        return Schedule(idle, f"with these settings no step of {steps} is changed", schedule.notes)
    return schedule


def trained_size(settings: HiResSettings, topology: Topology, hints: ModelHints) -> int:
    """The side in pixels that the model is taken to be trained for: the user's, the hint's or the layout's."""
    turbo = _TURBO_TRAINED_SIZE if hints.turbo else None
    return settings.trained_size or hints.trained_size or turbo or topology.trained_size


def band(topology: Topology, latent_size: tuple[int, int], hints: ModelHints) -> Band:
    """The thresholds that the reference uses for this family, size and kind of model."""
    if topology.family == "SDXL" and hints.turbo:
        return Band(t1=0.5, t2=0.0, aggressive=False)
    if min(latent_size) >= _LARGE_SIDE[topology.family]:
        return Band(t1=0.7, t2=0.3, aggressive=False)
    if topology.family != "SDXL":
        return Band(t1=0.4, t2=0.0, aggressive=False)
    with_controlnet = hints.controlnet and hints.pass_ == "first"
    return Band(t1=0.5 if with_controlnet else 0.4, t2=0.0, aggressive=not (topology.inpainting or hints.playground))


def _check_pass(latent_size: tuple[int, int], steps: int) -> None:
    height, width = (PIXELS_PER_LATENT * side for side in latent_size)
    if min(latent_size) < SMALLEST_SIDE:
        smallest = PIXELS_PER_LATENT * SMALLEST_SIDE
        raise SettingError(f"size = {width}x{height} is not allowed: both sides must be at least {smallest} pixels.")
    if steps < 1:
        raise SettingError(f"steps = {steps} is not allowed: it must be at least 1.")


def _why_not(
    settings: HiResSettings, topology: Topology, latent_size: tuple[int, int], hints: ModelHints
) -> str | None:
    if not settings.enabled:
        return "it is disabled"
    if topology.family == "SDXL refiner":
        return "the SDXL refiner works on the last steps, where the composition is fixed"
    return _why_not_this_pass(settings.passes, hints) or _why_not_this_size(settings, topology, latent_size, hints)


def _why_not_this_pass(passes: str, hints: ModelHints) -> str | None:
    if passes == "First" and hints.pass_ == "hires":
        return 'this is the hires pass and passes is "First"'
    if passes == "Hires" and hints.pass_ != "hires":
        return 'this is not the hires pass and passes is "Hires"'
    if passes == "Auto" and hints.pass_ != "first" and hints.denoise < _AUTO_DENOISE:
        return (
            f'at denoising strength {hints.denoise:g} the composition is already fixed; passes "Auto" acts from '
            f'{_AUTO_DENOISE:g} up, "All" always'
        )
    return None


def _why_not_this_size(
    settings: HiResSettings, topology: Topology, latent_size: tuple[int, int], hints: ModelHints
) -> str | None:
    trained = trained_size(settings, topology, hints)
    height, width = (PIXELS_PER_LATENT * side for side in latent_size)
    if settings.preset != "Auto" or width * height > _AUTO_AREA * trained**2:
        return None
    return (
        f"{width}x{height} is not above {_AUTO_AREA:g} times the area that the model was trained for "
        f'({trained}x{trained}); preset "Paper" acts at any size'
    )


def _hidiffusion(settings: HiResSettings, topology: Topology, default: Band, steps: int) -> Schedule:
    until_t1 = int(steps * (default.t1 if settings.t1 is None else settings.t1))
    until_t2 = int(steps * (default.t2 if settings.t2 is None else settings.t2))
    aggressive = _is_aggressive(settings, topology, default)
    if aggressive:
        until_rad = int(_AGGRESSIVE_SHARE * steps)
        rad, pool = range(until_rad), range(until_rad, until_t1)
    elif topology.family == "SDXL":
        rad, pool = range(until_t2), range(until_t1)
    else:
        rad, pool = range(until_t1), range(until_t2)
    windows = settings.window_attention is not False
    plan = tuple(
        Step(rad=settings.raunet and i in rad, pool=settings.raunet and i in pool, windows=windows)
        for i in range(steps)
    )
    return Schedule(plan, notes=tuple(_idle_hidiffusion_settings(settings, topology, default)))


def _is_aggressive(settings: HiResSettings, topology: Topology, default: Band) -> bool:
    """Whether the two parts take turns: the user's word, but only on SDXL below the band in which both run."""
    if settings.aggressive is None:
        return default.aggressive
    return settings.aggressive and topology.family == "SDXL" and default.t2 == 0.0


def _idle_hidiffusion_settings(settings: HiResSettings, topology: Topology, default: Band) -> Iterable[str]:
    if not settings.raunet:
        if settings.window_attention is False:
            yield "raunet and window_attention are both off"
        given = [name for name in ("t1", "t2", "aggressive") if getattr(settings, name) not in (None, False)]
        if given:
            yield f"{' and '.join(given)} set nothing while raunet is off"
        return
    aggressive = _is_aggressive(settings, topology, default)
    if settings.aggressive and not aggressive and topology.family == "SDXL":
        yield "aggressive sets nothing here: it is for SDXL with a side below 4096"
    if aggressive and settings.t2:
        yield "t2 sets nothing in aggressive mode, where the strided downsampler ends at 8/50 of the steps"


def _deep_shrink(settings: HiResSettings, topology: Topology, steps: int) -> Schedule:
    chosen = _with_defaults(settings)
    for name in ("d1", "d2"):
        _check_depth(name, chosen[name], topology)
    stages = [(chosen["d1"], steps * chosen["s1"]), (chosen["d2"], steps * chosen["s2"])]
    plan = tuple(
        next((Step(shrink=_shrink(chosen, depth, i / stop)) for depth, stop in stages if i < stop), Step())
        for i in range(steps)
    )
    notes = (
        ("s2 sets nothing where it is not above s1",)
        if settings.s2 is not None and chosen["s2"] <= chosen["s1"]
        else ()
    )
    return Schedule(tuple(step if step.shrink and step.shrink.down < 1.0 else Step() for step in plan), notes=notes)


def _with_defaults(settings: HiResSettings) -> dict[str, Any]:
    """Deep Shrink's settings, with its own defaults for those that are None."""
    return {
        name: described.manual if getattr(settings, name) is None else getattr(settings, name)
        for name, described in options_of(HiResSettings).items()
        if described.group == "Deep Shrink"
    }


def _check_depth(name: str, depth: int, topology: Topology) -> None:
    if depth > topology.blocks:
        raise SettingError(f"{name} = {depth} is not allowed: {topology.family} has depths 1 to {topology.blocks}.")


def _shrink(chosen: dict[str, Any], depth: int, passed: float) -> Shrink:
    """Deep Shrink's factors when a share `passed` of its stage is over; with smooth scaling they fade out."""
    fade = passed if chosen["smooth_scaling"] else 0.0
    down = min((1.0 - chosen["downscale"]) * fade + chosen["downscale"], 1.0)
    up = chosen["upscale"] * chosen["downscale"] / down
    return Shrink(depth, down, up, scaler=chosen["scaler"], early_out=chosen["early_out"])
