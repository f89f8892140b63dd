"""Modules around the four steps: project, split into heads, attend, merge.

Each returns `(output, weights)`. With `need_weights=False` it runs torch's fused
`scaled_dot_product_attention` instead of the visible steps and returns
`(output, None)`: the same numbers but for rounding, and usually sooner.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_examples.checks import (
    check_count,
    check_mask,
    check_positions,
    check_probability,
    check_same_batch,
    check_width,
)
from attn_examples.core import attention, share_heads
from attn_examples.masks import causal_mask
from attn_examples.normalizers import dropped, softmax

__all__ = ["CausalSelfAttention", "CrossAttention", "MultiHeadAttention", "SelfAttention"]


class SelfAttention(nn.Module):
    """Let each position of a sequence attend to every position of the same sequence.

    Parameters
    ----------
    embed_dim : int
        Width of the input.
    head_dim : int, optional
        Width of queries, keys and values, and of the output; by default `embed_dim`.
    bias : bool, default True
        Whether the projections add a learned vector.

    Raises
    ------
    ValueError
        If a width is less than 1; when called, if the input does not fit.
    TypeError
        If a width is not a whole number.

    References
    ----------
    Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762, sections
    3.2.1 and 3.2.3; before it Cheng et al., 2016, arXiv:1601.06733, and Lin et al., 2017,
    arXiv:1703.03130.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import SelfAttention
    >>> x = torch.randn(2, 5, 12)  # batch, length, width
    >>> output, weights = SelfAttention(embed_dim=12, head_dim=4)(x)
    >>> output.shape, weights.shape
    (torch.Size([2, 5, 4]), torch.Size([2, 5, 5]))
    """

    def __init__(self, embed_dim: int, head_dim: int | None = None, *, bias: bool = True) -> None:
        super().__init__()
        head_dim = embed_dim if head_dim is None else head_dim
        check_count("embed_dim", embed_dim)
        check_count("head_dim", head_dim)
        self.q_proj = nn.Linear(embed_dim, head_dim, bias)
        self.k_proj = nn.Linear(embed_dim, head_dim, bias)
        self.v_proj = nn.Linear(embed_dim, head_dim, bias)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, need_weights: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Attend within `x`, shape (..., L, embed_dim); the mask is as in `attention`."""
        check_width("x", x, "embed_dim", self.q_proj.in_features)
        return _attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), mask, need_weights)


class CausalSelfAttention(SelfAttention):
    """Let each position attend to itself and to the positions before it.

    Takes the parameters of `SelfAttention`. A mask given to it forbids further keys.

    References
    ----------
    Vaswani et al., 2017, arXiv:1706.03762, section 3.2.3.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import CausalSelfAttention
    >>> x = torch.randn(1, 3, 4)
    >>> _, weights = CausalSelfAttention(embed_dim=4)(x)
    >>> weights[0, 0]  # the first position has only itself
    tensor([1., 0., 0.], grad_fn=<SelectBackward0>)
    """

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, need_weights: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Attend within `x`, shape (..., L, embed_dim), never to a later position."""
        check_width("x", x, "embed_dim", self.q_proj.in_features)
        query, key, value = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        return _attend(query, key, value, mask, need_weights, is_causal=True)


class CrossAttention(nn.Module):
    """Let each position of one sequence attend to the positions of another.

    Parameters
    ----------
    embed_dim : int
        Width of the sequence that asks.
    context_dim : int, optional
        Width of the sequence that answers; by default `embed_dim`.
    head_dim : int, optional
        Width of queries, keys and values, and of the output; by default `embed_dim`.
    bias : bool, default True
        Whether the projections add a learned vector.

    Raises
    ------
    ValueError
        If a width is less than 1; when called, if the input does not fit.
    TypeError
        If a width is not a whole number.

    References
    ----------
    Bahdanau et al., 2014, arXiv:1409.0473, with another score; in this form Vaswani
    et al., 2017, arXiv:1706.03762, section 3.2.3, "encoder-decoder attention".

    Examples
    --------
    >>> import torch
    >>> from attn_examples import CrossAttention
    >>> target, source = torch.randn(2, 5, 12), torch.randn(2, 7, 6)
    >>> output, weights = CrossAttention(embed_dim=12, context_dim=6)(target, source)
    >>> output.shape, weights.shape
    (torch.Size([2, 5, 12]), torch.Size([2, 5, 7]))
    """

    def __init__(
        self,
        embed_dim: int,
        context_dim: int | None = None,
        head_dim: int | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        context_dim = embed_dim if context_dim is None else context_dim
        head_dim = embed_dim if head_dim is None else head_dim
        check_count("embed_dim", embed_dim)
        check_count("context_dim", context_dim)
        check_count("head_dim", head_dim)
        self.q_proj = nn.Linear(embed_dim, head_dim, bias)
        self.k_proj = nn.Linear(context_dim, head_dim, bias)
        self.v_proj = nn.Linear(context_dim, head_dim, bias)

    def forward(
        self, x: Tensor, context: Tensor, mask: Tensor | None = None, *, need_weights: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from `x`, (..., L, embed_dim), to `context`, (..., S, context_dim)."""
        check_width("x", x, "embed_dim", self.q_proj.in_features)
        check_width("context", context, "context_dim", self.k_proj.in_features)
        check_same_batch("context", context, "x", x)
        return _attend(
            self.q_proj(x), self.k_proj(context), self.v_proj(context), mask, need_weights
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
        output, weights = _attend(
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
        check_width("query", query, "embed_dim", self.q_proj.in_features)
        check_width("key", key, "kdim", self.k_proj.in_features)
        check_width("value", value, "vdim", self.v_proj.in_features)
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
    check_mask(mask, (*query.shape[:-1], key.shape[-2]), query.device)
    return mask.unsqueeze(-3)


def _attend(
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
    grouped = query.dim() > 2 and query.shape[-3] != key.shape[-3]
    if mask is not None:
        check_mask(mask, (*query.shape[:-1], S), query.device)
    # torch aligns its own causal mask to the upper left: the same only where L == S
    own_causal = is_causal and mask is None and L == S and not need_weights
    if is_causal and not own_causal:
        past = causal_mask(L, S, device=query.device)
        mask = past if mask is None else past & mask
    if need_weights:
        if grouped:
            key, value = share_heads(query, key), share_heads(query, value)
        normalize = dropped(softmax, dropout_p)
        return attention(query, key, value, mask=mask, normalize=normalize)
    # on a CPU the kernel wants four dimensions: given fewer, it computes all the scores
    added = (None,) * (4 - query.dim())
    if mask is not None and mask.dim() > 2:
        mask = mask[added]
    output = F.scaled_dot_product_attention(
        query[added], key[added], value[added], mask, dropout_p, own_causal, enable_gqa=grouped
    )
    return output[(0,) * len(added)], None
