"""Step 1: each score against an implementation that is not ours, or a loop from the paper."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attn_examples import Additive, Bilinear, attention, cosine, dot, scaled_dot, with_bias
from tests.conftest import gradients, randn, same, says

Score = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture
def query() -> Tensor:
    return randn(2, 3, 5, 4, grad=True)


@pytest.fixture
def key() -> Tensor:
    return randn(2, 3, 7, 4, grad=True)


def pairs(query: Tensor, key: Tensor) -> list[tuple[list[float], list[float]]]:
    """Each query with each key, in the order of the scores, as plain numbers."""
    sequences = zip(query.flatten(0, -3).tolist(), key.flatten(0, -3).tolist(), strict=True)
    return [(q, k) for queries, keys in sequences for q in queries for k in keys]


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


def test_additive_is_the_loop_of_the_paper(query: Tensor) -> None:
    key = randn(2, 3, 7, 6)
    score = Additive(query_dim=4, key_dim=6, hidden_dim=8).double()
    assert [tuple(p.shape) for p in score.parameters()] == [(8, 4), (8, 6), (1, 8)]  # no bias
    W_q, W_k, (v,) = (parameter.tolist() for parameter in score.parameters())
    by_hand = []
    for q, k in pairs(query, key):
        energy = 0.0
        for n in range(8):
            hidden = math.fsum(W_q[n][m] * q[m] for m in range(4))
            hidden += math.fsum(W_k[n][m] * k[m] for m in range(6))
            energy += v[n] * math.tanh(hidden)
        by_hand.append(energy)
    same(score(query, key), torch.tensor(by_hand, dtype=torch.float64).view(2, 3, 5, 7))


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


@pytest.mark.parametrize("shape", [(5, 7), (7,), (), (3, 1, 1), (2, 3, 5, 7)])
def test_with_bias_equals_torch_with_a_float_mask(
    query: Tensor, key: Tensor, shape: tuple[int, ...]
) -> None:
    bias, value = randn(*shape, grad=True), randn(2, 3, 7, 6)
    ours, _ = attention(query, key, value, score=with_bias(scaled_dot, bias))
    theirs = F.scaled_dot_product_attention(query, key, value, bias.expand(2, 3, 5, 7))
    same(ours, theirs)
    same(*(gradients(output, bias)[0] for output in (ours, theirs)))


def test_with_bias_wraps_any_score_and_forbids_by_minus_infinity() -> None:
    query, key, value = randn(2, 5, 4), randn(2, 7, 6), randn(2, 7, 3)
    allowed = torch.rand(2, 5, 7) > 0.4
    score = Bilinear(4, 6).double()
    bias = torch.zeros(2, 5, 7, dtype=torch.float64).masked_fill(~allowed, float("-inf"))
    biased, _ = attention(query, key, value, score=with_bias(score, bias))
    same(biased, attention(query, key, value, score=score, mask=allowed)[0])


SCORES: list[Score] = [dot, scaled_dot, cosine, Additive(4, 4, 8), Bilinear(4, 4)]
NAMES = ["dot", "scaled_dot", "cosine", "Additive", "Bilinear"]


@pytest.mark.parametrize("score", SCORES, ids=NAMES)
@pytest.mark.parametrize(
    ("queries", "keys", "scores"),
    [
        ((5, 4), (7, 4), (5, 7)),
        ((2, 2, 3, 5, 4), (2, 2, 3, 7, 4), (2, 2, 3, 5, 7)),
        ((5, 4), (2, 7, 4), (2, 5, 7)),
        ((2, 1, 5, 4), (3, 7, 4), (2, 3, 5, 7)),
        ((2, 0, 4), (2, 7, 4), (2, 0, 7)),
        ((2, 5, 4), (2, 0, 4), (2, 5, 0)),
    ],
)
def test_shapes(
    score: Score, queries: tuple[int, ...], keys: tuple[int, ...], scores: tuple[int, ...]
) -> None:
    assert score(torch.randn(queries), torch.randn(keys)).shape == scores


@pytest.mark.parametrize("score", SCORES, ids=NAMES)
@pytest.mark.parametrize(
    ("queries", "keys", "error", "sentence"),
    [
        ([[1.0]], torch.zeros(7, 4), TypeError, "query (list) must be a torch.Tensor"),
        (torch.zeros(5, 4), None, TypeError, "key (NoneType) must be a torch.Tensor"),
        (
            torch.zeros(5, 4),
            torch.zeros(7, 4, dtype=torch.int64),
            ValueError,
            "key (torch.int64) must be a floating-point tensor: "
            "embed token numbers first, or call key.float()",
        ),
        (
            torch.zeros(2, 5, 4),
            torch.zeros(3, 7, 4),
            ValueError,
            "key has leading dimensions (3,) but query has (2,): "
            "batch and heads must be equal, or 1",
        ),
    ],
)
def test_every_score_refuses(
    score: Score, queries: Any, keys: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=says(sentence)):
        score(queries, keys)


@pytest.mark.parametrize("score", SCORES[:3], ids=NAMES[:3])
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


@pytest.mark.parametrize("score", [Additive(4, 6, 8), Bilinear(4, 6)], ids=["Additive", "Bilinear"])
@pytest.mark.parametrize(
    ("queries", "keys", "sentence"),
    [
        ((4,), (7, 6), "query has shape (4,) but must be (..., length, 4), since query_dim is 4"),
        (
            (5, 6),
            (7, 6),
            "query has shape (5, 6) but must be (..., length, 4), since query_dim is 4",
        ),
        ((5, 4), (7, 4), "key has shape (7, 4) but must be (..., length, 6), since key_dim is 6"),
    ],
)
def test_learned_scores_refuse(
    score: Score, queries: tuple[int, ...], keys: tuple[int, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=says(sentence)):
        score(torch.zeros(queries), torch.zeros(keys))


@pytest.mark.parametrize(
    ("make", "arguments", "error", "sentence"),
    [
        (Additive, (0, 6, 8), ValueError, "query_dim (0) must be at least 1"),
        (Additive, (4, -1, 8), ValueError, "key_dim (-1) must be at least 1"),
        (Additive, (4, 6, 8.0), TypeError, "hidden_dim (8.0) must be a whole number"),
        (Bilinear, (0, 6), ValueError, "query_dim (0) must be at least 1"),
        (Bilinear, (4, True), TypeError, "key_dim (True) must be a whole number"),
        (with_bias, (dot, 1.0), TypeError, "bias (float) must be a torch.Tensor"),
        (
            with_bias,
            (dot, torch.ones(5, 7, dtype=torch.bool)),
            ValueError,
            "bias (torch.bool) must be a floating-point tensor: "
            "embed token numbers first, or call bias.float()",
        ),
    ],
)
def test_refuses_when_made(
    make: Any, arguments: tuple[Any, ...], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=says(sentence)):
        make(*arguments)


@pytest.mark.parametrize(
    ("bias", "sentence"),
    [
        (
            torch.zeros(5, 7),
            "bias is torch.float32 but the scores are torch.float64: use one dtype",
        ),
        (randn(7, 5), "bias has shape (7, 5) but must broadcast to the scores, (2, 3, 5, 7)"),
        (
            randn(1, 2, 3, 5, 7),
            "bias has shape (1, 2, 3, 5, 7) but must broadcast to the scores, (2, 3, 5, 7)",
        ),
        (randn(5, 7).to("meta"), "bias is on meta but the scores are on cpu: move it there"),
    ],
)
def test_with_bias_refuses_when_called(
    query: Tensor, key: Tensor, bias: Tensor, sentence: str
) -> None:
    with pytest.raises(ValueError, match=says(sentence)):
        with_bias(dot, bias)(query, key)
