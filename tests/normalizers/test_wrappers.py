"""What wraps a normalizer, against torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from attn_examples import dropped, softmax
from tests.conftest import randn, same, says

INF = float("inf")


@pytest.mark.parametrize("dropout_p", [0.1, 0.5, 1.0])
def test_dropped_equals_torch(dropout_p: float) -> None:
    scores = randn(2, 3, 5, 7)
    torch.manual_seed(1)
    ours = dropped(softmax, dropout_p)(scores)
    torch.manual_seed(1)
    same(ours, F.dropout(scores.softmax(-1), dropout_p))
    kept = ours != 0
    same(ours[kept], scores.softmax(-1)[kept] / (1 - dropout_p))


def test_dropped_is_each_weight_dropped_or_divided() -> None:
    scores = randn(2, 3, 5, 7)
    torch.manual_seed(1)
    ours = dropped(softmax, 0.4)(scores)
    torch.manual_seed(1)
    stays = torch.empty_like(scores).bernoulli_(0.6).flatten().tolist()
    weights = scores.softmax(-1).flatten().tolist()
    by_hand = [w / 0.6 if stay else 0.0 for w, stay in zip(weights, stays, strict=True)]
    same(ours.flatten(), torch.tensor(by_hand, dtype=torch.float64))
    assert 0 < sum(stays) < len(stays)


def test_dropped_by_0_is_the_normalizer_itself() -> None:
    assert dropped(softmax, 0.0) is softmax
    assert dropped(softmax, 0) is softmax


def test_dropped_wraps_any_normalizer_and_draws_anew() -> None:
    scores = torch.ones(100, 10)
    twice = dropped(torch.relu, 0.5)
    first, second = twice(scores), twice(scores)
    assert set(first.flatten().tolist()) == set(second.flatten().tolist()) == {0.0, 2.0}
    assert not torch.equal(first, second)
    assert 0.9 < first.mean() < 1.1  # seeded


@pytest.mark.parametrize("dropout_p", [-0.1, 1.1, INF, float("nan")])
def test_dropped_refuses_what_is_no_probability(dropout_p: float) -> None:
    sentence = f"dropout_p ({dropout_p}) must be a probability, from 0 to 1"
    with pytest.raises(ValueError, match=says(sentence)):
        dropped(softmax, dropout_p)


@pytest.mark.parametrize("dropout_p", [None, True, "0.1"])
def test_dropped_refuses_what_is_no_number(dropout_p: Any) -> None:
    with pytest.raises(TypeError, match=says(f"dropout_p ({dropout_p!r}) must be a number")):
        dropped(softmax, dropout_p)
