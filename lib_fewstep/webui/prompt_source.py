"""Where prompt sets come from: files of the WebUI's folder models/FewStep/prompts."""

from __future__ import annotations

import csv
import re

from lib_fewstep.compare.prompts import Prompt, read_prompts
from lib_fewstep.options import SettingError, shown
from lib_fewstep.webui import host
from lib_fewstep.webui.refusal import Refusal

ENDINGS = (".txt", ".tsv", ".csv", ".parquet")
_FILE_NAME = re.compile(r"\w[\w .\-]{0,99}")


def saved_prompts() -> list[str]:
    """The names of the prompt files that there are."""
    return sorted(path.name for path in host.prompt_folder().glob("*") if path.suffix.lower() in ENDINGS)


def prompt_set(name: str, limit: int | None, seed: int) -> list[Prompt]:
    """At most `limit` prompts of a file of the folder, chosen by a seed. Raises SettingError."""
    path = host.prompt_folder() / name
    if not _FILE_NAME.fullmatch(name):
        raise SettingError(f"prompts = {shown(name)} is not allowed: it must be the name of a file in {path.parent}.")
    if path.is_symlink():
        raise SettingError(f"prompts = {name} is not allowed: it must be a file, not a link.")
    return read_prompts(path, limit, seed)


def prompts_from(text: str) -> list[Prompt]:
    """The prompts of a plot's axis, such as "partiprompts.tsv, 8, 0": file, limit and seed. Raises Refusal."""
    try:
        return prompt_set(*_parts(text))
    except SettingError as refusal:
        raise Refusal(f"[Few-Step] Prompts: {refusal}") from refusal


def _parts(text: str) -> tuple[str, int | None, int]:
    name, *numbers = [part.strip() for part in next(csv.reader([text], skipinitialspace=True), [])] or [""]
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise SettingError(f"{shown(text)} is not allowed: it must be a file's name, a limit and a seed.")
    limit, seed = [*map(int, numbers), None, None][:2]
    return name, limit, seed or 0
