"""Numbers of a command line."""

from __future__ import annotations

import argparse


def natural(text: str) -> int:
    """A whole number of at least 0. Raises argparse.ArgumentTypeError otherwise."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def positive(text: str) -> int:
    """A whole number of at least 1. Raises argparse.ArgumentTypeError otherwise."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
