"""Modules of several heads: project, split, attend, merge."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from attn_examples.checks import (
    check_count,
    check_mask,
    check_positions,
    check_probability,
    check_projected,
    check_same_batch,
    refuse_mask,
)
from attn_examples.heads.attend import attend

__all__ = ["MultiHeadAttention"]

MECHANISMS = (
    {
        "name": "multi-head",
        "call": "MultiHeadAttention",
        "changes": "several attentions side by side",
        "page": "types/heads/multi-head",
        "papers": ["vaswani2017"],
        "oracles": {
            "torch.nn.MultiheadAttention": "test_from_torch_equals_torch",
            "transformers.models.bert.modeling_bert.BertSelfAttention": "test_equals_transformers",
            "x_transformers.x_transformers.Attention": "test_equals_x_transformers",
        },
        "words": ["MHA", "nn.MultiheadAttention"],
    },
    {
        "name": "grouped-query",
        "call": "MultiHeadAttention(num_kv_heads=...)",
        "changes": "groups of heads share keys and values",
        "page": "types/heads/multi-head#grouped-query",
        "papers": ["ainslie2023"],
        "oracles": {"x_transformers.x_transformers.Attention": "test_equals_x_transformers"},
        "words": ["GQA", "grouped query attention", "num_kv_heads", "enable_gqa"],
    },
    {
        "name": "multi-query",
        "call": "MultiHeadAttention(num_kv_heads=1)",
        "changes": "all heads share one set of keys and values",
        "page": "types/heads/multi-head#multi-query",
        "papers": ["shazeer2019"],
        "oracles": {"x_transformers.x_transformers.Attention": "test_equals_x_transformers"},
        "words": ["MQA", "multi query attention"],
    },
)


class MultiHeadAttention(nn.Module):
    """Attend several times at once, each time with projections of its own.

    Self-attention with one argument, cross-attention with two. Sequences are always
    batch first.

    Parameters
    ----------
    embed_dim : int
        Width of the queries' input and of the output.
    num_heads : int
        Number of heads; each is embed_dim / num_heads wide.
    num_kv_heads : int, optional
        Number of key and value heads, by default `num_heads`. Fewer is grouped-query
        attention, one is multi-query attention.
    kdim, vdim : int, optional
        Width of the inputs of keys and values; by default `embed_dim`.
    dropout : float, default 0
        Probability of dropping a weight, in training only.
    bias : bool, default True
        Whether the four projections add a learned vector.

    Raises
    ------
    ValueError
        If the heads do not divide as they must, a size is less than 1, or `dropout` is
        not a probability.
    TypeError
        If a size is not a whole number.

    References
    ----------
    Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762, section 3.2.2;
    fewer key heads: Shazeer, 2019, arXiv:1911.02150, and Ainslie et al., 2023,
    arXiv:2305.13245.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import MultiHeadAttention
    >>> x = torch.randn(2, 5, 12)  # batch, length, width
    >>> output, weights = MultiHeadAttention(embed_dim=12, num_heads=3)(x)
    >>> output.shape, weights.shape  # one map for each head
    (torch.Size([2, 5, 12]), torch.Size([2, 3, 5, 5]))
    >>> MultiHeadAttention(embed_dim=10, num_heads=3)
    Traceback (most recent call last):
    ...
    ValueError: embed_dim (10) must be divisible by num_heads (3)
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        kdim = embed_dim if kdim is None else kdim
        vdim = embed_dim if vdim is None else vdim
        check_count("embed_dim", embed_dim)
        check_count("num_heads", num_heads)
        check_count("num_kv_heads", num_kv_heads)
        check_count("kdim", kdim)
        check_count("vdim", vdim)
        check_probability("dropout", dropout)
        if embed_dim % num_heads:
            raise ValueError(
                f"embed_dim ({embed_dim}) must be divisible by num_heads ({num_heads})"
            )
        if num_heads % num_kv_heads:
            raise ValueError(
                f"num_heads ({num_heads}) must be divisible by num_kv_heads ({num_kv_heads})"
            )
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.q_proj = nn.Linear(embed_dim, num_heads * self.head_dim, bias)
        self.k_proj = nn.Linear(kdim, num_kv_heads * self.head_dim, bias)
        self.v_proj = nn.Linear(vdim, num_kv_heads * self.head_dim, bias)
        self.out_proj = nn.Linear(num_heads * self.head_dim, embed_dim, bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        is_causal: bool = False,
        need_weights: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from `query` to `key`, and average `value`.

        Parameters
        ----------
        query : Tensor, shape (..., L, embed_dim)
        key : Tensor, shape (..., S, kdim), optional
            By default `query`: self-attention.
        value : Tensor, shape (..., S, vdim), optional
            By default `key`.
        mask : Tensor of bool, optional
            True where attention is allowed. Shape (L, S); or (N, L, S), the same for
            all heads; or (N, H, L, S). N, H and L may be 1.
        is_causal : bool, default False
            Also forbid later positions, aligned as in `causal_mask`.
        need_weights : bool, default True
            Whether to return the weights. Without them torch's fused kernel runs.

        Returns
        -------
        output : Tensor, shape (..., L, embed_dim)
        weights : Tensor, shape (..., H, L, S), or None
            After dropout, if there is any.

        Raises
        ------
        ValueError
            If shapes, dtypes or devices do not fit together.
        TypeError
            If an argument is not a tensor.
        """
        key = query if key is None else key
        value = key if value is None else value
        self._check(query, key, value)
        queries = _split(self.q_proj(query), self.num_heads)  # (..., H, L, head_dim)
        keys = _split(self.k_proj(key), self.num_kv_heads)
        values = _split(self.v_proj(value), self.num_kv_heads)
        output, weights = attend(
            queries,
            keys,
            values,
            _for_all_heads(mask, query, key),
            need_weights,
            is_causal=is_causal,
            dropout_p=self.dropout if self.training else 0.0,
        )
        merged = output.transpose(-3, -2).flatten(-2)  # (..., L, H * head_dim)
        return self.out_proj(merged), weights

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        check_projected("query", query, "embed_dim", self.q_proj.in_features, self.q_proj)
        check_projected("key", key, "kdim", self.k_proj.in_features, self.k_proj)
        check_projected("value", value, "vdim", self.v_proj.in_features, self.v_proj)
        check_same_batch("key", key, "query", query)
        check_same_batch("value", value, "query", query)
        check_positions(key, value)

    @classmethod
    def from_torch(cls, module: nn.MultiheadAttention) -> Self:
        """Take over the weights of a torch module.

        Parameters
        ----------
        module : nn.MultiheadAttention
            Its `batch_first` does not matter: the result is batch first. Its weights
            are copied.

        Returns
        -------
        MultiHeadAttention
            Gives the same output for the same input, and one map for each head where
            torch by default gives their average.

        Raises
        ------
        ValueError
            If the module was made with `add_bias_kv` or `add_zero_attn`.
        TypeError
            If it is not an `nn.MultiheadAttention`.

        Examples
        --------
        >>> import torch
        >>> from torch import nn
        >>> from attn_examples import MultiHeadAttention
        >>> theirs = nn.MultiheadAttention(12, 3, batch_first=True)
        >>> ours = MultiHeadAttention.from_torch(theirs)
        >>> x = torch.randn(2, 5, 12)
        >>> torch.allclose(ours(x)[0], theirs(x, x, x)[0], atol=1e-6)
        True
        """
        if not isinstance(module, nn.MultiheadAttention):
            raise TypeError(f"module ({type(module).__name__}) must be an nn.MultiheadAttention")
        if module.bias_k is not None or module.add_zero_attn:
            raise ValueError(
                "module was made with add_bias_kv or add_zero_attn, which add keys that are "
                "not in the input: from_torch takes modules without them"
            )
        ours = cls(
            module.embed_dim,
            module.num_heads,
            kdim=module.kdim,
            vdim=module.vdim,
            dropout=module.dropout,
            bias=module.in_proj_bias is not None,
        )
        ours.to(module.out_proj.weight).train(module.training)
        projections = (ours.q_proj, ours.k_proj, ours.v_proj)
        if module.in_proj_weight is not None:  # the three stacked in one matrix
            weights = module.in_proj_weight.chunk(3)
        else:
            weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        with torch.no_grad():
            for ours_proj, weight in zip(projections, weights, strict=True):
                ours_proj.weight.copy_(weight)
            if module.in_proj_bias is not None:
                for ours_proj, bias in zip(projections, module.in_proj_bias.chunk(3), strict=True):
                    ours_proj.bias.copy_(bias)
            ours.out_proj.load_state_dict(module.out_proj.state_dict())
        return ours


def _split(x: Tensor, num_heads: int) -> Tensor:
    """(..., L, H * head_dim) -> (..., H, L, head_dim)."""
    return torch.unflatten(x, -1, (num_heads, -1)).transpose(-3, -2)


def _for_all_heads(mask: Tensor | None, query: Tensor, key: Tensor) -> Tensor | None:
    """(N, L, S) -> (N, 1, L, S); a mask of another rank says itself what it is for."""
    if not isinstance(mask, Tensor) or mask.dim() != query.dim() or mask.dim() == 2:
        return mask
    refuse_mask(mask)
    check_mask(mask, (*query.shape[:-1], key.shape[-2]), query.device)
    return mask.unsqueeze(-3)
