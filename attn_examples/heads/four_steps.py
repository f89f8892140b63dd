"""How the modules run the four steps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from attn_examples.checks import refuse_broadcast, refuse_scores
from attn_examples.core import Normalize, Score, share_heads
from attn_examples.heads.weigh import step_by_step, weigh
from attn_examples.masks import causal_mask
from attn_examples.normalizers import softmax
from attn_examples.scores import scaled_dot

__all__: list[str] = []


def four_steps(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    score: Score = scaled_dot,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    is_causal: bool = False,
    square: bool = False,
    normalize: Normalize = softmax,
    dropout_p: float = 0.0,
    enable_gqa: bool = False,
    need_weights: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Run the four steps, or something that gives the same and is faster.

    Where nobody asks for the weights that is torch's `scaled_dot_product_attention`, which
    picks a fused kernel where it can, and `weigh` where nobody can see the scores; both know
    the score `scaled_dot` and the normalizer `softmax` alone. What is given has been checked
    by the modules; `square` says that there are as many keys as queries, where that is known
    without comparing lengths.
    """
    usual = score is scaled_dot and normalize is softmax
    fused = usual and not need_weights
    # torch aligns its own causal mask to the upper left: the same only where L == S
    if is_causal and not (fused and square and mask is None and bias is None):
        past = causal_mask(query.shape[-2], key.shape[-2], device=query.device)
        mask = past if mask is None else past & mask
        is_causal = False
    if fused:
        if bias is not None:
            bias = bias.to(query.dtype)
            mask = bias if mask is None else torch.where(mask, bias, float("-inf"))
        return _fused(query, key, value, mask, dropout_p, is_causal, enable_gqa), None
    if enable_gqa:
        key, value = share_heads(query, key), share_heads(query, value)
    if usual and bias is None and not step_by_step(query, key):
        weights = weigh(query, key, mask)  # steps 1 to 3
    else:
        scores = score(query, key)  # 1. score: (..., L, S)
        refuse_scores(scores, query, key)
        if bias is not None:
            scores = scores + bias.to(scores.dtype)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))  # 2. mask
        weights = normalize(scores)  # 3. normalize: each row of L
    if dropout_p > 0.0:
        weights = F.dropout(weights, dropout_p)
    output = weights @ value  # 4. mix: (..., L, S) @ (..., S, Ev)
    return output, weights if need_weights else None


def join_bias(
    bias: Tensor | None, added: Tensor | None, scores: tuple[int, ...], length: int
) -> Tensor | None:
    """Add what positions give to a bias of `scores`, (..., H, L, S).

    Positions speak of all `length` keys so far; a cache may hold the last S of them alone.
    """
    if added is None:
        return bias
    refuse_broadcast("the bias of positions", added, (*scores[:-1], length))
    added = added[..., max(added.shape[-1] - scores[-1], 0) :]
    return added if bias is None else bias + added


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,
    enable_gqa: bool,
) -> Tensor:
    # on a CPU the kernel wants four dimensions: given fewer, it computes all the scores
    added = (None,) * (4 - query.dim())
    if mask is not None:
        mask = mask[(None,) * (4 - mask.dim())]
    output = F.scaled_dot_product_attention(
        query[added],
        key[added],
        value[added],
        mask,
        dropout_p,
        is_causal,
        enable_gqa=enable_gqa,
    )
    return output[(0,) * len(added)]
