"""Scores of normalized vectors, of which one sharpness is learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from attn_examples.checks import check_count
from attn_examples.scores.dot_product import cosine

__all__ = ["QKNorm"]

MECHANISMS = (
    {
        "name": "QK-norm",
        "call": "QKNorm",
        "changes": "the cosine, times a sharpness that is learned",
        "page": "types/scores/cosine#qk-norm",
        "papers": ["henry2020"],
        "oracles": {
            "x_transformers.x_transformers.Attention": "test_qk_norm_equals_x_transformers",
            "torch.nn.functional.cosine_similarity": "test_qk_norm_equals_torch",
        },
        "words": [
            "query-key normalization",
            "QKNorm",
            "cosine attention",
            "normalized queries and keys",
        ],
        "cost": "more: a norm for each query and each key, and one parameter",
        "thumbnail": "attention(query, key, value, score=QKNorm(8))[1].detach()",
    },
)


class QKNorm(nn.Module):
    """Score by the cosine of query and key, times a learned number: g * cos(q, k).

    Parameters
    ----------
    length : int
        How many tokens the sequences have, L; at least 2. It sets where g starts:
        log2(L**2 - L). The paper takes the length that 97.5% of its training sequences
        do not exceed.

    Raises
    ------
    ValueError
        If `length` is less than 2; when called, as in `cosine`.
    TypeError
        If `length` is not a whole number.

    References
    ----------
    Henry et al., "Query-Key Normalization for Transformers", 2020, arXiv:2010.04245,
    section 3.

    Examples
    --------
    For 8 tokens g starts at log2 56. The key that points as the query does gets it whole:

    >>> import torch
    >>> from attn_examples import QKNorm
    >>> score = QKNorm(length=8)
    >>> query, key = torch.tensor([[1.0, 0.0]]), torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    >>> score(query, key).detach()
    tensor([[5.8074, 0.0000]])
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        check_count("length", length, least=2)
        self.g = nn.Parameter(torch.tensor(math.log2(length**2 - length)))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the scores, shape (..., L, S), of queries and keys."""
        return cosine(query, key, beta=self.g)
