"""`python -m tools.settings_table`: write the tables of settings and presets into the documents, from the code."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib_fewstep.compare.settings import ComparisonSettings
from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.highres import HighResSettings
from lib_fewstep.models import ModelSettings
from lib_fewstep.options import Option, option_of
from lib_fewstep.sampling import FewStepSettings
from lib_fewstep.sampling.presets import PRESETS, Preset
from lib_fewstep.sampling.settings import PriorSettings
from lib_fewstep.webui.common.page_settings import PageSettings

ROOT = Path(__file__).parents[1]
LONGEST = 100

Say = Callable[[str], str]
"""What a word or sentence is in the language of a page."""

_PRESETS_HEAD = "| preset | sampler | schedule or timesteps | steps | CFG | source, date |"

_TABLES_OWN_WORDS = {
    "| setting | name | allowed | default | |": "| 设置 | 名称 | 可取值 | 默认值 | |",
    _PRESETS_HEAD: "| 预设 | 采样器 | 调度类型或时间步 | 步数 | CFG | 出处、日期 |",
    "true or false": "true 或 false",
    "the preset's value": "由预设决定",
    "the preset's value, or else 0.3": "由预设决定，否则 0.3",  # noqa: RUF001
    "the model's usual size": "这类模型的常用尺寸",
    "the CFG slider's value": "CFG 滑块的值",
    "the first pass's CFG": "第一遍的 CFG",
    "none": "无",
    "None, or a name of the table below": "None，或下表中的名称",  # noqa: RUF001
    "a list of pictures in base64": "base64 图片的列表",
    "Images from which the statistics are computed.": "用来求统计量的图像。",
    "a file name": "文件名",
    "no limit": "不限制",
    "infinity": "无限",
    "{low:.12g} to {high:.12g}": "{low:.12g} 到 {high:.12g}",
    "{steps} (up to {most})": "{steps}（最多 {most}）",  # noqa: RUF001
}


def settings_table(settings: type[Any], say: Say, prefix: str = "") -> str:
    """One row a setting: label, name in the API (after `prefix`), allowed values, default, help."""
    rows = [say("| setting | name | allowed | default | |"), "|---|---|---|---|---|"]
    for field in dataclasses.fields(settings):
        option = option_of(field)
        label = f"{say(option.label)} *({option.group})*" if option.group else say(option.label)
        name, allowed, default = f"`{prefix}{field.name}`", _allowed(option, say), _default(field.default, option, say)
        rows.append(f"| {label} | {name} | {allowed} | {default} | {say(option.help)} |")
    return "\n".join(rows) + "\n"


def presets_table(say: Say) -> str:
    """One row a preset: its values, its limits, where they are from."""
    rows = [say(_PRESETS_HEAD), "|---|---|---|---|---|---|"]
    return "\n".join([*rows, *(_row(preset, say) for preset in PRESETS.values())]) + "\n"


def _row(preset: Preset, say: Say) -> str:
    schedule = ", ".join(map(str, preset.timesteps)) if preset.timesteps else preset.schedule
    gamma = "" if preset.gamma is None else f", gamma {preset.gamma:g}"
    limited = say("{steps} (up to {most})").format(steps=preset.steps, most=preset.most_steps)
    steps = f"{preset.steps}" if preset.steps == preset.most_steps else limited
    source = f"[{preset.date}]({preset.source})"
    return f"| {preset.name} | {preset.sampler}{gamma} | {schedule} | {steps} | {preset.cfg:g} | {source} |"


TABLES: dict[str, Callable[[Say], str]] = {
    "settings": lambda say: settings_table(HighResSettings, say),
    "comparison settings": lambda say: settings_table(ComparisonSettings, say),
    "few-step settings": lambda say: settings_table(FewStepSettings, say),
    "prior settings": lambda say: settings_table(PriorSettings, say),
    "guidance settings": lambda say: settings_table(GuidanceSettings, say),
    "model settings": lambda say: settings_table(ModelSettings, say),
    "webui settings": lambda say: settings_table(PageSettings, say, prefix="fewstep_"),
    "presets": presets_table,
}


def with_tables(text: str, say: Say) -> str:
    """A page's text with the tables as they should be."""
    for name, table in TABLES.items():
        section = re.compile(rf"(<!-- {name}: [^\n]*-->\n)(.*?)(<!-- end of {name} -->)", re.DOTALL)
        content = table(say)
        text = section.sub(lambda found, content=content: found[1] + content + found[3], text)
    return text


def chinese() -> Say:
    """Chinese, with the words of the page; what has none there, such as names, stays."""
    words = json.loads((ROOT / "localizations" / "zh_CN.json").read_text(encoding="utf-8"))
    return lambda text: {**words, **_TABLES_OWN_WORDS}.get(text, text)


PAGES: dict[Path, Callable[[], Say]] = {
    ROOT / "docs/settings.md": lambda: str,
    ROOT / "docs/settings.zh-CN.md": chinese,
}
"""The pages that have the tables, each with its language."""


def _allowed(option: Option, say: Say) -> str:
    if option.low is not None and option.high is not None and not option.values:
        return say("{low:.12g} to {high:.12g}").format(low=option.low, high=option.high)
    listed = ", ".join(option.choices) or say(option.allowed)
    return listed if len(listed) <= LONGEST else say("None, or a name of the table below")


def _default(value: object, option: Option, say: Say) -> str:
    if value is None:
        return say("none" if option.values else option.unset)
    if isinstance(value, bool):
        return str(value).lower()
    return (", ".join(map(str, value)) if isinstance(value, tuple) else str(value)) or say("none")


if __name__ == "__main__":
    for page, language in PAGES.items():
        page.write_text(with_tables(page.read_text(encoding="utf-8"), language()), encoding="utf-8")
