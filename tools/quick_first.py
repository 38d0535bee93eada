"""`pytest -p tools.quick_first`, in mutmut's folder: tests that take little or notice much come first.

A change of the code ends its tests at the first that notices it, and mutmut names them in no order.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

FIGURES = Path("mutmut-stats.json")
QUICK = 1.0
TELLING = {
    "test_by_hand[sd1_unet-3-changes0]",
    "test_raunet_in_the_lower_band[SD1-size0-special0]",
    "test_windows_with_the_same_shifts[True-size1-SD1]",
    "test_restored_after_an_interrupt_at_a_step[3-everything-SD1]",
}
"""Whole evaluations, each of a second at most, that go through nearly everything."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take less than `QUICK` seconds, then the `TELLING` tests, then the other files by their seconds.

    Without figures, which the first run makes, nothing is sorted.
    """
    if not FIGURES.exists():
        return
    seconds: Counter[str] = Counter()
    for test, taken in json.loads(FIGURES.read_text(encoding="utf-8"))["duration_by_test"].items():
        seconds[_file_of(test)] += taken

    def order(item: pytest.Item) -> tuple[bool, float]:
        taken = seconds[_file_of(item.nodeid)]
        return taken > QUICK and item.name not in TELLING, taken

    items.sort(key=order)


def _file_of(test: str) -> str:
    return test.partition("::")[0]
