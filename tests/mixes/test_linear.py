"""Linear attention against loops over the paper's equations, and torch's softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from attn_examples import attention, dot, elu_plus_one, linear_attention
from tests.conftest import gradients, randn, same, says

N, H, L, S, E, Ev = 2, 3, 5, 7, 4, 6

FEATURE_MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu + 1": elu_plus_one,
    "exp": torch.exp,
    "squares": lambda x: torch.cat([x.square(), x.abs() + 0.1], -1),  # wider than x
}
maps = pytest.mark.parametrize("name", FEATURE_MAPS)


def heads(length: int = L) -> tuple[Tensor, Tensor, Tensor]:
    q, k = randn(N, H, L, E, grad=True), randn(N, H, length, E, grad=True)
    return q, k, randn(N, H, length, Ev, grad=True)


def test_elu_plus_one_equals_torch() -> None:
    x = torch.linspace(-9.0, 9.0, 37, dtype=torch.float64)
    same(elu_plus_one(x), F.elu(x) + 1)
    small = torch.tensor([-200.0], dtype=torch.float64)  # there theirs is 0
    assert elu_plus_one(small) == small.exp() > 0 == F.elu(small) + 1


def test_elu_plus_one_by_hand() -> None:
    x = torch.tensor([-1.5, -0.0, 0.0, 2.5, 800.0], dtype=torch.float64, requires_grad=True)
    expected = [v + 1 if v > 0 else math.exp(v) for v in x.tolist()]
    same(elu_plus_one(x), torch.tensor(expected, dtype=torch.float64))
    (slope,) = torch.autograd.grad(elu_plus_one(x).sum(), x)
    same(slope, torch.tensor([min(1.0, e) for e in expected], dtype=torch.float64))


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 3, L, 99])
@maps
def test_linear_attention_equals_equations_16_to_20(name: str, chunk_size: int | None) -> None:
    """One token after the other; without the residual of equation 20."""
    phi, (q, k, v) = FEATURE_MAPS[name], heads()
    rows = []
    for n in range(N):
        for h in range(H):
            s, z = (
                torch.zeros_like(torch.outer(phi(k[n, h, 0]), v[n, h, 0])),
                torch.zeros_like(phi(k[n, h, 0])),
            )
            for i in range(L):
                s = s + torch.outer(phi(k[n, h, i]), v[n, h, i])
                z = z + phi(k[n, h, i])
                rows.append((phi(q[n, h, i]) @ s) / (phi(q[n, h, i]) @ z))
    expected = torch.stack(rows).view(N, H, L, Ev)
    ours, state = linear_attention(q, k, v, feature_map=phi, is_causal=True, chunk_size=chunk_size)
    same(ours, expected)
    same(state[-1, -1, :, :-1], s)
    same(state[-1, -1, :, -1], z)
    for our, their in zip(gradients(ours, q, k, v), gradients(expected, q, k, v), strict=True):
        same(our, their)


@pytest.mark.parametrize("causal", [False, True])
@maps
def test_linear_attention_equals_torch_with_the_logarithm_as_mask(name: str, causal: bool) -> None:
    """softmax(log(phi(q) . phi(k))) is phi(q) . phi(k) over the sum of its row."""
    phi, (q, k, v) = FEATURE_MAPS[name], heads(L if causal else S)
    logarithms = torch.einsum("nhif,nhjf->nhij", phi(q), phi(k)).log()
    if causal:
        future = torch.ones(L, L, dtype=torch.bool).triu(1)
        logarithms = logarithms.masked_fill(future, float("-inf"))
    nothing = torch.zeros_like(q), torch.zeros_like(k)
    expected = F.scaled_dot_product_attention(*nothing, v, logarithms)
    ours, _ = linear_attention(q, k, v, feature_map=phi, is_causal=causal)
    same(ours, expected)
    for our, their in zip(gradients(ours, q, k, v), gradients(expected, q, k, v), strict=True):
        same(our, their)


def test_it_is_attention_with_another_normalizer() -> None:
    q, k, v = heads(S)
    expected, _ = attention(
        elu_plus_one(q),
        elu_plus_one(k),
        v,
        score=dot,
        normalize=lambda scores: scores / scores.sum(-1, keepdim=True),
    )
    same(linear_attention(q, k, v)[0], expected)


@given(st.integers(0, 9), st.integers(0, 9), st.sampled_from([None, 1, 2, 3, 4]))
def test_a_state_is_a_cache(first: int, rest: int, chunk_size: int | None) -> None:
    """In two calls as in one, wherever it is cut and whatever the chunks."""
    q, k, v = randn(2, first + rest, 3), randn(2, first + rest, 3), randn(2, first + rest, 4)
    whole, at_end = linear_attention(q, k, v, is_causal=True)
    before, state = linear_attention(
        q[:, :first], k[:, :first], v[:, :first], is_causal=True, chunk_size=chunk_size
    )
    after, state = linear_attention(
        q[:, first:],
        k[:, first:],
        v[:, first:],
        is_causal=True,
        chunk_size=chunk_size,
        state=state,
    )
    same(torch.cat([before, after], 1), whole)
    same(state, at_end)
    same(linear_attention(q, k, v)[1], at_end)  # the sum is the same for those who see all
    assert state.shape == (2, 3, 5)


def test_more_keys_for_the_same_state() -> None:
    q, k, v = heads(S)
    _, state = linear_attention(q, k[..., :3, :], v[..., :3, :])
    ours, _ = linear_attention(q, k[..., 3:, :], v[..., 3:, :], state=state)
    same(ours, linear_attention(q, k, v)[0])


def test_without_keys_or_features_the_output_is_0() -> None:
    q, k, v = heads(S)
    nothing, state = linear_attention(q, k[..., :0, :], v[..., :0, :])
    assert (nothing == 0).all()
    assert (state == 0).all()
    dead, _ = linear_attention(q, k, v, feature_map=lambda x: x.abs() * 0)
    assert (dead == 0).all()
    assert all(g.isfinite().all() for g in gradients(dead, q, k, v))
    parted, _ = linear_attention(q[..., :0, :], k[..., :0, :], v[..., :0, :], is_causal=True,
                                 chunk_size=2)  # fmt: skip
    assert parted.shape == (N, H, 0, Ev)


def test_heads_may_share_keys() -> None:
    q, k, v = heads(S)
    shared, state = linear_attention(q, k[:, :1], v[:, :1])
    same(shared, linear_attention(q, k[:, :1].expand_as(k), v[:, :1].expand_as(v))[0])
    assert state.shape == (N, 1, E, Ev + 1)


Q, K, V = torch.zeros(5, 4), torch.zeros(7, 4), torch.zeros(7, 6)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (
            lambda: linear_attention(Q, K, V, is_causal=True),
            ValueError,
            "key has 7 positions but query has 5: with is_causal each query comes with its key, "
            "and earlier keys are in the state",
        ),
        (
            lambda: linear_attention(K, K, V, is_causal=True, chunk_size=0),
            ValueError,
            "chunk_size (0) must be at least 1",
        ),
        (
            lambda: linear_attention(Q, K, V, chunk_size=0),
            ValueError,
            "chunk_size (0) must be at least 1",
        ),
        (
            lambda: linear_attention(Q, K, V, state=torch.zeros(4, 6)),
            ValueError,
            "state has shape (4, 6) but must end in (4, 7): one row for each feature, one column "
            "more than the values have",
        ),
        (
            lambda: linear_attention(Q, K, V, state=(Q, K)),  # type: ignore[arg-type]
            TypeError,
            "state (tuple) must be a torch.Tensor",
        ),
        (
            lambda: linear_attention(Q, K, V, feature_map="elu"),  # type: ignore[arg-type]
            TypeError,
            "feature_map ('elu') must be callable: a function or a module",
        ),
        (
            lambda: linear_attention(Q, K, V[:6]),
            ValueError,
            "value has 6 positions (6, 6) but key has 7 (7, 4): each key needs exactly one value",
        ),
        (
            lambda: elu_plus_one([1.0]),  # type: ignore[arg-type]
            TypeError,
            "x (list) must be a torch.Tensor",
        ),
    ],
)
def test_refuses(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        call()
