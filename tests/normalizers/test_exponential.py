"""Weights of exponentials against torch, x-transformers, slow loops, and their promises."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from attn_examples import MultiHeadAttention, attention, causal_mask, softmax, softmax_one
from tests.conftest import gradients, randn, same, says

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.attend import Attend

INF = float("inf")


def by_hand(row: list[float]) -> list[float]:
    powers = [math.exp(score - max(row)) if score > -INF else 0.0 for score in row]
    return [power / math.fsum(powers) if any(powers) else 0.0 for power in powers]


@st.composite
def scores(draw: st.DrawFn) -> Tensor:
    """Draw scores in which any entry, and with it any row, may be minus infinity."""
    L, S = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    entry = st.floats(-50, 50) | st.just(-INF)
    rows = st.lists(st.lists(entry, min_size=S, max_size=S), min_size=L, max_size=L)
    return torch.tensor(draw(rows), dtype=torch.float64)


@given(scores())
def test_softmax_equals_the_loop(scores: Tensor) -> None:
    expected = torch.tensor([by_hand(row) for row in scores.tolist()], dtype=torch.float64)
    weights = softmax(scores)
    same(weights, expected)
    assert (weights[scores == -INF] == 0).all()
    alive = (scores > -INF).any(-1)
    same(weights[alive], scores.softmax(-1)[alive])  # torch's own
    same(weights.sum(-1), alive.double())


@given(scores(), st.floats(-100, 100))
def test_softmax_sees_differences_only(scores: Tensor, shift: float) -> None:
    same(softmax(scores + shift), softmax(scores))


@given(scores())
def test_gradients_are_those_of_torch_and_0_for_a_dead_row(scores: Tensor) -> None:
    scores.requires_grad_()
    (ours,) = gradients(softmax(scores), scores)
    (theirs,) = gradients(scores.softmax(-1), scores)  # NaN for a dead row
    alive = (scores > -INF).any(-1, keepdim=True)
    same(ours, theirs.where(alive, torch.zeros_like(theirs)))


def test_softmax_works_along_the_last_dimension_of_any_tensor() -> None:
    scores = randn(2, 3, 5, 7)
    same(softmax(scores), F.softmax(scores, dim=3))
    assert softmax(torch.zeros(2, 0)).shape == (2, 0)
    assert softmax(torch.zeros(0, 2)).shape == (0, 2)


def test_huge_scores_do_not_overflow() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        largest = torch.finfo(dtype).max
        scores = torch.tensor([largest, largest, -largest, -INF], dtype=dtype)
        assert softmax(scores).tolist() == [0.5, 0.5, 0.0, 0.0]


def test_the_input_is_left_alone() -> None:
    scores = torch.tensor([[0.0, -INF], [-INF, -INF]])
    copy = scores.clone()
    softmax(scores)
    assert torch.equal(scores, copy)


@pytest.mark.parametrize(
    ("scores", "error", "sentence"),
    [
        ([[0.0]], TypeError, "scores (list) must be a torch.Tensor"),
        (
            torch.ones(2, 3, dtype=torch.int64),
            ValueError,
            "scores (torch.int64) must be a floating-point tensor: "
            "embed token numbers first, or call scores.float()",
        ),
    ],
)
def test_softmax_refuses(scores: Any, error: type[Exception], sentence: str) -> None:
    for normalize in (softmax, softmax_one):
        with pytest.raises(error, match=says(sentence)):
            normalize(scores)


# One added to the sum


def test_softmax_one_equals_torch() -> None:
    """Their added key is a vector of zeros, with the score 0, and its value is 0."""
    theirs = nn.MultiheadAttention(12, 3, batch_first=True, add_zero_attn=True).double()
    plain = nn.MultiheadAttention(12, 3, batch_first=True).double()
    plain.load_state_dict(theirs.state_dict())
    ours = MultiHeadAttention.from_torch(plain)
    ours.normalize = softmax_one
    x, context, past = randn(2, 5, 12, grad=True), randn(2, 7, 12, grad=True), causal_mask(5, 7)
    output, weights = ours(x, context, mask=past)
    expected, their_weights = theirs(
        x, context, context, attn_mask=~past, average_attn_weights=False
    )
    same(output, expected)
    same(weights, their_weights[..., :-1])  # the added key is the last
    for our, their in zip(
        gradients(output, x, context), gradients(expected, x, context), strict=True
    ):
        same(our, their)


def test_softmax_one_equals_x_transformers() -> None:
    query, key, value = randn(2, 3, 5, 4), randn(2, 3, 7, 4), randn(2, 3, 7, 6)
    mask = causal_mask(5, 7)
    ours, _ = attention(query, key, value, mask=mask, normalize=softmax_one)
    # with qk_norm its softmax is not rounded to float32
    attend = Attend(add_zero_kv=True, heads=3, qk_norm=True)
    same(ours, attend(query, key, value, mask=mask[None, None])[0])


@given(scores())
def test_softmax_one_equals_the_loop(scores: Tensor) -> None:
    expected = [by_hand([*row, 0.0])[:-1] for row in scores.tolist()]
    weights = softmax_one(scores)
    same(weights, torch.tensor(expected, dtype=torch.float64))
    assert (weights[scores == -INF] == 0).all()
    assert (weights.sum(-1) <= 1).all()
    assert (weights[scores <= 30].sum() < scores.shape[-2]).all()


def test_softmax_one_does_not_overflow() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        largest = torch.finfo(dtype).max
        assert softmax_one(torch.tensor([largest, -INF], dtype=dtype)).tolist() == [1.0, 0.0]
        assert softmax_one(torch.tensor([-largest, -INF], dtype=dtype)).tolist() == [0.0, 0.0]
    assert softmax_one(torch.zeros(2, 0)).shape == (2, 0)
    fifths = torch.full((1, 4), 0.2, dtype=torch.float64)
    same(softmax_one(torch.zeros_like(fifths)), fifths)
