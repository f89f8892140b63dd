"""Attention by tiles: exact, and without a map of all pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attn_examples.checks import (
    check_callable,
    check_count,
    check_value,
    refuse_mask,
    refuse_mask_shape,
    refuse_scores,
)
from attn_examples.scores import scaled_dot

__all__ = ["tiled_attention"]

MECHANISMS = (
    {
        "name": "tiled attention",
        "call": "tiled_attention",
        "changes": "the softmax is taken and mixed tile by tile, with a running maximum and sum",
        "page": "types/mixes/tiled",
        "papers": ["milakov2018", "dao2022", "rabe2021"],
        "oracles": {
            "torch.nn.functional.scaled_dot_product_attention": (
                "test_tiled_attention_equals_torch"
            ),
            "torch.ops.aten._scaled_dot_product_flash_attention_for_cpu": (
                "test_tiled_attention_equals_the_flash_kernel"
            ),
            "by hand": "test_tiled_attention_by_hand",
        },
        "words": [
            "FlashAttention",
            "flash attention",
            "online softmax",
            "memory-efficient attention",
            "logsumexp",
            "block-wise",
        ],
        "cost": "the same: as many scores, or fewer if causal, but a tile of them at a time",
        "thumbnail": (
            "(torch.arange(8)[:, None] // 4 * 2 + torch.arange(8) // 4 + 1.0)"
            " * causal_mask(8)"
        ),
    },
)


def tiled_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    score: Callable[[Tensor, Tensor], Tensor] = scaled_dot,
    mask: Tensor | None = None,
    is_causal: bool = False,
    query_block: int = 64,
    key_block: int = 64,
) -> tuple[Tensor, Tensor]:
    """Attend tile by tile; without gradients only one tile's scores are held.

    For its block of queries a tile keeps the largest score so far, the sum of the
    exponentials and the sum of the values that they weigh. A new largest score rescales
    both sums.

    Parameters
    ----------
    query : Tensor, shape (..., L, E)
    key : Tensor, shape (..., S, E)
    value : Tensor, shape (..., S, Ev)
    score : callable, default `scaled_dot`
        A score that sees a query and a key, and not where they stand: it is given the
        queries and keys of one tile.
    mask : Tensor of bool, shape (L, S) or (..., L, S), optional
        True where attention is allowed, with 1 where it repeats.
    is_causal : bool, default False
        Forbid what lies ahead, as `causal_mask(L, S)` does: the last query is at the last
        key's place. Tiles that lie ahead as a whole are left out.
    query_block, key_block : int, default 64
        How many queries and keys a tile has. The result depends on it by rounding alone.

    Returns
    -------
    output : Tensor, shape (..., L, Ev)
        What `attention` returns, up to rounding. float16 and bfloat16 are added up in
        float32.
    logsumexp : Tensor, shape (..., L)
        The logarithm of the sum of the exponentials of a query's scores, minus infinity
        where no key is allowed. The weight of an allowed score s is exp(s - logsumexp).

    Raises
    ------
    ValueError
        If shapes, dtypes or devices do not fit together, the mask is not boolean, or a
        block is smaller than 1.
    TypeError
        If an argument is not a tensor, or a block is not a whole number.

    References
    ----------
    Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018,
    arXiv:1805.02867, algorithm 3; Rabe and Staats, "Self-attention Does Not Need O(n^2)
    Memory", 2021, arXiv:2112.05682; Dao et al., "FlashAttention: Fast and Memory-Efficient
    Exact Attention with IO-Awareness", 2022, arXiv:2205.14135, section 3.1.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import attention, tiled_attention
    >>> query, key, value = torch.randn(3, 100, 8).unbind(0)
    >>> output, logsumexp = tiled_attention(query, key, value, query_block=32)
    >>> torch.allclose(output, attention(query, key, value)[0], atol=1e-5)
    True
    """
    check_callable("score", score)
    check_count("query_block", query_block)
    check_count("key_block", key_block)
    check_value(query, key, value)
    L, S = query.shape[-2], key.shape[-2]
    lead = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        query.shape[:-2], key.shape[:-2], value.shape[:-2]
    )
    if mask is not None:
        refuse_mask(mask)
        refuse_mask_shape(mask, (*lead, L, S), query.device)
        mask = mask.expand(*mask.shape[:-2], L, S)
    dtype = torch.promote_types(query.dtype, torch.float32)  # of the sums
    outputs, logs = [], []
    for i in range(0, max(L, 1), query_block):
        q = query[..., i : i + query_block, :]
        rows = q.shape[-2]
        largest = query.new_full((*lead, rows, 1), float("-inf"), dtype=dtype)
        total = torch.zeros_like(largest)
        mixed = value.new_zeros((*lead, rows, value.shape[-1]), dtype=dtype)
        for j in range(0, S, key_block):
            if is_causal and j > i + rows - 1 + (S - L):
                break  # all of the tile, and what follows, lies ahead
            k, v = key[..., j : j + key_block, :], value[..., j : j + key_block, :]
            scores = score(q, k)
            refuse_scores(scores, q, k)
            if mask is not None:
                allowed = mask[..., i : i + rows, j : j + key_block]
                scores = scores.masked_fill(~allowed, float("-inf"))
            if is_causal:
                allowed = _causal_tile(i + (S - L) - j, rows, k.shape[-2], q.device)
                scores = scores.masked_fill(~allowed, float("-inf"))
            scores = scores.to(dtype)
            before = largest
            # a factor that cancels: no gradient flows through it
            largest = torch.maximum(before, scores.detach().amax(-1, keepdim=True))
            shift = largest.masked_fill(largest == float("-inf"), 0.0)
            weights, rescale = (scores - shift).exp(), (before - shift).exp()
            total = total * rescale + weights.sum(-1, keepdim=True)
            mixed = mixed * rescale + weights @ v.to(dtype)
        empty = total == 0
        total = total.masked_fill(empty, 1.0)
        outputs.append(mixed / total)
        logs.append((largest + total.log()).squeeze(-1))
    return torch.cat(outputs, -2).to(value.dtype), torch.cat(logs, -1).to(query.dtype)


def _causal_tile(ahead: int, rows: int, columns: int, device: torch.device) -> Tensor:
    """Allow column j of a tile to row i where j <= i + ahead."""
    return torch.ones(rows, columns, dtype=torch.bool, device=device).tril(ahead)
