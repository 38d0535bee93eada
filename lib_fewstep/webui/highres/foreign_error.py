"""Errors of other extensions, which may not work on feature maps of another size."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
_HOST = ("modules", "ldm", "sgm", "k_diffusion", "lib_fewstep")
_LORA = "Lora"
"""The WebUI's own extension, through whose functions every layer is called."""
_NO_WRONG_SIZE = ("out of memory", "not enough memory", "ALLOC_FAILED", "CUDA error")
_FOLDERS = ("extensions", "extensions-builtin")


def sentence_on(error: Exception, method: str) -> str | None:
    """Who failed, while `method` was at work; None if the error is not another extension's.

    Whose it is, the innermost code tells that is no library's: torch raises what its caller is to blame for.
    """
    if not isinstance(error, (RuntimeError, ValueError, IndexError, AssertionError)) or _no_wrong_size(error):
        return None
    extension = _extension(error)
    if extension is None:
        return None
    return (
        f"{extension} of another extension cannot work on the feature maps that {method} changes "
        f"({type(error).__name__}: {str(error)[:200]})."
    )


def _extension(error: Exception) -> str | None:
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        module, path = str(frame.f_globals.get("__name__", "")), Path(frame.f_code.co_filename)
        if module.split(".", maxsplit=1)[0] in _HOST:
            return None
        if not str(path).startswith(_LIBRARIES) and _LORA not in path.parts:
            return _name(module, path)
    return None


def _name(module: str, path: Path) -> str:
    """The file within its extension's folder where there is one, else the module."""
    for folder in path.parents:
        if folder.parent.name in _FOLDERS:
            return str(path.relative_to(folder.parent))
    return module


def _no_wrong_size(error: Exception) -> bool:
    """Memory, the device, a recursion or something that is not there."""
    kinds = isinstance(error, (RecursionError, NotImplementedError)) or "OutOfMemory" in type(error).__name__
    return kinds or any(words in str(error) for words in _NO_WRONG_SIZE)
