"""Masks of documents, prefixes and padding on both sides, against torch's maker of masks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import and_masks, create_mask, or_masks

from attn_examples import (
    MultiHeadAttention,
    attention,
    causal_mask,
    document_mask,
    padding_mask,
    prefix_mask,
    query_padding_mask,
)
from tests.conftest import gradients, randn, same, says

N, L, S, H = 2, 5, 7, 3
WORDS: Any = "ab"
QUERIES = torch.tensor([[0, 0, 1, 1, 2], [4, 4, 4, 7, -1]])
KEYS = torch.tensor([[0, 0, 0, 1, 2, 2, 3], [7, 7, 4, 4, 4, -1, -1]])


def flex(rule: Any) -> Tensor:
    mask: Tensor = create_mask(rule, N, None, L, S, device="cpu")
    return mask[:, 0]


def test_document_mask_equals_flex() -> None:
    rule = lambda b, h, i, j: QUERIES[b, i] == KEYS[b, j]  # noqa: E731
    assert torch.equal(document_mask(QUERIES, KEYS), flex(rule))
    assert torch.equal(document_mask(QUERIES[0], KEYS[0]), flex(rule)[0])
    assert torch.equal(document_mask(QUERIES[0].tolist(), KEYS[0].tolist()), flex(rule)[0])


def test_packed_documents_are_as_if_alone() -> None:
    query, key, value = (randn(H, L, 4) for _ in range(3))
    packed, _ = attention(query, key, value, mask=document_mask([0, 0, 0, 1, 1]) & causal_mask(L))
    for own in (slice(0, 3), slice(3, 5)):
        q, k, v = query[:, own], key[:, own], value[:, own]
        same(packed[:, own], F.scaled_dot_product_attention(q, k, v, is_causal=True))


@pytest.mark.parametrize("prefix", [0, 1, 4, 7, 100])
def test_prefix_mask_equals_flex(prefix: int) -> None:
    rule = or_masks(lambda b, h, i, j: j <= i + S - L, lambda b, h, i, j: j < prefix)
    assert torch.equal(prefix_mask(L, S, prefix), flex(rule)[0])


@pytest.mark.parametrize("kind", [list, torch.tensor])
def test_prefix_mask_of_a_batch_equals_flex(kind: Any) -> None:
    prefixes = torch.tensor([4, 1])
    rule = or_masks(lambda b, h, i, j: j <= i + S - L, lambda b, h, i, j: j < prefixes[b])
    assert torch.equal(prefix_mask(L, S, kind([4, 1])), flex(rule))
    assert torch.equal(prefix_mask(L, None, 2), prefix_mask(L, L, 2))


@pytest.mark.parametrize("lengths", [[3, 5], [0, 1]])
def test_query_padding_mask_equals_flex(lengths: list[int]) -> None:
    true = torch.tensor(lengths)
    queries = query_padding_mask(lengths, L)
    assert queries.shape == (N, L, 1)
    assert torch.equal(queries.expand(N, L, S), flex(lambda b, h, i, j: i < true[b]))
    both = and_masks(lambda b, h, i, j: i < true[b], lambda b, h, i, j: j < true[b])
    assert torch.equal(queries & padding_mask(lengths, S), flex(both))


@pytest.mark.parametrize("need_weights", [True, False])
def test_padded_queries_get_nothing(need_weights: bool) -> None:
    mask = query_padding_mask([2, 4], L) & padding_mask([7, 3], S)
    query, key, value = (randn(N, n, 4, grad=True) for n in (L, S, S))
    output, weights = attention(query, key, value, mask=mask)
    for n, length in enumerate([2, 4]):
        assert output[n, length:].eq(0).all()
        assert weights[n, length:].eq(0).all()
        assert output[n, :length].ne(0).all()
    assert all(g.isfinite().all() for g in gradients(output, query, key, value))
    module = MultiHeadAttention(12, H).double()
    projected, _ = module(randn(N, L, 12), randn(N, S, 12), mask=mask, need_weights=need_weights)
    assert torch.equal(projected[0, 2:], module.out_proj.bias.expand(3, 12))


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (
            lambda: document_mask(torch.tensor([0.5])),
            TypeError,
            "documents (torch.float32) must be whole numbers",
        ),
        (lambda: document_mask(WORDS), TypeError, "documents ('ab') must be whole numbers"),
        (
            lambda: document_mask([0], torch.tensor([True])),
            TypeError,
            "key_documents (torch.bool) must be whole numbers",
        ),
        (
            lambda: document_mask(torch.tensor(3)),
            ValueError,
            "documents (3) must have one number for each token",
        ),
        (
            lambda: prefix_mask(5, 5, torch.tensor(0.5)),
            TypeError,
            "prefix_len (torch.float32) must be whole numbers",
        ),
        (
            lambda: prefix_mask(5, 5, torch.zeros(2, 1).long()),
            ValueError,
            "prefix_len has shape (2, 1) but must be a number, or (N,)",
        ),
        (lambda: prefix_mask(-1, 5, 2), ValueError, "query_len (-1) must be at least 0"),
        (lambda: query_padding_mask([2], -1), ValueError, "query_len (-1) must be at least 0"),
    ],
)
def test_refuses(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        call()
