"""Weights with exact zeros against the package entmax, slow loops, and what they promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import entmax
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attn_examples import (
    attention,
    causal_mask,
    entmax15,
    padding_mask,
    scaled_dot,
    softmax,
    sparsemax,
)
from tests.conftest import gradients, randn, same, says
from tests.normalizers.test_exponential import scores

INF = float("inf")
N, H, L, S = 2, 3, 5, 7
both = pytest.mark.parametrize("normalize", [sparsemax, entmax15])


def masked(*, grad: bool = False) -> Tensor:
    """Return scores, of spread 2, in which each row has a key and some have not all."""
    allowed = causal_mask(L, S) & padding_mask(torch.tensor([7, 4]), S).unsqueeze(1)
    drawn = 2 * randn(N, H, L, S)
    return drawn.masked_fill(~allowed, -INF).requires_grad_(grad)


def compare(ours: Callable[[Tensor], Tensor], theirs: Callable[..., Tensor]) -> None:
    """Hold weights and gradients equal, with a mask and without, and along any lengths."""
    for drawn in (randn(N, H, L, S, grad=True), masked(grad=True), randn(3, 1, grad=True)):
        weights, expected = ours(drawn), theirs(drawn, dim=-1)
        same(weights, expected)
        same(*gradients(weights, drawn), *gradients(expected, drawn))


def test_sparsemax_equals_entmax() -> None:
    compare(sparsemax, entmax.sparsemax)


def test_entmax15_equals_entmax() -> None:
    compare(entmax15, entmax.entmax15)


def test_sparsemax_equals_bisection() -> None:
    drawn = masked()
    same(sparsemax(drawn), entmax.sparsemax_bisect(drawn, n_iter=100))


def test_entmax15_equals_bisection() -> None:
    drawn = masked()
    same(entmax15(drawn), entmax.entmax_bisect(drawn, alpha=1.5, n_iter=100))


def by_hand(row: list[float], weight: Callable[[float], float]) -> list[float]:
    """Lower a threshold by halves until the weights above it sum to 1."""
    if max(row) == -INF:
        return [0.0] * len(row)
    low, high = max(row) - 2.0, max(row)
    for _ in range(200):
        middle = (low + high) / 2
        total = math.fsum(weight(max(score - middle, 0.0)) for score in row)
        low, high = (middle, high) if total > 1 else (low, middle)
    return [weight(max(score - low, 0.0)) for score in row]


def loop(given: Tensor, weight: Callable[[float], float]) -> Tensor:
    rows = [by_hand(row, weight) for row in given.tolist()]
    return torch.tensor(rows, dtype=torch.float64).view(given.shape)


@given(scores())
def test_sparsemax_equals_the_loop(scores: Tensor) -> None:
    same(sparsemax(scores), loop(scores, lambda gap: gap))


@given(scores())
def test_entmax15_equals_the_loop(scores: Tensor) -> None:
    same(entmax15(scores), loop(scores, lambda gap: (gap / 2) ** 2))


# What the papers promise


@both
@given(scores())
def test_rows_sum_to_1_with_exact_zeros(normalize: Any, scores: Tensor) -> None:
    weights = normalize(scores)
    alive = (scores > -INF).any(-1)
    same(weights.sum(-1), alive.double())
    assert (weights >= 0).all()
    assert (weights[scores == -INF] == 0).all()
    far = 1.0 if normalize is sparsemax else 2.0
    assert (weights[scores <= scores.amax(-1, keepdim=True) - far] == 0).all()


@given(scores(), st.integers(0, 100))
def test_sparsemax_is_the_nearest_point_of_the_simplex(scores: Tensor, seed: int) -> None:
    """No other weights are nearer; and the way to them turns away from the scores."""
    scores = scores.clamp(min=-50.0)
    torch.manual_seed(seed)
    others = softmax(5 * randn(100, 1, scores.shape[-1]))  # weights of all kinds
    ours = sparsemax(scores)
    assert ((scores - ours).norm(dim=-1) <= (scores - others).norm(dim=-1) + 1e-12).all()
    assert (((scores - ours) * (others - ours)).sum(-1) <= 1e-12).all()


@both
@given(scores(), st.floats(-100, 100))
def test_they_see_differences_only(normalize: Any, scores: Tensor, shift: float) -> None:
    same(normalize(scores + shift), normalize(scores))


@both
def test_equal_scores_share_and_one_alone_has_all(normalize: Any) -> None:
    equal = torch.full((1, 3), 1e9, dtype=torch.float64)
    same(normalize(equal), torch.full((1, 3), 1 / 3, dtype=torch.float64))
    assert normalize(torch.tensor([[-7.0]])).tolist() == [[1.0]]
    assert normalize(torch.zeros(2, 0)).shape == (2, 0)
    assert normalize(torch.zeros(0, 2)).shape == (0, 2)


def test_on_the_border_a_key_has_no_weight_and_no_gradient() -> None:
    for normalize, gap in ((sparsemax, 1.0), (entmax15, 2.0)):
        row = torch.tensor([[gap, 0.0]], dtype=torch.float64, requires_grad=True)
        weights = normalize(row)
        assert weights.tolist() == [[1.0, 0.0]]
        (gradient,) = gradients(weights, row)
        assert gradient.tolist() == [[0.0, 0.0]]


def test_between_softmax_and_sparsemax() -> None:
    given = masked()
    counts = [(f(given) > 0).sum() for f in (softmax, entmax15, sparsemax)]
    assert counts[0] > counts[1] > counts[2]


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_fewer_digits_cost_no_more_than_the_rounding_of_the_weights(
    normalize: Any, dtype: torch.dtype
) -> None:
    """A thousand keys, of which many stay: sums in bfloat16 would lose them."""
    given = (0.01 * randn(4, 1000)).to(dtype)
    weights = normalize(given)
    assert weights.dtype == dtype
    # in float32 the sums of a thousand numbers are rounded too
    rtol = max(torch.finfo(dtype).eps, 1e-4)
    torch.testing.assert_close(weights.double(), normalize(given.double()), rtol=rtol, atol=1e-7)
    largest = torch.finfo(dtype).max
    extreme = torch.tensor([largest, largest, -largest, -INF], dtype=dtype)
    assert normalize(extreme)[2:].tolist() == [0.0, 0.0]
    torch.testing.assert_close(normalize(extreme)[:2].float(), torch.tensor([0.5, 0.5]))


def test_any_score_and_mask() -> None:
    query, key, value = randn(N, H, L, 4), randn(N, H, S, 4), randn(N, H, S, 6)
    mask = causal_mask(L, S)
    output, weights = attention(query, key, value, mask=mask, normalize=sparsemax)
    given = scaled_dot(query, key).masked_fill(~mask, -INF)
    same(weights, entmax.sparsemax(given, dim=-1))
    same(output, entmax.sparsemax(given, dim=-1) @ value)


@both
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
def test_refuses(normalize: Any, scores: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        normalize(scores)
