"""Scores by dot products, against torch and a loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attn_examples import Bilinear, cosine, dot, scaled_dot
from tests.conftest import gradients, randn, same, says
from tests.scores.conftest import pairs

Score = Callable[[Tensor, Tensor], Tensor]


def test_dot_sums_products(query: Tensor, key: Tensor) -> None:
    same(dot(query, key), torch.einsum("nhle,nhse->nhls", query, key))
    by_hand = [math.fsum(a * b for a, b in zip(q, k, strict=True)) for q, k in pairs(query, key)]
    same(dot(query, key).flatten(), torch.tensor(by_hand, dtype=torch.float64))


@pytest.mark.parametrize(("scale", "factor"), [(None, 1 / 2), (0.3, 0.3), (-2.0, -2.0)])
def test_scaled_dot(query: Tensor, key: Tensor, scale: float | None, factor: float) -> None:
    scores = scaled_dot(query, key, scale=scale)
    same(scores, torch.einsum("nhle,nhse->nhls", query, key) * factor)
    one_hot = torch.eye(7, dtype=torch.float64).expand(2, 3, 7, 7)
    same(scores.softmax(-1), F.scaled_dot_product_attention(query, key, one_hot, scale=scale))


@pytest.mark.parametrize("beta", [1.0, 3.5])
def test_cosine(query: Tensor, key: Tensor, beta: float) -> None:
    scores = cosine(query, key, beta=beta)
    same(scores, beta * F.cosine_similarity(query.unsqueeze(-2), key.unsqueeze(-3), dim=-1))
    same(scores, cosine(10 * query, 0.1 * key, beta=beta))
    assert scores.abs().max() <= beta * (1 + 1e-12)


def test_cosine_of_nothing_is_0_with_finite_gradients() -> None:
    query, key = torch.zeros(1, 4, requires_grad=True), torch.zeros(2, 4, requires_grad=True)
    scores = cosine(query, key)
    assert torch.equal(scores, torch.zeros(1, 2))
    assert all(gradient.isfinite().all() for gradient in gradients(scores, query, key))


def test_bilinear_equals_torch(query: Tensor) -> None:
    key = randn(2, 3, 7, 6)
    score = Bilinear(query_dim=4, key_dim=6).double()
    assert [tuple(parameter.shape) for parameter in score.parameters()] == [(4, 6)]
    theirs = F.bilinear(
        query.unsqueeze(-2).expand(2, 3, 5, 7, 4).contiguous(),
        key.unsqueeze(-3).expand(2, 3, 5, 7, 6).contiguous(),
        score.key_proj.weight.unsqueeze(0),
    )
    same(score(query, key), theirs.squeeze(-1))


@pytest.mark.parametrize("score", [dot, scaled_dot, cosine])
@pytest.mark.parametrize(
    ("queries", "keys", "sentence"),
    [
        ((4,), (7, 4), "query has shape (4,) but needs at least two dimensions, (length, width)"),
        (
            (5, 4),
            (7, 3),
            "query has width 4 (5, 4) but key has width 3 (7, 3): a dot product needs equal widths",
        ),
    ],
)
def test_products_refuse(
    score: Score, queries: tuple[int, ...], keys: tuple[int, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=says(sentence)):
        score(torch.zeros(queries), torch.zeros(keys))


@pytest.mark.parametrize(
    ("make", "arguments", "error", "sentence"),
    [
        (Bilinear, (0, 6), ValueError, "query_dim (0) must be at least 1"),
        (Bilinear, (4, True), TypeError, "key_dim (True) must be a whole number"),
    ],
)
def test_refuses_when_made(
    make: Any, arguments: tuple[Any, ...], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=says(sentence)):
        make(*arguments)
