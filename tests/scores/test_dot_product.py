"""Scores by dot products, against torch and a loop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import T5Config
from transformers.models.bert.modeling_bert import eager_attention_forward
from transformers.models.t5.modeling_t5 import T5Attention

from attn_examples import Bilinear, attention, cosine, dot, scaled_dot
from tests.conftest import gradients, randn, same, says
from tests.scores.conftest import pairs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.x_transformers import Attention

Score = Callable[[Tensor, Tensor], Tensor]


def test_dot_sums_products(query: Tensor, key: Tensor) -> None:
    same(dot(query, key), torch.einsum("nhle,nhse->nhls", query, key))
    by_hand = [math.fsum(a * b for a, b in zip(q, k, strict=True)) for q, k in pairs(query, key)]
    same(dot(query, key).flatten(), torch.tensor(by_hand, dtype=torch.float64))


def with_identity(module: Any) -> Any:
    """Set all projections to the identity, so that the score alone is left."""
    for parameter in module.parameters():
        nn.init.eye_(parameter)
    return module.double().eval()


def test_dot_equals_t5() -> None:
    query, key = randn(2, 5, 12), randn(2, 7, 12)
    settings: Any = {"attn_implementation": "eager"}
    config = T5Config(d_model=12, d_kv=12, num_heads=1, **settings)
    theirs = with_identity(T5Attention(config))(query, key_value_states=key)
    output, weights = attention(query, key, key, score=dot)
    same(output, theirs[0])
    same(weights, theirs[-1].squeeze(1))


@pytest.mark.parametrize(("scale", "factor"), [(None, 1 / 2), (0.3, 0.3), (-2.0, -2.0)])
def test_scaled_dot(query: Tensor, key: Tensor, scale: float | None, factor: float) -> None:
    scores = scaled_dot(query, key, scale=scale)
    same(scores, torch.einsum("nhle,nhse->nhls", query, key) * factor)
    one_hot = torch.eye(7, dtype=torch.float64).expand(2, 3, 7, 7)
    same(scores.softmax(-1), F.scaled_dot_product_attention(query, key, one_hot, scale=scale))


@pytest.mark.parametrize("scale", [None, 0.3, -2.0])
def test_scaled_dot_equals_bert(query: Tensor, key: Tensor, scale: float | None) -> None:
    value, added, module = randn(2, 3, 7, 6), randn(5, 7), nn.Identity()
    theirs: Any = eager_attention_forward
    expected = theirs(module, query, key, value, added, scaling=scale)
    ours = (scaled_dot(query, key, scale=scale) + added).softmax(-1)
    same(ours, expected[1])
    same((ours @ value).transpose(1, 2), expected[0])
    for our_gradient, their_gradient in zip(
        gradients(ours, query, key), gradients(expected[1], query, key), strict=True
    ):
        same(our_gradient, their_gradient)


@pytest.mark.parametrize("beta", [1.0, 3.5])
def test_cosine_equals_x_transformers(beta: float) -> None:
    query, key = randn(2, 5, 12), randn(2, 7, 12)
    module = Attention(12, heads=1, dim_head=12, qk_norm=True, qk_norm_scale=beta)
    expected, steps = with_identity(module)(query, context=key, return_intermediates=True)
    output, weights = attention(query, key, key, score=partial(cosine, beta=beta))
    same(output, expected)
    same(weights, steps.post_softmax_attn.squeeze(1))


@pytest.mark.parametrize("beta", [1.0, 3.5])
def test_cosine(query: Tensor, key: Tensor, beta: float) -> None:
    scores = cosine(query, key, beta=beta)
    same(scores, beta * F.cosine_similarity(query.unsqueeze(-2), key.unsqueeze(-3), dim=-1))
    same(scores, cosine(10 * query, 0.1 * key, beta=beta))
    assert scores.abs().max() <= beta * (1 + 1e-12)


def test_cosine_of_nothing_is_0_with_finite_gradients() -> None:
    for low in (torch.float16, torch.bfloat16):
        assert torch.equal(cosine(*torch.zeros(2, 1, 4, dtype=low)), torch.zeros(1, 1, dtype=low))
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


def test_bilinear_is_the_loop_of_the_paper(query: Tensor) -> None:
    key, score = randn(2, 3, 7, 6), Bilinear(query_dim=4, key_dim=6).double()
    W = score.key_proj.weight.tolist()
    by_hand = [
        math.fsum(q[m] * W[m][n] * k[n] for m in range(4) for n in range(6))
        for q, k in pairs(query, key)
    ]
    same(score(query, key).flatten(), torch.tensor(by_hand, dtype=torch.float64))


@pytest.mark.parametrize("score", [dot, scaled_dot, cosine])
@pytest.mark.parametrize(
    ("queries", "keys", "sentence"),
    [
        ((4,), (7, 4), "query has shape (4,) but needs at least two dimensions, (length, width)"),
        (
            (5, 4),
            (7, 3),
            "query has width 4 (5, 4) but key has width 3 (7, 3): they need equal widths",
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
