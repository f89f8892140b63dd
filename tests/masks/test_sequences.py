"""Masks of documents and of padding on both sides, against torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention.flex_attention import and_masks
from torch.nn.utils.rnn import pad_sequence

from attn_examples import (
    MultiHeadAttention,
    attention,
    causal_mask,
    document_mask,
    padding_mask,
    query_padding_mask,
)
from tests.conftest import gradients, randn, same, says
from tests.masks.conftest import L, N, S, flex

H = 3
QUERIES = torch.tensor([[0, 0, 1, 1, 2], [4, 4, 4, 7, -1]])
KEYS = torch.tensor([[0, 0, 0, 1, 2, 2, 3], [7, 7, 4, 4, 4, -1, -1]])


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


@pytest.mark.parametrize(
    "lengths",
    [[2, 7, 0], (2, 7, 0), torch.tensor([2, 7, 0]), torch.tensor([2, 7, 0], dtype=torch.uint16)],
)
def test_padding_mask_equals_torch(lengths: Any) -> None:
    padded = pad_sequence([torch.ones(n) for n in (2, 7, 0)], batch_first=True)
    mask = padding_mask(lengths, 7)
    assert torch.equal(mask, padded.bool().unsqueeze(1))


def test_padding_mask_hides_what_is_padded() -> None:
    query, key, value = randn(2, 5, 4), randn(2, 7, 4), randn(2, 7, 6)
    output, weights = attention(query, key, value, mask=padding_mask([3, 7], 7))
    short, short_weights = attention(query[0], key[0, :3], value[0, :3])
    same(output[0], short)
    same(weights[0], F.pad(short_weights, (0, 4)))


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
    ("make", "arguments", "error", "sentence"),
    [
        (padding_mask, ([1], -1), ValueError, "key_len (-1) must be at least 0"),
        (padding_mask, ([1], 2.0), TypeError, "key_len (2.0) must be a whole number"),
        *(
            (
                padding_mask,
                ([2, length], 3),
                ValueError,
                f"lengths holds {length}, which must be from 0 to key_len (3)",
            )
            for length in (4, -1)
        ),
        *(
            (
                padding_mask,
                (lengths, 3),
                ValueError,
                f"lengths has shape {shape} but must be one-dimensional, "
                f"one length for each sequence",
            )
            for lengths, shape in [(3, ()), ([[1, 2]], (1, 2)), (torch.zeros(0, 2), (0, 2))]
        ),
        *(
            (padding_mask, (lengths, 3), TypeError, f"lengths ({what}) must be whole numbers")
            for lengths, what in [
                ([1.0, 2.0], "torch.float32"),
                ([True], "torch.bool"),
                ([1j], "torch.complex64"),
                ("abc", "'abc'"),
                (None, "None"),
                ([[1], [2, 3]], "[[1], [2, 3]]"),
            ]
        ),
        (
            document_mask,
            (torch.tensor([0.5]),),
            TypeError,
            "documents (torch.float32) must be whole numbers",
        ),
        (document_mask, ("ab",), TypeError, "documents ('ab') must be whole numbers"),
        (
            document_mask,
            ([0], torch.tensor([True])),
            TypeError,
            "key_documents (torch.bool) must be whole numbers",
        ),
        (
            document_mask,
            (torch.tensor(3),),
            ValueError,
            "documents (3) must have one number for each token",
        ),
        (query_padding_mask, ([2], -1), ValueError, "query_len (-1) must be at least 0"),
    ],
)
def test_refuses(
    make: Any, arguments: tuple[Any, ...], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=says(sentence)):
        make(*arguments)
