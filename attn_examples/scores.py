"""Step 1, score: how alike are this query and this key?

A score takes queries (..., L, E) and keys (..., S, E) and returns one number for
each pair, (..., L, S). Anything that does so plugs into `attention(score=...)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_examples.checks import (
    check_batch,
    check_broadcast,
    check_count,
    check_device,
    check_float,
    check_width,
    check_widths,
    shape_of,
)

__all__ = ["Additive", "Bilinear", "cosine", "dot", "scaled_dot", "with_bias"]


def dot(query: Tensor, key: Tensor) -> Tensor:
    """Score by the dot product: q . k.

    Parameters
    ----------
    query : Tensor, shape (..., L, E)
    key : Tensor, shape (..., S, E)

    Returns
    -------
    Tensor, shape (..., L, S)

    Raises
    ------
    ValueError
        If query and key differ in width or do not fit in their leading dimensions, or
        are not floating point.
    TypeError
        If one of the two is not a tensor.

    References
    ----------
    Luong et al., "Effective Approaches to Attention-based Neural Machine
    Translation", 2015, arXiv:1508.04025, section 3.1.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import dot
    >>> dot(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[11.,  2.]])
    """
    check_widths(query, key)
    return query @ key.transpose(-2, -1)  # (..., L, E) @ (..., E, S)


def scaled_dot(query: Tensor, key: Tensor, *, scale: float | None = None) -> Tensor:
    """Score by the dot product divided by the square root of the width.

    Parameters
    ----------
    query : Tensor, shape (..., L, E)
    key : Tensor, shape (..., S, E)
    scale : float, optional
        Factor of the dot product, by default 1 / sqrt(E). With several heads E is
        the width of one head.

    Returns
    -------
    Tensor, shape (..., L, S)

    Raises
    ------
    ValueError
        If query and key differ in width or do not fit in their leading dimensions, or
        are not floating point.
    TypeError
        If one of the two is not a tensor.

    References
    ----------
    Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762, section 3.2.1.

    Examples
    --------
    The dot product is 4, the width is 4, so the score is 4 / 2:

    >>> import torch
    >>> from attn_examples import scaled_dot
    >>> scaled_dot(torch.ones(1, 4), torch.ones(1, 4))
    tensor([[2.]])
    """
    check_widths(query, key)
    if scale is None:
        scale = 1.0 / math.sqrt(max(query.shape[-1], 1))
    return dot(query * scale, key)  # scaled first: float16 overflows at 65504


def cosine(query: Tensor, key: Tensor, *, beta: float = 1.0) -> Tensor:
    """Score by the cosine of the angle between query and key, times `beta`.

    Parameters
    ----------
    query : Tensor, shape (..., L, E)
    key : Tensor, shape (..., S, E)
    beta : float, default 1
        Sharpness. Cosines lie in [-1, 1], so with `beta` 1 no weight can be more
        than e**2 times another.

    Returns
    -------
    Tensor, shape (..., L, S)
        0 where a query or a key is the zero vector, which has no direction.

    Raises
    ------
    ValueError
        If query and key differ in width or do not fit in their leading dimensions, or
        are not floating point.
    TypeError
        If one of the two is not a tensor.

    References
    ----------
    Graves et al., "Neural Turing Machines", 2014, arXiv:1410.5401, section 3.3.1.

    Examples
    --------
    Length does not matter, direction does:

    >>> import torch
    >>> from attn_examples import cosine
    >>> cosine(torch.tensor([[1.0, 0.0]]), torch.tensor([[9.0, 0.0], [0.0, 9.0]]))
    tensor([[1., 0.]])
    """
    check_widths(query, key)
    return beta * dot(F.normalize(query, dim=-1), F.normalize(key, dim=-1))


class Additive(nn.Module):
    """Score by a small network: v . tanh(W_q q + W_k k).

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
        check_width("query", query, "query_dim", self.query_proj.in_features)
        check_width("key", key, "key_dim", self.key_proj.in_features)
        check_batch("key", key, "query", query)
        queries = self.query_proj(query).unsqueeze(-2)  # (..., L, 1, hidden)
        keys = self.key_proj(key).unsqueeze(-3)  # (..., 1, S, hidden)
        scores: Tensor = self.energy(torch.tanh(queries + keys)).squeeze(-1)  # (..., L, S)
        return scores


class Bilinear(nn.Module):
    """Score by a learned matrix between query and key: q . (W k), Luong's "general".

    Parameters
    ----------
    query_dim : int
        Width of the queries.
    key_dim : int
        Width of the keys; it may differ from that of the queries.

    Raises
    ------
    ValueError
        If a width is less than 1; when called, if the input has another width.
    TypeError
        If a width is not a whole number.

    References
    ----------
    Luong et al., 2015, arXiv:1508.04025, section 3.1.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import Bilinear
    >>> score = Bilinear(query_dim=4, key_dim=6)
    >>> score(torch.randn(2, 5, 4), torch.randn(2, 7, 6)).shape
    torch.Size([2, 5, 7])
    """

    def __init__(self, query_dim: int, key_dim: int) -> None:
        super().__init__()
        check_count("query_dim", query_dim)
        check_count("key_dim", key_dim)
        self.key_proj = nn.Linear(key_dim, query_dim, bias=False)  # W: (query_dim, key_dim)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the scores, shape (..., L, S), of queries and keys."""
        check_width("query", query, "query_dim", self.key_proj.out_features)
        check_width("key", key, "key_dim", self.key_proj.in_features)
        return dot(query, self.key_proj(key))


def with_bias(
    score: Callable[[Tensor, Tensor], Tensor], bias: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """Wrap a score so that `bias` is added to what it returns.

    Parameters
    ----------
    score : callable
        Any score: takes queries and keys, returns (..., L, S).
    bias : Tensor, broadcastable to (..., L, S)
        Floating point. Minus infinity forbids a key.

    Returns
    -------
    callable
        A score.

    Raises
    ------
    ValueError
        If the bias is not floating point; when called, if it does not broadcast to
        the scores, has another dtype or is on another device.
    TypeError
        If the bias is not a tensor.

    Examples
    --------
    Prefer near keys, as ALiBi does (Press et al., 2021, arXiv:2108.12409):

    >>> import torch
    >>> from attn_examples import dot, with_bias
    >>> distance = torch.tensor([[0.0, -1.0, -2.0]])
    >>> with_bias(dot, distance)(torch.ones(1, 2), torch.ones(3, 2))
    tensor([[2., 1., 0.]])
    """
    check_float("bias", bias)

    def biased(query: Tensor, key: Tensor) -> Tensor:
        scores = score(query, key)
        if bias.dtype != scores.dtype:
            raise ValueError(
                f"bias is {bias.dtype} but the scores are {scores.dtype}: use one dtype"
            )
        check_broadcast("bias", bias, shape_of(scores))
        check_device("bias", bias, scores.device)
        return scores + bias

    return biased
