"""Positions that bias the scores: how far a key is from a query."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from attn_examples.checks import (
    check_callable,
    check_count,
    refuse_below,
    refuse_num_heads,
)
from attn_examples.masks.order import _behind

__all__ = ["T5Bias", "alibi", "biased"]

MECHANISMS = (
    {
        "name": "ALiBi",
        "call": "alibi",
        "changes": "a bias against distance, in each head at another rate",
        "page": "types/positions/alibi",
        "papers": ["press2021"],
        "oracles": {
            "x_transformers.x_transformers.AlibiPositionalBias": "test_alibi_equals_x_transformers",
            "transformers.models.bloom.modeling_bloom.build_alibi_tensor": (
                "test_alibi_equals_transformers"
            ),
        },
        "words": [
            "attention with linear biases",
            "linear bias",
            "length extrapolation",
            "BLOOM",
        ],
        "cost": "more: an addition for each score",
        "thumbnail": "causal_mask(8) * alibi(2, 8)[0].mul(8).exp()",
    },
    {
        "name": "position bias",
        "call": "biased",
        "changes": "any bias of the places of query and key, inside a module",
        "page": "types/positions/alibi#position-bias",
        "papers": ["raffel2019"],
        "oracles": {
            "torch.nn.MultiheadAttention": "test_biased_equals_torch",
            "transformers.models.t5.modeling_t5.T5Attention": "test_biased_equals_t5",
        },
        "words": ["relative position bias", "relative positions", "T5 bias"],
        "cost": "more: an addition for each score",
        "thumbnail": "alibi(2, 8)[0]",
    },
    {
        "name": "T5 buckets",
        "call": "T5Bias",
        "changes": "a learned bias for each range of distances, in each head another",
        "page": "types/positions/t5",
        "papers": ["raffel2019"],
        "oracles": {
            "transformers.models.t5.modeling_t5.T5Attention.compute_bias": (
                "test_t5_bias_equals_transformers"
            ),
            "x_transformers.x_transformers.RelativePositionBias": (
                "test_t5_bias_equals_x_transformers"
            ),
        },
        "words": ["T5 bias", "relative position buckets", "relative_attention_bias"],
        "cost": "more: one number for each bucket and head; one addition for each score",
        "used_in": {"T5": "raffel2019"},
        "thumbnail": "T5Bias(1, num_buckets=8, max_distance=8).buckets(8, 8)",
    },
)


def alibi(
    num_heads: int,
    query_len: int,
    key_len: int | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Lower each score by the key's distance, in each head at another rate.

    Parameters
    ----------
    num_heads : int
        Number of heads, H. The slopes are 2**(-8 / H), its square, its cube and so on, if H
        is a power of two; if not, those of the next smaller one, P, then the first, third,
        fifth of 2 * P, as many as are missing. (The paper gives the former for any H.)
    query_len : int
        Number of queries, L.
    key_len : int, optional
        Number of keys, S; by default as many as queries. The last query is the last
        key's position, as in `causal_mask`.
    dtype : torch.dtype, optional
        By default torch's default dtype.
    device : torch.device or str, optional
        Where to make the bias.

    Returns
    -------
    Tensor, shape (H, L, S)
        Entry (h, i, j) is -slope[h] * abs(i + (S - L) - j), computed in float64. Add it to
        the scores with `with_bias`, or give a module `positions=biased(alibi)`. The paper has
        a causal mask, and needs no absolute value; without that mask the bias does not tell
        before from after.

    Raises
    ------
    ValueError
        If `num_heads` is less than 1, a length is negative or `dtype` not floating point.
    TypeError
        If a size is not a whole number.

    References
    ----------
    Press et al., "Train Short, Test Long: Attention with Linear Biases Enables Input Length
    Extrapolation", 2021, arXiv:2108.12409; for other numbers of heads, its authors' code.

    Examples
    --------
    Two heads, slopes 1/16 and 1/256. A new query, and a cache that holds two keys before
    its own:

    >>> from attn_examples import alibi
    >>> alibi(2, 1, 3)
    tensor([[[-0.1250, -0.0625,  0.0000]],
    <BLANKLINE>
            [[-0.0078, -0.0039,  0.0000]]])
    """
    check_count("num_heads", num_heads)
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype ({dtype}) must be floating point")
    # the largest power of two that is not above num_heads
    power = 2 ** int(math.log2(num_heads))
    exponents = [8 * (h + 1) / power for h in range(power)]
    exponents += [8 * (h + 0.5) / power for h in range(num_heads - power)]
    slopes = torch.tensor(
        [2.0**-x for x in exponents], dtype=torch.float64, device=device
    )
    distance = _behind(query_len, key_len, "lower-right", device).abs()  # (L, S)
    return (0.0 - slopes[:, None, None] * distance).to(dtype)


class T5Bias(nn.Module):
    """Learn a bias for each head and range of distances: wider ranges further away.

    Half of the buckets of a side, rounded down, hold one distance each, the nearest; the
    ranges of the others grow, up to rounding, as the logarithm does that reaches their end
    at `max_distance`. The last takes what is beyond too.

    Parameters
    ----------
    num_heads : int
        Number of heads, H.
    num_buckets : int, default 32
        How many numbers each head learns, an even one.
    max_distance : int, default 128
        Where the ranges end, greater than the number of the nearest.
    bidirectional : bool, default True
        Whether keys ahead of a query have half of the buckets, as in an encoder. If not,
        they share that of the query's own place: a decoder's mask hides them.

    Raises
    ------
    ValueError
        If a number is too small, or `num_buckets` cannot be halved as it must; when
        called, if `num_heads` is another.
    TypeError
        If a number is not a whole one.

    References
    ----------
    Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
    Transformer", 2019, arXiv:1910.10683, section 2.1; the ranges as in its authors' code.

    Examples
    --------
    Distances 0 and 1 have buckets of their own, 2 and 3 share one:

    >>> from attn_examples import MultiHeadAttention, T5Bias, biased, dot
    >>> bias = T5Bias(3, num_buckets=4, max_distance=8, bidirectional=False)
    >>> bias.buckets(5, 5)[-1]  # of the last query, and keys 0 to 4
    tensor([3, 2, 2, 1, 0])
    >>> layer = MultiHeadAttention(12, 3, score=dot, positions=biased(bias))
    """

    def __init__(
        self,
        num_heads: int,
        num_buckets: int = 32,
        max_distance: int = 128,
        *,
        bidirectional: bool = True,
    ) -> None:
        super().__init__()
        check_count("num_heads", num_heads)
        parts = 4 if bidirectional else 2
        check_count("num_buckets", num_buckets, least=parts)
        check_count("max_distance", max_distance)
        if num_buckets % 2:
            raise ValueError(f"num_buckets ({num_buckets}) must be even")
        refuse_below("max_distance", max_distance, num_buckets // parts + 1)
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.bidirectional = bidirectional
        self.weight = nn.Parameter(torch.randn(num_buckets, num_heads) * 0.02)

    def buckets(
        self,
        query_len: int,
        key_len: int,
        *,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Return the bucket of each query and key, whole numbers (L, S).

        The last query stands where the last key does.
        """
        behind = _behind(query_len, key_len, "lower-right", device)
        count = self.num_buckets // 2 if self.bidirectional else self.num_buckets
        first = count * (behind < 0) if self.bidirectional else 0
        far = behind.abs() if self.bidirectional else behind.clamp(min=0)
        exact = count // 2  # so many distances have a bucket of their own
        # 0 at the distance `exact`, 1 at `max_distance`
        share = (far.clamp(min=exact).double() / exact).log() / math.log(
            self.max_distance / exact
        )
        # 1e-9: at an edge itself the quotient may round below
        shared = (exact + (share * (count - exact) + 1e-9).long()).clamp(max=count - 1)
        return first + torch.where(far < exact, far, shared)

    def forward(
        self,
        num_heads: int,
        query_len: int,
        key_len: int,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Return the bias, (H, L, S), as `biased` asks for it."""
        refuse_num_heads(num_heads, self.weight.shape[-1])
        numbers = self.buckets(query_len, key_len, device=device)
        return self.weight[numbers].movedim(-1, 0).to(dtype or self.weight.dtype)


def biased(
    bias: Callable[..., Tensor],
) -> Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor]]:
    """Make positions for `MultiHeadAttention` of what makes a bias, such as `alibi`.

    Parameters
    ----------
    bias : callable
        Called as `bias(num_heads, query_len, key_len, dtype=..., device=...)`, it returns
        what is added to the scores, (H, L, S).

    Returns
    -------
    callable
        Positions; an `nn.Module`, so that the parameters of `bias` are found.

    Raises
    ------
    TypeError
        If `bias` cannot be called.

    References
    ----------
    Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
    Transformer", 2019, arXiv:1910.10683, section 2.1, whose bias is learned.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import MultiHeadAttention, alibi, biased
    >>> layer = MultiHeadAttention(embed_dim=12, num_heads=3, positions=biased(alibi))
    >>> output, weights = layer(torch.randn(2, 5, 12), is_causal=True)
    """
    check_callable("bias", bias)
    return _Biased(bias)


class _Biased(nn.Module):
    def __init__(self, bias: Callable[..., Tensor]) -> None:
        super().__init__()
        self.bias = bias

    def forward(
        self, query: Tensor, key: Tensor, offset: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        H, L, S = query.shape[-3], query.shape[-2], offset + key.shape[-2]
        return query, key, self.bias(H, L, S, dtype=query.dtype, device=query.device)
