"""The checkpoint, loaded once."""

from __future__ import annotations

import pytest

from demo import checkpoint


@pytest.fixture(scope="session")
def model():
    return checkpoint.load()[0]
