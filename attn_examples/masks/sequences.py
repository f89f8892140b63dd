"""Masks of what belongs together: a sequence and its padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attn_examples.checks import check_count, refuse_lengths, shape_of

__all__ = ["padding_mask"]

MECHANISMS = (
    {
        "name": "padding",
        "call": "padding_mask",
        "changes": "those that are no padding",
        "page": "formulas/masks#padding",
        "without_paper": "whoever first put sequences into a batch needed it",
        "oracles": {"torch.nn.utils.rnn.pad_sequence": "test_padding_mask_equals_torch"},
        "words": ["key_padding_mask", "pad tokens", "batch of sequences"],
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
        `mask.unsqueeze(1)`; `MultiHeadAttention` does it for you.

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
    try:
        counts = torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"lengths ({lengths!r}) must be whole numbers") from error
    if counts.numel() == 0:
        counts = counts.long()  # an empty list has no dtype of its own
    if counts.is_floating_point() or counts.is_complex() or counts.dtype == torch.bool:
        raise TypeError(f"lengths ({counts.dtype}) must be whole numbers")
    if counts.dim() != 1:
        raise ValueError(
            f"lengths has shape {shape_of(counts)} but must be one-dimensional, one length "
            f"for each sequence"
        )
    refuse_lengths(counts, key_len)
    allowed = torch.arange(key_len, device=counts.device) < counts.long().unsqueeze(-1)  # (N, S)
    return allowed.unsqueeze(-2)  # (N, 1, S)
