"""Step 2: each mask against the masks of torch and of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right, causal_upper_left
from torch.nn.attention.flex_attention import create_mask
from torch.nn.utils.rnn import pad_sequence
from transformers import masking_utils

from attn_examples import attention, causal_mask, padding_mask, sliding_window_mask
from tests.conftest import randn, same, says

SIZES = [(5, 7), (7, 5), (5, 5), (1, 7), (7, 1)]


def theirs(function: Any, L: int, S: int, offset: int) -> Tensor:
    """Make a mask by transformers' rule and torch's maker of masks."""
    shifted = masking_utils.add_offsets_to_mask_function(function, offset, 0)
    mask: Tensor = create_mask(shifted, None, None, L, S, device="cpu")
    return mask[0, 0]


@pytest.mark.parametrize(("L", "S"), SIZES)
def test_causal_mask_equals_transformers(L: int, S: int) -> None:
    rule = masking_utils.causal_mask_function
    assert torch.equal(causal_mask(L, S), theirs(rule, L, S, S - L))
    assert torch.equal(causal_mask(L, S, align="upper-left"), theirs(rule, L, S, 0))


@pytest.mark.parametrize(("L", "S"), [(5, 7), (5, 5), (1, 7)])
def test_causal_mask_equals_torch(L: int, S: int) -> None:
    query, key, value = randn(2, 3, L, 4), randn(2, 3, S, 4), randn(2, 3, S, 4)
    for mask, bias in [
        (causal_mask(L, S), causal_lower_right(L, S)),
        (causal_mask(L, S, align="upper-left"), causal_upper_left(L, S)),
    ]:
        ours, _ = attention(query, key, value, mask=mask)
        same(ours, F.scaled_dot_product_attention(query, key, value, bias))


def test_one_length_is_enough() -> None:
    assert torch.equal(causal_mask(5), torch.ones(5, 5).tril().bool())
    assert torch.equal(sliding_window_mask(5, None, 2), sliding_window_mask(5, 5, 2))


@pytest.mark.parametrize("window", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(("L", "S"), SIZES)
def test_sliding_window_mask_equals_transformers(L: int, S: int, window: int) -> None:
    rule = masking_utils.sliding_window_causal_mask_function(window)
    mask = sliding_window_mask(L, S, window)
    assert torch.equal(mask, theirs(rule, L, S, S - L))
    assert mask.sum(-1).max() <= window


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 10))
def test_a_window_is_a_piece_of_the_past(L: int, S: int, window: int) -> None:
    past, band = causal_mask(L, S), sliding_window_mask(L, S, window)
    assert past.shape == band.shape == (L, S)
    assert past.dtype == band.dtype == torch.bool
    assert torch.equal(band & past, band)
    assert torch.equal(sliding_window_mask(L, S, max(S, 1)), past)
    for i in range(L):
        assert int(past[i].sum()) == max(0, i + 1 + S - L)
        assert int(band[i].sum()) == min(window, max(0, i + 1 + S - L))


@pytest.mark.parametrize(
    "lengths",
    [[2, 7, 0], (2, 7, 0), torch.tensor([2, 7, 0]), torch.tensor([2, 7, 0], dtype=torch.uint16)],
)
def test_padding_mask_equals_torch(lengths: Any) -> None:
    padded = pad_sequence([torch.ones(n) for n in (2, 7, 0)], batch_first=True)
    mask = padding_mask(lengths, 7)
    assert torch.equal(mask, padded.bool().unsqueeze(1))


def test_padding_mask_hides_what_is_padded() -> None:
    query, key, value = randn(2, 5, 4), randn(2, 7, 4), randn(2, 7, 6)
    output, weights = attention(query, key, value, mask=padding_mask([3, 7], 7))
    short, short_weights = attention(query[0], key[0, :3], value[0, :3])
    same(output[0], short)
    same(weights[0], F.pad(short_weights, (0, 4)))


def test_empty_masks() -> None:
    assert causal_mask(0).shape == (0, 0)
    assert causal_mask(0, 3).shape == sliding_window_mask(0, 3, 1).shape == (0, 3)
    assert padding_mask([], 3).shape == padding_mask(torch.tensor([]), 3).shape == (0, 1, 3)
    assert padding_mask([0], 0).shape == (1, 1, 0)


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    size: Any = np.int64(3)
    assert torch.equal(causal_mask(size), causal_mask(3))
    counts: Any = np.array([1, 3])
    assert torch.equal(padding_mask(counts, size), padding_mask([1, 3], 3))


def test_masks_are_made_where_asked() -> None:
    assert causal_mask(3, device="meta").device.type == "meta"
    assert sliding_window_mask(3, 3, 1, device="meta").device.type == "meta"


@pytest.mark.parametrize(
    ("make", "arguments", "error", "sentence"),
    [
        (causal_mask, (-1,), ValueError, "query_len (-1) must be at least 0"),
        (causal_mask, (3, -2), ValueError, "key_len (-2) must be at least 0"),
        (causal_mask, (3.0,), TypeError, "query_len (3.0) must be a whole number"),
        (causal_mask, (True,), TypeError, "query_len (True) must be a whole number"),
        (causal_mask, (3, "5"), TypeError, "key_len ('5') must be a whole number"),
        (sliding_window_mask, (3, 3, 0), ValueError, "window (0) must be at least 1"),
        (sliding_window_mask, (3, 3, 1.5), TypeError, "window (1.5) must be a whole number"),
        (sliding_window_mask, (-1, 3, 1), ValueError, "query_len (-1) must be at least 0"),
        (sliding_window_mask, (3, -1, 1), ValueError, "key_len (-1) must be at least 0"),
        (padding_mask, ([1], -1), ValueError, "key_len (-1) must be at least 0"),
        (padding_mask, ([1], 2.0), TypeError, "key_len (2.0) must be a whole number"),
        *(
            (
                padding_mask,
                ([2, length], 3),
                ValueError,
                f"lengths holds {length}, which must be from 0 to key_len (3)",
            )
            for length in (4, -1)
        ),
        *(
            (
                padding_mask,
                (lengths, 3),
                ValueError,
                f"lengths has shape {shape} but must be one-dimensional, "
                f"one length for each sequence",
            )
            for lengths, shape in [(3, ()), ([[1, 2]], (1, 2)), (torch.zeros(0, 2), (0, 2))]
        ),
        *(
            (padding_mask, (lengths, 3), TypeError, f"lengths ({what}) must be whole numbers")
            for lengths, what in [
                ([1.0, 2.0], "torch.float32"),
                ([True], "torch.bool"),
                ([1j], "torch.complex64"),
                ("abc", "'abc'"),
                (None, "None"),
                ([[1], [2, 3]], "[[1], [2, 3]]"),
            ]
        ),
    ],
)
def test_refuses(
    make: Any, arguments: tuple[Any, ...], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=says(sentence)):
        make(*arguments)


@pytest.mark.parametrize("align", ["bottom", None, ["upper-left"]])
def test_causal_mask_refuses_other_corners(align: Any) -> None:
    sentence = f'align ({align!r}) must be "lower-right" or "upper-left"'
    with pytest.raises(ValueError, match=says(sentence)):
        causal_mask(3, align=align)
