"""Where prompt sets come from: files of the WebUI's folder models/FewStep/prompts."""

from __future__ import annotations

import re
from pathlib import Path

from lib_fewstep.compare.prompts import ENDINGS, Prompt, read_prompts
from lib_fewstep.options import SettingError, shown
from lib_fewstep.sampling.settings import is_file_name
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.refusal import Refusal

FOLDER = "models/FewStep/prompts"
_NUMBER = re.compile(r"[0-9]{1,9}")


def saved_prompts() -> list[str]:
    """The names of the prompt files that there are."""
    paths = host.options.prompt_folder().glob("*")
    return sorted(path.name for path in paths if path.suffix.lower() in ENDINGS and _is_plain(path))


def prompt_set(name: str, limit: int | None, seed: int) -> list[Prompt]:
    """At most `limit` prompts of a file of the folder, chosen by a seed. Raises SettingError."""
    path = host.options.prompt_folder() / name
    if path.name != name or not _is_plain(path):
        raise SettingError(
            f"prompts = {shown(name)} is not allowed: it must be the name of a file in {FOLDER}, not of a link."
        )
    try:
        return read_prompts(path, limit, seed)
    except SettingError as refusal:  # who asks over the network need not know where the WebUI lies
        raise SettingError(str(refusal).replace(str(path), f"{FOLDER}/{name}")) from None


def prompts_from(text: str) -> list[Prompt]:
    """The prompts of a plot's axis, such as "partiprompts.tsv, 8, 0": file, limit and seed. Raises Refusal."""
    try:
        return prompt_set(*_parts(text))
    except SettingError as refusal:
        raise Refusal(f"[Few-Step] Prompts: {refusal}") from refusal


def _is_plain(path: Path) -> bool:
    """Whether a path of the folder is no link and has a plain name."""
    return is_file_name(path.name) and not path.is_symlink()


def _parts(text: str) -> tuple[str, int | None, int]:
    name, *numbers = [part.strip() for part in text.split(",")]
    if len(numbers) > 2 or not all(_NUMBER.fullmatch(number) for number in numbers):
        raise SettingError(f"{shown(text)} is not allowed: it must be the name of a file, a limit and a seed.")
    limit, seed = [*map(int, numbers), None, None][:2]
    return name, limit, seed or 0
