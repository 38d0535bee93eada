"""The extension's log: one line per pass, visible at the WebUI's default log level."""

from __future__ import annotations

import logging
from collections.abc import Callable

from lib_fewstep.options import on_one_line

log = logging.getLogger("fewstep")
LEVELS = {"All": logging.INFO, "Warnings": logging.WARNING, "None": logging.CRITICAL}
"""The least level of what the console shows, by the name of the choice in the settings."""


class Line(logging.Formatter):
    """A record as one line: what a prompt, a file or an error brings along cannot start another one."""

    def format(self, record: logging.LogRecord) -> str:
        """The extension's name and the message."""
        return on_one_line(f"[Few-Step] {record.getMessage()}")


def show_log(choice: Callable[[], object]) -> None:
    """Show in the console what `choice` says at that moment, whatever the WebUI does with its own log, and once."""
    log.setLevel(logging.INFO)
    log.propagate = False
    for earlier in [handler for handler in log.handlers if handler.name == log.name]:
        log.removeHandler(earlier)
    handler = logging.StreamHandler()
    handler.name = log.name
    handler.setFormatter(Line())
    handler.addFilter(lambda record: record.levelno >= LEVELS.get(str(choice()), logging.INFO))
    log.addHandler(handler)
