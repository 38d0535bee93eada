"""Guidance inside of attention, beside attention that is written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ldm.modules.attention import CrossAttention
from scipy import ndimage

from lib_fewstep.guidance.attention import against, blurred_queries, values_alone
from lib_fewstep.guidance.nag import nag
from tests.guidance.conftest import HEADS, WIDTH

SIZE = (4, 6)
TOKENS = 24


@pytest.fixture
def x():
    return torch.randn(3, TOKENS, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def middle(count):
    """Of three rows the second, of another number none."""
    return torch.arange(count) == 1 if count == 3 else torch.zeros(count, dtype=torch.bool)


def nobody(count):
    return torch.zeros(count, dtype=torch.bool)


def before_out(attention, x, context=None, queries=None):
    """Softmax attention by its definition, before `to_out`."""
    context = x if context is None else context
    q = attention.to_q(x) if queries is None else queries
    q, k, v = (
        one.unflatten(2, (HEADS, -1)).transpose(1, 2) for one in (q, attention.to_k(context), attention.to_v(context))
    )
    shares = (q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5).softmax(-1)
    return (shares @ v).transpose(1, 2).flatten(2)


def whole(attention, x, **given):
    return attention.to_out(before_out(attention, x, **given))


def test_attention_is_what_is_written_out(attention, x):
    torch.testing.assert_close(attention(x), whole(attention, x))


def test_perturbed_attention_is_the_values_alone(attention, x):
    with values_alone(attention, middle):
        found = attention(x)
    wanted = whole(attention, x)
    wanted[1] = attention.to_out(attention.to_v(x[1]))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 1.5, math.inf])
def test_queries_are_blurred_over_the_map(attention, x, sigma):
    with blurred_queries(attention, middle, sigma, lambda tokens: SIZE):
        found = attention(x)
    queries = attention.to_q(x)
    mapped = queries[1].detach().numpy().reshape(*SIZE, WIDTH)
    if math.isinf(sigma):
        blurred = np.broadcast_to(mapped.mean((0, 1)), mapped.shape)
    else:
        blurred = mapped
        for axis, length in enumerate(SIZE):
            radius = min(math.ceil(6 * sigma) // 2, length - 1)
            blurred = ndimage.gaussian_filter1d(blurred, sigma, axis=axis, radius=radius, mode="mirror")
    queries = queries.clone()
    queries[1] = torch.from_numpy(np.ascontiguousarray(blurred)).reshape(TOKENS, WIDTH)
    torch.testing.assert_close(found, whole(attention, x, queries=queries))


@pytest.mark.parametrize("tokens", [7, 11, 77])
def test_nag_is_made_of_two_outputs(attention, x, tokens):
    """The negative prompt is shorter or longer than the prompt."""
    context, negative = (
        torch.randn(3, 11, WIDTH, dtype=torch.float64),
        torch.randn(1, tokens, WIDTH, dtype=torch.float64),
    )
    with against(attention, middle, lambda: negative, 2.0, 2.5, 0.5):
        found = attention(x, context=context)
    wanted = before_out(attention, x, context)
    wanted[1] = nag(wanted[1], before_out(attention, x[1:2], negative)[0], 2.0, 2.5, 0.5)
    torch.testing.assert_close(found, attention.to_out(wanted))


CONTEXTS = {
    "PAG": values_alone,
    "SEG": lambda attention, rows: blurred_queries(attention, rows, 1.0, lambda tokens: SIZE),
    "NAG": lambda attention, rows: against(attention, rows, lambda: torch.zeros(1, 5, WIDTH).double(), 2, 2.5, 0.5),
}
each_context = pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)


@each_context
def test_other_rows_are_bit_identical(attention, x, context):
    plain = attention(x)
    with context(attention, nobody):
        assert torch.equal(attention(x), plain)
    with context(attention, middle):
        assert torch.equal(attention(x)[[0, 2]], plain[[0, 2]])
        assert not torch.equal(attention(x)[1], plain[1])


@each_context
def test_nothing_stays(attention, x, context):
    plain, before = attention(x), dict(vars(attention))
    with pytest.raises(KeyError), context(attention, middle):
        raise KeyError
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in attention.modules())
    assert vars(attention).keys() == before.keys()
    assert torch.equal(attention(x), plain)


@each_context
def test_a_forward_that_calls_the_layers_of_to_out_by_themselves(attention, x, context, monkeypatch):
    """As the WebUI's does for some of its optimisations."""

    def forward(self, x, context=None, mask=None):
        return self.to_out[1](self.to_out[0](before_out(self, x, context)))

    with context(attention, middle):
        wanted = attention(x)
    monkeypatch.setattr(CrossAttention, "forward", forward)
    with context(attention, middle):
        torch.testing.assert_close(attention(x), wanted)
