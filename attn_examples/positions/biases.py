"""Positions that bias the scores: how far a key is from a query."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from attn_examples.checks import check_callable, check_count

__all__ = ["alibi", "biased"]

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
    key_len = query_len if key_len is None else key_len
    check_count("num_heads", num_heads)
    check_count("query_len", query_len, least=0)
    check_count("key_len", key_len, least=0)
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
    queries = torch.arange(query_len, device=device) + (key_len - query_len)
    distance = (
        queries.unsqueeze(-1) - torch.arange(key_len, device=device)
    ).abs()  # (L, S)
    return (0.0 - slopes[:, None, None] * distance).to(dtype)


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
