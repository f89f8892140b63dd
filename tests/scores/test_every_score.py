"""Step 1: what every score does, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from attn_examples import Additive, Bilinear, QKNorm, cosine, dot, l2_distance, scaled_dot
from attn_examples.registry import mechanisms
from tests.conftest import says

Score = Callable[[Tensor, Tensor], Tensor]
SCORES: list[Score] = [
    dot, scaled_dot, cosine, l2_distance, QKNorm(7), Additive(4, 4, 8), Bilinear(4, 4),
]  # fmt: skip
NAMES = ["dot", "scaled_dot", "cosine", "l2_distance", "QKNorm", "Additive", "Bilinear"]


def test_no_score_is_left_out() -> None:
    known = (m.object for m in mechanisms() if m.step == "scores" and m.family != "wrappers")
    assert sorted(set(known)) == sorted(NAMES), "add it to SCORES and NAMES in this file"


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
