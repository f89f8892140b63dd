"""Masks that leave most pairs out: near keys, every so many keys, a few for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attn_examples.checks import (
    check_count,
    check_whole,
    refuse_below,
    refuse_outside,
    shape_of,
    whole_numbers,
)
from attn_examples.masks.order import _behind

__all__ = [
    "chunked_mask",
    "dilated_mask",
    "fixed_mask",
    "global_mask",
    "local_mask",
    "random_mask",
    "strided_mask",
]

MECHANISMS = (
    {
        "name": "two-sided window",
        "call": "local_mask",
        "changes": "the nearest few, on both sides",
        "page": "types/masks/sliding-window#two-sided-window",
        "papers": ["beltagy2020"],
        "oracles": {
            "transformers.masking_utils.sliding_window_bidirectional_mask_function": (
                "test_local_mask_equals_transformers"
            ),
            "transformers.models.longformer.modeling_longformer.LongformerSelfAttention": (
                "test_local_or_global_is_longformer"
            ),
        },
        "words": [
            "local attention",
            "bidirectional window",
            "neighbourhood",
            "Longformer",
        ],
        "cost": "less: a window of scores for each query, where a kernel skips the others",
        "used_in": {"Longformer": "beltagy2020", "BigBird": "zaheer2020"},
        "thumbnail": "local_mask(9, 9, 4)",
    },
    {
        "name": "dilated window",
        "call": "dilated_mask",
        "changes": "near ones on both sides, with gaps between them",
        "page": "types/masks/sparse#dilated",
        "papers": ["beltagy2020"],
        "oracles": {
            "torch.nn.functional.conv1d": "test_dilated_mask_is_the_reach_of_a_convolution",
            "torch.nn.attention.flex_attention.and_masks": "test_dilated_mask_equals_flex",
        },
        "words": ["dilated sliding window", "dilated attention", "atrous"],
        "cost": "less: a window of scores for each query, where a kernel skips the others",
        "used_in": {"Longformer": "beltagy2020"},
        "thumbnail": "dilated_mask(9, 9, 4, 2)",
    },
    {
        "name": "chunks",
        "call": "chunked_mask",
        "changes": "of its own piece of the sequence its own and those before",
        "page": "types/masks/sparse#chunks",
        "papers": ["child2019"],
        "oracles": {
            "transformers.masking_utils.chunked_causal_mask_function": (
                "test_chunked_mask_equals_transformers"
            ),
            "torch.block_diag": "test_chunked_mask_equals_torch",
        },
        "words": ["chunked attention", "block local", "blockwise attention", "Llama 4"],
        "cost": "less: at most one piece of scores for each query, where a kernel skips the others",
        "used_in": {"Sparse Transformer": "child2019"},
        "thumbnail": "chunked_mask(9, 9, 3)",
    },
    {
        "name": "strided",
        "call": "strided_mask",
        "changes": "its own, and every so many before it",
        "page": "types/masks/sparse#strided",
        "papers": ["child2019"],
        "oracles": {
            "by hand": "test_strided_mask_by_hand",
            "torch.nn.attention.flex_attention.and_masks": "test_strided_mask_equals_flex",
        },
        "words": [
            "Sparse Transformer",
            "strided sparse attention",
            "factorized attention",
        ],
        "cost": "less: one score in so many, where a kernel skips the others",
        "used_in": {"Sparse Transformer": "child2019"},
        "thumbnail": "strided_mask(9, 9, 3)",
    },
    {
        "name": "fixed",
        "call": "fixed_mask",
        "changes": "those at the end of each piece of the sequence, and none ahead",
        "page": "types/masks/sparse#fixed",
        "papers": ["child2019"],
        "oracles": {
            "by hand": "test_fixed_mask_by_hand",
            "torch.nn.attention.flex_attention.and_masks": "test_fixed_mask_equals_flex",
        },
        "words": ["Sparse Transformer", "fixed sparse attention", "summary positions"],
        "cost": "less: a few scores of each piece, where a kernel skips the others",
        "used_in": {"Sparse Transformer": "child2019"},
        "thumbnail": "fixed_mask(9, 9, 3, 1)",
    },
    {
        "name": "global tokens",
        "call": "global_mask",
        "changes": "all, if the query is one of a few tokens; else these few",
        "page": "types/masks/global-and-random#global",
        "papers": ["beltagy2020", "zaheer2020"],
        "oracles": {
            "torch.nn.attention.flex_attention.or_masks": "test_global_mask_equals_flex",
            "transformers.models.longformer.modeling_longformer.LongformerSelfAttention": (
                "test_local_or_global_is_longformer"
            ),
        },
        "words": ["global attention", "Longformer", "BigBird", "ETC", "CLS token"],
        "cost": "less: two lines of scores for each of them, where a kernel skips the others",
        "used_in": {"Longformer": "beltagy2020", "BigBird": "zaheer2020"},
        "thumbnail": "global_mask(9, 9, [0, 4])",
    },
    {
        "name": "random keys",
        "call": "random_mask",
        "changes": "a few drawn at random",
        "page": "types/masks/global-and-random#random",
        "papers": ["zaheer2020"],
        "oracles": {
            "transformers.models.big_bird.modeling_big_bird.BigBirdBlockSparseAttention": (
                "test_local_or_global_or_random_is_bigbird"
            ),
            "torch.topk": "test_random_mask_equals_torch",
        },
        "words": ["random attention", "BigBird", "sparse random graph"],
        "cost": "less: a few scores for each query, where a kernel skips the others",
        "used_in": {"BigBird": "zaheer2020"},
        "thumbnail": "random_mask(9, 9, 2)",
    },
)


def local_mask(
    query_len: int,
    key_len: int | None,
    window: int,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Let each query see its own position and half a window on each side.

    Parameters
    ----------
    query_len : int
        Number of queries, L.
    key_len : int or None
        Number of keys, S; None for as many as queries. The last query is the last
        key's position, as in `causal_mask`.
    window : int
        How many neighbours a query sees at most, half of them on each side; an odd one is
        left out. `sliding_window_mask`, which looks back alone, counts the query's own too.
    device : torch.device or str, optional
        Where to make the mask.

    Returns
    -------
    Tensor of bool, shape (L, S)
        True where abs(i + (S - L) - j) <= window / 2.

    Raises
    ------
    ValueError
        If a length is negative or `window` is less than 1.
    TypeError
        If one of the three is not a whole number.

    References
    ----------
    Beltagy et al., "Longformer: The Long-Document Transformer", 2020, arXiv:2004.05150,
    section 3.1.

    Examples
    --------
    >>> from attn_examples import local_mask
    >>> local_mask(4, None, window=2).int()
    tensor([[1, 1, 0, 0],
            [1, 1, 1, 0],
            [0, 1, 1, 1],
            [0, 0, 1, 1]], dtype=torch.int32)
    """
    return dilated_mask(query_len, key_len, window, 1, device=device)


def dilated_mask(
    query_len: int,
    key_len: int | None,
    window: int,
    dilation: int,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Let each query see a window of keys that lie `dilation` positions apart.

    Parameters
    ----------
    query_len : int
        Number of queries, L.
    key_len : int or None
        Number of keys, S; None for as many as queries. The last query is the last
        key's position, as in `causal_mask`.
    window : int
        How many neighbours a query sees at most, half of them on each side.
    dilation : int
        From one key that is seen to the next; 1 is `local_mask`.
    device : torch.device or str, optional
        Where to make the mask.

    Returns
    -------
    Tensor of bool, shape (L, S)
        True where d = abs(i + (S - L) - j) is a multiple of `dilation`, and
        d / dilation <= window / 2. For the past alone, `& causal_mask(L, S)`.

    Raises
    ------
    ValueError
        If a length is negative, or `window` or `dilation` is less than 1.
    TypeError
        If one of the four is not a whole number.

    References
    ----------
    Beltagy et al., "Longformer: The Long-Document Transformer", 2020, arXiv:2004.05150,
    section 3.1.

    Examples
    --------
    >>> from attn_examples import dilated_mask
    >>> dilated_mask(5, None, window=2, dilation=2).int()
    tensor([[1, 0, 1, 0, 0],
            [0, 1, 0, 1, 0],
            [1, 0, 1, 0, 1],
            [0, 1, 0, 1, 0],
            [0, 0, 1, 0, 1]], dtype=torch.int32)
    """
    behind = _behind(query_len, key_len, "lower-right", device)
    _check_least_1(window=window, dilation=dilation)
    reach = window // 2 * dilation
    return (behind.abs() <= reach) & (behind % dilation == 0)


def chunked_mask(
    query_len: int,
    key_len: int | None,
    size: int,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Let each query see the past of its own piece of the sequence.

    Parameters
    ----------
    query_len : int
        Number of queries, L.
    key_len : int or None
        Number of keys, S; None for as many as queries. The last query is the last
        key's position, as in `causal_mask`.
    size : int
        Number of positions in a piece; the first piece begins at key 0.
    device : torch.device or str, optional
        Where to make the mask.

    Returns
    -------
    Tensor of bool, shape (L, S)
        True where j <= t and j // size == t // size, with t = i + (S - L).

    Raises
    ------
    ValueError
        If a length is negative or `size` is less than 1.
    TypeError
        If one of the three is not a whole number.

    References
    ----------
    The first half of the fixed pattern of Child et al., "Generating Long Sequences with
    Sparse Transformers", 2019, arXiv:1904.10509, section 4.3; `fixed_mask` is the other.

    Examples
    --------
    >>> from attn_examples import chunked_mask
    >>> chunked_mask(5, None, size=2).int()
    tensor([[1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0],
            [0, 0, 1, 0, 0],
            [0, 0, 1, 1, 0],
            [0, 0, 0, 0, 1]], dtype=torch.int32)
    """
    behind = _behind(query_len, key_len, "lower-right", device)
    _check_least_1(size=size)
    keys = torch.arange(behind.shape[-1], device=device)
    own = (keys + behind) // size == keys // size  # (L, S); the query stands at both
    return (behind >= 0) & own


def strided_mask(
    query_len: int,
    key_len: int | None,
    stride: int,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Let each query see its own position, and every `stride`-th before it.

    Parameters
    ----------
    query_len : int
        Number of queries, L.
    key_len : int or None
        Number of keys, S; None for as many as queries. The last query is the last
        key's position, as in `causal_mask`.
    stride : int
        From one key that is seen to the next.
    device : torch.device or str, optional
        Where to make the mask.

    Returns
    -------
    Tensor of bool, shape (L, S)
        True where d = i + (S - L) - j is not negative, and a multiple of `stride`.

    Raises
    ------
    ValueError
        If a length is negative or `stride` is less than 1.
    TypeError
        If one of the three is not a whole number.

    References
    ----------
    The second half of the strided pattern of Child et al., "Generating Long Sequences with
    Sparse Transformers", 2019, arXiv:1904.10509, section 4.3. The first is a window of
    stride + 1 keys.

    Examples
    --------
    The whole pattern, for heads that have both halves:

    >>> from attn_examples import sliding_window_mask, strided_mask
    >>> (sliding_window_mask(7, None, 3 + 1) | strided_mask(7, None, stride=3)).int()
    tensor([[1, 0, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 0, 0],
            [1, 1, 1, 1, 0, 0, 0],
            [0, 1, 1, 1, 1, 0, 0],
            [0, 0, 1, 1, 1, 1, 0],
            [1, 0, 0, 1, 1, 1, 1]], dtype=torch.int32)
    """
    behind = _behind(query_len, key_len, "lower-right", device)
    _check_least_1(stride=stride)
    return (behind >= 0) & (behind % stride == 0)


def fixed_mask(
    query_len: int,
    key_len: int | None,
    stride: int,
    columns: int,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Let each query see the last few of each piece that do not lie ahead of it.

    Parameters
    ----------
    query_len : int
        Number of queries, L.
    key_len : int or None
        Number of keys, S; None for as many as queries. The last query is the last
        key's position, as in `causal_mask`.
    stride : int
        Number of positions in a piece; the first piece begins at key 0.
    columns : int
        How many at the end of each piece are seen by all that follow.
    device : torch.device or str, optional
        Where to make the mask.

    Returns
    -------
    Tensor of bool, shape (L, S)
        True where j <= i + (S - L) and j % stride >= stride - columns.

    Raises
    ------
    ValueError
        If a length is negative, or `stride` or `columns` is less than 1.
    TypeError
        If one of the four is not a whole number.

    References
    ----------
    The second half of the fixed pattern of Child et al., "Generating Long Sequences with
    Sparse Transformers", 2019, arXiv:1904.10509, section 4.3; `chunked_mask` is the first.

    Examples
    --------
    The whole pattern, for heads that have both halves:

    >>> from attn_examples import chunked_mask, fixed_mask
    >>> (chunked_mask(7, None, 3) | fixed_mask(7, None, stride=3, columns=1)).int()
    tensor([[1, 0, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 0, 0],
            [0, 0, 1, 1, 0, 0, 0],
            [0, 0, 1, 1, 1, 0, 0],
            [0, 0, 1, 1, 1, 1, 0],
            [0, 0, 1, 0, 0, 1, 1]], dtype=torch.int32)
    """
    behind = _behind(query_len, key_len, "lower-right", device)
    _check_least_1(stride=stride, columns=columns)
    keys = torch.arange(behind.shape[-1], device=device)
    return (behind >= 0) & (keys % stride >= stride - columns)


def global_mask(
    query_len: int,
    key_len: int | None,
    tokens: Sequence[int] | Tensor,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Let a few tokens see all, and be seen by all.

    Parameters
    ----------
    query_len : int
        Number of queries, L.
    key_len : int or None
        Number of keys, S; None for as many as queries. The last query is the last
        key's position, as in `causal_mask`.
    tokens : sequence of int, or Tensor of integers, shape (G,) or (N, G)
        Their positions among the keys; or those of each sequence of a batch.
    device : torch.device or str, optional
        Where to make the mask; by default where `tokens` is, if it is a tensor.

    Returns
    -------
    Tensor of bool, shape (L, S) or (N, L, S)
        True where key j, or query i at position i + (S - L), is one of them.

    Raises
    ------
    ValueError
        If a length is negative, `tokens` has another number of dimensions, or one of them is
        not among the keys.
    TypeError
        If a length is not a whole number, or `tokens` are not integers.

    References
    ----------
    Beltagy et al., "Longformer: The Long-Document Transformer", 2020, arXiv:2004.05150,
    section 3.1. It has a second set of projections for them; here there is one. Zaheer et al.,
    "Big Bird: Transformers for Longer Sequences", 2020, arXiv:2007.14062, section 2.

    Examples
    --------
    Longformer's pattern, with the first token global:

    >>> from attn_examples import global_mask, local_mask
    >>> (local_mask(5, None, window=2) | global_mask(5, None, tokens=[0])).int()
    tensor([[1, 1, 1, 1, 1],
            [1, 1, 1, 0, 0],
            [1, 1, 1, 1, 0],
            [1, 0, 1, 1, 1],
            [1, 0, 0, 1, 1]], dtype=torch.int32)
    """
    key_len = query_len if key_len is None else key_len
    check_count("query_len", query_len, least=0)
    check_count("key_len", key_len, least=0)
    places = whole_numbers("tokens", tokens, device)
    if places.dim() not in (1, 2):
        raise ValueError(
            f"tokens has shape {shape_of(places)} but must be (G,), or (N, G)"
        )
    refuse_outside("tokens", places, "key_len - 1", key_len - 1)
    keys = torch.arange(key_len, device=places.device)
    queries = torch.arange(query_len, device=places.device) + (key_len - query_len)
    sees, is_seen = (  # (L,), (S,); or (N, L), (N, S)
        (where.unsqueeze(-1) == places.unsqueeze(-2)).any(-1)
        for where in (queries, keys)
    )
    return sees.unsqueeze(-1) | is_seen.unsqueeze(-2)


def random_mask(
    query_len: int,
    key_len: int | None,
    num_keys: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Let each query see a few keys that are drawn at random.

    Parameters
    ----------
    query_len : int
        Number of queries, L.
    key_len : int or None
        Number of keys, S; None for as many as queries.
    num_keys : int
        How many keys each query sees; all if there are no more.
    generator : torch.Generator, optional
        What draws them. Draw once and keep the mask; a mask that is drawn anew is
        another mask.
    device : torch.device or str, optional
        Where to make the mask, and where the generator is.

    Returns
    -------
    Tensor of bool, shape (L, S)
        True at `num_keys` places of each row, each set of them as likely as any other.

    Raises
    ------
    ValueError
        If a number is negative.
    TypeError
        If one of the three is not a whole number.

    References
    ----------
    Zaheer et al., "Big Bird: Transformers for Longer Sequences", 2020, arXiv:2007.14062,
    section 2, where the third part of the union is of global tokens.

    Examples
    --------
    Here 2 of 5 keys for each query; BigBird's pattern is its union with two others:

    >>> import torch
    >>> from attn_examples import global_mask, local_mask, random_mask
    >>> drawn = random_mask(5, None, num_keys=2, generator=torch.Generator().manual_seed(0))
    >>> drawn.sum(-1)
    tensor([2, 2, 2, 2, 2])
    >>> bigbird = local_mask(5, None, window=2) | global_mask(5, None, [0]) | drawn
    """
    key_len = query_len if key_len is None else key_len
    check_count("query_len", query_len, least=0)
    check_count("key_len", key_len, least=0)
    check_whole("num_keys", num_keys)
    refuse_below("num_keys", num_keys, 0)
    own: Any = {} if generator is None else {"generator": generator}  # for torch.export
    lots: Tensor = torch.randint(2**62, (query_len, key_len), device=device, **own)
    return lots.argsort(-1).argsort(-1) < num_keys  # the rank of each lot in its row


def _check_least_1(**numbers: int) -> None:
    for name, number in numbers.items():
        check_whole(name, number)
        refuse_below(name, number, 1)
