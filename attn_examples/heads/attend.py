"""How the modules run the four steps."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from attn_examples.checks import (
    check_mask,
    refuse_mask,
)
from attn_examples.core import attention, share_heads
from attn_examples.heads.weigh import step_by_step, weigh
from attn_examples.masks import causal_mask
from attn_examples.normalizers import dropped, softmax

__all__: list[str] = []


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    need_weights: bool,
    *,
    is_causal: bool = False,
    dropout_p: float = 0.0,
) -> tuple[Tensor, Tensor | None]:
    """Run the four steps, or torch's fused kernel where nobody asks for the weights."""
    L, S = query.shape[-2], key.shape[-2]
    grouped = bool(query.dim() > 2 and query.shape[-3] != key.shape[-3])
    if mask is not None:
        refuse_mask(mask)
        check_mask(mask, (*query.shape[:-1], S), query.device)
    # torch aligns its own causal mask to the upper left: the same only where L == S
    own_causal = is_causal and mask is None and L == S and not need_weights
    if is_causal and not own_causal:
        past = causal_mask(L, S, device=query.device)
        mask = past if mask is None else past & mask
    if need_weights:
        if grouped:
            key, value = share_heads(query, key), share_heads(query, value)
        if step_by_step(query, key):
            normalize = dropped(softmax, dropout_p)
            return attention(query, key, value, mask=mask, normalize=normalize)
        weights = weigh(query, key, mask)  # 1. score, 2. mask, 3. normalize
        weights = F.dropout(weights, dropout_p)
        return weights @ value, weights  # 4. mix
    # on a CPU the kernel wants four dimensions: given fewer, it computes all the scores
    added = (None,) * (4 - query.dim())
    if mask is not None and mask.dim() > 2:
        mask = mask[added]
    output = F.scaled_dot_product_attention(
        query[added],
        key[added],
        value[added],
        mask,
        dropout_p,
        own_causal,
        enable_gqa=grouped,
    )
    return output[(0,) * len(added)], None
