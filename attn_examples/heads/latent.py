"""Heads whose keys and values are made of one small vector for each token."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from attn_examples.checks import (
    check_cache,
    check_callable,
    check_count,
    check_probability,
    check_projected,
    refuse_bias,
    refuse_broadcast,
    refuse_mask,
    refuse_mask_of_heads,
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
from attn_examples.scores.dot_product import _as_scaled_dot

__all__ = ["MultiHeadLatentAttention"]

MECHANISMS = (
    {
        "name": "multi-head latent",
        "call": "MultiHeadLatentAttention",
        "changes": "keys and values are made of one small vector, kept in their place",
        "page": "types/heads/latent",
        "papers": ["deepseek2024"],
        "oracles": {
            "transformers.models.deepseek_v2.modeling_deepseek_v2.DeepseekV2Attention": (
                "test_equals_deepseek_v2"
            ),
            "transformers.models.deepseek_v3.modeling_deepseek_v3.DeepseekV3Attention": (
                "test_equals_deepseek_v3"
            ),
            "by hand": "test_equals_the_formulas_of_the_paper",
        },
        "words": [
            "MLA",
            "multi-head latent attention",
            "latent attention",
            "DeepSeek",
            "compressed KV cache",
            "weight absorption",
        ],
        "cost": "less: a cache of latent_dim + rope_dim numbers for each token, whatever H is",
        "used_in": {"DeepSeek-V2": "deepseek2024", "DeepSeek-V3": "deepseek2024b"},
        "thumbnail": "torch.arange(12) < torch.tensor([[12], [6], [2], [3]])",
    },
)


class MultiHeadLatentAttention(nn.Module):
    """Make the keys and values of all heads of one latent, and cache the latent.

    Self-attention. A key has two parts: one of its own in each head, made of the latent,
    and one that all heads share, which alone knows its position. A cache holds the latent
    and the shared part. There are no biases.

    Parameters
    ----------
    embed_dim : int
        Width of the input and of the output.
    num_heads : int
        Number of heads, H.
    latent_dim : int
        Width of the latent that keys and values are made of.
    query_latent_dim : int, optional
        Width of a latent that the queries are made of; by default they have none.
    head_dim : int, optional
        Width of a key's own part, by default embed_dim / num_heads.
    rope_dim : int, optional
        Width of the shared part, by default half of `head_dim`, rounded up.
    value_dim : int, optional
        Width of a value; by default `head_dim`.
    score : callable, default `scaled_dot`
        Step 1. It gets queries (..., H, L, head_dim + rope_dim) and as wide keys.
    normalize : callable, default `softmax`
        Step 3: any normalizer.
    positions : callable, optional
        As in `MultiHeadAttention`, for the shared part: it is called with queries
        (..., H, L, rope_dim) and the new keys (..., 1, S - offset, rope_dim).
    dropout : float, default 0
        Probability of dropping a weight, in training only.

    Raises
    ------
    ValueError
        If a size is less than 1, `head_dim` is left out and `num_heads` does not divide
        `embed_dim`, or `dropout` is not a probability.
    TypeError
        If a size is not a whole number, or what is to be called cannot be.

    References
    ----------
    DeepSeek-AI, "DeepSeek-V2: A Strong, Economical, and Efficient Mixture-of-Experts
    Language Model", 2024, arXiv:2405.04434, sections 2.1.2, 2.1.3 and 3.1.2, and
    appendix C.

    Examples
    --------
    Three heads of keys and values, 4 wide, would be 24 numbers for each token. Their
    latent and the shared part of the key are 5 + 2:

    >>> import torch
    >>> from attn_examples import KVCache, MultiHeadLatentAttention
    >>> layer, cache = MultiHeadLatentAttention(12, 3, latent_dim=5), KVCache()
    >>> x = torch.randn(2, 4, 12)
    >>> output, weights = layer(x, is_causal=True, cache=cache)
    >>> output.shape, cache.nbytes == 2 * 4 * (5 + 2) * 4
    (torch.Size([2, 4, 12]), True)
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        latent_dim: int,
        *,
        query_latent_dim: int | None = None,
        head_dim: int | None = None,
        rope_dim: int | None = None,
        value_dim: int | None = None,
        score: Score = scaled_dot,
        normalize: Normalize = softmax,
        positions: Positions | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        head_dim = _head_width(embed_dim, num_heads, head_dim)
        check_count("latent_dim", latent_dim)
        rope_dim = (head_dim + 1) // 2 if rope_dim is None else rope_dim
        check_count("rope_dim", rope_dim)
        value_dim = head_dim if value_dim is None else value_dim
        check_count("value_dim", value_dim)
        if query_latent_dim is not None:
            check_count("query_latent_dim", query_latent_dim)
        check_callable("score", score)
        check_callable("normalize", normalize)
        if positions is not None:
            check_callable("positions", positions)
        check_probability("dropout", dropout)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.latent_dim = latent_dim
        self.head_dim = head_dim
        self.rope_dim = rope_dim
        self.score = score
        self.normalize = normalize
        self.positions = positions
        self.dropout = dropout

        def linear(width: int, heads_width: int) -> nn.Linear:
            return nn.Linear(width, heads_width, bias=False)

        query_dim = num_heads * (head_dim + rope_dim)
        self.q_proj: nn.Module = linear(embed_dim, query_dim)
        if query_latent_dim is not None:
            self.q_proj = nn.Sequential(
                linear(embed_dim, query_latent_dim),
                nn.RMSNorm(query_latent_dim, eps=1e-6),
                linear(query_latent_dim, query_dim),
            )
        self.latent_proj = linear(embed_dim, latent_dim)
        self.latent_norm = nn.RMSNorm(latent_dim, eps=1e-6)
        self.k_rope_proj = linear(embed_dim, rope_dim)
        self.k_up_proj = linear(latent_dim, num_heads * head_dim)
        self.v_up_proj = linear(latent_dim, num_heads * value_dim)
        self.out_proj = linear(num_heads * value_dim, embed_dim)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        is_causal: bool = False,
        cache: Cache | None = None,
        absorbed: bool = False,
        need_weights: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend within `x`.

        Parameters
        ----------
        x : Tensor, shape (..., L, embed_dim)
        mask : Tensor of bool, optional
            True where attention is allowed: (L, S), (N, L, S) or (N, H, L, S), as in
            `MultiHeadAttention`.
        bias : Tensor, broadcastable to (..., H, L, S), optional
            Added to the scores.
        is_causal : bool, default False
            Also forbid later positions, aligned as in `causal_mask`.
        cache : KVCache, optional
            Latents, as its keys, and shared parts, as its values, of earlier calls. Those of
            this call are appended. In mask, bias and weights S then counts all of them.
        absorbed : bool, default False
            Whether queries meet the latents themselves, and these are mixed: no key or
            value is made. The same but for rounding, with the scores `dot`, `scaled_dot`
            and `partial(scaled_dot, scale=...)`.
        need_weights : bool, default True
            Whether to return the weights. Without them torch's
            `scaled_dot_product_attention` runs, if score and normalizer are the usual ones.

        Returns
        -------
        output : Tensor, shape (..., L, embed_dim)
        weights : Tensor, shape (..., H, L, S), or None
            After dropout, if there is any.

        Raises
        ------
        ValueError
            If shapes, dtypes or devices do not fit together, or `absorbed` is asked for
            with another score than these.
        TypeError
            If an argument is not a tensor.
        """
        refuse_mask(mask)
        refuse_bias(bias)
        check_cache(cache)
        width = self.head_dim + self.rope_dim
        factor = _factor(self.score, width) if absorbed else 1.0
        if factor is None:
            raise ValueError(
                "absorbed (True) needs score=scaled_dot, partial(scaled_dot, "
                "scale=...) or dot: in a product a matrix can move from the keys to "
                "the queries"
            )
        check_projected("x", x, "embed_dim", self.embed_dim, self.latent_proj)
        offset, held = seen_before(cache)
        *batch, L = x.shape[:-1]
        S = held + L
        refuse_mask_of_heads(mask, x, S, self.num_heads)
        scores = (*batch, self.num_heads, L, S)
        if bias is not None:
            refuse_broadcast("bias", bias, scores)
        if mask is not None and mask.dim() == x.dim() > 2:
            mask = mask.unsqueeze(-3)  # (N, L, S) -> (N, 1, L, S)

        queries = _split_heads(
            self.q_proj(x), self.num_heads
        )  # (..., H, L, head_dim + rope_dim)
        own, shared = queries[..., : self.head_dim], queries[..., self.head_dim :]
        # (..., 1, L, latent_dim) and (..., 1, L, rope_dim): one head for all
        latent = self.latent_norm(self.latent_proj(x)).unsqueeze(-3)
        k_shared = self.k_rope_proj(x).unsqueeze(-3)
        if self.positions is not None:
            shared, k_shared, added = self.positions(shared, k_shared, offset)
            bias = join_bias(bias, added, scores, offset + L)
        if cache is not None:
            latent, k_shared = cache.append(latent, k_shared)  # all S of them
        prepare = self._absorb if absorbed else self._make
        query, key, value = prepare(own, shared, latent, k_shared)
        if absorbed:  # scaled_dot divides by the root of the new width
            query = query * (factor * math.sqrt(query.shape[-1]))
        heads, weights = four_steps(
            query,
            key,
            value,
            score=scaled_dot if absorbed else self.score,
            bias=bias,
            mask=mask,
            is_causal=is_causal,
            square=offset == 0,
            normalize=self.normalize,
            dropout_p=self.dropout if self.training else 0.0,
            enable_gqa=absorbed,
            need_weights=need_weights,
        )
        if absorbed:  # (..., H, L, latent_dim) -> (..., H, L, value_dim)
            heads = heads @ self._by_head(self.v_up_proj).transpose(-2, -1)
        merged = heads.transpose(-3, -2).flatten(-2)  # (..., L, H * value_dim)
        return self.out_proj(merged), weights

    def _make(
        self, own: Tensor, shared: Tensor, latent: Tensor, k_shared: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Make keys and values of the latents, for each head."""
        keys = _split_heads(
            self.k_up_proj(latent.squeeze(-3)), self.num_heads
        )  # (..., H, S, head_dim)
        values = _split_heads(self.v_up_proj(latent.squeeze(-3)), self.num_heads)
        k_shared = k_shared.expand(*keys.shape[:-1], -1)
        return torch.cat((own, shared), -1), torch.cat((keys, k_shared), -1), values

    def _absorb(
        self, own: Tensor, shared: Tensor, latent: Tensor, k_shared: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take the queries to the latents, which are one head for all."""
        own = own @ self._by_head(self.k_up_proj)  # (..., H, L, latent_dim)
        return torch.cat((own, shared), -1), torch.cat((latent, k_shared), -1), latent

    def _by_head(self, projection: nn.Linear) -> Tensor:
        """Return a projection's matrix for each head, (H, width, latent_dim)."""
        return torch.unflatten(projection.weight, 0, (self.num_heads, -1))


def _factor(score: Score, width: int) -> float | None:
    """Return what a score multiplies the dot product with, None if it does more."""
    if (keywords := _as_scaled_dot(score)) is None:
        return None
    scale = keywords.get("scale")
    return 1 / math.sqrt(width) if scale is None else scale
