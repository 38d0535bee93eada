"""`python -m tools.settings_table`: write the table of settings into the README, from the settings themselves."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from lib_fewstep.hires import HiResSettings
from lib_fewstep.options import Option, option_of

README = Path(__file__).parents[1] / "README.md"
SECTION = re.compile(r"(<!-- settings: [^\n]*-->\n)(.*?)(<!-- end of settings -->)", re.DOTALL)


def table() -> str:
    """One row a setting: label, name in the API, allowed values, default, help."""
    rows = ["| setting | name | allowed | default | |", "|---|---|---|---|---|"]
    for field in dataclasses.fields(HiResSettings):
        option = option_of(field)
        default = "preset's" if field.default is None else _shown(field.default)
        group = f" *({option.group})*" if option.group else ""
        rows.append(f"| {option.label}{group} | `{field.name}` | {_allowed(option)} | {default} | {option.help} |")
    return "\n".join(rows) + "\n"


def with_table(text: str) -> str:
    """The README's text with the table as it should be."""
    return SECTION.sub(lambda found: found[1] + table() + found[3], text)


def _allowed(option: Option) -> str:
    return option.allowed.replace('"', "").replace(" or ", ", ") if option.choices else option.allowed


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
