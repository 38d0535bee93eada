"""`pytest -p tools.quick_first`, in mutmut's folder: the files of tests that took least by its figures come first.

A change of the code ends its tests at the first that notices it, and mutmut names them in no order.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

FIGURES = Path("mutmut-stats.json")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests' files by their seconds; without figures, which the first run makes, nothing is sorted."""
    if not FIGURES.exists():
        return
    seconds: Counter[str] = Counter()
    for test, taken in json.loads(FIGURES.read_text(encoding="utf-8"))["duration_by_test"].items():
        seconds[_file_of(test)] += taken
    items.sort(key=lambda item: seconds[_file_of(item.nodeid)])


def _file_of(test: str) -> str:
    return test.partition("::")[0]
