"""Weights that choose, against torch's and x-transformers'."""

from __future__ import annotations

import math
import pickle
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from attn_examples import (
    attention,
    causal_mask,
    hardmax,
    softmax,
    sparsemax,
    straight_through,
    with_gumbel,
    with_sink,
    with_temperature,
)
from tests.conftest import gradients, randn, same, says
from tests.normalizers.test_exponential import by_hand, scores

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.attend import Attend, one_hot_straight_through

INF = float("inf")
N, H, L, S = 2, 3, 5, 7


def heads(*, grad: bool = False) -> list[Tensor]:
    return [randn(N, H, *size, grad=grad) for size in ((L, 4), (S, 4), (S, 6))]


# Temperature


@pytest.mark.parametrize("temperature", [0.3, 1, 2.5])
def test_with_temperature_equals_torch(temperature: float) -> None:
    query, key, value = heads(grad=True)
    mask = causal_mask(L, S)
    normalize = with_temperature(softmax, temperature)
    output, _ = attention(query, key, value, mask=mask, normalize=normalize)
    scale = 1 / (math.sqrt(4) * temperature)
    expected = F.scaled_dot_product_attention(query, key, value, mask, scale=scale)
    same(output, expected)
    inputs = query, key, value
    for ours, theirs in zip(gradients(output, *inputs), gradients(expected, *inputs), strict=True):
        same(ours, theirs)


@given(scores(), st.floats(0.1, 10))
def test_with_temperature_equals_the_loop(scores: Tensor, temperature: float) -> None:
    expected = [by_hand([score / temperature for score in row]) for row in scores.tolist()]
    ours = with_temperature(softmax, temperature)(scores)
    same(ours, torch.tensor(expected, dtype=torch.float64))


@given(scores())
def test_a_temperature_near_0_chooses_as_hardmax(scores: Tensor) -> None:
    whole = scores.round()  # gaps of 0, or of 1 and more
    for normalize in (softmax, sparsemax):
        same(with_temperature(normalize, 0.01)(whole), hardmax(whole))


def test_a_high_temperature_gives_equal_shares() -> None:
    hot = with_temperature(softmax, 1e14)(randn(L, S))
    same(hot, torch.full((L, S), 1 / S, dtype=torch.float64))


def test_a_temperature_wraps_what_is_learned_and_can_change() -> None:
    normalize: Any = with_temperature(with_sink(softmax, nn.Parameter(torch.zeros(H))), 0.5)
    assert [name for name, _ in normalize.named_parameters()] == ["normalize.sink"]
    plain: Any = with_temperature(softmax, 0.5)
    plain.temperature = 2.0
    given = randn(L, S)
    same(plain(given), (given / 2).softmax(-1))


# One key


def test_hardmax_equals_x_transformers() -> None:
    given = randn(N, H, L, S)
    # theirs is rounded: one_hot + soft - soft
    same(hardmax(given), one_hot_straight_through(given))
    query, key, value = heads()
    ours, _ = attention(query, key, value, mask=causal_mask(L, S), normalize=hardmax)
    theirs, _ = Attend(hard=True, heads=H)(query, key, value, mask=causal_mask(L, S)[None, None])
    same(ours, theirs)


@given(scores())
def test_hardmax_equals_the_loop(scores: Tensor) -> None:
    expected = []
    for row in scores.tolist():
        count = row.count(max(row)) if max(row) > -INF else INF
        expected.append([(score == max(row)) / count for score in row])
    assert torch.equal(hardmax(scores), torch.tensor(expected, dtype=torch.float64))


def test_hardmax_has_the_gradient_0() -> None:
    given = torch.tensor(
        [[1.0, 3.0, 3.0], [-INF, 2.0, 1.0], [-INF, -INF, -INF]], requires_grad=True
    )
    (gradient,) = gradients(hardmax(given), given)
    assert (gradient == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_hardmax_at_the_ends_of_a_dtype(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    row = torch.tensor([info.max, -info.max, -INF, info.max], dtype=dtype)
    assert hardmax(row).tolist() == [0.5, 0.0, 0.0, 0.5]
    low = torch.tensor([-info.max, -info.max / 2], dtype=dtype)
    assert hardmax(low).tolist() == [0.0, 1.0]
    near = torch.tensor([info.tiny, 2 * info.tiny], dtype=dtype)
    assert hardmax(near).tolist() == [0.0, 1.0]
    assert hardmax(row).dtype == dtype
    assert hardmax(torch.zeros(2, 0, dtype=dtype)).shape == (2, 0)


# By lot


def gumbel(temperature: float, *, hard: bool = False) -> Any:
    soft = with_temperature(softmax, temperature)
    return with_gumbel(straight_through(hardmax, soft) if hard else soft)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_gumbel_softmax_equals_torch(temperature: float, hard: bool) -> None:
    mask = torch.ones(L, S, dtype=torch.bool).triu(-2)
    given = randn(N, H, L, S).masked_fill(~mask, -INF).requires_grad_()
    torch.manual_seed(1)
    ours = gumbel(temperature, hard=hard)(given)
    torch.manual_seed(1)
    theirs = F.gumbel_softmax(given, tau=temperature, hard=hard)
    same(ours, theirs)
    same(*gradients(ours, given), *gradients(theirs, given))


def test_gumbel_softmax_equals_x_transformers() -> None:
    query, key, value = heads()
    for hard in (False, True):
        torch.manual_seed(1)
        ours, _ = attention(query, key, value, normalize=gumbel(0.7, hard=hard))
        torch.manual_seed(1)
        attend = Attend(
            gumbel_softmax=True, gumbel_softmax_temp=0.7, gumbel_softmax_hard=hard, heads=H
        )
        same(ours, attend(query, key, value)[0])


def test_a_key_is_drawn_as_often_as_its_softmax_weight_says() -> None:
    row = torch.tensor([0.0, 1.0, 2.0, -INF])
    drawn = with_gumbel(hardmax)(row.expand(40_000, 4))
    assert (drawn.sum(-1) == 1).all()
    assert (drawn.mean(0) - row.softmax(-1)).abs().max() < 0.01  # 4 standard deviations
    assert drawn[:, 3].sum() == 0
    assert not torch.equal(drawn, with_gumbel(hardmax)(row.expand(40_000, 4)))


def test_straight_through_equals_x_transformers() -> None:
    given = randn(N, H, L, S, grad=True)
    ours = straight_through(hardmax, with_temperature(softmax, 0.7))(given)
    theirs = one_hot_straight_through(given, temperature=0.7)
    same(ours, theirs)
    same(*gradients(ours, given), *gradients(theirs, given))


@given(scores())
def test_straight_through_gives_exactly_the_hard_weights(scores: Tensor) -> None:
    assert torch.equal(straight_through(hardmax, softmax)(scores), hardmax(scores))


def test_straight_through_has_the_gradient_of_the_soft_one_alone() -> None:
    given = randn(L, S, grad=True)
    mixed = straight_through(sparsemax, softmax)(given)
    same(*gradients(mixed, given), *gradients(softmax(given), given))


def test_they_are_modules_that_pickle_and_hold_what_is_learned() -> None:
    learned = with_sink(softmax, nn.Parameter(torch.zeros(H)))
    for made in (with_gumbel(learned), straight_through(hardmax, learned)):
        assert isinstance(made, nn.Module)
        assert len(list(made.parameters())) == 1
        assert len(list(pickle.loads(pickle.dumps(made)).parameters())) == 1


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: with_temperature(softmax, 0.0), ValueError, "temperature (0.0) must be positive"),
        (lambda: with_temperature(softmax, -1), ValueError, "temperature (-1) must be positive"),
        (
            lambda: with_temperature(softmax, float("nan")),
            ValueError,
            "temperature (nan) must be positive",
        ),
        (
            lambda: with_temperature(softmax, "1"),  # type: ignore[arg-type]
            TypeError,
            "temperature ('1') must be a number",
        ),
        (
            lambda: with_temperature(None, 1.0),  # type: ignore[arg-type]
            TypeError,
            "normalize (None) must be callable: a function or a module",
        ),
        (
            lambda: with_gumbel(None),  # type: ignore[arg-type]
            TypeError,
            "normalize (None) must be callable: a function or a module",
        ),
        (
            lambda: straight_through(None, softmax),  # type: ignore[arg-type]
            TypeError,
            "hard (None) must be callable: a function or a module",
        ),
        (
            lambda: straight_through(hardmax, 1),  # type: ignore[arg-type]
            TypeError,
            "soft (1) must be callable: a function or a module",
        ),
        (lambda: hardmax([[0.0]]), TypeError, "scores (list) must be a torch.Tensor"),  # type: ignore[arg-type]
    ],
)
def test_refuses(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        call()
