"""`modules.sd_samplers`: how samplers are registered and found by name."""

from __future__ import annotations

from functools import cache
from typing import Any

from tests.webui.standin.samplers import (
    Sampler,
    SamplerData,
    family_modules,
    known_samplers,
    sample_to_image,
    samples_to_image_grid,
)
from tests.webui.standin.schedules import schedulers_module
from tests.webui.standin.strict import StrictModule, fake

SAME_SAMPLER, SAME_SCHEDULER = "Use same sampler", "Use same scheduler"


def find_sampler_config(name: str | None) -> SamplerData | None:
    """The sampler of that name, or None; the first one for the name None."""
    samplers = fake("modules.sd_samplers")
    config: SamplerData | None = samplers.all_samplers[0] if name is None else samplers.all_samplers_map.get(name)
    return config


def create_sampler(name: str | None, model: Any) -> Sampler:
    """A new sampler object."""
    config = find_sampler_config(name)
    if config is None:
        raise AssertionError(f"bad sampler name: {name}")
    if model.is_sdxl and config.options.get("no_sdxl", False):
        raise RuntimeError(f"{config.name} does not work with SDXL")
    sampler: Sampler = config.constructor(model)
    sampler.config = config
    return sampler


def set_samplers() -> None:
    """Make the maps of names anew from `all_samplers`; `all_samplers_map` is left alone."""
    module = fake("modules.sd_samplers")
    module.samplers_hidden = set(fake("modules.shared").opts.hide_samplers)
    module.samplers = module.samplers_for_img2img = module.all_samplers
    module.samplers_map.clear()
    for sampler in module.all_samplers:
        for alias in (sampler.name, *sampler.aliases):
            module.samplers_map[alias.lower()] = sampler.name


def visible_samplers() -> list[SamplerData]:
    """The samplers that the user has not hidden."""
    module = fake("modules.sd_samplers")
    return [sampler for sampler in module.samplers if sampler.name not in module.samplers_hidden]


def visible_sampler_names() -> list[str]:
    """Their names."""
    return [sampler.name for sampler in visible_samplers()]


@cache
def get_sampler_and_scheduler(
    sampler_name: str | None, scheduler_name: str | None, *, convert_automatic: bool = True
) -> tuple[str, str]:
    """(sampler's name, scheduler's label): a scheduler's name at the end of the sampler's is cut off it.

    Unknown names become the first sampler and Automatic, as does a scheduler that is the sampler's own.
    """
    samplers, schedulers = fake("modules.sd_samplers"), fake("modules.sd_schedulers")
    automatic = schedulers.schedulers[0]
    scheduler = schedulers.schedulers_map.get(scheduler_name, automatic)
    name = sampler_name or samplers.samplers[0].name
    for known in schedulers.schedulers:
        ending = next((e for e in (known.label, known.name, *(known.aliases or [])) if name.endswith(f" {e}")), None)
        if ending is not None:
            scheduler, name = known, name.removesuffix(f" {ending}")
    sampler = samplers.all_samplers_map.get(name, samplers.samplers[0])
    if convert_automatic and sampler.options.get("scheduler") == scheduler.name:
        scheduler = automatic
    return sampler.name, scheduler.label


def get_sampler_from_infotext(d: dict[str, Any]) -> str:
    """The sampler that an infotext means."""
    return get_sampler_and_scheduler(d.get("Sampler"), d.get("Schedule type"))[0]


def get_scheduler_from_infotext(d: dict[str, Any]) -> str:
    """The scheduler that an infotext means."""
    return get_sampler_and_scheduler(d.get("Sampler"), d.get("Schedule type"))[1]


def get_hr_sampler_and_scheduler(d: dict[str, Any]) -> tuple[str, str]:
    """The same for the second pass; what is the same as in the first is said so."""
    first = d.get("Sampler"), d.get("Schedule type")
    second = d.get("Hires sampler", SAME_SAMPLER), d.get("Hires schedule type", SAME_SCHEDULER)
    sampler, scheduler = get_sampler_and_scheduler(
        first[0] if second[0] == SAME_SAMPLER else second[0],
        first[1] if second[1] == SAME_SCHEDULER else second[1],
    )
    return (
        SAME_SAMPLER if sampler == first[0] else sampler,
        SAME_SCHEDULER if scheduler == first[1] else scheduler,
    )


def get_hr_sampler_from_infotext(d: dict[str, Any]) -> str:
    """The sampler of the second pass."""
    return get_hr_sampler_and_scheduler(d)[0]


def get_hr_scheduler_from_infotext(d: dict[str, Any]) -> str:
    """The scheduler of the second pass."""
    return get_hr_sampler_and_scheduler(d)[1]


def fix_p_invalid_sampler_and_scheduler(p: Any) -> None:
    """Give a job a sampler and a scheduler that exist; the scheduler becomes a label."""
    p.sampler_name, p.scheduler = get_sampler_and_scheduler(p.sampler_name, p.scheduler, convert_automatic=False)


def sampler_modules() -> list[StrictModule]:
    """`modules.sd_samplers*` and `modules.sd_schedulers`."""
    known = known_samplers()
    get_sampler_and_scheduler.cache_clear()
    registry = StrictModule(
        "modules.sd_samplers",
        all_samplers=known,
        all_samplers_map={sampler.name: sampler for sampler in known},
        samplers=[],
        samplers_for_img2img=[],
        samplers_map={},
        samplers_hidden={},
        create_sampler=create_sampler,
        find_sampler_config=find_sampler_config,
        fix_p_invalid_sampler_and_scheduler=fix_p_invalid_sampler_and_scheduler,
        get_hr_sampler_and_scheduler=get_hr_sampler_and_scheduler,
        get_hr_sampler_from_infotext=get_hr_sampler_from_infotext,
        get_hr_scheduler_from_infotext=get_hr_scheduler_from_infotext,
        get_sampler_and_scheduler=get_sampler_and_scheduler,
        get_sampler_from_infotext=get_sampler_from_infotext,
        get_scheduler_from_infotext=get_scheduler_from_infotext,
        sample_to_image=sample_to_image,
        samples_to_image_grid=samples_to_image_grid,
        set_samplers=set_samplers,
        visible_sampler_names=visible_sampler_names,
        visible_samplers=visible_samplers,
    )
    return [registry, *family_modules(), schedulers_module()]
