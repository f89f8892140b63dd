"""Masks of order, against those of torch and of transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right, causal_upper_left
from torch.nn.attention.flex_attention import and_masks, create_mask, or_masks
from transformers import masking_utils

from attn_examples import attention, causal_mask, prefix_mask, sliding_window_mask
from tests.conftest import randn, same, says
from tests.masks.conftest import L, S, flex

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


@pytest.mark.parametrize("window", [1, 2, 3, 7, 100])
def test_sliding_window_mask_equals_flex(window: int) -> None:
    more = S - L  # keys before the first query's
    rule = and_masks(lambda b, h, i, j: j <= i + more, lambda b, h, i, j: j + window > i + more)
    assert torch.equal(sliding_window_mask(L, S, window), flex(rule)[0])


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


@pytest.mark.parametrize("prefix", [0, 1, 4, 7, 100])
def test_prefix_mask_equals_flex(prefix: int) -> None:
    rule = or_masks(lambda b, h, i, j: j <= i + S - L, lambda b, h, i, j: j < prefix)
    assert torch.equal(prefix_mask(L, S, prefix), flex(rule)[0])


@pytest.mark.parametrize("prefix", [0, 1, 4, 7])
def test_prefix_mask_equals_transformers(prefix: int) -> None:
    """What stands in one block sees all of it: -1 is the number of no block."""
    blocks = torch.where(torch.arange(S) < prefix, 0, -1)[None]
    rule = masking_utils.or_masks(
        masking_utils.causal_mask_function, masking_utils.blockwise_overlay(blocks)
    )
    assert torch.equal(prefix_mask(S, None, prefix), theirs(rule, S, S, 0))
    assert torch.equal(prefix_mask(L, S, prefix), theirs(rule, L, S, S - L))


@pytest.mark.parametrize("kind", [list, torch.tensor])
def test_prefix_mask_of_a_batch_equals_flex(kind: Any) -> None:
    prefixes = torch.tensor([4, 1])
    rule = or_masks(lambda b, h, i, j: j <= i + S - L, lambda b, h, i, j: j < prefixes[b])
    assert torch.equal(prefix_mask(L, S, kind([4, 1])), flex(rule))
    assert torch.equal(prefix_mask(L, None, 2), prefix_mask(L, L, 2))


def test_masks_are_made_where_asked() -> None:
    assert causal_mask(3, device="meta").device.type == "meta"
    assert sliding_window_mask(3, 3, 1, device="meta").device.type == "meta"
    for prefix in (2, [1, 2], torch.tensor([1, 2])):
        assert prefix_mask(3, 3, prefix, device="meta").device.type == "meta"
    assert prefix_mask(3, 3, torch.tensor([1, 2], device="meta")).device.type == "meta"


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
        (
            prefix_mask,
            (5, 5, torch.tensor(0.5)),
            TypeError,
            "prefix_len (torch.float32) must be whole numbers",
        ),
        (
            prefix_mask,
            (5, 5, torch.zeros(2, 1).long()),
            ValueError,
            "prefix_len has shape (2, 1) but must be a number, or (N,)",
        ),
        (prefix_mask, (-1, 5, 2), ValueError, "query_len (-1) must be at least 0"),
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
