"""The axes "[Few-Step] ..." of the X/Y/Z plot."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from lib_fewstep.compare.prompts import Prompt
from lib_fewstep.options import SettingError, guess, options_of, page_fields, shown
from lib_fewstep.sampling.settings import OF_SA_SOLVER, FewStepSettings, PriorSettings, timesteps_from
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.prompt_files import prompts_from
from lib_fewstep.webui.common.refusal import Refusal
from lib_fewstep.webui.common.xyz import axis_values, choices, confirming, kind, set_axis_values
from lib_fewstep.webui.fewstep.prior_files import NO_PRIOR, saved_priors, statistics

SCRIPT = "Few-Step"
"""Whose settings the axes set."""

_OPTIONS = options_of(FewStepSettings)
_OF_PRIOR = {"share": "prior_share", "brightness": "prior_brightness"}
"""Parts of the prior that have an axis, and what a cell's values call them."""

_SHOWN_PROMPT = 60
_KEPT_BY_AXIS = {"Sampler": "sampler", "Schedule type": "schedule", "Steps": "steps", "CFG Scale": "cfg"}
"""What the WebUI's own axes change, as a preset's `keep` calls it."""


def few_step_axes(xyz: Any) -> list[Any]:
    """The axes, made with the X/Y/Z script's module."""
    return [
        _axis(xyz, "preset", str, before=_keep_what_is_plotted),
        _axis(xyz, "guidance", str),
        _axis(xyz, "gamma", _as_it_is),
        _axis(xyz, "timesteps", timesteps_from, before=_refuse_steps),
        _axis(xyz, "prior", _prior_from, offered=lambda: [NO_PRIOR, *saved_priors()]),
        *(_prior_axis(xyz, part) for part in _OF_PRIOR),
        _prompts_axis(xyz),
        *(_axis(xyz, name, _as_it_is, label=_OPTIONS[name].label) for name in OF_SA_SOLVER),
    ]


def with_axes(settings: FewStepSettings, values: Mapping[str, Any]) -> FewStepSettings:
    """The settings of a plot's cell: an axis switches Few-Step on, over what the page or the API says.

    Settings that are switched off count for nothing. `keep` alone switches nothing on.
    """
    if not (settings.enabled or values.keys() - {"keep"}):
        return settings
    used = settings if settings.enabled else FewStepSettings(guidance=settings.guidance)
    keep = tuple(dict.fromkeys((*used.keep, *values.get("keep", ()))))
    given = {name: value for name, value in values.items() if name not in _OF_PRIOR.values()}
    return dataclasses.replace(used, **{**given, "prior": _prior_of_cell(used.prior, values), "keep": keep})


def _prior_of_cell(own: PriorSettings | None, values: Mapping[str, Any]) -> PriorSettings | None:
    """The prior of a cell: without a file on the axis of files there is none, whatever else is plotted.

    None, too, where there was none and the brightness is 0. Raises SettingError.
    """
    parts = {part: values[name] for part, name in _OF_PRIOR.items() if name in values}
    if "prior" in values:
        file: PriorSettings | None = values["prior"]
        if file is None:
            return None
        kept = {} if own is None else {part: getattr(own, part) for part in _OF_PRIOR}
        return dataclasses.replace(file, **{**kept, **parts})
    if own is not None:
        return dataclasses.replace(own, **parts)
    return None if parts in ({}, {"brightness": 0}) else PriorSettings(**parts)


def _axis(
    xyz: Any,
    name: str,
    from_value: Callable[[Any], Any],
    before: Callable[[Any], None] | None = None,
    offered: Callable[[], list[str]] | None = None,
    label: str = "",
) -> Any:
    label = f"[Few-Step] {label or name.capitalize()}"
    own_choices, fields = choices(_OPTIONS[name], ""), page_fields(FewStepSettings)

    def read(value: Any) -> Any:
        return getattr(FewStepSettings(**{name: from_value(value)}), name)

    def apply(p: Processing, value: Any, values: Any) -> None:  # noqa: ARG001 (the host's signature)
        if before is not None:
            before(p)
        set_axis_values(p, SCRIPT, **{name: read(value)})

    return xyz.AxisOption(
        label,
        kind(fields[name].shown if name in fields else ""),
        apply,
        confirm=confirming(label, read),
        choices=offered or (None if own_choices is None else lambda: own_choices),
    )


def _keep_what_is_plotted(p: Processing) -> None:
    """A preset leaves alone what another axis of the plot changes."""
    for label in host.lists.plotted_axes():
        _keep(p, label)


def _keep(p: Processing, label: str) -> None:
    """A preset leaves alone what the axis of that label changes."""
    if label in _KEPT_BY_AXIS:
        set_axis_values(p, SCRIPT, keep=(*axis_values(p, SCRIPT).get("keep", ()), _KEPT_BY_AXIS[label]))


def _refuse_steps(p: Processing) -> None:  # noqa: ARG001 (as `before` is called)
    """Timesteps set the number of steps, so an axis of steps would change nothing."""
    if "Steps" in host.lists.plotted_axes():
        raise Refusal(
            "[Few-Step] Timesteps is not allowed beside the axis Steps: the list of timesteps sets the number of steps."
        )


def _prior_from(value: str) -> PriorSettings | None:
    """The prior of a file, which is read at once: what is wrong with it shows before the first image."""
    if value == NO_PRIOR:
        return None
    settings = PriorSettings(statistics=value)
    statistics(settings)
    return settings


def _prior_axis(xyz: Any, part: str) -> Any:
    """A number of the prior, whose statistics are those of the page, the API or the axis of files."""
    label, described = f"[Few-Step] Prior {part}", options_of(PriorSettings)[part]

    def read(value: Any) -> Any:
        return getattr(PriorSettings(images=(None,), **{part: value}), part)

    def apply(p: Processing, value: Any, values: Any) -> None:  # noqa: ARG001 (the host's signature)
        set_axis_values(p, SCRIPT, **{_OF_PRIOR[part]: value})

    return xyz.AxisOption(label, kind(described.blank), apply, confirm=confirming(label, read))


def _prompts_axis(xyz: Any) -> Any:
    """Prompts from a file; given as its name, how many of them, and the seed that chooses."""
    label = "[Few-Step] Prompts"
    return xyz.AxisOption(
        label,
        _as_it_is,
        _apply_prompt,
        format_value=_prompt_label,
        prepare=prompts_from,
        confirm=confirming(label, _with_known_sampler),
    )


def _as_it_is(value: Any) -> Any:
    return value


def _with_known_sampler(prompt: Prompt) -> None:
    """For a sampler that does not exist the WebUI would take its first."""
    if prompt.sampler is not None and host.lists.sampler_called(prompt.sampler) is None:
        raise SettingError(
            f"sampler = {shown(prompt.sampler)} in the file is not allowed: it must be a sampling method of this WebUI."
            f"{guess(prompt.sampler, host.lists.sampler_names())}"
        )


def _apply_prompt(p: Processing, prompt: Prompt, values: Any) -> None:  # noqa: ARG001 (the host's signature)
    """The prompt, and of what its file says besides whatever no other axis of the plot changes."""
    p.prompt = prompt.text
    plotted = host.lists.plotted_axes()
    values_by_axis = {
        "Seed": ("seed", prompt.seed),
        "Steps": ("steps", prompt.steps),
        "CFG Scale": ("cfg_scale", prompt.cfg),
        "Sampler": ("sampler_name", prompt.sampler),
    }
    for axis, (name, value) in values_by_axis.items():
        if value is not None and axis not in plotted:
            setattr(p, name, value)
            _keep(p, axis)


def _prompt_label(p: Processing, axis: Any, prompt: Prompt) -> str:  # noqa: ARG001 (the host's signature)
    text = prompt.text
    return text if len(text) <= _SHOWN_PROMPT else text[: _SHOWN_PROMPT - 3] + "..."
