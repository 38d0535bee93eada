"""The extension's log: one line per pass, visible at the WebUI's default log level."""

from __future__ import annotations

import logging

log = logging.getLogger("fewstep")


def show_log() -> None:
    """Let the log be seen where the WebUI has not set up logging itself."""
    log.setLevel(logging.INFO)
    if not log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("[Few-Step] %(message)s"))
        log.addHandler(handler)
