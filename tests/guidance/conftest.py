"""An attention for the tests of what is changed or seen inside of one."""

from __future__ import annotations

import pytest
import torch
from ldm.modules.attention import CrossAttention

WIDTH, HEADS = 32, 4


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return CrossAttention(WIDTH, heads=HEADS, dim_head=WIDTH // HEADS).double().eval()
