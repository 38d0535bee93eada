"""Which part of a method acts on which step, or why nothing acts: arithmetic on settings, without a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from lib_fewstep.highres.methods import BY_NAME
from lib_fewstep.highres.methods.base import Method, ModelHints, Part, Parts, Target
from lib_fewstep.highres.settings import HighResSettings
from lib_fewstep.options import SettingError, options_of
from lib_fewstep.sentences import Sentence
from lib_fewstep.unet import Topology

PIXELS_PER_LATENT = 8
SMALLEST_SIDE = 2
"""In latent pixels: below it nothing is left to bring down."""

_AUTO_AREA = 1.6
_AUTO_DENOISE = 0.5
_TURBO_TRAINED_SIZE = 512


@dataclass(frozen=True)
class Schedule:
    """What acts on each step of the pass; `reason` says why nothing does, `notes` which settings are idle.

    `settings` are those of the pass, with the preset's values where something is done.
    """

    steps: tuple[Parts, ...]
    settings: HighResSettings
    reason: Sentence | None = None
    notes: tuple[Sentence, ...] = ()

    def when(self, kind: type[Part]) -> tuple[int, ...]:
        """The steps, counted from 0, on which a part of this kind acts."""
        return tuple(i for i, parts in enumerate(self.steps) if any(isinstance(part, kind) for part in parts))

    def parts(self, kind: type[Part]) -> tuple[Part, ...]:
        """The parts of this kind on all steps."""
        return tuple(part for parts in self.steps for part in parts if isinstance(part, kind))


def make_schedule(
    settings: HighResSettings, topology: Topology, latent_size: tuple[int, int], steps: int, hints: ModelHints
) -> Schedule:
    """What happens on each of the `steps` that this pass executes at `latent_size` (height, width).

    Raises SettingError for a size or step count that cannot be sampled and for what the method refuses.
    """
    idle: tuple[Parts, ...] = ((),) * int(steps)
    disabled = Sentence("the method is switched off")
    reason = disabled if not settings.enabled else _why_not(settings, topology, latent_size, steps, hints)
    if reason is not None:
        return Schedule(idle, settings, reason)
    method, target = BY_NAME[settings.method], Target(topology, latent_size, steps, hints)
    given = _given(settings, method)
    values = method.resolved(given, target)
    acting = tuple(method.parts_on(index, values, target) for index in range(steps))
    notes = (*_foreign_settings(settings), *method.notes(given, values, target, acting))
    resolved = replace(settings, **asdict(values))
    if not any(acting):
        return Schedule(
            idle,
            resolved,
            Sentence("with these settings the method acts on none of the {steps} steps", steps=steps),
            notes,
        )
    return Schedule(acting, resolved, notes=notes)


def trained_size(settings: HighResSettings, topology: Topology, hints: ModelHints) -> int:
    """The side in pixels that the model is taken to be trained for: the user's, the hint's or the layout's."""
    turbo = _TURBO_TRAINED_SIZE if hints.turbo else None
    return settings.trained_size or hints.trained_size or turbo or topology.trained_size


def _given(settings: HighResSettings, method: Method[Any]) -> Mapping[str, Any]:
    """The method's own settings that are not left to the preset."""
    values = {name: getattr(settings, name) for name in options_of(method.own)}
    return {name: value for name, value in values.items() if value is not None}


def _foreign_settings(settings: HighResSettings) -> Iterable[Sentence]:
    """A sentence on those settings of other methods that were given."""
    options = options_of(HighResSettings)
    others = [name for name, option in options.items() if option.group not in ("", settings.method)]
    given = [name for name in others if getattr(settings, name) != getattr(HighResSettings(), name)]
    if given:
        yield Sentence("not used by {method}: {names}", method=settings.method, names=", ".join(given))


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
        return Sentence("the SDXL refiner runs only the last steps, where the composition is already fixed")
    return _why_not_this_pass(settings.passes, hints) or _why_not_this_size(settings, topology, latent_size, hints)


def _why_not_this_pass(passes: str, hints: ModelHints) -> Sentence | None:
    if passes == "First" and hints.pass_ == "hires":
        return Sentence('this is the hires pass, but passes is "First"')
    if passes == "Hires" and hints.pass_ != "hires":
        return Sentence('this is not the hires pass, but passes is "Hires"')
    if passes == "Auto" and hints.pass_ != "first" and hints.denoise < _AUTO_DENOISE:
        return Sentence(
            'at denoising strength {denoise:g} the composition is already fixed; passes "Auto" acts at {least:g} or '
            'more, "All" at any strength',
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
