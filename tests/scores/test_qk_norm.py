"""Normalized queries and keys against x-transformers and torch."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from attn_examples import MultiHeadAttention, QKNorm, attention
from tests.conftest import gradients, randn, same, says

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.x_transformers import Attention as XAttention

N, L, S, E, D = 2, 5, 7, 12, 4


def test_qk_norm_equals_torch(query: Tensor, key: Tensor) -> None:
    score = QKNorm(length=7).double()
    expected = score.g * F.cosine_similarity(query.unsqueeze(-2), key.unsqueeze(-3), dim=-1)
    ours = score(query, key)
    same(ours, expected)
    for our_gradient, their_gradient in zip(
        gradients(ours, query, key, score.g), gradients(expected, query, key, score.g), strict=True
    ):
        same(our_gradient, their_gradient)


@pytest.mark.parametrize("causal", [False, True])
def test_qk_norm_equals_x_transformers(causal: bool) -> None:
    score = QKNorm(length=7).double()
    theirs = XAttention(
        E, heads=3, dim_head=D, causal=causal, qk_norm=True, qk_norm_scale=score.g.item()
    ).double()
    ours = MultiHeadAttention(E, 3, score=score, bias=False).double()
    names = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
    state = {f"{names[name.split('.')[0]]}.weight": p for name, p in theirs.state_dict().items()}
    ours.load_state_dict(state | {"score.g": score.g})
    x = randn(N, L, E)
    expected, steps = theirs(x, return_intermediates=True)
    output, weights = ours(x, is_causal=causal)
    assert weights is not None
    same(output, expected)
    same(weights, steps.post_softmax_attn)


@pytest.mark.parametrize(("length", "start"), [(2, 1.0), (8, math.log2(56))])
def test_g_starts_where_the_paper_says_and_is_learned(length: int, start: float) -> None:
    score = QKNorm(length)
    assert [name for name, _ in score.named_parameters()] == ["g"]
    assert score.g.item() == pytest.approx(start)
    output, _ = attention(torch.randn(L, E), torch.randn(S, E), torch.randn(S, 6), score=score)
    assert gradients(output, score.g)[0] != 0


@given(factor=st.floats(0.01, 100), seed=st.integers(0, 99))
def test_no_length_is_seen_and_no_score_is_beyond_g(factor: float, seed: int) -> None:
    torch.manual_seed(seed)
    query, key, score = randn(L, E), randn(S, E), QKNorm(9).double()
    same(score(factor * query, key / factor), score(query, key))
    assert score(query, key).abs().max() <= score.g * (1 + 1e-12)


@pytest.mark.parametrize(
    ("length", "error", "sentence"),
    [
        (1, ValueError, "length (1) must be at least 2"),
        (8.0, TypeError, "length (8.0) must be a whole number"),
    ],
)
def test_refuses(length: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        QKNorm(length)
