"""Step 2, mask: which keys may this query look at?

A mask is a boolean tensor, True where attention is allowed, that lines up with the
scores (..., L, S). Combine masks with `&` (both must allow) and `|` (either may).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from attn_examples.checks import check_count, shape_of

__all__ = ["causal_mask", "padding_mask", "sliding_window_mask"]


def causal_mask(
    query_len: int,
    key_len: int | None = None,
    *,
    align: Literal["lower-right", "upper-left"] = "lower-right",
    device: torch.device | str | None = None,
) -> Tensor:
    """Let each query see its own position and those before it.

    Parameters
    ----------
    query_len : int
        Number of queries, L.
    key_len : int, optional
        Number of keys, S; by default as many as queries.
    align : {"lower-right", "upper-left"}, default "lower-right"
        Which corner the diagonal meets when L and S differ. "lower-right": the last
        query is the last key's position and sees all keys, as with a cache of earlier
        keys. "upper-left": the first query is the first key's position, as torch's
        `is_causal=True` has it.
    device : torch.device or str, optional
        Where to make the mask.

    Returns
    -------
    Tensor of bool, shape (L, S)
        True where key j <= query i + (S - L), or j <= i for "upper-left".

    Raises
    ------
    ValueError
        If a length is negative, or `align` is neither of the two.
    TypeError
        If a length is not a whole number.

    References
    ----------
    Vaswani et al., 2017, arXiv:1706.03762, section 3.2.3.

    Examples
    --------
    >>> from attn_examples import causal_mask
    >>> causal_mask(3).int()
    tensor([[1, 0, 0],
            [1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)

    One new query and a cache that holds two keys before its own:

    >>> causal_mask(1, 3)
    tensor([[True, True, True]])
    >>> causal_mask(1, 3, align="upper-left")
    tensor([[ True, False, False]])
    """
    key_len = query_len if key_len is None else key_len
    if align not in ("lower-right", "upper-left"):
        raise ValueError(f'align ({align!r}) must be "lower-right" or "upper-left"')
    behind = _behind(query_len, key_len, align, device)
    return behind >= 0


def sliding_window_mask(
    query_len: int,
    key_len: int | None,
    window: int,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Let each query see the last `window` positions, its own included.

    Parameters
    ----------
    query_len : int
        Number of queries, L.
    key_len : int or None
        Number of keys, S; None for as many as queries. The last query is the last
        key's position, as in `causal_mask`.
    window : int
        How many keys a query sees at most.
    device : torch.device or str, optional
        Where to make the mask.

    Returns
    -------
    Tensor of bool, shape (L, S)
        True where 0 <= i + (S - L) - j < window.

    Raises
    ------
    ValueError
        If a length is negative or `window` is less than 1.
    TypeError
        If one of the three is not a whole number.

    References
    ----------
    Beltagy et al., "Longformer", 2020, arXiv:2004.05150; in this causal form,
    Jiang et al., "Mistral 7B", 2023, arXiv:2310.06825.

    Examples
    --------
    >>> from attn_examples import sliding_window_mask
    >>> sliding_window_mask(4, 4, 2).int()
    tensor([[1, 0, 0, 0],
            [1, 1, 0, 0],
            [0, 1, 1, 0],
            [0, 0, 1, 1]], dtype=torch.int32)
    """
    key_len = query_len if key_len is None else key_len
    check_count("window", window)
    behind = _behind(query_len, key_len, "lower-right", device)
    return (behind >= 0) & (behind < window)


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
    for length in counts.tolist():
        if not 0 <= length <= key_len:
            raise ValueError(f"lengths holds {length}, which must be from 0 to key_len ({key_len})")
    allowed = torch.arange(key_len, device=counts.device) < counts.long().unsqueeze(-1)  # (N, S)
    return allowed.unsqueeze(-2)  # (N, 1, S)


def _behind(query_len: int, key_len: int, align: str, device: torch.device | str | None) -> Tensor:
    """How many positions key j lies behind query i, shape (L, S); negative: ahead."""
    check_count("query_len", query_len, least=0)
    check_count("key_len", key_len, least=0)
    offset = key_len - query_len if align == "lower-right" else 0
    queries = torch.arange(query_len, device=device) + offset
    return queries.unsqueeze(-1) - torch.arange(key_len, device=device)
