"""What a comparison's file asks for, as the images that servers are asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lib_fewstep.compare.prompts import MOST_SEED, Prompt, read_prompts
from lib_fewstep.compare.servers.survey import Survey
from lib_fewstep.compare.settings import AS_SET, NO_METHOD, Cell, ComparisonSettings, cells
from lib_fewstep.options import SettingError, guess, options_of, shown

SET_HERE = ("steps", "cfg_scale", "sampler_name", "batch_size", "n_iter")
"""Fields of a request that a comparison sets by itself."""
FIELDS = (
    *("prompt", "negative_prompt", "styles", "seed", "subseed", "subseed_strength", "seed_resize_from_h"),
    *("seed_resize_from_w", "scheduler", "width", "height", "restore_faces", "tiling", "do_not_save_samples"),
    *("do_not_save_grid", "eta", "denoising_strength", "s_min_uncond", "s_churn", "s_tmax", "s_tmin", "s_noise"),
    *("override_settings", "override_settings_restore_afterwards", "refiner_checkpoint", "refiner_switch_at"),
    *("disable_extra_networks", "comments", "enable_hr", "firstphase_width", "firstphase_height", "hr_scale"),
    *("hr_upscaler", "hr_second_pass_steps", "hr_resize_x", "hr_resize_y", "hr_checkpoint_name", "hr_sampler_name"),
    *("hr_scheduler", "hr_prompt", "hr_negative_prompt", "save_images", "alwayson_scripts"),
)
"""Fields of the WebUI's txt2img request (1.10) that may be in a file: the WebUI passes over others silently."""
_OF_THE_PAGE = {
    "strips": "a server does not send the predicted images",
    "images": "the images are saved in the folder images anyway",
}
_HIDIFFUSION, _FEW_STEP = "HiDiffusion", "Few-Step"
_COMPARED = ("sampler", "steps", "cfg")
"""What a comparison sets and a preset of Few-Step would change, as the preset's `keep` calls it."""
_DEEPEST = 50


@dataclass(frozen=True)
class Plan:
    """The settings of a comparison, its prompts, and the request that its images have in common."""

    settings: ComparisonSettings
    prompts: list[Prompt]
    request: Mapping[str, Any]

    @property
    def samplers(self) -> list[str]:
        """All samplers, the reference's too."""
        return list(dict.fromkeys((*self.settings.samplers, self.settings.reference_sampler)))

    @property
    def methods(self) -> list[str]:
        """The high-resolution methods that a server must have."""
        return [method for method in self.settings.methods if method not in (AS_SET, NO_METHOD)]

    @property
    def names_checkpoint(self) -> bool:
        """Whether the request has its checkpoint loaded."""
        return "sd_model_checkpoint" in self.request.get("override_settings", {})

    @property
    def cells(self) -> list[Cell]:
        """All images of the comparison."""
        return cells(self.settings, self.prompts, self.request["seed"])


@dataclass
class Task:
    """One image to be made, and the cells that show it: a reference may be one of those measured, too."""

    key: str
    payload: dict[str, Any]
    cells: list[Cell] = field(default_factory=list)


def read_plan(path: Path) -> Plan:
    """The plan in a YAML or JSON file. Raises SettingError with a sentence for what is not allowed in it."""
    values = dict(_mapping(_read(path), str(path)))
    _check_encodable("", values)
    _refuse_unknown(values, (*options_of(ComparisonSettings), "request"), "setting")
    for name, reason in _OF_THE_PAGE.items():
        if name in values:
            raise SettingError(f"{name} = {shown(values[name])} is not allowed here: {reason}.")
    request = _request(values.pop("request", {}))
    settings = ComparisonSettings.from_dict(values)
    for method in settings.methods:
        _scripts(request.get("alwayson_scripts", {}), method)  # refuses what it would lose
    if settings.prompts:
        prompts = read_prompts(path.parent / settings.prompts, settings.prompt_limit, settings.prompt_seed)
    else:
        prompts = [Prompt(_prompt(request))]
    return Plan(settings, prompts, request)


def tasks(plan: Plan, survey: Survey) -> list[Task]:
    """The images of a plan, in order; equal ones once."""
    found: dict[str, Task] = {}
    for cell in plan.cells:
        payload = payload_for(plan.request, cell, survey.samplers[cell.sampler])
        key = _key(payload, survey.checkpoint)
        found.setdefault(key, Task(key, payload)).cells.append(cell)
    return list(found.values())


def payload_for(request: Mapping[str, Any], cell: Cell, sampler: str) -> dict[str, Any]:
    """The request of a cell, with its sampler under the name that the WebUI knows: aliases give the first of all."""
    return {
        **request,
        "prompt": cell.prompt,
        "seed": cell.seed,
        "steps": cell.steps,
        "cfg_scale": float(cell.cfg),
        "sampler_name": sampler,
        "batch_size": 1,
        "n_iter": 1,
        "override_settings": {**request.get("override_settings", {}), "fewstep_record": True},
        "override_settings_restore_afterwards": True,
        "alwayson_scripts": _scripts(request.get("alwayson_scripts", {}), cell.method),
    }


def _scripts(wanted: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The request's scripts with the cell's method; its own settings of HiDiffusion stay where the method is on."""
    wanted = {title: _with_keep(script) if _is_titled(title, _FEW_STEP) else script for title, script in wanted.items()}
    if method == AS_SET:
        return wanted
    own = [value for title, value in wanted.items() if _is_titled(title, _HIDIFFUSION)]
    others = {title: value for title, value in wanted.items() if not _is_titled(title, _HIDIFFUSION)}
    given = {} if method == NO_METHOD or not own else _settings(own[0])
    switch = {"enabled": False} if method == NO_METHOD else {"enabled": True, "method": method}
    return {**others, _HIDIFFUSION: {"args": [{**given, **switch}]}}


def _is_titled(title: str, script: str) -> bool:
    """Whether a script is meant, as the WebUI compares their titles."""
    return title.lower() == script.lower()


def _with_keep(script: Any) -> Any:
    """A script of Few-Step whose preset leaves alone what is compared."""
    args = script.get("args") if isinstance(script, Mapping) else None
    if not isinstance(args, list) or not args or not isinstance(args[0], Mapping) or "preset" not in args[0]:
        return script
    given = args[0].get("keep", [])
    if not isinstance(given, list):
        return script  # which every server refuses with a sentence
    keep = [*given, *(name for name in _COMPARED if name not in given)]
    return {**script, "args": [{**args[0], "keep": keep}, *args[1:]]}


def _settings(script: Any) -> Mapping[str, Any]:
    """The settings in a script's arguments. Raises SettingError if they are no dict."""
    args = script.get("args") if isinstance(script, Mapping) else script
    if not args:
        return {}
    if args is script or not isinstance(args, list) or not isinstance(args[0], Mapping):
        raise SettingError(
            f"request.alwayson_scripts.{_HIDIFFUSION} = {shown(script)} is not allowed beside methods: it must be "
            '{"args": [{...}]} with a dict of settings.'
        )
    return args[0]


def _key(payload: Mapping[str, Any], checkpoint: str) -> str:
    """A name for what decides an image: the same for the same, in any run."""
    text = json.dumps([payload, checkpoint], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"--config = {str(path)!r} cannot be read: {error.strerror}.") from error
    except RecursionError as error:
        raise SettingError(f"--config = {str(path)!r} is not allowed: it is nested too deeply.") from error
    except (yaml.YAMLError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise SettingError(f"--config = {str(path)!r} is not allowed: it is not YAML or JSON ({problem}).") from error


def _check_encodable(name: str, value: object, depth: int = 0) -> None:
    """Refuse texts that are no UTF-8, such as half a surrogate pair, and what is nested too deep to be sent."""
    if depth > _DEEPEST:
        raise SettingError(f"{name[:60]} is not allowed: it is nested more than {_DEEPEST} levels deep.")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            where = f"{name} = {shown(value)}" if name else f"The name {shown(value)}"
            raise SettingError(f"{where} is not allowed: a text must be UTF-8.") from error
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_encodable(name, key, depth + 1)
            _check_encodable(f"{name}.{key}" if name else str(key), item, depth + 1)
    elif isinstance(value, list | tuple | set):
        for item in value:
            _check_encodable(name, item, depth + 1)


def _request(value: object) -> Mapping[str, Any]:
    request = _mapping(value, "request")
    for name in SET_HERE:
        if name in request:
            raise SettingError(
                f"request.{name} = {shown(request[name])} is not allowed: the comparison itself sets "
                f"{', '.join(SET_HERE)}."
            )
    _refuse_unknown(request, FIELDS, "field of a request here")
    for name in ("override_settings", "alwayson_scripts"):
        _mapping(request.get(name, {}), f"request.{name}")
    seed = request.get("seed")
    if type(seed) is not int or not 0 <= seed <= MOST_SEED:
        raise SettingError(
            f"request.seed = {shown(seed)} is not allowed: it must be 0 to {MOST_SEED}, so that the comparison can be "
            "continued."
        )
    try:
        json.dumps(request, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SettingError(f"request = {shown(request)} is not allowed: it must be JSON ({error}).") from error
    return request


def _prompt(request: Mapping[str, Any]) -> str:
    prompt = request.get("prompt")
    if not isinstance(prompt, str):
        raise SettingError(
            f"request.prompt = {shown(prompt)} is not allowed: it must be a text when there is no prompt set."
        )
    return prompt


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise SettingError(f"{name} = {shown(value)} is not allowed: it must be names and values.")
    return value


def _refuse_unknown(values: Mapping[str, Any], names: Sequence[str], kind: str) -> None:
    for name in values:
        if name not in names:
            raise SettingError(f"{shown(name)} is not a {kind}; allowed are {', '.join(names)}.{guess(name, names)}")
