"""Masks of documents and of padding on both sides, against torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import and_masks
from torch.nn.utils.rnn import pad_sequence
from transformers import DataCollatorWithFlattening, masking_utils

from attn_examples import (
    MultiHeadAttention,
    attention,
    causal_mask,
    document_mask,
    pack_sequences,
    padding_mask,
    query_padding_mask,
)
from tests.conftest import gradients, randn, same, says
from tests.masks.conftest import L, N, S, flex
from tests.masks.test_order import theirs

H = 3
QUERIES = torch.tensor([[0, 0, 1, 1, 2], [4, 4, 4, 7, -1]])
KEYS = torch.tensor([[0, 0, 0, 1, 2, 2, 3], [7, 7, 4, 4, 4, -1, -1]])


def test_document_mask_equals_flex() -> None:
    rule = lambda b, h, i, j: QUERIES[b, i] == KEYS[b, j]  # noqa: E731
    assert torch.equal(document_mask(QUERIES, KEYS), flex(rule))
    assert torch.equal(document_mask(QUERIES[0], KEYS[0]), flex(rule)[0])
    assert torch.equal(document_mask(QUERIES[0].tolist(), KEYS[0].tolist()), flex(rule)[0])


def test_document_mask_equals_transformers() -> None:
    rule = masking_utils.packed_sequence_mask_function(KEYS[1:])
    assert torch.equal(document_mask(KEYS[1]), theirs(rule, S, S, 0))


# torch's own attention of jagged tensors makes tensors of the older layout, which warn
of_a_prototype = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")


def jagged(*sequences: Tensor) -> Any:
    """Put sequences of their own lengths into one tensor of torch, (N, *, H, width)."""
    return torch.nested.as_nested_tensor(list(sequences), layout=torch.jagged)


@of_a_prototype
def test_packed_documents_equal_nested_tensors() -> None:
    lengths = [3, 1, 2]
    three = [[randn(n, H, width, grad=True) for n in lengths] for width in (4, 4, 6)]
    query, key, value = (pack_sequences(sequences)[0].transpose(0, 1) for sequences in three)
    ours, _ = attention(query, key, value, mask=document_mask(pack_sequences(three[0])[1]))
    q, k, v = (
        torch.nested.as_nested_tensor(sequences, layout=torch.jagged).transpose(1, 2)
        for sequences in three
    )
    expected = F.scaled_dot_product_attention(q, k, v)
    for own, their in zip(ours.split(lengths, dim=-2), expected.unbind(), strict=True):  # type: ignore[no-untyped-call]
        same(own, their)
    inputs = [sequence for sequences in three for sequence in sequences]
    theirs = torch.cat(list(expected.unbind()), dim=-2)
    for gradient, other in zip(gradients(ours, *inputs), gradients(theirs, *inputs), strict=True):
        same(gradient, other)


def test_packed_documents_are_as_if_alone() -> None:
    query, key, value = (randn(H, L, 4) for _ in range(3))
    packed, _ = attention(query, key, value, mask=document_mask([0, 0, 0, 1, 1]) & causal_mask(L))
    for own in (slice(0, 3), slice(3, 5)):
        q, k, v = query[:, own], key[:, own], value[:, own]
        same(packed[:, own], F.scaled_dot_product_attention(q, k, v, is_causal=True))


@pytest.mark.parametrize("lengths", [[2, 1, 4], [3], [1, 1]])
def test_pack_sequences_equals_transformers(lengths: list[int]) -> None:
    sequences = list(torch.arange(100, 100 + sum(lengths)).split(lengths))  # type: ignore[no-untyped-call]
    collate: Any = DataCollatorWithFlattening(  # type: ignore[no-untyped-call]
        return_seq_idx=True, separator_id=-100
    )
    expected = collate([{"input_ids": s.tolist()} for s in sequences], return_tensors="pt")
    names = ("input_ids", "seq_idx", "position_ids")
    for ours, name in zip(pack_sequences(sequences), names, strict=True):
        assert torch.equal(ours, expected[name][0].long())


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_what_is_packed_can_be_taken_apart(lengths: list[int]) -> None:
    sequences = [randn(n, 4) for n in lengths]
    packed, documents, positions = pack_sequences(sequences)
    assert packed.shape == (sum(lengths), 4)
    for ours, expected in zip(packed.split(lengths), sequences, strict=True):  # type: ignore[no-untyped-call]
        assert torch.equal(ours, expected)
    assert documents.dtype == positions.dtype == torch.int64
    assert torch.bincount(documents, minlength=len(lengths)).tolist() == lengths
    assert positions.eq(0).sum() == sum(n > 0 for n in lengths)


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


def test_padding_mask_is_the_key_padding_mask() -> None:
    module = nn.MultiheadAttention(12, H, batch_first=True).double()
    query, key = randn(N, L, 12, grad=True), randn(N, S, 12, grad=True)
    mask = padding_mask([4, 7], S)
    ours = MultiHeadAttention.from_torch(module)(query, key, mask=mask)
    expected = module(query, key, key, key_padding_mask=~mask[:, 0], average_attn_weights=False)
    for mine, their in zip(ours, expected, strict=True):
        same(mine, their)
    grads = [gradients(output, query, key) for output in (ours[0], expected[0])]
    for mine, their in zip(*grads, strict=True):
        same(mine, their)


@of_a_prototype
@pytest.mark.parametrize("lengths", [[3, 5], [4, 1]])
def test_padding_on_both_sides_equals_nested_tensors(lengths: list[int]) -> None:
    """Of padded queries nothing is left but the 0 that fills the tensor up."""
    query, key, value = randn(N, H, L, 4), randn(N, H, L, 4), randn(N, H, L, 6)
    mask = query_padding_mask(lengths, L) & padding_mask(lengths, L)
    ours, _ = attention(query, key, value, mask=mask.unsqueeze(1))
    q, k, v = (
        jagged(*(x[n, :, :length].transpose(0, 1) for n, length in enumerate(lengths)))
        for x in (query, key, value)
    )
    output = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)))
    expected = torch.nested.to_padded_tensor(output.transpose(1, 2), 0.0, (N, L, H, 6))
    same(ours, expected.transpose(1, 2))


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
        (pack_sequences, ([],), ValueError, "sequences is empty but must hold at least one"),
        (pack_sequences, ([[1, 2]],), TypeError, "sequences[0] (list) must be a torch.Tensor"),
        (
            pack_sequences,
            ([torch.zeros(2), torch.tensor(3.0)],),
            ValueError,
            "sequences[1] is a number but must be (length, ...)",
        ),
        (query_padding_mask, ([2], -1), ValueError, "query_len (-1) must be at least 0"),
    ],
)
def test_refuses(
    make: Any, arguments: tuple[Any, ...], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=says(sentence)):
        make(*arguments)
