"""The meter of a UNet, with a clock of the test's own, and on a CUDA device that the test plays."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lib_fewstep.compare import meter as meter_module
from lib_fewstep.compare.meter import Meter

CPU = torch.device("cpu")


class UNet(nn.Module):
    """Takes 2 seconds a call."""

    def __init__(self, clock, fails=False):
        super().__init__()
        self.clock, self.fails = clock, fails

    def forward(self, x, timesteps=None):
        self.clock.now += 2
        if self.fails:
            raise RuntimeError("out of memory")
        return x


class Clock:
    """Seconds that pass only when a test says so; also the device's, whose events it makes."""

    def __init__(self):
        self.now, self.log, self.allocated = 100.0, [], 0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(meter_module.time, "perf_counter", made.perf_counter)
    return made


def test_calls_rows_and_seconds_add_up(clock):
    unet, meter = UNet(clock), Meter(CPU)
    for rows in (2, 3):
        meter.start(unet)
        clock.now += 1
        unet(torch.zeros(rows, 4, 8, 8), torch.zeros(rows))
        unet(x=torch.zeros(1, 4, 8, 8))
        meter.stop()
        clock.now += 50
    assert (meter.unet_calls, meter.unet_rows) == (4, 7)
    assert (meter.unet_seconds, meter.seconds) == (8, 10)
    assert meter.peak_memory is None


def test_it_follows_another_unet_and_leaves_both_as_they_were(clock):
    first, second, meter = UNet(clock), UNet(clock), Meter(CPU)
    meter.start(first)
    meter.follow(second)
    first(torch.zeros(1, 4, 8, 8))
    second(torch.zeros(2, 4, 8, 8))
    assert not first._forward_hooks
    assert not first._forward_pre_hooks
    meter.stop()
    second(torch.zeros(2, 4, 8, 8))
    assert (meter.unet_calls, meter.unet_rows) == (1, 2)
    assert not second._forward_hooks
    assert not second._forward_pre_hooks


def test_a_call_that_fails_is_counted_but_has_no_seconds(clock):
    unet, meter = UNet(clock, fails=True), Meter(CPU)
    meter.start(unet)
    with pytest.raises(RuntimeError, match="out of memory"):
        unet(torch.zeros(1, 4, 8, 8))
    meter.stop()
    unet.fails = False
    meter.start(unet)
    unet(torch.zeros(1, 4, 8, 8))
    meter.stop()
    assert (meter.unet_calls, meter.unet_seconds, meter.seconds) == (2, 2, 4)


def test_without_a_unet_only_the_seconds_count(clock):
    meter = Meter(CPU)
    meter.start(None)
    clock.now += 3
    meter.stop()
    assert (meter.unet_calls, meter.seconds, meter.unet_seconds) == (0, 3, 0)


@pytest.fixture
def cuda(monkeypatch, clock):
    """A CUDA device whose events know the clock, and which logs who waits for it."""

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            self.at = clock.now
            clock.log.append("record")

        def synchronize(self):
            clock.log.append("wait")

        def elapsed_time(self, later):
            return 1000 * (later.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: clock.log.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: clock.allocated)
    return torch.device("cuda")


def test_on_cuda_nothing_waits_until_the_seconds_are_read(clock, cuda):
    unet, meter = UNet(clock), Meter(cuda)
    meter.start(unet)
    for _ in range(5):
        unet(torch.zeros(2, 4, 8, 8))
    meter.stop()
    assert clock.log == ["reset"] + ["record"] * 12
    assert (meter.seconds, meter.unet_seconds) == (10, 10)
    assert "wait" in clock.log


def test_on_cuda_the_peak_is_that_of_the_larger_pass(clock, cuda):
    meter = Meter(cuda)
    for clock.allocated in (5, 9, 7):
        meter.start(None)
        meter.stop()
    assert meter.peak_memory == 9
