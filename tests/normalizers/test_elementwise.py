"""Weights of one score each, against x-transformers and slow loops."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attn_examples import (
    KVCache,
    MultiHeadAttention,
    attention,
    causal_mask,
    relu_over_length,
    sigmoid,
)
from tests.conftest import gradients, randn, same, says
from tests.normalizers.test_exponential import scores

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.attend import Attend

INF = float("inf")
N, H, L, S = 2, 3, 5, 7


def heads(*, grad: bool = False) -> list[Tensor]:
    return [randn(N, H, *size, grad=grad) for size in ((L, 4), (S, 4), (S, 6))]


@pytest.mark.parametrize("bias", [0.0, -math.log(S)])
def test_sigmoid_equals_x_transformers(bias: float) -> None:
    query, key, value = heads(grad=True)
    mask = causal_mask(L, S)
    normalize = partial(sigmoid, bias=bias)
    output, weights = attention(query, key, value, mask=mask, normalize=normalize)
    added = torch.full((1, 1, 1, 1), bias, dtype=torch.float64)
    expected, parts = Attend(sigmoid=True, heads=H)(
        query, key, value, mask=mask[None, None], attn_bias=added
    )
    same(output, expected)
    same(weights, parts.post_softmax_attn)
    inputs = query, key, value
    for ours, theirs in zip(gradients(output, *inputs), gradients(expected, *inputs), strict=True):
        same(ours, theirs)


def test_relu_over_length_equals_x_transformers() -> None:
    query, key, value = heads(grad=True)
    output, _ = attention(query, key, value, normalize=relu_over_length)
    expected, _ = Attend(custom_attn_fn=torch.relu, heads=H)(query, key, value)
    same(output, expected / S)
    inputs = query, key, value
    theirs = gradients(expected / S, *inputs)
    for our, their in zip(gradients(output, *inputs), theirs, strict=True):
        same(our, their)


def loop(scores: Tensor, weight: Callable[[float, int], float]) -> Tensor:
    rows = []
    for row in scores.tolist():
        seen = sum(score > -INF for score in row)
        rows.append([0.0 if score == -INF else weight(score, seen) for score in row])
    return torch.tensor(rows, dtype=torch.float64)


@given(scores())
def test_sigmoid_equals_the_loop(scores: Tensor) -> None:
    def weight(score: float, seen: int) -> float:
        return 1 / (1 + seen * math.exp(-score))  # exp(log n) is n

    same(sigmoid(scores), loop(scores, weight))


@given(scores())
def test_relu_over_length_equals_the_loop(scores: Tensor) -> None:
    same(relu_over_length(scores), loop(scores, lambda score, seen: max(score, 0.0) / seen))


# What the papers promise, and what we do under a mask


@pytest.mark.parametrize("normalize", [partial(sigmoid, bias=-1.5), sigmoid, relu_over_length])
@given(scores(), st.floats(-5, 5))
def test_keys_do_not_compete(normalize: Any, scores: Tensor, other: float) -> None:
    """A weight stays when another key's score changes."""
    changed = scores.clone()
    changed[:, 0] = torch.where(scores[:, 0] > -INF, other, -INF)
    same(normalize(changed)[:, 1:], normalize(scores)[:, 1:])


def test_at_equal_scores_of_0_a_sigmoid_row_sums_to_nearly_1() -> None:
    for count in (1, 7, 1000):
        expected = torch.tensor(count / (1 + count), dtype=torch.float64)
        same(sigmoid(torch.zeros(1, count, dtype=torch.float64)).sum(), expected)


@pytest.mark.parametrize("normalize", [sigmoid, relu_over_length])
def test_padding_changes_nothing(normalize: Any) -> None:
    given = randn(H, L, S)
    padded = torch.nn.functional.pad(given, (0, 4), value=-INF)
    same(normalize(padded)[..., :S], normalize(given))
    assert (normalize(padded)[..., S:] == 0).all()


@pytest.mark.parametrize("normalize", [sigmoid, relu_over_length])
def test_a_cache_gives_what_the_whole_gives(normalize: Any) -> None:
    layer = MultiHeadAttention(12, H, normalize=normalize).double()
    x, cache = randn(N, L, 12), KVCache()
    steps = [layer(x[:, [t]], cache=cache)[0] for t in range(L)]
    same(torch.cat(steps, 1), layer(x, is_causal=True)[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_more_keys_than_float16_counts(dtype: torch.dtype) -> None:
    many = torch.full((1, 70_000), 2.0, dtype=dtype)
    assert relu_over_length(many)[0, 0] == torch.tensor(2 / 70_000, dtype=dtype)
    expected = 1 / (1 + 70_000 * math.exp(-2.0))
    assert abs(sigmoid(many)[0, 0].item() / expected - 1) < 0.05
    assert sigmoid(many).dtype == relu_over_length(many).dtype == dtype


def test_empty() -> None:
    for normalize in (sigmoid, relu_over_length):
        assert normalize(torch.zeros(2, 0)).shape == (2, 0)
        assert normalize(torch.full((1, 3), -INF)).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: sigmoid([[0.0]]), TypeError, "scores (list) must be a torch.Tensor"),  # type: ignore[arg-type]
        (
            lambda: relu_over_length(torch.ones(2, 3, dtype=torch.int64)),
            ValueError,
            "scores (torch.int64) must be a floating-point tensor: "
            "embed token numbers first, or call scores.float()",
        ),
        (
            lambda: sigmoid(torch.zeros(2, 3), bias="-1"),  # type: ignore[arg-type]
            TypeError,
            "bias ('-1') must be a number",
        ),
    ],
)
def test_refuses(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        call()
