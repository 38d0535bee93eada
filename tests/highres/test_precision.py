"""The same decisions in every precision, and results within its rounding."""

from __future__ import annotations

import pytest
import torch

from lib_fewstep.highres import HighResSession, HighResSettings
from lib_fewstep.highres.resize import halve, resize
from tests.unets import (
    call,
    contexts,
    has_layers_in,
    in_precision,
    latents,
    sd1_unet,
    sdxl_unet,
    webui_cat,
)

STEPS = 4
SETTINGS = [{"t2": 0.5, "aggressive": False}, {"method": "Deep Shrink"}]


def run(unet, settings, x, context):
    """The output of each step with the method and without it, in float64, and the report."""
    active: list[torch.Tensor] = []
    with webui_cat(), HighResSession(unet, settings, tuple(x.shape[-2:]), STEPS) as session:
        for step in range(STEPS):
            session.at_step(step)
            active.append(call(unet, x, context, 900 - step).double())
        session.__exit__(None, None, None)
        plain = [call(unet, x, context, 900 - step).double() for step in range(STEPS)]
    return torch.stack(active), torch.stack(plain), session.report


@pytest.mark.parametrize("make", [sd1_unet, sdxl_unet])
@pytest.mark.parametrize("values", SETTINGS)
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [(16, 24), (21, 35)])
def test_half_precisions(make, values, precision, size):
    """The error against float32 stays at that of the plain model in the same precision.

    The sizes keep clear of a fault of torch 2.13 on the CPU, measured against float32: float16 convolutions with
    stride 2 on a width of 2, or stride 4 and dilation 2 on a width below 5, are wrong. Where torch has no layers of
    float16 on the CPU, as torch 2.1, the model does not run there, with a method or without.
    """
    settings = HighResSettings(preset="Paper", **values)
    x, context = latents(size).to(precision), contexts().to(precision)
    if not has_layers_in(precision):
        assert precision == torch.float16
        with pytest.raises(RuntimeError, match="not implemented for 'Half'"):
            call(in_precision(make(), precision), x, context)
        return
    exact, exact_plain, exact_report = run(make(), settings, x.float(), context.float())
    rounded, rounded_plain, report = run(in_precision(make(), precision), settings, x, context)
    plain_error = float((rounded_plain - exact_plain).std())
    assert 0 < plain_error < 0.1
    assert float((rounded - exact).std()) < 2 * plain_error
    assert str(report) == str(exact_report)
    assert report.active_steps == exact_report.active_steps


@pytest.mark.parametrize("values", SETTINGS)
def test_autocast(values):
    settings, x, context = HighResSettings(preset="Paper", **values), latents((17, 13)), contexts()
    exact, exact_plain, _ = run(sd1_unet(), settings, x, context)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, rounded_plain, _ = run(sd1_unet(), settings, x, context)
    plain_error = float((rounded_plain - exact_plain).std())
    assert 0 < plain_error < 0.1
    assert float((rounded - exact).std()) < 2 * plain_error


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear", "area", "nearest", "nearest-exact"])
def test_resize_keeps_the_precision(precision, mode):
    h = latents((9, 7)).to(precision)
    out = resize(h, (5, 12), mode)
    assert out.dtype == precision
    exact = torch.nn.functional.interpolate(h.double(), size=(5, 12), mode=mode)
    assert float((out.double() - exact).abs().max()) <= 16 * torch.finfo(precision).eps * float(exact.abs().max())


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (1, 5), (1, 1)])
def test_halving_is_torchs_pool_with_ceil_mode(size):
    h = latents(size).double()
    assert torch.allclose(halve(h), torch.nn.functional.avg_pool2d(h, 2, ceil_mode=True), rtol=0, atol=1e-15)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (1, 5)])
def test_halving_keeps_the_precision(precision, size):
    h = latents(size).to(precision)
    assert torch.equal(halve(h), halve(h.float()).to(precision))
    assert halve(h).dtype == precision


def test_tiling_pads_the_strided_convolution_around_the_edges():
    """The WebUI's "Tiling" makes convolutions circular; by hand, the same convolution on a wrapped input."""
    from lib_fewstep.highres.methods.hidiffusion import strided

    convolution = torch.nn.Conv2d(3, 3, 3, stride=2, padding=1, padding_mode="circular").double()
    h = latents((16, 16), channels=3).double()
    with torch.no_grad():
        out = convolution(strided(h))
        wrapped = torch.nn.functional.pad(h, (2, 2, 2, 2), mode="circular")
        expected = torch.nn.functional.conv2d(wrapped, convolution.weight, convolution.bias, stride=4, dilation=2)
    assert torch.allclose(out, expected)
