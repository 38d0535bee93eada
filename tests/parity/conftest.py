"""These tests are for a newer diffusers than the reference of HiDiffusion runs on: `make parity` puts it before it."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import torch

collect_ignore_glob = [] if version("diffusers").startswith("0.35.") else ["test_*.py"]


@pytest.fixture(autouse=True)
def _double():
    """diffusers draws the weights of its blurs in torch's default precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
