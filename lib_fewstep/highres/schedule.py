"""Which part of a method acts on which step: arithmetic on settings, without a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from lib_fewstep.highres.settings import HighResSettings, ModelHints
from lib_fewstep.options import SettingError, options_of
from lib_fewstep.sentences import Sentence
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

    def halves(self, size: tuple[int, int]) -> bool:
        """Whether a feature map of this size gets the size that a downsampler gives it, and its own again."""
        halved = all(int(side * self.down) == (side + 1) // 2 for side in size)
        return halved and self.restores and not self.early_out


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
    """One `Step` for each step of the pass; `reason` says why none is active, `notes` which settings are idle.

    `settings` are those of the pass, with the preset's values where something is done.
    """

    steps: tuple[Step, ...]
    settings: HighResSettings
    reason: Sentence | None = None
    notes: tuple[Sentence, ...] = ()

    def when(self, part: Literal["rad", "pool", "windows", "shrink"]) -> tuple[int, ...]:
        """The steps, counted from 0, on which a part acts."""
        return tuple(i for i, step in enumerate(self.steps) if getattr(step, part))


@dataclass(frozen=True)
class Band:
    """Default thresholds for a family and size, as shares of the steps (HiDiffusion, reference implementation)."""

    t1: float
    t2: float
    aggressive: bool = False
    may_be_aggressive: bool = False


def make_schedule(
    settings: HighResSettings, topology: Topology, latent_size: tuple[int, int], steps: int, hints: ModelHints
) -> Schedule:
    """What happens on each of the `steps` that this pass executes at `latent_size` (height, width).

    Raises SettingError for a size or step count that cannot be sampled and for a depth beyond the model.
    """
    idle = (Step(),) * int(steps)
    disabled = Sentence("it is disabled")
    reason = disabled if not settings.enabled else _why_not(settings, topology, latent_size, steps, hints)
    if reason is not None:
        return Schedule(idle, settings, reason)
    resolved = resolve(settings, topology, latent_size, hints)
    plan = (
        _deep_shrink(resolved, steps) if settings.method == "Deep Shrink" else _hidiffusion(resolved, topology, steps)
    )
    notes = tuple(_idle_settings(settings, resolved, topology, plan))
    if not any(step.active for step in plan):
        return Schedule(
            idle, resolved, Sentence("with these settings no step of {steps} is changed", steps=steps), notes
        )
    return Schedule(plan, resolved, notes=notes)


def resolve(
    settings: HighResSettings, topology: Topology, latent_size: tuple[int, int], hints: ModelHints
) -> HighResSettings:
    """The settings with the preset's values in the place of None, for this model and size.

    Raises SettingError for a depth beyond the model.
    """
    default = band(topology, latent_size, hints)
    values = {name: option.manual for name, option in options_of(HighResSettings).items() if option.group}
    values |= {"t1": default.t1, "t2": default.t2, "aggressive": default.aggressive}
    resolved = replace(settings, **{name: value for name, value in values.items() if getattr(settings, name) is None})
    if resolved.aggressive and not default.may_be_aggressive:
        resolved = replace(resolved, aggressive=False)
    if resolved.method == "Deep Shrink":
        _check_depth("d1", resolved.d1, topology)
        _check_depth("d2", resolved.d2, topology)
    return resolved


def trained_size(settings: HighResSettings, topology: Topology, hints: ModelHints) -> int:
    """The side in pixels that the model is taken to be trained for: the user's, the hint's or the layout's."""
    turbo = _TURBO_TRAINED_SIZE if hints.turbo else None
    return settings.trained_size or hints.trained_size or turbo or topology.trained_size


def band(topology: Topology, latent_size: tuple[int, int], hints: ModelHints) -> Band:
    """The thresholds that the reference uses for this family, size and kind of model."""
    if topology.family == "SDXL" and hints.turbo:
        return Band(t1=0.5, t2=0.0)
    if min(latent_size) >= _LARGE_SIDE[topology.family]:
        return Band(t1=0.7, t2=0.3)
    if topology.family != "SDXL":
        return Band(t1=0.4, t2=0.0)
    with_controlnet = hints.controlnet and hints.pass_ == "first"
    aggressive = not (topology.inpainting or hints.playground)
    return Band(t1=0.5 if with_controlnet else 0.4, t2=0.0, aggressive=aggressive, may_be_aggressive=True)


def _check_pass(latent_size: tuple[int, int], steps: int) -> None:
    for name, value in (("height", latent_size[0]), ("width", latent_size[1]), ("steps", steps)):
        if not isinstance(value, int):
            raise SettingError(f"{name} = {value!r} is not allowed: it must be a whole number.")
    height, width = (PIXELS_PER_LATENT * side for side in latent_size)
    if min(latent_size) < SMALLEST_SIDE:
        smallest = PIXELS_PER_LATENT * SMALLEST_SIDE
        raise SettingError(f"size = {width}x{height} is not allowed: both sides must be at least {smallest} pixels.")
    if steps < 1:
        raise SettingError(f"steps = {steps} is not allowed: it must be at least 1.")


def _why_not(
    settings: HighResSettings, topology: Topology, latent_size: tuple[int, int], steps: int, hints: ModelHints
) -> Sentence | None:
    _check_pass(latent_size, steps)
    if topology.family == "SDXL refiner":
        return Sentence("the SDXL refiner works on the last steps, where the composition is fixed")
    return _why_not_this_pass(settings.passes, hints) or _why_not_this_size(settings, topology, latent_size, hints)


def _why_not_this_pass(passes: str, hints: ModelHints) -> Sentence | None:
    if passes == "First" and hints.pass_ == "hires":
        return Sentence('this is the hires pass and passes is "First"')
    if passes == "Hires" and hints.pass_ != "hires":
        return Sentence('this is not the hires pass and passes is "Hires"')
    if passes == "Auto" and hints.pass_ != "first" and hints.denoise < _AUTO_DENOISE:
        return Sentence(
            'at denoising strength {denoise:g} the composition is already fixed; passes "Auto" acts from {least:g} up, '
            '"All" always',
            denoise=hints.denoise,
            least=_AUTO_DENOISE,
        )
    return None


def _why_not_this_size(
    settings: HighResSettings, topology: Topology, latent_size: tuple[int, int], hints: ModelHints
) -> Sentence | None:
    trained = trained_size(settings, topology, hints)
    height, width = (PIXELS_PER_LATENT * side for side in latent_size)
    if settings.preset != "Auto" or width * height > _AUTO_AREA * trained**2:
        return None
    return Sentence(
        "{width}x{height} is not above {times:g} times the area that the model was trained for ({trained}x{trained}); "
        'preset "Paper" acts at any size',
        width=width,
        height=height,
        times=_AUTO_AREA,
        trained=trained,
    )


def _hidiffusion(resolved: HighResSettings, topology: Topology, steps: int) -> tuple[Step, ...]:
    rad, pool = _raunet_spans(resolved, topology, steps)
    return tuple(
        Step(
            rad=resolved.raunet and i in rad,
            pool=resolved.raunet and i in pool,
            windows=bool(resolved.window_attention),
        )
        for i in range(steps)
    )


def _raunet_spans(resolved: HighResSettings, topology: Topology, steps: int) -> tuple[range, range]:
    """The steps of the strided downsampler and those of the pool."""
    assert resolved.t1 is not None
    assert resolved.t2 is not None
    until_t1, until_t2 = int(steps * resolved.t1), int(steps * resolved.t2)
    if resolved.aggressive:
        until_rad = int(_AGGRESSIVE_SHARE * steps)
        return range(until_rad), range(until_rad, until_t1)
    if topology.family == "SDXL":
        return range(until_t2), range(until_t1)
    return range(until_t1), range(until_t2)


def _idle_settings(
    settings: HighResSettings, resolved: HighResSettings, topology: Topology, plan: tuple[Step, ...]
) -> Iterable[Sentence]:
    """A sentence for every setting that was given and sets nothing."""
    options = options_of(HighResSettings)
    others = [name for name, option in options.items() if option.group not in ("", settings.method)]
    given = [name for name in others if getattr(settings, name) != getattr(HighResSettings(), name)]
    if given:
        yield Sentence("under {method} nothing is set by {names}", method=settings.method, names=", ".join(given))
    if settings.method == "Deep Shrink":
        if resolved.s2 <= resolved.s1:  # type: ignore[operator]
            yield Sentence("s2 sets nothing where it is not above s1")
    elif not settings.raunet:
        given = [name for name in ("t1", "t2", "aggressive") if getattr(settings, name) not in (None, False)]
        if given:
            yield Sentence("while raunet is off nothing is set by {names}", names=", ".join(given))
    else:
        yield from _idle_raunet_settings(settings, resolved, topology, plan)


def _idle_raunet_settings(
    settings: HighResSettings, resolved: HighResSettings, topology: Topology, plan: tuple[Step, ...]
) -> Iterable[Sentence]:
    if settings.aggressive and not resolved.aggressive and topology.family == "SDXL":
        yield Sentence("aggressive sets nothing here: it is for SDXL with a side below 4096, and not for Turbo")
    if resolved.aggressive and settings.t2:
        yield Sentence("t2 sets nothing in aggressive mode, where the strided downsampler ends at 8/50 of the steps")
    if resolved.aggressive and settings.t1 is not None and not any(step.pool for step in plan):
        yield Sentence(
            "t1 sets nothing in aggressive mode up to 8/50 of the steps, where the strided downsampler still runs"
        )
    if not any(step.rad or step.pool for step in plan):
        yield Sentence(
            "RAU-Net changes none of the {steps} steps: its thresholds end before the first", steps=len(plan)
        )


def _deep_shrink(resolved: HighResSettings, steps: int) -> tuple[Step, ...]:
    stages = ((resolved.d1, steps * (resolved.s1 or 0.0)), (resolved.d2, steps * (resolved.s2 or 0.0)))
    shrinks = (
        next((_shrink(resolved, depth or 1, i / stop) for depth, stop in stages if i < stop), None)
        for i in range(steps)
    )
    return tuple(Step(shrink=shrink) if shrink and shrink.down < 1.0 else Step() for shrink in shrinks)


def _check_depth(name: str, depth: int | None, topology: Topology) -> None:
    if depth is None or depth > topology.blocks:
        raise SettingError(f"{name} = {depth} is not allowed: {topology.family} has depths 1 to {topology.blocks}.")


def _shrink(resolved: HighResSettings, depth: int, passed: float) -> Shrink:
    """Deep Shrink's factors when a share `passed` of its stage is over; with smooth scaling they fade out."""
    downscale, upscale = resolved.downscale or 1.0, resolved.upscale or 1.0
    fade = passed if resolved.smooth_scaling else 0.0
    down = min((1.0 - downscale) * fade + downscale, 1.0)
    up = upscale * downscale / down
    return Shrink(depth, down, up, scaler=resolved.scaler or "bicubic", early_out=bool(resolved.early_out))
