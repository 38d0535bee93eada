"""The host's options: our section of the settings page, the page's language, folders."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from modules import localization, paths, paths_internal, shared

from lib_fewstep.options import SettingError
from lib_fewstep.webui.common.log import log
from lib_fewstep.webui.common.page_settings import PageSettings


def setting_key(name: str) -> str:
    """What the WebUI calls a setting of ours."""
    return f"fewstep_{name}"


def setting(name: str) -> Any:
    """The value of a setting of ours (see `PageSettings`). Raises SettingError for one that is not allowed."""
    value = getattr(shared.opts, setting_key(name))
    try:
        PageSettings(**{name: value})
    except SettingError as error:
        raise SettingError(setting_key(str(error))) from None
    return value


def setting_shown(name: str) -> Any:
    """The same for the page, which shows the default in the place of a value that is not allowed."""
    try:
        return setting(name)
    except SettingError as error:
        default = getattr(PageSettings(), name)
        log.warning("%s Until it is corrected, %s is used.", error, default)
        return default


def sdxl_crop() -> tuple[int, int]:
    """What the settings have SDXL believe to be cut off of the picture, (top, left)."""
    return int(shared.opts.sdxl_crop_top), int(shared.opts.sdxl_crop_left)


def dictionary() -> dict[str, str]:
    """The translations into the language that the page is shown in, by English text; empty for English."""
    name = shared.opts.localization
    files = localization.localizations.get(name, ()) if isinstance(name, str) else ()
    return _dictionary(tuple(files))


@functools.cache
def _dictionary(paths: tuple[str, ...]) -> dict[str, str]:
    return {text: translation for path in paths for text, translation in _translations(Path(path)).items()}


def _translations(path: Path) -> dict[str, str]:
    """The texts of a language's file and their translations; none where the WebUI reports that it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    entries = content.items() if isinstance(content, dict) else ()
    return {text: translation for text, translation in entries if translation and isinstance(translation, str)}


def prior_folder() -> Path:
    """Where the statistics of priors are kept."""
    return Path(paths.models_path) / "FewStep"


def prompt_folder() -> Path:
    """Where prompt sets are kept."""
    return prior_folder() / "prompts"


def output_folder() -> Path:
    """Where the WebUI keeps what it makes."""
    return Path(paths_internal.default_output_dir)


def previews_negative() -> bool:
    """Whether the live preview shows the image of the negative prompt."""
    return bool(shared.opts.live_preview_content == "Negative prompt")
