"""`python -m tools.settings_table`: write the tables of settings and presets into the README, from the code itself."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib_fewstep.compare.settings import ComparisonSettings
from lib_fewstep.hires import HiResSettings
from lib_fewstep.options import Option, option_of
from lib_fewstep.sampling import FewStepSettings
from lib_fewstep.sampling.presets import PRESETS, Preset

README = Path(__file__).parents[1] / "README.md"
LONGEST = 100


def settings_table(settings: type[Any]) -> str:
    """One row a setting: label, name in the API, allowed values, default, help."""
    rows = ["| setting | name | allowed | default | |", "|---|---|---|---|---|"]
    for field in dataclasses.fields(settings):
        option = option_of(field)
        group = f" *({option.group})*" if option.group else ""
        default = _default(field.default, option)
        rows.append(f"| {option.label}{group} | `{field.name}` | {_allowed(option)} | {default} | {option.help} |")
    return "\n".join(rows) + "\n"


def presets_table() -> str:
    """One row a preset: its values, its limits, where they are from."""
    rows = ["| preset | sampler | schedule | steps | CFG | source |", "|---|---|---|---|---|---|"]
    return "\n".join([*rows, *map(_row, PRESETS.values())]) + "\n"


def _row(preset: Preset) -> str:
    schedule = ", ".join(map(str, preset.timesteps)) if preset.timesteps else preset.schedule
    gamma = "" if preset.gamma is None else f", gamma {preset.gamma:g}"
    steps = f"{preset.steps}" if preset.steps == preset.most_steps else f"{preset.steps} (up to {preset.most_steps})"
    source = f"[{preset.date}]({preset.source})"
    return f"| {preset.name} | {preset.sampler}{gamma} | {schedule} | {steps} | {preset.cfg:g} | {source} |"


TABLES: dict[str, Callable[[], str]] = {
    "settings": lambda: settings_table(HiResSettings),
    "comparison settings": lambda: settings_table(ComparisonSettings),
    "few-step settings": lambda: settings_table(FewStepSettings),
    "presets": presets_table,
}


def with_tables(text: str) -> str:
    """The README's text with the tables as they should be."""
    for name, table in TABLES.items():
        section = re.compile(rf"(<!-- {name}: [^\n]*-->\n)(.*?)(<!-- end of {name} -->)", re.DOTALL)
        content = table()
        text = section.sub(lambda found, content=content: found[1] + content + found[3], text)
    return text


def _allowed(option: Option) -> str:
    listed = option.allowed.replace('"', "").replace(" or ", ", ") if option.choices else option.allowed
    return listed if len(listed) <= LONGEST else "None, or a name of the table below"


def _default(value: object, option: Option) -> str:
    if value is None:
        return "none" if option.values else "preset's"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value) or "none"


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
