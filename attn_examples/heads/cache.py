"""What a model keeps of earlier tokens while it writes the next."""

from __future__ import annotations

import torch
from torch import Tensor

from attn_examples.checks import check_follows

__all__ = ["KVCache"]

MECHANISMS = (
    {
        "name": "KV cache",
        "call": "KVCache",
        "changes": "keys and values of earlier tokens are kept",
        "page": "formulas/cost#kv-cache",
        "papers": ["shazeer2019"],
        "oracles": {
            "transformers.DynamicCache": "test_rotary_positions_and_a_cache_equal_llama",
            "torch.nn.MultiheadAttention": "test_token_by_token_equals_torch_at_once",
        },
        "words": [
            "key-value cache",
            "past_key_values",
            "incremental decoding",
            "prefill",
        ],
        "cost": "less: one row of scores for each new token",
        "thumbnail": "causal_mask(8) * torch.tensor([0.25] * 7 + [1.0])[:, None]",
    },
)


class KVCache:
    """Keep keys and values of one layer, so that each token is projected once.

    Given to a module at each call, it hands over what came before: `key` and `value`,
    (..., G, S, head_dim), None before the first call. Call the module with `is_causal=True`:
    without it a token of the prompt would see later ones. Any object with `length` and `append` can
    stand in its place: one that quantizes, or fills a buffer.

    References
    ----------
    Shazeer, "Fast Transformer Decoding: One Write-Head is All You Need", 2019,
    arXiv:1911.02150, which counts what it costs to read.

    Examples
    --------
    A prompt of three tokens, then a fourth. Keys and values of 4 bytes make
    2 * batch * tokens * width * 4:

    >>> import torch
    >>> from attn_examples import KVCache, MultiHeadAttention
    >>> layer, x, cache = MultiHeadAttention(12, 3), torch.randn(2, 4, 12), KVCache()
    >>> prompt, _ = layer(x[:, :3], is_causal=True, cache=cache)
    >>> last, _ = layer(x[:, 3:], is_causal=True, cache=cache)
    >>> last.shape, cache.length, cache.nbytes
    (torch.Size([2, 1, 12]), 4, 768)
    """

    key: Tensor | None = None
    value: Tensor | None = None

    @property
    def length(self) -> int:
        """How many tokens it holds, and so the position of the next."""
        return 0 if self.key is None else self.key.shape[-2]

    @property
    def nbytes(self) -> int:
        """How many bytes the keys and values take."""
        return sum(
            t.numel() * t.element_size()
            for t in (self.key, self.value)
            if t is not None
        )

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add new keys and values, (..., G, length, head_dim), and return them all.

        Each call copies what the cache holds, and overwrites nothing: `copy.copy(cache)` is a
        branch that grows on its own.
        """
        if self.key is not None and self.value is not None:
            check_follows("key", self.key, key)
            check_follows("value", self.value, value)
            key = torch.cat((self.key, key), dim=-2)
            value = torch.cat((self.value, value), dim=-2)
        self.key, self.value = key, value
        return key, value
