"""Positions that get normalized queries and keys: the norm comes before the turning."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from attn_examples.checks import check_callable
from attn_examples.core import Positions

__all__ = ["qk_normed"]

MECHANISMS = (
    {
        "name": "QK-norm by RMS",
        "call": "qk_normed",
        "changes": "queries and keys, normalized with learned gains before they are turned",
        "page": "types/scores/cosine#rms-qk-norm",
        "papers": ["yang2025", "olmo2024"],
        "oracles": {
            "transformers.models.qwen3.modeling_qwen3.Qwen3Attention": (
                "test_qk_normed_equals_qwen3"
            ),
            "transformers.models.olmo2.modeling_olmo2.Olmo2Attention": (
                "test_qk_normed_equals_olmo2"
            ),
        },
        "words": [
            "RMSNorm of queries and keys",
            "q_norm",
            "k_norm",
            "query-key layer norm",
        ],
        "cost": "more: a norm for each query and each key, and a gain for each entry",
        "used_in": {"Qwen3": "yang2025", "OLMo 2": "olmo2024"},
        "thumbnail": (
            "attention(*(torch.nn.functional.rms_norm(x, (32,)) for x in (query, key)), value)[1]"
        ),
    },
)

Norm = Callable[[Tensor], Tensor]


def qk_normed(
    query_norm: Norm, key_norm: Norm, positions: Positions | None = None
) -> Positions:
    """Make positions for `MultiHeadAttention` that normalize queries and keys first.

    Parameters
    ----------
    query_norm, key_norm : callable
        What normalizes, such as `nn.RMSNorm`. They get queries (..., L, H, head_dim) and
        keys (..., S, G, head_dim): a norm of the last dimension, `nn.RMSNorm(head_dim)`, is
        one for each head with gains that all heads share; one of the last two,
        `nn.RMSNorm((H, head_dim))`, is one for all heads of a token, with gains of their own.
    positions : callable, optional
        What tells the heads about order; it gets the normalized queries and keys.

    Returns
    -------
    callable
        Positions; an `nn.Module`, so that the parameters of all three are found.

    Raises
    ------
    TypeError
        If one of the three cannot be called.

    References
    ----------
    One norm for each head: Yang et al., "Qwen3 Technical Report", 2025, arXiv:2505.09388,
    section 2; one for all heads of a token: OLMo Team, "2 OLMo 2 Furious", 2024,
    arXiv:2501.00656, section 2, and its code.

    Examples
    --------
    Which positive number multiplies a query or a key, the weights do not see:

    >>> import torch
    >>> from torch import nn
    >>> from attn_examples import MultiHeadAttention, qk_normed
    >>> norms = qk_normed(nn.RMSNorm(4), nn.RMSNorm(4))
    >>> layer = MultiHeadAttention(embed_dim=12, num_heads=3, positions=norms, bias=False)
    >>> x = torch.randn(2, 5, 12)
    >>> torch.allclose(layer(x)[1], layer(100 * x)[1], atol=1e-4)
    True
    """
    check_callable("query_norm", query_norm)
    check_callable("key_norm", key_norm)
    if positions is not None:
        check_callable("positions", positions)
    return _QKNormed(query_norm, key_norm, positions)


class _QKNormed(nn.Module):
    def __init__(
        self, query_norm: Norm, key_norm: Norm, positions: Positions | None
    ) -> None:
        super().__init__()
        self.query_norm = query_norm
        self.key_norm = key_norm
        self.positions = positions

    def forward(
        self, query: Tensor, key: Tensor, offset: int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        # a token's heads side by side, (..., L, H, head_dim), and back
        query = self.query_norm(query.transpose(-3, -2)).transpose(-3, -2)
        key = self.key_norm(key.transpose(-3, -2)).transpose(-3, -2)
        if self.positions is None:
            return query, key, None
        return self.positions(query, key, offset)
