"""Scores of a small network: how alike the two are is learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attn_examples.checks import (
    check_batch,
    check_count,
    check_projected,
)

__all__ = ["Additive"]

MECHANISMS = (
    {
        "name": "additive, or concat",
        "call": "Additive",
        "changes": "what a small network says",
        "page": "types/scores/additive",
        "papers": ["bahdanau2014"],
        "oracles": {
            "by hand": "test_additive_is_the_loop_of_the_paper",
            "torch.nn.functional.linear": "test_additive_is_one_layer_of_both_side_by_side",
        },
        "words": ["Bahdanau attention", "concat attention", "MLP attention"],
        "cost": "more: a hidden layer for each pair of query and key",
        "used_in": {"RNNsearch": "bahdanau2014"},
        "thumbnail": "attention(query, key, value, score=Additive(32, 32, 64))[1]",
    },
)


class Additive(nn.Module):
    """Score by a small network: u . tanh(W_uq q + W_uk k).

    Parameters
    ----------
    query_dim : int
        Width of the queries.
    key_dim : int
        Width of the keys; it may differ from that of the queries.
    hidden_dim : int
        Width of the hidden layer.

    Raises
    ------
    ValueError
        If a width is less than 1; when called, if the input has another width.
    TypeError
        If a width is not a whole number.

    References
    ----------
    Bahdanau et al., "Neural Machine Translation by Jointly Learning to Align and
    Translate", 2014, arXiv:1409.0473, appendix A.1.2.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import Additive
    >>> score = Additive(query_dim=4, key_dim=6, hidden_dim=8)
    >>> score(torch.randn(2, 5, 4), torch.randn(2, 7, 6)).shape
    torch.Size([2, 5, 7])
    """

    def __init__(self, query_dim: int, key_dim: int, hidden_dim: int) -> None:
        super().__init__()
        check_count("query_dim", query_dim)
        check_count("key_dim", key_dim)
        check_count("hidden_dim", hidden_dim)
        self.query_proj = nn.Linear(query_dim, hidden_dim, bias=False)
        self.key_proj = nn.Linear(key_dim, hidden_dim, bias=False)
        self.energy = nn.Linear(hidden_dim, 1, bias=False)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the scores, shape (..., L, S), of queries and keys."""
        check_projected(
            "query", query, "query_dim", self.query_proj.in_features, self.query_proj
        )
        check_projected("key", key, "key_dim", self.key_proj.in_features, self.key_proj)
        check_batch("key", key, "query", query)
        queries = self.query_proj(query).unsqueeze(-2)  # (..., L, 1, hidden)
        keys = self.key_proj(key).unsqueeze(-3)  # (..., 1, S, hidden)
        scores: Tensor = self.energy(torch.tanh(queries + keys))  # (..., L, S, 1)
        return scores.squeeze(-1)
