"""Scores of a distance against torch's, x-transformers', and a loop from the paper."""

from __future__ import annotations

import math
import warnings
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from attn_examples import (
    MultiHeadAttention,
    attention,
    causal_mask,
    dot,
    l2_distance,
    scaled_dot,
    with_bias,
)
from tests.conftest import gradients, randn, same, says
from tests.scores.conftest import pairs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.x_transformers import Attention as XAttention

N, H, L, S, E = 2, 3, 5, 7, 12


@pytest.mark.parametrize("width", [1, 4, 5])
def test_l2_distance_equals_cdist(width: int) -> None:
    query, key = randn(N, H, L, width, grad=True), randn(N, H, S, width, grad=True)
    ours = l2_distance(query, key)
    theirs = -torch.cdist(query, key).square() / math.sqrt(width)
    same(ours, theirs)
    for our_gradient, their_gradient in zip(
        gradients(ours, query, key), gradients(theirs, query, key), strict=True
    ):
        same(our_gradient, their_gradient)


def test_l2_distance_is_the_loop_of_the_paper(query: Tensor, key: Tensor) -> None:
    by_hand = [
        -math.fsum((a - b) ** 2 for a, b in zip(q, k, strict=True)) / math.sqrt(4)
        for q, k in pairs(query, key)
    ]
    same(l2_distance(query, key).flatten(), torch.tensor(by_hand, dtype=torch.float64))


@pytest.mark.parametrize("causal", [False, True])
def test_l2_distance_equals_x_transformers(causal: bool) -> None:
    theirs = XAttention(
        E,
        heads=H,
        dim_head=4,
        causal=causal,
        l2_distance=True,
        custom_attn_fn=partial(F.softmax, dim=-1),  # their own works in float32, always
    ).double()
    ours = MultiHeadAttention(E, H, score=l2_distance, bias=False).double()
    names = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
    ours.load_state_dict(
        {f"{names[name.split('.')[0]]}.weight": p for name, p in theirs.state_dict().items()}
    )
    x = randn(N, L, E)
    expected, steps = theirs(x, return_intermediates=True)
    output, weights = ours(x, is_causal=causal)
    assert weights is not None
    same(output, expected)
    same(weights, steps.post_softmax_attn)


def test_a_longer_key_loses_where_the_dot_product_lets_it_win() -> None:
    query = torch.ones(1, E).double()
    key = torch.stack([query[0], 3 * query[0]])
    assert dot(query, key).argmax() == 1
    assert l2_distance(query, key).argmax() == 0
    same(l2_distance(query, key)[0, 0], torch.zeros(()).double())


@given(shift=st.floats(-5, 5), seed=st.integers(0, 99))
def test_it_does_not_see_where_both_are(shift: float, seed: int) -> None:
    torch.manual_seed(seed)
    query, key = randn(L, E), randn(S, E)
    moved = l2_distance(query + shift, key + shift)
    torch.testing.assert_close(moved, l2_distance(query, key), rtol=0, atol=1e-11)
    assert (dot(query + 1, key + 1) - dot(query, key)).abs().max() > 0.1


def test_softmax_of_it_is_the_dot_products_less_the_squared_length_of_each_key() -> None:
    query, key, value = randn(N, L, E), randn(N, S, E), randn(N, S, 6)
    mask = causal_mask(L, S)
    lengths = -key.square().sum(-1, keepdim=True).mT / math.sqrt(E)
    twice = with_bias(partial(scaled_dot, scale=2 / math.sqrt(E)), lengths)
    for ours, expected in zip(
        attention(query, key, value, score=l2_distance, mask=mask),
        attention(query, key, value, score=twice, mask=mask),
        strict=True,
    ):
        same(ours, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_does_not_overflow_in_half_precision(dtype: torch.dtype) -> None:
    query = torch.full((1, 64), 60.0, dtype=dtype)  # the squared length is 230400, beyond float16
    assert l2_distance(query, query).isfinite().all()


def test_refuses() -> None:
    sentence = "query has width 4 (5, 4) but key has width 3 (7, 3): they need equal widths"
    with pytest.raises(ValueError, match=says(sentence)):
        l2_distance(torch.zeros(5, 4), torch.zeros(7, 3))
