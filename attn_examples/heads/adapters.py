"""Modules of this package behind torch's own signature."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from attn_examples.heads.multi_head import MultiHeadAttention

__all__ = ["as_torch"]

MECHANISMS = (
    {
        "name": "behind torch's signature",
        "call": "as_torch",
        "changes": "how it is called: as `nn.MultiheadAttention` is",
        "page": "types/heads/multi-head#as-torch",
        "without_paper": "it changes the call and none of the numbers",
        "oracles": {
            "torch.nn.TransformerEncoderLayer": "test_inside_torchs_layers",
            "torch.nn.TransformerDecoderLayer": "test_inside_torchs_layers",
        },
        "words": [
            "drop-in replacement",
            "nn.MultiheadAttention",
            "nn.TransformerEncoderLayer",
        ],
        "cost": "the same",
        "thumbnail": "attention(query, key, value)[1]",
    },
)


def as_torch(module: MultiHeadAttention, *, batch_first: bool = False) -> nn.Module:
    """Let a module be called as `nn.MultiheadAttention` is.

    Signature, defaults, masks and the shape of the weights are torch's: True in a mask
    forbids a key, and by default the weights come averaged over the heads. So it fits into
    `nn.TransformerEncoderLayer` and `nn.TransformerDecoderLayer`, in the place of `self_attn`
    or `multihead_attn`. The parameters are those of `module`, not copies, under its names:
    load torch's checkpoint before the exchange. Make `nn.TransformerEncoder` with
    `enable_nested_tensor=False`.

    Parameters
    ----------
    module : MultiHeadAttention
        With any score, normalizer and positions.
    batch_first : bool, default False
        Whether inputs and outputs are (N, L, D), not (L, N, D).

    Returns
    -------
    nn.Module
        Where torch's gives NaN, for a query with no key allowed, it gives the output of the
        module: weights 0. Where `is_causal` comes with another mask, it follows the mask.

    Raises
    ------
    TypeError
        If it is not a `MultiHeadAttention`.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from attn_examples import MultiHeadAttention, as_torch
    >>> theirs = nn.TransformerEncoderLayer(12, 3, batch_first=True).eval()
    >>> x = torch.randn(2, 5, 12)
    >>> before = theirs(x)
    >>> ours = MultiHeadAttention.from_torch(theirs.self_attn)
    >>> theirs.add_module("self_attn", as_torch(ours, batch_first=True))
    >>> torch.allclose(theirs(x), before, atol=1e-6)
    True
    """
    if not isinstance(module, MultiHeadAttention):
        raise TypeError(
            f"module ({type(module).__name__}) must be a MultiHeadAttention"
        )
    return _AsTorch(module, batch_first)


class _AsTorch(nn.Module):
    # torch's layers read these two, and then call forward and no kernel of their own
    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(self, module: MultiHeadAttention, batch_first: bool) -> None:
        super().__init__()
        self.module = module
        self.batch_first = batch_first
        self.embed_dim = module.embed_dim
        self.num_heads = module.num_heads

    def __getattr__(self, name: str) -> Any:
        if name == "in_proj_weight":
            raise AttributeError(
                "nn.TransformerEncoder wants to run a kernel of its own, without this "
                "module: make it with enable_nested_tensor=False"
            )
        return super().__getattr__(name)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,  # in torch a hint that attn_mask is causal
    ) -> tuple[Tensor, Tensor | None]:
        if is_causal and attn_mask is None:
            raise ValueError(
                "attn_mask must be given when is_causal is True, as in torch"
            )
        turned = query.dim() == 3 and not self.batch_first
        if turned:  # the same object thrice stays the same object
            of = {id(t): t.transpose(0, 1) for t in (query, key, value)}
            query, key, value = of[id(query)], of[id(key)], of[id(value)]
        if attn_mask is not None and attn_mask.dim() == 3 and query.dim() == 3:
            # (N * H, L, S) -> (N, H, L, S)
            attn_mask = torch.unflatten(attn_mask, 0, (-1, self.num_heads))
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(-2)  # (N, 1, S)
            if query.dim() == 3:
                key_padding_mask = key_padding_mask.unsqueeze(-3)  # (N, 1, 1, S)
        mask, bias = None, None
        for theirs in (attn_mask, key_padding_mask):
            if theirs is None:
                continue
            if theirs.dtype == torch.bool:  # True: forbidden
                mask = ~theirs if mask is None else mask & ~theirs
            else:  # added to the scores
                bias = theirs if bias is None else bias + theirs
        output, weights = self.module(
            query, key, value, mask=mask, bias=bias, need_weights=need_weights
        )
        if weights is not None and average_attn_weights:
            weights = weights.mean(-3)
        return output.transpose(0, 1) if turned else output, weights
