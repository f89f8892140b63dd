"""Attention by tiles against torch's functions, and a loop that takes one key at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from attn_examples import (
    Additive,
    attention,
    causal_mask,
    cosine,
    scaled_dot,
    softcapped,
    tiled_attention,
)
from tests.conftest import gradients, randn, same, says

N, H, L, S, E, Ev = 2, 3, 5, 7, 4, 6
tiles = pytest.mark.parametrize("sizes", [(1, 1), (2, 3), (3, 2), (5, 7), (64, 64)], ids=str)


def heads(queries: int = L, keys: int = S) -> tuple[Tensor, Tensor, Tensor]:
    q, k = randn(N, H, queries, E, grad=True), randn(N, H, keys, E, grad=True)
    return q, k, randn(N, H, keys, Ev, grad=True)


def some(queries: int = L, keys: int = S) -> Tensor:
    """Make a mask, (N, 1, L, S), in which query 1 may see no key."""
    i, j = torch.meshgrid(torch.arange(queries), torch.arange(keys), indexing="ij")
    return (((i + j) % 3 != 0) & (i != 1)).expand(N, 1, queries, keys)


@tiles
@pytest.mark.parametrize("masked", [False, True])
def test_tiled_attention_equals_torch(masked: bool, sizes: tuple[int, int]) -> None:
    (q, k, v), mask = heads(), some() if masked else None
    expected = F.scaled_dot_product_attention(q, k, v, mask)
    ours, _ = tiled_attention(q, k, v, mask=mask, query_block=sizes[0], key_block=sizes[1])
    same(ours, expected)
    for our, their in zip(gradients(ours, q, k, v), gradients(expected, q, k, v), strict=True):
        same(our, their)


@tiles
@pytest.mark.parametrize("causal", [False, True])
def test_tiled_attention_equals_the_flash_kernel(causal: bool, sizes: tuple[int, int]) -> None:
    """The kernel returns the logarithms of the sums, too; its causal mask is for L = S."""
    q, k, v = heads(keys=L) if causal else heads()
    v = v[..., :E]  # as wide as the keys: so the kernel wants it
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    expected = kernel(q.detach(), k.detach(), v.detach(), 0.0, causal)
    settings: Any = {"is_causal": causal, "query_block": sizes[0], "key_block": sizes[1]}
    for our, their in zip(tiled_attention(q, k, v, **settings), expected, strict=True):
        same(our, their)


@pytest.mark.parametrize(("queries", "keys"), [(L, S), (S, L), (1, S)])
def test_tiled_attention_by_hand(queries: int, keys: int) -> None:
    """Rabe and Staats, section 2: one key at a time, and a division at the end."""
    q, k, v = (x.detach() for x in heads(queries, keys))
    allowed = some(queries, keys)
    expected = torch.zeros(N, H, queries, Ev, dtype=torch.float64)
    logarithms = torch.zeros(N, H, queries, dtype=torch.float64)
    for n in range(N):
        for h in range(H):
            for i in range(queries):
                m, s_star, v_star = -math.inf, 0.0, [0.0] * Ev
                for j in range(keys):
                    if not allowed[n, 0, i, j] or j > i + keys - queries:
                        continue
                    s = sum((q[n, h, i] * k[n, h, j]).tolist()) / math.sqrt(E)
                    m_new = max(m, s)
                    old, new = math.exp(m - m_new), math.exp(s - m_new)
                    s_star = s_star * old + new
                    v_star = [a * old + float(b) * new for a, b in zip(v_star, v[n, h, j],
                                                                       strict=True)]  # fmt: skip
                    m = m_new
                logarithms[n, h, i] = m + math.log(s_star) if s_star else -math.inf
                if s_star:
                    expected[n, h, i] = torch.tensor(v_star, dtype=torch.float64) / s_star
    ours, logsumexp = tiled_attention(
        q, k, v, mask=allowed, is_causal=True, query_block=2, key_block=3
    )
    same(ours, expected)
    same(logsumexp, logarithms)


@given(*[st.integers(0, 9)] * 2, *[st.integers(1, 10)] * 2, st.booleans())
def test_tiles_of_any_size_give_the_same(
    queries: int, keys: int, rows: int, columns: int, causal: bool
) -> None:
    q, k, v = randn(2, queries, E), randn(2, keys, E), randn(2, keys, Ev)
    mask = causal_mask(queries, keys) if causal else None
    expected, weights = attention(q, k, v, mask=mask)
    ours, logsumexp = tiled_attention(
        q, k, v, is_causal=causal, query_block=rows, key_block=columns
    )
    same(ours, expected)
    scores = scaled_dot(q, k)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    same(logsumexp, scores.logsumexp(-1))
    again = (scores - logsumexp.unsqueeze(-1)).exp()  # the weights, from it alone
    same(again.nan_to_num(), weights)


@pytest.mark.parametrize(
    "score",
    [cosine, softcapped(scaled_dot, 1.0), Additive(E, E, 8).double()],
    ids=["cosine", "cap", "net"],
)
def test_any_score_of_two_vectors(score: Any) -> None:
    q, k, v = heads()
    expected, _ = attention(q, k, v, score=score, mask=some())
    ours, _ = tiled_attention(q, k, v, score=score, mask=some(), query_block=2, key_block=3)
    same(ours, expected)
    for our, their in zip(gradients(ours, q, k, v), gradients(expected, q, k, v), strict=True):
        same(our, their)


def test_no_score_is_made_for_tiles_that_lie_ahead() -> None:
    seen: list[tuple[int, int]] = []

    def counted(query: Tensor, key: Tensor) -> Tensor:
        seen.append((query.shape[-2], key.shape[-2]))
        return scaled_dot(query, key)

    q, k, v = randn(8, E), randn(8, E), randn(8, Ev)
    tiled_attention(q, k, v, score=counted, query_block=2, key_block=2, is_causal=True)
    assert seen == [(2, 2)] * 10  # of 16
    seen.clear()
    tiled_attention(q, k, v, score=counted, query_block=3, key_block=4)
    assert seen == [(3, 4)] * 4 + [(2, 4)] * 2


def test_a_row_without_keys_is_0_with_finite_gradients() -> None:
    q, k, v = heads()
    for result in tiled_attention(q, k, v, mask=some(), query_block=2, key_block=3):
        given = result.masked_fill(~result.isfinite(), 0.0)
        found = torch.autograd.grad(given.sum(), (q, k, v), retain_graph=True, allow_unused=True)
        assert all(g.isfinite().all() for g in found if g is not None)
    output, logsumexp = tiled_attention(q, k, v, mask=some(), query_block=2, key_block=3)
    assert (output[..., 1, :] == 0).all()
    assert (logsumexp[..., 1] == -math.inf).all()


def test_large_scores_do_not_overflow() -> None:
    q, k, v = heads()
    expected = F.scaled_dot_product_attention(q * 1e4, k, v)
    same(tiled_attention(q * 1e4, k, v, query_block=2, key_block=3)[0], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_dtypes_are_added_up_in_float32(dtype: torch.dtype) -> None:
    q, k, v = torch.zeros(1, 4, dtype=dtype), torch.zeros(4096, 4, dtype=dtype), torch.ones(4096, 4)
    output, logsumexp = tiled_attention(q, k, v.to(dtype), key_block=1)
    assert output.dtype == logsumexp.dtype == dtype
    assert (output == 1).all()  # a sum in bfloat16 stops at 256, one in float16 at 2048
    torch.testing.assert_close(logsumexp.float(), torch.tensor([math.log(4096)]), rtol=0, atol=0.02)


Q, K, V = torch.zeros(2, 5, 4), torch.zeros(2, 7, 4), torch.zeros(2, 7, 6)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (
            lambda: tiled_attention(Q, K, V, query_block=0),
            ValueError,
            "query_block (0) must be at least 1",
        ),
        (
            lambda: tiled_attention(Q, K, V, key_block=2.0),  # type: ignore[arg-type]
            TypeError,
            "key_block (2.0) must be a whole number",
        ),
        (
            lambda: tiled_attention(Q, K, V, mask=torch.ones(5, 6, dtype=torch.bool)),
            ValueError,
            "mask has shape (5, 6) but the scores have (2, 5, 7): give it (5, 7), or all 3 "
            "dimensions with 1 where it repeats",
        ),
        (
            lambda: tiled_attention(Q, K, V, score="dot"),  # type: ignore[arg-type]
            TypeError,
            "score ('dot') must be callable: a function or a module",
        ),
        (
            lambda: tiled_attention(Q, K, V[:, :6]),
            ValueError,
            "value has 6 positions (2, 6, 6) but key has 7 (2, 7, 4): each key needs exactly one "
            "value",
        ),
    ],
)
def test_refuses(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        call()
