"""What every test against a running WebUI leaves behind: nothing."""

from __future__ import annotations

import pytest

from tests.live.client import generate, same


@pytest.fixture(scope="module")
def plain():
    return generate()[0]


@pytest.fixture(autouse=True)
def nothing_is_left_behind(plain):
    """After every test, the plain image is the one from the start."""
    yield
    assert same(generate()[0], plain)
