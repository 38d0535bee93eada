"""Windows: an exact partition, and attention inside them alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ldm.modules.attention import CrossAttention

from lib_fewstep.highres.windows import SHIFTS, merge, partition, shift_of, windowed

sides = st.integers(1, 19)


@given(height=sides, width=sides, batch=st.integers(1, 3), shift=st.integers(0, SHIFTS - 1))
def test_merge_undoes_partition(height, width, batch, shift):
    tokens = torch.arange(batch * height * width * 2, dtype=torch.float32).reshape(batch, height * width, 2)
    windows = partition(tokens, (height, width), shift)
    assert windows.shape == (4 * batch, ((height + 1) // 2) * ((width + 1) // 2), 2)
    assert torch.equal(merge(windows, (height, width), shift), tokens)


@given(half_height=st.integers(1, 9), half_width=st.integers(1, 9), shift=st.integers(0, SHIFTS - 1))
def test_even_windows_hold_every_token_once(half_height, half_width, shift):
    size = (2 * half_height, 2 * half_width)
    tokens = torch.arange(size[0] * size[1]).reshape(1, -1, 1)
    assert torch.equal(partition(tokens, size, shift).flatten().sort().values, tokens.flatten())


def test_a_window_is_a_connected_patch_of_the_rolled_grid():
    """By hand: 8 rows of 4 tokens, shift 2; windows are 4x2, so the roll is 2 down and 0 to the right."""
    tokens = torch.arange(32).reshape(1, 32, 1)
    first = partition(tokens, (8, 4), 2)[0].flatten().tolist()
    assert first == [8, 9, 12, 13, 16, 17, 20, 21]


def test_a_flat_map_is_not_rolled():
    """As in the reference: 4 rows of 8 tokens have windows of 2 rows, too few for a quarter."""
    tokens = torch.arange(32).reshape(1, 32, 1)
    assert partition(tokens, (4, 8), 2)[0].flatten().tolist() == [0, 1, 2, 3, 8, 9, 10, 11]


def test_an_odd_last_column_is_repeated():
    """By hand: 2x3 tokens become 2x4 with the last column twice."""
    windows = partition(torch.arange(6).reshape(1, 6, 1), (2, 3), 0)
    assert windows.reshape(4, 2).tolist() == [[0, 1], [2, 2], [3, 4], [5, 5]]


def test_every_block_takes_every_shift_in_turn():
    for block in range(10):
        assert {shift_of(step, block) for step in range(SHIFTS)} == set(range(SHIFTS))
        assert all(shift_of(step, block) != shift_of(step, block + 1) for step in range(SHIFTS))


class Attention(CrossAttention):
    """Takes more than the one of the original implementation, as that of SDXL's does."""

    def forward(self, x, context=None, mask=None, bias=0.0, times=0):
        return super().forward(x, context, mask) + torch.as_tensor(bias) + times


GIVEN = {"context": torch.ones(1, 5, 8), "mask": torch.ones(1, 16) > 0, "bias": np.arange(8), "times": 2}


@pytest.mark.parametrize("name", GIVEN)
def test_attention_that_looks_at_something_else_is_left_alone(name):
    """What it would see is no window; who gave it is told of in a line."""
    attention, tokens, notes = Attention(8, heads=1, dim_head=8), torch.randn(1, 16, 8), []
    given = {name: GIVEN[name]}
    alone = attention(tokens, **given)
    with windowed([(attention, 1)], (4, 4), notes.append):
        assert torch.equal(attention(tokens, **given), alone)
        assert not torch.equal(attention(tokens), attention.forward(tokens))
    assert len(notes) == 1
    assert notes[0].startswith(
        "window attention left a block alone: another extension gives it other inputs than the tokens"
    )
    assert torch.equal(attention(tokens), attention.forward(tokens))


def test_attention_that_calls_its_tokens_otherwise_is_left_alone():
    class Renamed(CrossAttention):
        def forward(self, hidden_states):
            return super().forward(hidden_states)

    attention, tokens, notes = Renamed(8, heads=1, dim_head=8), torch.randn(1, 16, 8), []
    with windowed([(attention, 1)], (4, 4), notes.append):
        assert torch.equal(attention(hidden_states=tokens), attention.forward(tokens))
    assert len(notes) == 1


def test_tokens_that_are_not_those_of_the_map_are_left_alone():
    attention, tokens, notes = CrossAttention(8, heads=1, dim_head=8), torch.randn(1, 12, 8), []
    with windowed([(attention, 1)], (4, 4), notes.append):
        assert torch.equal(attention(tokens, context=None, mask=None), attention.forward(tokens))
    assert notes == [
        "window attention left a block alone: another extension gives it 12 tokens for a feature map of 4x4"
    ]
