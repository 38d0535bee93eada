"""Whether this host is the WebUI 1.10; the only module of this folder that any host can import."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys

from lib_fewstep.webui.common.log import log

_FIRST_OF_1_10 = "process_before_every_sampling"

OTHER_HOSTS = {"modules_forge.forge_version": "Forge or a fork of it", "modules.processing_diffusers": "SD.Next"}
"""Hosts that also load the WebUI's extensions, by a module that only they have."""

NEEDED = ("infotext_utils", "processing", "scripts", "sd_samplers_kdiffusion", "sd_schedulers", "ui_components")
"""Modules of the WebUI 1.10; an older version or another program lacks at least one of them."""


@functools.cache
def supported() -> bool:
    """Whether this is the WebUI 1.10.x; if it is not, one line says so, once, and nothing else may be imported."""
    other = _other_host()
    if other is not None:
        log.warning(
            "HiDiffusion and Few-Step do nothing here: they need the AUTOMATIC1111 WebUI 1.10, and this is %s.", other
        )
    return other is None


def _other_host() -> str | None:
    """What this host is where it is not the WebUI 1.10.x, whose scripts were the first with a hook for each pass."""
    for module, name in OTHER_HOSTS.items():
        if _exists(module):
            return name
    if not all(_exists(f"modules.{module}") for module in NEEDED):
        return "an older version or another program"
    script = importlib.import_module("modules.scripts").Script
    return None if hasattr(script, _FIRST_OF_1_10) else "an older version"


def _exists(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    if sys.modules.get(module) is not None:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor its package
        return False
