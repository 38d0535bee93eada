"""What is done about a model in one pass: from the settings, from what its file says and from what the host does."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from lib_fewstep.models.denoiser import levels_of
from lib_fewstep.models.header import Told
from lib_fewstep.models.kinds import KINDS, NOISE, Kind, V
from lib_fewstep.models.noise_schedules import shares_at, shifted, sigmas_of, with_zero_terminal_snr
from lib_fewstep.models.settings import AUTO, OFF, ON, ModelSettings
from lib_fewstep.options import SettingError, shown
from lib_fewstep.sentences import Sentence, joined

ZERO_SNR_LEVEL = 1000.0
"""A schedule whose highest noise level is above this already starts from noise alone."""


@dataclass(frozen=True)
class HostModel:
    """What the host makes of the model: its kind, its noise schedule (n,), and the image's side in trained sides.

    `unsupported` is the kind of a model that is neither noise nor v to the host, such as SD3.
    """

    kind: str
    alphas_cumprod: Tensor
    ratio: float = 1.0
    unsupported: str | None = None


@dataclass(frozen=True)
class ModelPlan:
    """The kind and the noise schedule (n,) of a pass, and what is said about them.

    The schedule is the host's own where that is not changed.
    """

    name: str
    alphas_cumprod: Tensor
    parts: tuple[Sentence, ...]
    changes_kind: bool
    changes_schedule: bool
    latents: bool = False
    guidance: str | None = None

    @property
    def kind(self) -> Kind:
        """The kind by its name."""
        return KINDS[self.name]

    @property
    def sigmas(self) -> Tensor:
        """The noise levels (n,) of the timesteps, rising."""
        return sigmas_of(self.alphas_cumprod)

    @property
    def acts(self) -> bool:
        """Whether anything is done otherwise than by the host."""
        return self.changes_kind or self.changes_schedule or self.guidance is not None

    @property
    def said(self) -> Sentence | None:
        """What is done, in words; None where nothing is known and nothing is done."""
        return joined(self.parts) if self.parts else None


def plan_of(settings: ModelSettings, told: Told, now: HostModel) -> ModelPlan:
    """What is done in a pass. Raises SettingError for what the loaded model cannot be sampled as."""
    if now.unsupported is not None:
        _check_neutral(settings, ("kind", *_OF_SCHEDULE), f"with {now.unsupported}")
        return ModelPlan(now.kind, now.alphas_cumprod, (), changes_kind=False, changes_schedule=False)
    knows_more = (told.kind, now.kind) != (NOISE, V)  # the host knows of v by a YAML file alone
    by = told.by if settings.kind == AUTO and knows_more else ""
    name = told.kind if by else now.kind if settings.kind == AUTO else settings.kind
    if KINDS[name].levels is not None:
        return _with_own_levels(settings, told, name, by)
    schedule, parts = _schedule(settings, told, now, name)
    return ModelPlan(
        name,
        schedule,
        (*_kind_said(name, now.kind, by), *parts, *_guidance_said(told)),
        changes_kind=name != now.kind,
        changes_schedule=schedule is not now.alphas_cumprod,
        guidance=told.guidance,
    )


_OF_SCHEDULE = ("noise_schedule", "zero_snr", "shift")


def _check_neutral(settings: ModelSettings, names: tuple[str, ...], where: str) -> None:
    for name in names:
        value, neutral = getattr(settings, name), getattr(ModelSettings(), name)
        if value not in (neutral, OFF):
            raise SettingError(f"{name} = {shown(value)} is not allowed {where}: it must be {shown(neutral)}.")


def _with_own_levels(settings: ModelSettings, told: Told, name: str, by: str) -> ModelPlan:
    """A kind that has no noise schedule."""
    _check_neutral(settings, _OF_SCHEDULE, f'with a model of the kind "{name}"')
    is_told = name == told.kind
    kind = replace(KINDS[name], levels=told.levels) if is_told and told.levels is not None else KINDS[name]
    return ModelPlan(
        name,
        shares_at(levels_of(kind)),
        _kind_said(name, "", by),
        changes_kind=True,
        changes_schedule=True,
        latents=is_told and told.latents,
    )


def _schedule(settings: ModelSettings, told: Told, now: HostModel, name: str) -> tuple[Tensor, tuple[Sentence, ...]]:
    schedule, parts = now.alphas_cumprod, list[Sentence]()
    if settings.custom is not None:
        schedule = settings.custom.alphas_cumprod()
        parts.append(Sentence("noise schedule {name}", name=settings.noise_schedule))
    zero_snr = (told.zero_snr and name == V) if settings.zero_snr == AUTO else settings.zero_snr == ON
    if zero_snr and float(sigmas_of(schedule)[-1]) < ZERO_SNR_LEVEL:
        schedule = with_zero_terminal_snr(schedule)
        parts.append(Sentence("zero terminal SNR"))
    factor = settings.shift or now.ratio
    if factor != 1:
        schedule = shifted(schedule, factor)
        parts.append(Sentence("noise times {factor}", factor=f"{factor:.3g}"))
    return schedule, tuple(parts)


def _kind_said(name: str, now: str, by: str) -> tuple[Sentence, ...]:
    if by:
        return (Sentence('{name} prediction (the file says "{by}")', name=name, by=by),)
    return (Sentence("{name} prediction", name=name),) if name != now else ()


def _guidance_said(told: Told) -> tuple[Sentence, ...]:
    return (Sentence("the CFG is given to the model, one row"),) if told.guidance else ()
