"""Step 3: weights against torch's softmax, a slow loop, and the promise about minus infinity."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from attn_examples import softmax
from tests.conftest import gradients, randn, same, says

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
    with pytest.raises(error, match=says(sentence)):
        softmax(scores)
