"""The four steps: score, mask, normalize, mix.

`attention` is the whole idea of this package. Every mechanism on the site changes
one of its steps, or what happens around them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, overload

import torch
from torch import Tensor

from attn_examples.checks import (
    check_count,
    check_float,
    check_value,
    refuse_attn_mask,
    refuse_mask,
    refuse_mask_shape,
    refuse_scores,
    refuse_weights,
    refuse_zeros_and_ones,
    shape_of,
)
from attn_examples.masks import causal_mask
from attn_examples.normalizers import dropped, softmax
from attn_examples.scores import scaled_dot

__all__ = ["attention", "scaled_dot_product_attention", "share_heads"]

MECHANISMS = (
    {
        "name": "attention in four steps",
        "call": "attention",
        "changes": "nothing: the frame, with an argument for each step",
        "page": "concepts/four-steps",
        "papers": ["vaswani2017", "luong2015"],
        "oracles": {
            "torch.nn.functional.scaled_dot_product_attention": "test_equals_torch",
            "x_transformers.attend.Attend": "test_attention_equals_x_transformers",
        },
        "words": ["attention mechanism", "query key value", "QKV", "soft attention"],
        "cost": "the same",
        "thumbnail": "attention(query, key, value)[1]",
    },
    {
        "name": "scaled dot-product attention",
        "call": "scaled_dot_product_attention",
        "changes": "nothing: torch's function of the same name, in visible steps",
        "page": "formulas/scaled-dot-product",
        "papers": ["vaswani2017"],
        "oracles": {
            "torch.nn.functional.scaled_dot_product_attention": "test_equals_torch",
            "transformers.models.llama.modeling_llama.eager_attention_forward": (
                "test_equals_llama"
            ),
        },
        "words": ["SDPA", "F.scaled_dot_product_attention"],
        "cost": "the same",
        "thumbnail": "attention(query, key, value)[1]",
    },
    {
        "name": "shared heads",
        "call": "share_heads",
        "changes": "the keys and values: each head stands once for every query head of its group",
        "page": "types/heads/grouped-query#shared-heads",
        "papers": ["ainslie2023"],
        "oracles": {
            "transformers.models.llama.modeling_llama.repeat_kv": (
                "test_share_heads_equals_transformers"
            ),
            "torch.nn.functional.scaled_dot_product_attention": (
                "test_share_heads_equals_torch"
            ),
        },
        "words": ["repeat_kv", "repeat_interleave", "expand key value heads"],
        "cost": "less: keys and values of fewer heads are kept",
        "thumbnail": "torch.eye(4).repeat_interleave(2, 0)",
    },
)

Score = Callable[[Tensor, Tensor], Tensor]
Normalize = Callable[[Tensor], Tensor]
Positions = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor | None]]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    score: Score = scaled_dot,
    mask: Tensor | None = None,
    normalize: Normalize = softmax,
) -> tuple[Tensor, Tensor]:
    """Average the values, weighted by how well each query matches each key.

    Parameters
    ----------
    query : Tensor, shape (..., L, E)
        What each of the L positions is looking for.
    key : Tensor, shape (..., S, E)
        What each of the S positions offers to be found by.
    value : Tensor, shape (..., S, Ev)
        What each of the S positions passes on. The leading dimensions of the
        three must be equal, or 1.
    score : callable, default `scaled_dot`
        Step 1. Takes query and key, returns scores of shape (..., L, S).
    mask : Tensor of bool, shape (L, S) or that of the scores, optional
        Step 2. True where attention is allowed. A dimension may be 1 where the
        mask repeats.
    normalize : callable, default `softmax`
        Step 3. Takes scores, returns weights of the same shape. A score of minus
        infinity must get the weight 0.

    Returns
    -------
    output : Tensor, shape (..., L, Ev)
        Step 4: the weighted averages. A query with no key allowed gets 0.
    weights : Tensor, shape (..., L, S)
        Row i holds the weights of query i.

    Raises
    ------
    ValueError
        If shapes, dtypes or devices do not fit together, or the mask is not boolean;
        if the score does not return one number for each query and key, or the
        normalizer one weight for each score.
    TypeError
        If an argument is not a tensor, or the score returns none.

    References
    ----------
    Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762, section 3.2;
    that the score may be exchanged: Luong et al., 2015, arXiv:1508.04025, section 3.1.

    Examples
    --------
    One query, two keys. The scores are log 3 and 0, so the first key weighs three
    times as much as the second:

    >>> import torch
    >>> from attn_examples import attention
    >>> query, key = torch.tensor([[3.0]]).log(), torch.tensor([[1.0], [0.0]])
    >>> output, weights = attention(query, key, value=torch.tensor([[10.0], [20.0]]))
    >>> weights, output
    (tensor([[0.7500, 0.2500]]), tensor([[12.5000]]))
    """
    scores = score(query, key)  # 1. score: (..., L, S)
    refuse_scores(scores, query, key)
    check_value(query, key, value)
    if mask is not None:
        refuse_mask(mask)
        refuse_mask_shape(mask, scores.shape, scores.device)
        scores = scores.masked_fill(~mask, float("-inf"))  # 2. mask
    weights = normalize(scores)  # 3. normalize: each row of L
    refuse_weights(weights, scores)
    return weights @ value, weights  # 4. mix: (..., L, S) @ (..., S, Ev)


@overload
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = ...,
    dropout_p: float = ...,
    is_causal: bool = ...,
    *,
    scale: float | None = ...,
    enable_gqa: bool = ...,
    need_weights: Literal[False] = ...,
) -> Tensor: ...


@overload
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = ...,
    dropout_p: float = ...,
    is_causal: bool = ...,
    *,
    scale: float | None = ...,
    enable_gqa: bool = ...,
    need_weights: Literal[True],
) -> tuple[Tensor, Tensor]: ...


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    need_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Compute what torch's function of this name computes, in four visible steps.

    A drop-in replacement for `torch.nn.functional.scaled_dot_product_attention`
    that can also return the weights.

    Parameters
    ----------
    query : Tensor, shape (..., L, E)
    key : Tensor, shape (..., S, E)
    value : Tensor, shape (..., S, Ev)
    attn_mask : Tensor, broadcastable to (..., L, S), optional
        Boolean: True where attention is allowed. Floating point: added to the scores.
    dropout_p : float, default 0
        Probability of dropping a weight. As in torch it applies whenever it is not
        0: pass 0 yourself at evaluation.
    is_causal : bool, default False
        Allow key j for query i when j <= i. As in torch the mask is aligned to the
        upper left corner when L and S differ; see `causal_mask` for the other choice.
    scale : float, optional
        Factor of the dot product, by default 1 / sqrt(E).
    enable_gqa : bool, default False
        Let groups of query heads share a key head. The head dimension is the third
        from the end, and the number of query heads a multiple of the key heads.
    need_weights : bool, default False
        Also return the weights.

    Returns
    -------
    output : Tensor, shape (..., L, Ev)
    weights : Tensor, shape (..., L, S)
        Only with `need_weights`. After dropout, if there is any.

    Raises
    ------
    ValueError
        If shapes, dtypes or devices do not fit, if `dropout_p` is not a probability, if
        both `attn_mask` and `is_causal` are given, or if a floating-point mask holds
        zeros and ones alone, with a one among them: torch would add it to the scores
        without a word, which is almost never meant.
    TypeError
        If an argument is not a tensor.

    References
    ----------
    Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762, section 3.2.1.

    Examples
    --------
    >>> import torch
    >>> from torch.nn import functional as F
    >>> from attn_examples import scaled_dot_product_attention
    >>> query, key, value = torch.randn(3, 2, 5, 4).unbind(0)
    >>> ours = scaled_dot_product_attention(query, key, value, is_causal=True)
    >>> theirs = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    >>> torch.allclose(ours, theirs, atol=1e-6)
    True
    """
    if is_causal and attn_mask is not None:
        raise ValueError(
            "attn_mask must be None when is_causal is True: combine them yourself, "
            "attn_mask & causal_mask(L, S)"
        )
    if enable_gqa:
        key, value = share_heads(query, key), share_heads(query, value, name="value")

    normalize = dropped(softmax, dropout_p)
    scores = scaled_dot(query, key, scale=scale)  # 1. score: (..., L, S)
    check_value(query, key, value)
    if is_causal:  # 2. mask
        L, S = scores.shape[-2:]
        past = causal_mask(L, S, align="upper-left", device=scores.device)
        scores = scores.masked_fill(~past, float("-inf"))
    elif attn_mask is not None:
        refuse_attn_mask(attn_mask, scores)  # unlike `mask` it may lack any dimension
        if attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, float("-inf"))
        else:
            refuse_zeros_and_ones(attn_mask)
            scores = scores + attn_mask.to(scores.dtype)
    weights = normalize(scores)  # 3. normalize: each row of L
    output = weights @ value  # 4. mix: (..., L, S) @ (..., S, Ev)
    return (output, weights) if need_weights else output


def share_heads(query: Tensor, shared: Tensor, *, name: str = "key") -> Tensor:
    """Repeat each head of `shared` for the group of query heads that reads it.

    Parameters
    ----------
    query : Tensor, shape (..., H, L, E)
    shared : Tensor, shape (..., G, S, E)
        Keys or values with G heads, where G divides H.
    name : str, default "key"
        What an error calls `shared`.

    Returns
    -------
    Tensor, shape (..., H, S, E)
        Head h is a copy of head h // (H / G) of `shared`.

    Raises
    ------
    ValueError
        If there is no head dimension, or G does not divide H.
    TypeError
        If one of the two is not a tensor.

    References
    ----------
    Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head
    Checkpoints", 2023, arXiv:2305.13245.

    Examples
    --------
    Four query heads, two key heads of one token each:

    >>> import torch
    >>> from attn_examples import share_heads
    >>> share_heads(torch.zeros(4, 1, 2), torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]))
    tensor([[[1., 2.]],
    <BLANKLINE>
            [[1., 2.]],
    <BLANKLINE>
            [[3., 4.]],
    <BLANKLINE>
            [[3., 4.]]])
    """
    check_float("query", query)
    check_float(name, shared)
    if query.dim() < 3 or shared.dim() < 3:
        raise ValueError(
            f"query {shape_of(query)} and {name} {shape_of(shared)} must have a head "
            "dimension, (..., heads, length, width), to share heads"
        )
    heads, groups = query.shape[-3], shared.shape[-3]
    if groups == 0 or heads % groups:
        raise ValueError(
            f"query has {heads} heads, which must be a multiple of the {name}'s "
            f"{groups} heads"
        )
    return shared.repeat_interleave(heads // groups, dim=-3)


def _head_width(embed_dim: int, num_heads: int, head_dim: int | None) -> int:
    """Return how wide a head is: `head_dim`, or else its share of the input's width."""
    check_count("embed_dim", embed_dim)
    check_count("num_heads", num_heads)
    if head_dim is None:
        if embed_dim % num_heads:
            raise ValueError(
                f"embed_dim ({embed_dim}) must be divisible by num_heads ({num_heads})"
            )
        return embed_dim // num_heads
    check_count("head_dim", head_dim)
    return head_dim


def _split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(..., L, H * head_dim) -> (..., H, L, head_dim)."""
    return torch.unflatten(x, -1, (num_heads, -1)).transpose(-3, -2)
