"""The settings of a comparison, and the cells that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lib_fewstep.compare.prompts import MOST_CFG, MOST_STEPS, Prompt
from lib_fewstep.options import SettingError, check, from_mapping, option, options_of, shown

AS_SET = "As set"
NO_METHOD = "None"
LISTS = ("steps", "cfg", "samplers", "methods")
MOST_CELLS = 10000


@dataclass(frozen=True)
class ComparisonSettings:
    """What is compared with what: every value of one axis with every value of the others, on the same seeds.

    Every value is checked on construction; SettingError (a ValueError) names the setting, its value and what is
    allowed. That samplers and methods exist is for the caller to check.
    """

    steps: tuple[int, ...] = option(
        (1, 2, 4, 8),
        "Steps",
        "Numbers of steps to compare.",
        "Comparison steps",
        values=f"whole numbers from 1 to {MOST_STEPS}",
    )
    cfg: tuple[float, ...] = option(
        (7.0,), "CFG", "CFG values to compare.", "Comparison CFG", values=f"numbers from 0 to {MOST_CFG}"
    )
    samplers: tuple[str, ...] = option(
        ("Euler", "Euler CFG++"),
        "Samplers",
        "Sampling methods to compare.",
        "Comparison samplers",
        values="names of samplers",
    )
    methods: tuple[str, ...] = option(
        (AS_SET,),
        "Methods",
        "Methods for large images to compare. The reference images use the first one. As set means the settings of "
        "the HiDiffusion accordion.",
        "Comparison methods",
        values=f"{AS_SET}, {NO_METHOD}, or methods of the HiDiffusion accordion",
    )
    seeds: int = option(
        1,
        "Seeds",
        "How many seeds to use: the image's own seed, the next number, and so on.",
        "Comparison seeds",
        low=1,
        high=1000,
        step=1,
    )
    reference_sampler: str = option(
        "DPM++ 2M",
        "Reference sampler",
        "Makes the reference image for each prompt, seed and CFG.",
        "Comparison reference sampler",
        values="the name of a sampler",
    )
    reference_steps: int = option(
        50,
        "Reference steps",
        "Number of steps of the reference images.",
        "Comparison reference steps",
        low=1,
        high=MOST_STEPS,
        step=1,
    )
    strips: bool = option(
        False, "Strips", "Also shows the predicted image after each step, for each cell.", "Comparison strips"
    )
    images: bool = option(False, "Images", "Also returns the image of each cell in full size.", "Comparison images")
    prompts: str = option(
        "",
        "Prompt set",
        "A text, TSV, CSV or Parquet file in models/FewStep/prompts. Its prompts are used instead of the prompt field.",
        "Comparison prompts",
        values="the name of a file",
        blank="None",
    )
    prompt_limit: int = option(
        8, "Prompt limit", "How many prompts of the set are used.", "Comparison prompt limit", low=1, high=10000, step=1
    )
    prompt_seed: int = option(
        0,
        "Prompt seed",
        "Seed that decides which prompts of the set are used.",
        "Comparison prompt seed",
        low=0,
        high=2**32 - 1,
        step=1,
    )

    def __post_init__(self) -> None:
        """Raise SettingError for the first value that is not allowed."""
        check(self)
        _check_list("steps", self.steps, int, lambda value: 1 <= value <= MOST_STEPS)
        _check_list("cfg", self.cfg, (int, float), lambda value: 0 <= value <= MOST_CFG)
        _check_list("samplers", self.samplers, str, bool)
        _check_list("methods", self.methods, str, bool)

    @classmethod
    def from_dict(cls, values: object) -> ComparisonSettings:
        """Settings from a dict of names and values, lists for the axes; unknown names are refused."""
        return from_mapping(cls, values, {name: _reader(name) for name in LISTS})


@dataclass(frozen=True)
class Cell:
    """One image of a comparison."""

    prompt: str
    seed: int
    method: str
    sampler: str
    cfg: float
    steps: int
    reference: bool = False

    @property
    def measured_against(self) -> tuple[str, int, float]:
        """What it has in common with its reference: prompt, seed and CFG."""
        return self.prompt, self.seed, self.cfg


def cells(settings: ComparisonSettings, prompts: Sequence[Prompt], seed: int, most: int = MOST_CELLS) -> list[Cell]:
    """All images of a comparison, each once; after each reference those that are measured against it.

    A prompt with a seed of its own counts from that instead of from `seed`. Raises SettingError for more than `most`.
    """
    _check_number(settings, len(prompts), most)
    wanted = (
        cell
        for prompt in prompts
        for index in range(settings.seeds)
        for cfg in settings.cfg
        for cell in _group(settings, prompt.text, (seed if prompt.seed is None else prompt.seed) + index, cfg)
    )
    return list(dict.fromkeys(wanted))


def _check_number(settings: ComparisonSettings, prompts: int, most: int) -> None:
    references = prompts * settings.seeds * len(settings.cfg)
    images = references * (1 + len(settings.methods) * len(settings.samplers) * len(settings.steps))
    if images > most:
        raise SettingError(f"{images} images (including the references) are not allowed: there must be at most {most}.")


def _group(settings: ComparisonSettings, prompt: str, seed: int, cfg: float) -> Iterator[Cell]:
    """One reference and the cells that share its prompt, seed and CFG."""
    reference = settings.reference_sampler, cfg, settings.reference_steps
    yield Cell(prompt, seed, settings.methods[0], *reference, reference=True)
    for method in settings.methods:
        for sampler in settings.samplers:
            for steps in settings.steps:
                yield Cell(prompt, seed, method, sampler, cfg, steps)


def _check_list(name: str, values: Any, kind: Any, good: Callable[[Any], bool]) -> None:
    allowed = _allowed(name)
    if not isinstance(values, tuple) or not values:
        raise SettingError(
            f"{name} = {shown(values)} is not allowed: it must be a list of {allowed}, with at least one entry."
        )
    for value in values:
        if not isinstance(value, kind) or isinstance(value, bool) or not good(value):
            raise SettingError(f"{name} = {shown(value)} is not allowed: it must be {allowed}.")
    if len(set(values)) < len(values):
        raise SettingError(f"{name} = {shown(values)} is not allowed: it must have each value only once.")


def _allowed(name: str) -> str:
    """What a list of the settings may hold, in words."""
    return options_of(ComparisonSettings)[name].allowed


def _reader(name: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {name: tuple(value) if isinstance(value, list | tuple) else (value,)}
