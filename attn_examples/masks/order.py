"""Masks of order: which keys lie before a query, and how far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from attn_examples.checks import (
    check_count,
    check_whole,
    refuse_below,
    shape_of,
    whole_numbers,
)

__all__ = ["causal_mask", "prefix_mask", "sliding_window_mask"]

MECHANISMS = (
    {
        "name": "causal",
        "call": "causal_mask",
        "changes": "its own and those before",
        "page": "types/masks/causal#causal-mask",
        "papers": ["vaswani2017"],
        "oracles": {
            "torch.nn.attention.bias.causal_lower_right": "test_causal_mask_equals_torch",
            "transformers.masking_utils.causal_mask_function": (
                "test_causal_mask_equals_transformers"
            ),
        },
        "words": [
            "look-ahead mask",
            "autoregressive mask",
            "triangular mask",
            "subsequent mask",
        ],
        "cost": "less: about half of the scores, where a kernel skips the others",
        "used_in": {"Transformer": "vaswani2017"},
        "thumbnail": "causal_mask(8)",
    },
    {
        "name": "sliding window",
        "call": "sliding_window_mask",
        "changes": "the last few",
        "page": "types/masks/sliding-window",
        "papers": ["beltagy2020", "jiang2023"],
        "oracles": {
            "transformers.masking_utils.sliding_window_causal_mask_function": (
                "test_sliding_window_mask_equals_transformers"
            ),
            "torch.nn.attention.flex_attention.and_masks": (
                "test_sliding_window_mask_equals_flex"
            ),
        },
        "words": [
            "local attention",
            "windowed attention",
            "SWA",
            "Mistral",
        ],
        "cost": "less: a window of scores for each query, where a kernel skips the others",
        "used_in": {"Mistral 7B": "jiang2023", "Gemma 2": "gemma2024"},
        "thumbnail": "sliding_window_mask(8, 8, 3)",
    },
    {
        "name": "prefix",
        "call": "prefix_mask",
        "changes": "the whole prefix, and of the rest its own and those before",
        "page": "types/masks/prefix",
        "papers": ["raffel2019"],
        "oracles": {
            "torch.nn.attention.flex_attention.or_masks": "test_prefix_mask_equals_flex",
            "transformers.masking_utils.blockwise_overlay": (
                "test_prefix_mask_equals_transformers"
            ),
        },
        "words": ["prefix LM", "PrefixLM", "causal with prefix"],
        "cost": "less: more than half of the scores, where a kernel skips the others",
        "thumbnail": "prefix_mask(8, 8, 3)",
    },
)


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
    check_whole("window", window)
    refuse_below("window", window, 1)
    behind = _behind(query_len, key_len, "lower-right", device)
    return (behind >= 0) & (behind < window)


def _behind(
    query_len: int, key_len: int | None, align: str, device: torch.device | str | None
) -> Tensor:
    """How many positions key j lies behind query i, shape (L, S); negative: ahead."""
    key_len = query_len if key_len is None else key_len
    check_count("query_len", query_len, least=0)
    check_count("key_len", key_len, least=0)
    offset = key_len - query_len if align == "lower-right" else 0
    queries = torch.arange(query_len, device=device) + offset
    return queries.unsqueeze(-1) - torch.arange(key_len, device=device)


def prefix_mask(
    query_len: int,
    key_len: int | None,
    prefix_len: int | Sequence[int] | Tensor,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Let each query see the whole prefix, and of the rest what is not ahead of it.

    Parameters
    ----------
    query_len : int
        Number of queries, L.
    key_len : int or None
        Number of keys, S; None for as many as queries. The last query is the last
        key's position, as in `causal_mask`.
    prefix_len : int, or sequence or Tensor of integers, shape (N,)
        Length of the prefix; or one for each sequence of a batch.
    device : torch.device or str, optional
        Where to make the mask; by default where `prefix_len` is, if it is a tensor.

    Returns
    -------
    Tensor of bool, shape (L, S) or (N, L, S)
        True where j <= i + (S - L) or j < prefix_len.

    Raises
    ------
    ValueError
        If `query_len` or `key_len` is negative, or `prefix_len` has more than one dimension.
    TypeError
        If a length is not a whole number.

    References
    ----------
    Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
    Transformer", 2019, arXiv:1910.10683, section 3.2.1.

    Examples
    --------
    >>> from attn_examples import prefix_mask
    >>> prefix_mask(4, None, 2).int()
    tensor([[1, 1, 0, 0],
            [1, 1, 0, 0],
            [1, 1, 1, 0],
            [1, 1, 1, 1]], dtype=torch.int32)
    """
    key_len = query_len if key_len is None else key_len
    if isinstance(prefix_len, Tensor) and device is None:
        device = prefix_len.device
    behind = _behind(query_len, key_len, "lower-right", device)
    prefix = whole_numbers("prefix_len", prefix_len, device)
    if prefix.dim() > 1:
        raise ValueError(
            f"prefix_len has shape {shape_of(prefix)} but must be a number, or (N,)"
        )
    # (1, S) or (N, 1, S)
    in_prefix = torch.arange(key_len, device=device) < prefix[..., None, None]
    return (behind >= 0) | in_prefix
