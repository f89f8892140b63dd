"""Additive scores against a loop from the paper."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attn_examples import Additive
from tests.conftest import gradients, randn, same, says
from tests.scores.conftest import pairs


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


def test_additive_is_one_layer_of_both_side_by_side(query: Tensor) -> None:
    """Luong's name for it is concat: one matrix for query and key, side by side."""
    key = randn(2, 3, 7, 6, grad=True)
    score = Additive(query_dim=4, key_dim=6, hidden_dim=8).double()
    W_q, W_k, v = score.parameters()
    queries = query.unsqueeze(-2).expand(-1, -1, -1, 7, -1)
    keys = key.unsqueeze(-3).expand(-1, -1, 5, -1, -1)
    both, W = torch.cat((queries, keys), dim=-1), torch.cat((W_q, W_k), dim=-1)
    expected = F.linear(F.linear(both, W).tanh(), v).squeeze(-1)
    ours, inputs = score(query, key), (query, key, W_q, W_k, v)
    same(ours, expected)
    for our_gradient, their_gradient in zip(
        gradients(ours, *inputs), gradients(expected, *inputs), strict=True
    ):
        same(our_gradient, their_gradient)


@pytest.mark.parametrize(
    ("make", "arguments", "error", "sentence"),
    [
        (Additive, (0, 6, 8), ValueError, "query_dim (0) must be at least 1"),
        (Additive, (4, -1, 8), ValueError, "key_dim (-1) must be at least 1"),
        (Additive, (4, 6, 8.0), TypeError, "hidden_dim (8.0) must be a whole number"),
    ],
)
def test_refuses_when_made(
    make: Any, arguments: tuple[Any, ...], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=says(sentence)):
        make(*arguments)
