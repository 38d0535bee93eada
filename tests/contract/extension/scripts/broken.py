"""A script that does not load."""

# ruff: noqa: INP001  (the host executes each file)

from modules import nothing_of_the_kind  # noqa: F401
