"""Masks of what belongs together: a sequence and its padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attn_examples.checks import (
    check_count,
    check_sequences,
    refuse_outside,
    shape_of,
    whole_numbers,
)

__all__ = ["document_mask", "pack_sequences", "padding_mask", "query_padding_mask"]

MECHANISMS = (
    {
        "name": "padding",
        "call": "padding_mask",
        "changes": "those that are no padding",
        "page": "formulas/masks-of-batches#padding",
        "without_paper": "whoever first put sequences into a batch needed it",
        "oracles": {
            "torch.nn.utils.rnn.pad_sequence": "test_padding_mask_equals_torch",
            "torch.nn.MultiheadAttention": "test_padding_mask_is_the_key_padding_mask",
        },
        "words": ["key_padding_mask", "pad tokens", "batch of sequences"],
        "cost": "the same",
        "thumbnail": "padding_mask([5], 8)[0].expand(8, 8)",
    },
    {
        "name": "padding of queries",
        "call": "query_padding_mask",
        "changes": "none, if the query is padding",
        "page": "formulas/masks-of-batches#query-padding",
        "without_paper": "it is the padding mask, seen from the other side",
        "oracles": {
            "torch.nn.attention.flex_attention.and_masks": "test_query_padding_mask_equals_flex",
            "torch.nested.to_padded_tensor": "test_padding_on_both_sides_equals_nested_tensors",
        },
        "words": ["padded queries", "query mask", "pad tokens"],
        "cost": "the same",
        "thumbnail": "query_padding_mask([5], 8)[0].expand(8, 8)",
    },
    {
        "name": "documents",
        "call": "document_mask",
        "changes": "those of its own document",
        "page": "types/masks/documents",
        "papers": ["krell2021"],
        "oracles": {
            "torch.nested.as_nested_tensor": "test_packed_documents_equal_nested_tensors",
            "transformers.masking_utils.packed_sequence_mask_function": (
                "test_document_mask_equals_transformers"
            ),
        },
        "words": [
            "packed sequences",
            "block-diagonal mask",
            "varlen",
            "cross-contamination",
        ],
        "cost": "less: the scores within each document, where a kernel skips the others",
        "used_in": {"Llama 3": "grattafiori2024"},
        "thumbnail": "document_mask([0, 0, 0, 1, 1, 1, 1, 1])",
    },
    {
        "name": "packing",
        "call": "pack_sequences",
        "changes": "lays sequences end to end, with the numbers that its mask needs",
        "page": "types/masks/documents#packing",
        "papers": ["krell2021"],
        "oracles": {
            "transformers.DataCollatorWithFlattening": "test_pack_sequences_equals_transformers",
            "torch.nested.as_nested_tensor": "test_packed_documents_equal_nested_tensors",
        },
        "words": [
            "sequence packing",
            "sample packing",
            "padding-free",
            "position_ids",
            "cu_seqlens",
        ],
        "cost": "less: no scores of padding, where a kernel skips those between sequences",
        "thumbnail": "causal_mask(8) & document_mask(pack_sequences([query[:3], query[3:]])[1])",
    },
)


def padding_mask(lengths: Sequence[int] | Tensor, key_len: int) -> Tensor:
    """Hide the padding at the end of each sequence of a batch.

    Parameters
    ----------
    lengths : sequence of int, or Tensor of integers, shape (N,)
        True length of each sequence.
    key_len : int
        Padded length, S.

    Returns
    -------
    Tensor of bool, shape (N, 1, S)
        True where key j is no padding. The 1 stands for the queries: all of them see
        the same keys. With scores of shape (N, H, L, S), add the head dimension:
        `mask.unsqueeze(1)`; `MultiHeadAttention` does it for you. For queries that are
        padding, too, see `query_padding_mask`.

    Raises
    ------
    ValueError
        If `lengths` is not one-dimensional, or a length is negative or beyond `key_len`.
    TypeError
        If the lengths are not integers.

    Examples
    --------
    >>> from attn_examples import padding_mask
    >>> padding_mask([2, 3], 3)
    tensor([[[ True,  True, False]],
    <BLANKLINE>
            [[ True,  True,  True]]])
    """
    check_count("key_len", key_len, least=0)
    counts = whole_numbers("lengths", lengths)
    if counts.dim() != 1:
        raise ValueError(
            f"lengths has shape {shape_of(counts)} but must be one-dimensional, one "
            "length for each sequence"
        )
    refuse_outside("lengths", counts, "key_len", key_len)
    positions = torch.arange(key_len, device=counts.device)
    allowed = positions < counts.unsqueeze(-1)  # (N, S)
    return allowed.unsqueeze(-2)  # (N, 1, S)


def query_padding_mask(lengths: Sequence[int] | Tensor, query_len: int) -> Tensor:
    """Let the padding at the end of each sequence of a batch see nothing.

    Parameters
    ----------
    lengths : sequence of int, or Tensor of integers, shape (N,)
        True length of each sequence.
    query_len : int
        Padded length, L.

    Returns
    -------
    Tensor of bool, shape (N, L, 1)
        True where query i is no padding. Padded queries get the weights 0, and from
        `attention` the output 0; a module with an output projection adds its bias. For
        padding on both sides combine it with that of the keys, as below.

    Raises
    ------
    ValueError
        If `lengths` is not one-dimensional, or a length is negative or beyond `query_len`.
    TypeError
        If the lengths are not integers.

    Examples
    --------
    >>> from attn_examples import padding_mask, query_padding_mask
    >>> mask = query_padding_mask([2], 3) & padding_mask([2], 4)  # (N, L, 1) & (N, 1, S)
    >>> mask.int()
    tensor([[[1, 1, 0, 0],
             [1, 1, 0, 0],
             [0, 0, 0, 0]]], dtype=torch.int32)
    """
    check_count("query_len", query_len, least=0)
    return padding_mask(lengths, query_len).mT  # (N, 1, L) -> (N, L, 1)


def document_mask(
    documents: Sequence[int] | Tensor,
    key_documents: Sequence[int] | Tensor | None = None,
) -> Tensor:
    """Let tokens see those of their own document, of several in one sequence.

    Parameters
    ----------
    documents : sequence of int, or Tensor of integers, shape (..., L)
        The number of the document to which each query belongs. Give padding a number of
        its own, such as -1.
    key_documents : sequence of int, or Tensor of integers, shape (..., S), optional
        The same for the keys; by default `documents`.

    Returns
    -------
    Tensor of bool, shape (..., L, S)
        True where query i and key j belong to one document.

    Raises
    ------
    ValueError
        If there is no dimension of length.
    TypeError
        If the numbers are not integers.

    References
    ----------
    Krell et al., "Efficient Sequence Packing without Cross-contamination", 2021,
    arXiv:2107.02027.

    Examples
    --------
    Two documents, of two tokens and of one; and the same for a language model:

    >>> from attn_examples import causal_mask, document_mask
    >>> document_mask([0, 0, 1]).int()
    tensor([[1, 1, 0],
            [1, 1, 0],
            [0, 0, 1]], dtype=torch.int32)
    >>> (document_mask([0, 0, 1]) & causal_mask(3)).int()
    tensor([[1, 0, 0],
            [1, 1, 0],
            [0, 0, 1]], dtype=torch.int32)
    """
    queries = whole_numbers("documents", documents)
    keys = (
        queries
        if key_documents is None
        else whole_numbers("key_documents", key_documents)
    )
    for name, numbers in (("documents", queries), ("key_documents", keys)):
        if numbers.dim() == 0:
            raise ValueError(
                f"{name} ({numbers.item()}) must have one number for each token"
            )
    return queries.unsqueeze(-1) == keys.unsqueeze(-2)  # (..., L, 1) == (..., 1, S)


def pack_sequences(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Lay sequences end to end, and say where each token comes from.

    Parameters
    ----------
    sequences : sequence of Tensor, each of shape (L_n, ...)
        Token numbers, or vectors; what comes after the length is the same in all.

    Returns
    -------
    packed : Tensor, shape (L, ...)
        All of them in one, with L the sum of the lengths. `packed.split(lengths)` takes
        them apart; of an output with heads, (H, L, Ev), `output.split(lengths, dim=-2)`.
    documents : Tensor of int64, shape (L,)
        The number of its sequence for each token, as `document_mask` takes it.
    positions : Tensor of int64, shape (L,)
        Its place there. They begin anew with each sequence: look positional encodings up
        with them.

    Raises
    ------
    ValueError
        If there is no sequence, or one has no dimension of length.
    TypeError
        If one of them is not a tensor.

    References
    ----------
    Krell et al., "Efficient Sequence Packing without Cross-contamination", 2021,
    arXiv:2107.02027. How to choose which sequences share a row is not here.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import pack_sequences
    >>> pack_sequences([torch.tensor([11, 12]), torch.tensor([21, 22, 23])])
    (tensor([11, 12, 21, 22, 23]), tensor([0, 0, 1, 1, 1]), tensor([0, 1, 0, 1, 2]))
    """
    check_sequences(sequences)
    device = sequences[0].device
    lengths = [sequence.shape[0] for sequence in sequences]
    documents = [torch.full((n,), d, device=device) for d, n in enumerate(lengths)]
    positions = [torch.arange(n, device=device) for n in lengths]
    return torch.cat(tuple(sequences)), torch.cat(documents), torch.cat(positions)
