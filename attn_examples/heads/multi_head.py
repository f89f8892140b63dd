"""Modules of several heads: project, split, attend, merge."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from attn_examples.checks import (
    check_cache,
    check_callable,
    check_count,
    check_probability,
    check_projected,
    check_same_batch,
    refuse_bias,
    refuse_broadcast,
    refuse_mask,
    refuse_mask_of_heads,
    refuse_positions,
)
from attn_examples.core import (
    Normalize,
    Positions,
    Score,
    _head_width,
    _split_heads,
)
from attn_examples.heads.cache import Cache, seen_before
from attn_examples.heads.four_steps import four_steps, join_bias
from attn_examples.normalizers import softmax
from attn_examples.scores import scaled_dot

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
        "cost": "the same: H heads of width D / H multiply as much as one of width D",
        "used_in": {"Transformer": "vaswani2017", "BERT": "devlin2018"},
        "thumbnail": "torch.eye(4).repeat_interleave(2, 0).repeat_interleave(2, 1)",
    },
    {
        "name": "grouped-query",
        "call": "MultiHeadAttention(num_kv_heads=...)",
        "changes": "groups of heads share keys and values",
        "page": "types/heads/grouped-query#grouped-query",
        "papers": ["ainslie2023"],
        "oracles": {
            "x_transformers.x_transformers.Attention": "test_equals_x_transformers",
            "torch.nn.functional.scaled_dot_product_attention": (
                "test_shared_keys_equal_torch"
            ),
            "transformers.models.llama.modeling_llama.LlamaAttention": (
                "test_shared_keys_equal_llama"
            ),
        },
        "words": ["GQA", "grouped query attention", "num_kv_heads", "enable_gqa"],
        "cost": "less: a cache of G heads in place of H",
        "used_in": {
            "Llama 2 70B": "touvron2023b",
            "Mistral 7B": "jiang2023",
            "Llama 3": "grattafiori2024",
            "Gemma 2": "gemma2024",
        },
        "thumbnail": "torch.eye(4).repeat_interleave(2, 0)",
    },
    {
        "name": "multi-query",
        "call": "MultiHeadAttention(num_kv_heads=1)",
        "changes": "all heads share one set of keys and values",
        "page": "types/heads/grouped-query#multi-query",
        "papers": ["shazeer2019"],
        "oracles": {
            "x_transformers.x_transformers.Attention": "test_equals_x_transformers",
            "torch.nn.functional.scaled_dot_product_attention": (
                "test_shared_keys_equal_torch"
            ),
            "transformers.models.llama.modeling_llama.LlamaAttention": (
                "test_shared_keys_equal_llama"
            ),
        },
        "words": ["MQA", "multi query attention"],
        "cost": "less: a cache of one head in place of H",
        "used_in": {"PaLM": "chowdhery2022", "Gemma 2B": "mesnard2024"},
        "thumbnail": "torch.ones(8, 1)",
    },
    {
        "name": "no positions",
        "call": "MultiHeadAttention(positions=None)",
        "changes": "nothing is told of the order: a causal mask alone shows it",
        "page": "types/positions/none",
        "papers": ["haviv2022", "kazemnejad2023"],
        "oracles": {
            "torch.nn.MultiheadAttention": "test_without_positions_equals_torch",
            "transformers.models.smollm3.modeling_smollm3.SmolLM3Attention": (
                "test_without_positions_equals_smollm3"
            ),
        },
        "words": ["NoPE", "no positional encoding", "no positional embeddings"],
        "cost": "the same",
        "used_in": {"Command A": "cohere2025"},
        "thumbnail": "causal_mask(8) / torch.arange(1, 9)[:, None]",
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
        Number of heads, H.
    num_kv_heads : int, optional
        Number of key and value heads, G, by default `num_heads`. Fewer is grouped-query
        attention, one is multi-query attention.
    kdim, vdim : int, optional
        Width of the inputs of keys and values; by default `embed_dim`.
    head_dim : int, optional
        Width of a head; by default embed_dim / num_heads.
    score : callable, default `scaled_dot`
        Step 1: any score. It gets queries (..., H, L, head_dim) and keys
        (..., H, S, head_dim).
    normalize : callable, default `softmax`
        Step 3: any normalizer.
    positions : callable, optional
        What tells the heads about order. Called as `positions(query, key, offset)` with
        queries (..., H, L, head_dim) and the new keys (..., G, S - offset, head_dim), it
        returns both, turned or as they were, and a bias or None. New key j stands at
        offset + j, where offset is the length of the cache, and the last query stands where
        the last key does, as in `causal_mask`. The bias, broadcastable to (..., H, L, S),
        is added to the scores; S counts all keys so far here. By default only a mask tells.
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
        If a size is not a whole number, or what is to be called cannot be.

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
        head_dim: int | None = None,
        score: Score = scaled_dot,
        normalize: Normalize = softmax,
        positions: Positions | None = None,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.head_dim = _head_width(embed_dim, num_heads, head_dim)
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.num_heads = num_heads
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_count("kdim", self.kdim)
        check_count("vdim", self.vdim)
        check_count("num_kv_heads", self.num_kv_heads)
        check_callable("score", score)
        check_callable("normalize", normalize)
        if positions is not None:
            check_callable("positions", positions)
        check_probability("dropout", dropout)
        if num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads ({num_heads}) must be divisible by num_kv_heads "
                f"({num_kv_heads})"
            )
        self.score = score
        self.normalize = normalize
        self.positions = positions
        self.dropout = dropout
        self.q_proj = nn.Linear(embed_dim, num_heads * self.head_dim, bias)
        self.k_proj = nn.Linear(self.kdim, self.num_kv_heads * self.head_dim, bias)
        self.v_proj = nn.Linear(self.vdim, self.num_kv_heads * self.head_dim, bias)
        self.out_proj = nn.Linear(num_heads * self.head_dim, embed_dim, bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        is_causal: bool = False,
        cache: Cache | None = None,
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
            all heads; or (N, H, L, S). Each may be 1. Which keys are padding is
            (N, 1, S), as `padding_mask` makes it: two dimensions are always (L, S), also
            where N happens to equal L.
        bias : Tensor, broadcastable to (..., H, L, S), optional
            Added to the scores.
        is_causal : bool, default False
            Also forbid later positions, aligned as in `causal_mask`.
        cache : KVCache, RingKVCache or PagedKVCache, optional
            Keys and values of earlier calls, for self-attention. Those of this call are
            appended. In mask, bias and weights S then counts all that are held. With
            `is_causal=True`, and a ring's window as a mask, each way to cut a sequence into
            calls gives the same; else a token may see too much of its own call.
        need_weights : bool, default True
            Whether to return the weights. Without them torch's
            `scaled_dot_product_attention` runs, if score and normalizer are the usual ones;
            it picks a fused kernel where it can.

        Returns
        -------
        output : Tensor, shape (..., L, embed_dim)
        weights : Tensor, shape (..., H, L, S), or None
            After dropout, if there is any.

        Raises
        ------
        ValueError
            If shapes, dtypes or devices do not fit together, or a cache is given for
            cross-attention.
        TypeError
            If an argument is not a tensor.
        """
        key = query if key is None else key
        value = key if value is None else value
        refuse_mask(mask)
        refuse_bias(bias)
        check_cache(cache)
        offset, held = seen_before(cache)
        self._check(query, key, value)
        refuse_positions(key, value)
        *batch, L = query.shape[:-1]
        S = held + key.shape[-2]
        refuse_mask_of_heads(mask, query, S, self.num_heads)
        scores = (*batch, self.num_heads, L, S)
        if bias is not None:
            refuse_broadcast("bias", bias, scores)
        if cache is not None and not (query is key is value):
            raise ValueError(
                "key and value must be left out when a cache is given: it is for "
                "self-attention, and would append the same context at each call"
            )
        if mask is not None and mask.dim() == query.dim() > 2:
            mask = mask.unsqueeze(-3)  # (N, L, S) -> (N, 1, L, S)

        queries = _split_heads(
            self.q_proj(query), self.num_heads
        )  # (..., H, L, head_dim)
        # keys and values of this call: (..., G, S - offset, head_dim)
        keys = _split_heads(self.k_proj(key), self.num_kv_heads)
        values = _split_heads(self.v_proj(value), self.num_kv_heads)
        if self.positions is not None:
            queries, keys, added = self.positions(queries, keys, offset)
            bias = join_bias(bias, added, scores, offset + key.shape[-2])
        if cache is not None:
            keys, values = cache.append(keys, values)  # all S of them
        heads, weights = self._attend(
            queries,
            keys,
            values,
            score=self.score,
            bias=bias,
            mask=mask,
            is_causal=is_causal,
            square=key is query and offset == 0,
            normalize=self.normalize,
            dropout_p=self.dropout if self.training else 0.0,
            enable_gqa=self.num_heads != self.num_kv_heads,
            need_weights=need_weights,
        )
        merged = heads.transpose(-3, -2).flatten(-2)  # (..., L, H * head_dim)
        return self.out_proj(self._merged(merged, query)), weights

    # What a module of several heads may do otherwise: between projections and output

    def _attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, **steps: Any
    ) -> tuple[Tensor, Tensor | None]:
        return four_steps(queries, keys, values, **steps)

    def _merged(self, merged: Tensor, query: Tensor) -> Tensor:
        return merged

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        check_projected("query", query, "embed_dim", self.embed_dim, self.q_proj)
        if key is not query or self.kdim != self.embed_dim:
            check_projected("key", key, "kdim", self.kdim, self.k_proj)
            check_same_batch("key", key, "query", query)
        if value is not key or self.vdim != self.kdim:
            check_projected("value", value, "vdim", self.vdim, self.v_proj)
            check_same_batch("value", value, "query", query)

    @classmethod
    def from_torch(cls, module: nn.MultiheadAttention) -> Self:
        """Take over the weights of a torch module.

        Parameters
        ----------
        module : nn.MultiheadAttention
            Its `batch_first` does not matter: the result is batch first. Its weights
            are copied, and what is frozen stays frozen.

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
            raise TypeError(
                f"module ({type(module).__name__}) must be an nn.MultiheadAttention"
            )
        if module.bias_k is not None or module.add_zero_attn:
            raise ValueError(
                "module was made with add_bias_kv or add_zero_attn, which add keys "
                "that are not in the input: from_torch takes modules without them"
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
        stacked = module.in_proj_weight is not None  # the three in one matrix
        names = (
            ["in_proj_weight"] * 3 if stacked else [f"{x}_proj_weight" for x in "qkv"]
        )
        projections = (ours.q_proj, ours.k_proj, ours.v_proj)
        with torch.no_grad():
            for i, (name, projection) in enumerate(
                zip(names, projections, strict=True)
            ):
                weight, bias = getattr(module, name), module.in_proj_bias
                projection.weight.copy_(weight.chunk(3)[i] if stacked else weight)
                projection.weight.requires_grad_(weight.requires_grad)
                if bias is not None:
                    projection.bias.copy_(bias.chunk(3)[i]).requires_grad_(
                        bias.requires_grad
                    )
            for name, parameter in module.out_proj.named_parameters():
                copied = ours.out_proj.get_parameter(name).copy_(parameter)
                copied.requires_grad_(parameter.requires_grad)
        return ours
