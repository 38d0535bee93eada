"""The checkpoints, each loaded once."""

from __future__ import annotations

import pytest

from demo.compare import loaded
from demo.model.layouts import LAYOUTS


@pytest.fixture(scope="session")
def model():
    return loaded(LAYOUTS["sd15"])


@pytest.fixture(params=list(LAYOUTS.values()), ids=list(LAYOUTS), scope="session")
def layout(request):
    return request.param
