"""The sampler of rectified flows, beside steps by hand."""

from __future__ import annotations

import pytest
import torch

from lib_fewstep.sampling import sample_rectified_flow


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("start", [1.0, 0.6])
def test_it_steps_evenly_along_the_velocity(steps, start):
    """x += F(x, sigma) * start / n, whatever the schedule between its ends."""

    def velocity(x, sigma):
        return torch.sin(3 * x) + sigma

    def model(x, sigma, **_):
        return x + sigma.reshape(-1, 1, 1, 1) * velocity(x, sigma.reshape(-1, 1, 1, 1))

    x = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigmas = torch.cat([start * torch.linspace(1, 0, steps, dtype=torch.float64) ** 3, torch.zeros(1)])
    sigmas[0], seen = start, []
    found = sample_rectified_flow(model, x, sigmas, callback=seen.append, disable=True)
    wanted = x
    for step in range(steps):
        wanted = wanted + velocity(wanted, start * (1 - step / steps)) * start / steps
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    assert [float(each["sigma"]) for each in seen] == pytest.approx([start * (1 - i / steps) for i in range(steps)])
