"""Feature maps at other sizes: torch's own interpolation, in every precision."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from lib_fewstep.highres.methods.deep_shrink import SCALERS
from lib_fewstep.highres.resize import resize


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", SCALERS)
def test_it_is_the_interpolation_of_that_name(mode, dtype):
    """Of which no two are alike here."""
    h, size = torch.randn(1, 2, 5, 7, generator=torch.Generator().manual_seed(0)).to(dtype), (8, 3)
    resized = resize(h, size, mode)
    assert torch.equal(resized, functional.interpolate(h.float(), size=size, mode=mode).to(dtype))
    assert resized.dtype == dtype
    others = [functional.interpolate(h.float(), size=size, mode=other) for other in SCALERS if other != mode]
    assert not any(torch.equal(resized, other.to(dtype)) for other in others)
    assert resize(h, (5, 7), mode) is h
