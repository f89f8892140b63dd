"""Scores of a product: how far two vectors point the same way."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_examples.checks import (
    check_batch,
    check_count,
    check_factor,
    check_projected,
    check_width,
    check_widths,
)

__all__ = ["Bilinear", "cosine", "dot", "scaled_dot"]

MECHANISMS = (
    {
        "name": "dot",
        "call": "dot",
        "changes": "the dot product",
        "page": "types/scores/dot-product",
        "papers": ["luong2015"],
        "oracles": {
            "torch.einsum": "test_dot_sums_products",
            "transformers.models.t5.modeling_t5.T5Attention": "test_dot_equals_t5",
        },
        "words": ["Luong attention", "multiplicative attention"],
        "cost": "the same",
        "thumbnail": "attention(query, key, value, score=dot)[1]",
    },
    {
        "name": "general, or bilinear",
        "call": "Bilinear",
        "changes": "the dot product after a learned matrix",
        "page": "types/scores/dot-product#bilinear",
        "papers": ["luong2015"],
        "oracles": {
            "torch.nn.functional.bilinear": "test_bilinear_equals_torch",
            "by hand": "test_bilinear_is_the_loop_of_the_paper",
        },
        "words": ["general attention", "bilinear attention"],
        "cost": "more: a matrix, applied to each key",
        "thumbnail": "attention(query, key, value, score=Bilinear(32, 32))[1]",
    },
    {
        "name": "cosine",
        "call": "cosine",
        "changes": "the cosine of the angle between them",
        "page": "types/scores/cosine",
        "papers": ["graves2014"],
        "oracles": {
            "torch.nn.functional.cosine_similarity": "test_cosine",
            "x_transformers.x_transformers.Attention": "test_cosine_equals_x_transformers",
        },
        "words": ["cosine similarity", "content-based addressing"],
        "cost": "more: a norm for each query and each key",
        "used_in": {"Neural Turing Machine": "graves2014"},
        "thumbnail": "attention(query, key, value, score=cosine)[1]",
    },
    {
        "name": "scaled dot product",
        "call": "scaled_dot",
        "changes": "the dot product over the root of the width (the default)",
        "page": "types/scores/scaled-dot-product",
        "papers": ["vaswani2017"],
        "oracles": {
            "torch.nn.functional.scaled_dot_product_attention": "test_scaled_dot",
            "transformers.models.bert.modeling_bert.eager_attention_forward": (
                "test_scaled_dot_equals_bert"
            ),
        },
        "words": ["Transformer attention", "divide by sqrt d_k"],
        "cost": "the same",
        "used_in": {"Transformer": "vaswani2017", "BERT": "devlin2018"},
        "thumbnail": "attention(query, key, value)[1]",
    },
)


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
    else:
        check_factor("scale", scale)
    # scaled first: float16 overflows at 65504
    return query * scale @ key.transpose(-2, -1)


def _as_scaled_dot(score: Any) -> dict[str, Any] | None:
    """Return the keywords that make scaled_dot this score, None where none do."""
    if score is dot:
        return {"scale": 1.0}
    if score is scaled_dot:
        return {}
    if isinstance(score, partial) and score.func is scaled_dot:
        return score.keywords
    return None


def cosine(query: Tensor, key: Tensor, *, beta: float | Tensor = 1.0) -> Tensor:
    """Score by the cosine of the angle between query and key, times `beta`.

    Parameters
    ----------
    query : Tensor, shape (..., L, E)
    key : Tensor, shape (..., S, E)
    beta : float or Tensor, default 1
        Sharpness; a tensor of no dimensions where it is learned, as in `QKNorm`. Cosines
        lie in [-1, 1], so with `beta` 1 no softmax weight of an allowed key can be more than
        e**2 times that of another.

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
    check_factor("beta", beta)
    eps = max(1e-12, torch.finfo(query.dtype).tiny)  # float16 has no 1e-12
    query, key = (F.normalize(x, dim=-1, eps=eps) for x in (query, key))
    return beta * (query @ key.transpose(-2, -1))


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
        # W: (query_dim, key_dim)
        self.key_proj = nn.Linear(key_dim, query_dim, bias=False)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the scores, shape (..., L, S), of queries and keys."""
        check_width("query", query, "query_dim", self.key_proj.out_features)
        check_projected("key", key, "key_dim", self.key_proj.in_features, self.key_proj)
        check_batch("key", key, "query", query)
        return dot(query, self.key_proj(key))
