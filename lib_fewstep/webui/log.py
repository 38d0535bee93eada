"""The extension's log: one line per pass, visible at the WebUI's default log level."""

from __future__ import annotations

import logging

log = logging.getLogger("fewstep")


def show_log() -> None:
    """Show the log whatever the WebUI does with its own, and once."""
    log.setLevel(logging.INFO)
    log.propagate = False
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("[Few-Step] %(message)s"))
        log.addHandler(handler)
